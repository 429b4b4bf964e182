"""How recording scales: ``python benchmarks/recording.py`` in an environment that has phasic-xla.

On a busy machine ``--realtime`` gives it the cores while it measures. Linux only.

1. The work units are the components of a chain of random SCCs. Each is recorded by itself first,
   which gives the reference bytes and its cost in CPU seconds of one thread.
2. In every round each strategy records all units into a new cache folder; its bytes are compared
   with the reference before its time counts. Ratios are taken within a round.
3. The machine's own bound is measured in the same rounds: how much more all cores hash in a time
   than one core alone (in registers, without Python's lock). Other programs, and virtual cores that
   share a real one, lower it.
4. Then each strategy runs again while a thread looks every 5 ms how many others of the process run
   or are ready to run, and how much CPU time each has taken. Looking takes part of a core, so these
   runs are not the ones that are timed.
5. A work/span model is fitted to CPU seconds and says what to expect of other numbers of cores.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

import models
import phasic
from phasic import _core, _record_jax
from phasic._options import RECORD_MAX_OPERATIONS
from phasic.hierarchical_trace_cache import (
    collect_missing_traces_batch,
    compute_missing_traces_parallel,
)

STRATEGIES = ("sequential", "vmap", "pmap")
SAMPLE_SECONDS = 0.005
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Watcher:
    """Samples which threads of this process, without the watching one, want or got a core."""

    def __init__(self) -> None:
        self.counts: list[int] = []  # of threads that run or are ready to
        self.busiest = 0.0  # CPU seconds of the thread that took most
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        own = str(threading.get_native_id())
        began: dict[str, float] = {}
        last: dict[str, float] = {}
        while True:
            running = 0
            for task in Path("/proc/self/task").iterdir():
                if task.name == own:
                    continue
                try:
                    state = (task / "stat").read_text().rpartition(")")[2].split()[0]
                    seconds = int((task / "schedstat").read_text().split()[0]) * 1e-9
                except OSError:  # the thread has ended
                    continue
                running += state == "R"
                began.setdefault(task.name, seconds)
                last[task.name] = seconds
            self.counts.append(running)
            if self._done.wait(SAMPLE_SECONDS):
                break
        self.busiest = max((last[name] - began[name] for name in last), default=0.0)

    def share_of(self, at_least: int) -> float:
        """Return the share of samples with so many threads, of those with any."""
        some = [count for count in self.counts if count > 0]
        return sum(count >= at_least for count in some) / max(1, len(some))


@dataclass(frozen=True)
class Run:
    """One recording of all units."""

    wall: float
    cpu: float


def work_units(n: int, vertices: int, degree: int, folder: str) -> dict[str, str]:
    """Return n different units."""
    model = models.random_components(vertices, n, degree)
    graph = phasic.Graph(model.callback, ipv=[(model.start, 1.0)])
    units, _, _ = collect_missing_traces_batch(graph, min_size=vertices, cache_dir=folder)
    if len(units) != n:
        raise SystemExit(f"{len(units)} different units of {vertices} vertices, expected {n}")
    return units


def record_directly(units: dict[str, str]) -> tuple[dict[str, bytes], list[float]]:
    """Return every unit's bytes and its CPU seconds, the least of three times."""
    payloads, seconds = {}, []
    for digest, text in units.items():
        taken = []
        for _ in range(3):
            began = time.thread_time()
            trace = _core.record_work_unit(digest, text, RECORD_MAX_OPERATIONS)
            payloads[digest] = trace.to_bytes()
            taken.append(time.thread_time() - began)
        seconds.append(min(taken))
    return payloads, seconds


def run(
    units: dict[str, str],
    strategy: str,
    reference: dict[str, bytes],
    workers: int | None = None,
    parent: str | None = None,
) -> Run:
    """Record all units into a new cache folder, compare the bytes, and return the times."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        traces = compute_missing_traces_parallel(
            units, strategy, n_workers=workers, cache_dir=folder
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if any(traces[digest].to_bytes() != reference[digest] for digest in units):
        raise SystemExit(f"strategy {strategy} gives other bytes")
    return Run(wall, cpu)


def hashing_bound(cores: int) -> float:
    """Return how much more all cores together do in a time than one alone."""

    def work(_: int) -> None:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000)

    began = time.perf_counter()
    work(0)
    alone = time.perf_counter() - began
    with ThreadPoolExecutor(cores) as pool:
        began = time.perf_counter()
        list(pool.map(work, range(cores)))
        return cores * alone / (time.perf_counter() - began)


def spread(values: list[float]) -> str:
    """Return the median and the quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} | {low:.2f} to {high:.2f}"


def compare(
    units: dict[str, str], reference: dict[str, bytes], repeats: int, parent: str | None
) -> None:
    """Print what each strategy takes with the cache in a folder of its own in ``parent``."""
    for strategy in STRATEGIES:
        run(units, strategy, reference)  # compiles
    bounds, rounds = [], []
    for _ in range(repeats):
        bounds.append(hashing_bound(len(os.sched_getaffinity(0))))
        rounds.append({s: run(units, s, reference, parent=parent) for s in STRATEGIES})
    print(f"\ncache in {parent or tempfile.gettempdir()}")
    print("\n| strategy | wall s | CPU s | speed-up | quartiles | busiest thread s | 2 at once |")
    print("|---|---|---|---|---|---|---|")
    for strategy in STRATEGIES:
        wall = statistics.median(each[strategy].wall for each in rounds)
        cpu = statistics.median(each[strategy].cpu for each in rounds)
        ratios = spread([each["sequential"].wall / each[strategy].wall for each in rounds])
        with Watcher() as watcher:
            run(units, strategy, reference, parent=parent)
        print(
            f"| {strategy} | {wall:.3f} | {cpu:.3f} | {ratios} | {watcher.busiest:.3f} "
            f"| {watcher.share_of(2):.0%} |"
        )
    print(f"| hashing on all cores | | | {spread(bounds)} | | |")


def dispatch_seconds(units: dict[str, str]) -> tuple[float, float]:
    """Return the CPU seconds a call and a unit of calls that record nothing, by least squares.

    They are for padding, copying and the call itself.
    """
    rows = [(digest, text.encode()) for digest, text in units.items()]
    counts = [max(1, len(rows) // share) for share in (16, 8, 4, 2, 1)]
    least = []
    for n in counts:
        taken = []
        for _ in range(10):
            with _record_jax.tickets.one() as ticket:
                _core.stop_recording(ticket)
                began = time.process_time()
                _record_jax.record_vmap(rows[:n], ticket, 1)
                taken.append(time.process_time() - began)
        least.append(min(taken))
    design = np.stack([np.ones(len(counts)), counts], axis=1)
    (call, unit), *_ = np.linalg.lstsq(design, np.array(least), rcond=None)
    return max(call, 0.0), max(unit, 0.0)


def caching_seconds(reference: dict[str, bytes]) -> float:
    """Return the CPU seconds a unit of caching in a folder in memory, the least of five times.

    That is about what Python does, one thread at a time; on a disk the kernel does the rest.
    """
    taken = []
    for _ in range(5):
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            cache = phasic.TraceCache(folder)
            began = time.thread_time()
            for digest, payload in reference.items():
                cache.store(digest, payload)
            taken.append(time.thread_time() - began)
    return min(taken) / len(reference)


def makespan(seconds: list[float], workers: int) -> float:
    """Return when the last of the workers ends; each takes the longest unit that is left."""
    ends = [0.0] * workers
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def fit(units: dict[str, str], reference: dict[str, bytes], seconds: list[float]) -> None:
    """Fit the parts of the CPU seconds of vmap on one thread, and print what to expect."""
    n = len(units)
    call, dispatch = dispatch_seconds(units)
    caching = caching_seconds(reference)
    cpu = min(run(units, "vmap", reference, 1).cpu for _ in range(8))
    kernel = max((cpu - sum(seconds) - call) / n - dispatch - caching, 0.0)
    print(
        f"\nmodel, CPU ms: {call * 1e3:.1f} a call; a unit {dispatch * 1e3:.2f} dispatch and "
        f"{caching * 1e3:.2f} caching (one thread at a time), {kernel * 1e3:.2f} caching in the "
        f"kernel and {statistics.mean(seconds) * 1e3:.2f} recording (on all cores; the longest "
        f"unit {max(seconds) * 1e3:.2f})"
    )
    print("\n| units | cores | expected speed-up | of recording alone |")
    print("|---|---|---|---|")
    for times in (1, 16):
        work = seconds * times
        for cores in (2, 8, 64):
            parallel = [each + kernel for each in work]
            serial = call + (dispatch + caching) * len(work)
            whole = (serial + sum(parallel)) / (serial + makespan(parallel, cores))
            serial = call + dispatch * len(work)
            alone = (serial + sum(work)) / (serial + makespan(work, cores))
            print(f"| {len(work)} | {cores} | {whole:.1f} | {alone:.1f} |")


def take_the_cores() -> None:
    """Run all threads before those of other programs, at real-time priority."""
    for task in Path("/proc/self/task").iterdir():
        os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))


def main() -> None:
    parser = argparse.ArgumentParser(description="How recording scales with strategy and cores.")
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--vertices", type=int, default=500)
    parser.add_argument("--degree", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--realtime", action="store_true", help="take the cores from other programs (needs root)"
    )
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    jax.config.update("jax_num_cpu_devices", max(2, cores))
    with tempfile.TemporaryDirectory() as folder:
        units = work_units(arguments.units, arguments.vertices, arguments.degree, folder)
    reference, seconds = record_directly(units)
    print(
        f"{len(units)} units of {arguments.vertices} vertices, {sum(seconds):.3f} s of CPU to "
        f"record; {cores} cores, {len(jax.local_devices(backend='cpu'))} devices, load "
        f"{os.getloadavg()[0]:.1f}"
    )
    if arguments.realtime:
        take_the_cores()
    for parent in dict.fromkeys([None, MEMORY]):
        compare(units, reference, arguments.repeats, parent)
    fit(units, reference, seconds)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}; every run gave the reference bytes")


if __name__ == "__main__":
    main()

"""How recording scales with processes: ``python benchmarks/recording_processes.py`` (Linux only).

1. It starts the processes of a `jax.distributed` run here, one device and one thread each.
2. In every round process 0 records all units by itself while the others wait, with one thread; then
   all record them together. Each has a new, empty cache folder in memory every time.
3. The bytes of all processes are compared with direct recording before a time counts.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
from recording import MEMORY, record_directly, take_the_cores, work_units

from phasic.hierarchical_trace_cache import compute_missing_traces_parallel


def timed(units: dict[str, str], strategy: str, reference: dict[str, bytes]) -> tuple[float, int]:
    """Return the wall seconds of a recording and how many traces it left in this cache."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        began = time.perf_counter()
        traces = compute_missing_traces_parallel(units, strategy, cache_dir=folder)
        wall = time.perf_counter() - began
        cached = len(list(Path(folder).glob("*.trace")))
    if any(traces[digest].to_bytes() != reference[digest] for digest in units):
        raise SystemExit(f"strategy {strategy} gives other bytes")
    return wall, cached


def work(arguments: argparse.Namespace) -> None:
    """Be one of the processes."""
    jax.config.update("jax_num_cpu_devices", 1)
    jax.distributed.initialize(arguments.address, arguments.processes, arguments.index)
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("start")
    with tempfile.TemporaryDirectory() as folder:
        units = work_units(arguments.units, arguments.vertices, 4, folder)
    reference, _ = record_directly(units)
    timed(units, "pmap", reference)  # compiles
    if arguments.realtime:
        take_the_cores()
    rounds = []
    for _ in range(arguments.repeats):
        multihost_utils.sync_global_devices("alone")
        alone = timed(units, "sequential", reference)[0] if arguments.index == 0 else 0.0
        multihost_utils.sync_global_devices("together")
        rounds.append((alone, *timed(units, "pmap", reference)))
    if arguments.index == 0:
        alone, together, cached = zip(*rounds, strict=True)
        ratios = [a / t for a, t in zip(alone, together, strict=True)]
        print(
            f"{len(units)} units of {arguments.vertices} vertices, load {os.getloadavg()[0]:.1f}: "
            f"one process {statistics.median(alone):.3f} s, {arguments.processes} processes "
            f"{statistics.median(together):.3f} s, speed-up {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}); process 0 recorded {cached[-1]}; every run "
            "gave the reference bytes in every process"
        )


def start(arguments: argparse.Namespace) -> int:
    """Start the processes and return the first status that is not 0."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    environment = {**os.environ, "PHASIC_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--address", address, "--index", str(i)],
            env=environment,
        )
        for i in range(arguments.processes)
    ]
    return next((status for process in started if (status := process.wait())), 0)


def main() -> int:
    parser = argparse.ArgumentParser(description="How recording scales with processes.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--vertices", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--realtime", action="store_true", help="as in recording.py")
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--index", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.address is None:
        return start(arguments)
    work(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())

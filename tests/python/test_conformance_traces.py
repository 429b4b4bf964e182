"""Stitching, the four strategies, and the threads that pmap really uses."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import model_cases
import models
import phasic
from conformance import assert_near, native, record, truth
from phasic import _core
from phasic.hierarchical_trace_cache import (
    collect_missing_traces_batch,
    compute_missing_traces_parallel,
    get_trace_hierarchical,
    stitch_scc_traces,
)
from phasic.trace_elimination import record_elimination_trace

STITCHED = {case.name: case for case in model_cases.multi_component_cases(100)}
STRATEGIES = ("sequential", "vmap", "pmap", "auto")


@pytest.mark.parametrize("name", STITCHED)
def test_stitched_is_whole_for_every_min_size(name: str) -> None:
    case = STITCHED[name]
    graph = phasic.Graph.from_serialized(case.graph)
    (exact,) = truth(case, "moments", rewards=case.rewards, k=3)
    whole = native(record(case), case, "moments", rewards=case.rewards, k=3)
    assert_near(whole.reshape(exact.shape), exact, 1e-12)
    for min_size in range(1, case.graph["n_vertices"] + 1):
        trace = get_trace_hierarchical(graph, min_size=min_size, strategy="sequential")
        stitched = native(trace, case, "moments", rewards=case.rewards, k=3)
        np.testing.assert_array_equal(stitched, whole)  # min_size changes no number


def test_several_components_a_model() -> None:
    for case in STITCHED.values():
        graph = phasic.Graph.from_serialized(case.graph)
        _, digests, _ = collect_missing_traces_batch(graph, min_size=1)
        assert len(digests) > 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_four_strategies_give_the_same_bytes(strategy: str, empty_cache_dir: object) -> None:
    for serialized in (models.two_islands(9), models.kingman(8), models.random_scc(60, 1)):
        graph = phasic.Graph.from_serialized(serialized)
        units, _, decomposition = collect_missing_traces_batch(graph, min_size=1)
        direct = {
            digest: _core.record_work_unit(digest, unit).to_bytes()
            for digest, unit in units.items()
        }
        traces = compute_missing_traces_parallel(units, strategy=strategy, min_size=1)
        assert {digest: trace.to_bytes() for digest, trace in traces.items()} == direct
        stitched = stitch_scc_traces(decomposition, traces)
        whole = record_elimination_trace(graph)
        assert stitched.digest == whole.digest


WATCH = textwrap.dedent(
    """
    import os, sys, threading, time
    import jax
    jax.config.update("jax_num_cpu_devices", 2)
    import models, phasic
    from phasic.hierarchical_trace_cache import (
        collect_missing_traces_batch, compute_missing_traces_parallel)

    def busy():
        found = {}
        for tid in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{tid}/schedstat") as file:
                    found[int(tid)] = int(file.read().split()[0]) * 1e-9
            except OSError:
                pass
        return found

    units = {}
    for seed in (1, 2):
        graph = phasic.Graph.from_serialized(models.random_scc(SIZE, seed, 4))
        units.update(collect_missing_traces_batch(graph, min_size=1)[0])
    warm = phasic.Graph.from_serialized(models.two_islands(5))
    compute_missing_traces_parallel(
        collect_missing_traces_batch(warm, min_size=1)[0], strategy=sys.argv[1], min_size=1)

    samples, done = [], threading.Event()
    def watch():
        while not done.wait(0.005):
            samples.append((time.perf_counter(), busy()))
    watcher = threading.Thread(target=watch)
    watcher.start()
    compute_missing_traces_parallel(units, strategy=sys.argv[1], min_size=1)
    done.set()
    watcher.join()

    spans = {}  # thread: CPU seconds, first and last moment at which it was seen to work
    for (_, old), (now, new) in zip(samples, samples[1:]):
        for tid, seconds in new.items():
            worked = seconds - old.get(tid, 0.0)
            if tid != watcher.native_id and worked > 0.001:
                total, first, _ = spans.get(tid, (0.0, now, now))
                spans[tid] = (total + worked, first, now)
    longest = max((total for total, _, _ in spans.values()), default=0.0)
    workers = [span for span in spans.values() if span[0] > 0.3 * longest]
    overlap = min(last for _, _, last in workers) - max(first for _, first, _ in workers)
    print(len(workers), overlap / (samples[-1][0] - samples[0][0]), longest)
    """
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("strategy", "threads"), [("pmap", 2), ("vmap", 1)])
def test_pmap_records_on_two_threads_at_once(
    strategy: str, threads: int, empty_cache_dir: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One native thread a call, so two busy threads are the calls of two devices.
    monkeypatch.setenv("PHASIC_NUM_THREADS", "1")
    script = WATCH.replace("SIZE", "2500")
    found = subprocess.run(
        [sys.executable, "-c", script, strategy],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parent,
    )
    assert found.returncode == 0, found.stderr
    n_workers, overlap, seconds = found.stdout.split()
    assert float(seconds) > 0.05, "too little work to see"
    assert int(n_workers) == threads
    if threads == 2:
        assert float(overlap) > 0.3

"""What happens while units are recorded: what is cached when, which errors come, no deadlock."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import phasic
from phasic import _core, _record_jax, _recording
from phasic.hierarchical_trace_cache import (
    collect_missing_traces_batch,
    compute_missing_traces_parallel,
)


@pytest.fixture
def units(empty_cache_dir: Path) -> dict[str, str]:
    graph = phasic.Graph.from_serialized(models.two_islands(5))
    return collect_missing_traces_batch(graph, min_size=2)[0]


@pytest.mark.parametrize("strategy", ["vmap", "pmap"])
def test_a_trace_is_cached_while_others_are_recorded(
    units: dict[str, str], strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The native call returns only after every trace has reached the cache."""
    stored: set[str] = set()
    complete = threading.Event()

    class Watched(phasic.TraceCache):
        def store(self, digest: str, payload: bytes) -> bool:
            stored.add(digest)
            if stored == set(units):
                complete.set()
            return super().store(digest, payload)

    record = getattr(_record_jax, f"record_{strategy}")

    def late(*args: Any) -> None:
        record(*args)
        assert complete.wait(60)

    monkeypatch.setattr(_record_jax, f"record_{strategy}", late)
    found = compute_missing_traces_parallel(units, strategy, cache_dir=Watched())
    assert found.keys() == units.keys()


def test_waiting_for_a_recording_ends_when_it_is_closed(units: dict[str, str]) -> None:
    listed = [(digest, text.encode()) for digest, text in units.items()]
    with _record_jax.tickets.one() as ticket:
        _record_jax.record_vmap(listed, ticket, 2)
        _core.close_recorded(ticket)
        found = {_core.next_recorded(ticket) for _ in units}
        assert found == set(units)
        assert _core.next_recorded(ticket) is None
        for digest, text in units.items():
            trace, payload = _core.take_recorded(ticket, digest)
            assert payload == trace.to_bytes() == _core.record_work_unit(digest, text).to_bytes()
            with pytest.raises(KeyError, match=f"no recording of digest {digest}"):
                _core.take_recorded(ticket, digest)


@pytest.mark.parametrize("strategy", ["vmap", "pmap", "sequential"])
def test_the_cause_of_a_failure_keeps_its_type(
    units: dict[str, str], strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_recording, "RECORD_MAX_OPERATIONS", 1.0)
    monkeypatch.setattr(_record_jax, "RECORD_MAX_OPERATIONS", 1.0)
    _record_jax._one_call.cache_clear()
    _record_jax._call_a_device.cache_clear()
    with pytest.raises(RuntimeError, match=r"recording work unit \w{64} \(\d+ vertices") as error:
        compute_missing_traces_parallel(units, strategy)
    _record_jax._one_call.cache_clear()
    _record_jax._call_a_device.cache_clear()
    assert isinstance(error.value.__cause__, phasic.BudgetError)
    assert str(error.value).count("vertices, ") == len(units)  # each with size and cause


@pytest.mark.parametrize("n_shards", [1, 2, 5])
def test_shards_hold_every_unit_once_and_differ_by_less_than_the_longest(n_shards: int) -> None:
    rng = np.random.default_rng(1)
    for n in (0, 1, 7, 64):
        lengths = sorted((int(x) for x in rng.exponential(1000.0, n)), reverse=True)
        units = [(f"{i:064x}", b"x" * length) for i, length in enumerate(lengths)]
        shards = _record_jax._deal(units, n_shards)
        assert sorted(unit for shard in shards for unit in shard) == units
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
        loads = [sum(len(text) for _, text in shard) for shard in shards]
        assert max(loads) - min(loads) <= max(lengths, default=0)


@pytest.mark.parametrize(("limit", "each"), [("", 0), ("1", 1), ("2", 1), ("7", 3)])
def test_the_calls_of_pmap_share_the_limit_of_threads(
    units: dict[str, str], limit: str, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHASIC_NUM_THREADS", limit)
    record, seen = _record_jax.record_pmap, []

    def noted(units: Any, ticket: int, threads: int, devices: Any) -> None:
        seen.append((threads, len(devices)))
        record(units, ticket, threads, devices)

    monkeypatch.setattr(_record_jax, "record_pmap", noted)
    compute_missing_traces_parallel(units, "pmap")
    assert seen == [(each, 2)]


MANY_CALLS = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, sys.argv[1])
    import jax, jax.numpy as jnp, numpy as np
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_x64", True)
    import models, phasic
    from phasic import _core, _record_jax
    from phasic._jax_runtime import register_targets
    from phasic.hierarchical_trace_cache import collect_missing_traces_batch

    graph = phasic.Graph.from_serialized(models.two_islands(6))
    units = collect_missing_traces_batch(graph, min_size=2)[0]
    register_targets()
    listed = [(digest, text.encode()) for digest, text in units.items()]
    arrays = _record_jax._pad([listed, listed], len(listed), 1 << 14)

    def record(*rows):
        one = lambda ticket: jax.vmap(lambda *row: _record_jax._record_row(ticket, 4, *row))(*rows)
        return [one(ticket) for ticket in range(1, 17)]

    statuses = jax.block_until_ready(jax.pmap(record)(*arrays))
    assert all(not np.any(status) for status, _ in statuses)
    for ticket in range(1, 17):
        _core.close_recorded(ticket)
        recorded = [_core.next_recorded(ticket) for _ in range(2 * len(units))]  # on each device
        assert sorted(recorded) == sorted([*units, *units])

    ways = [phasic.PhaseType(graph, threads=4, options=phasic.EvaluationOptions(truncation=t))
            for t in np.geomspace(1e-15, 1e-4, 16)]  # options that make the calls different
    thetas = np.random.default_rng(1).uniform(0.5, 2.0, (2, 64, graph.param_length()))
    many = jax.pmap(lambda theta: jnp.stack([w.expectation(theta) for w in ways]))
    found = np.asarray(jax.block_until_ready(many(thetas)))
    assert np.array_equal(found, np.stack([[w.expectation(t) for w in ways] for t in thetas]))
    print("done")
    """
)


def test_more_calls_than_threads_of_the_pool_end(tmp_path: Path) -> None:
    """Sixteen independent native calls a device, two devices, two threads of XLA, four of ours."""
    environment = {**os.environ, "PJRT_NPROC": "2", "PHASIC_CACHE_DIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", MANY_CALLS, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    assert (found.returncode, found.stdout) == (0, "done\n"), found.stderr

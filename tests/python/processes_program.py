"""One of two processes of `jax.distributed`; `test_processes.py` starts both and reads the reports.

Every scenario is one function that both run in the same order. What it returns is reported as JSON.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import models
import phasic
from phasic import _core, _record_jax, _recording
from phasic.hierarchical_trace_cache import (
    collect_missing_traces_batch,
    compute_missing_traces_parallel,
    get_trace_hierarchical,
    stitch_scc_traces,
)

ME = int(sys.argv[2])
OTHER = 1 - ME
FOLDER = Path(sys.argv[4])


def islands(n: int = 5) -> phasic.Graph:
    return phasic.Graph.from_serialized(models.two_islands(n))


def units_of(graph: phasic.Graph, folder: Path) -> dict[str, str]:
    return collect_missing_traces_batch(graph, min_size=2, cache_dir=folder)[0]


def entries(folder: Path) -> list[str]:
    return sorted(path.name[:64] for path in folder.glob("*.trace"))


def caught(function: Callable[[], object]) -> list[str]:
    try:
        function()
    except (Exception, KeyboardInterrupt) as error:
        return [type(error).__name__, str(error), type(error.__cause__).__name__]
    return []


@contextlib.contextmanager
def said() -> Iterator[list[str]]:
    """Collect what phasic logs at INFO."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("phasic")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def share() -> dict[str, Any]:
    """Both lack everything; afterwards each has all traces and caches its own share."""
    folder = FOLDER / f"share-{ME}"
    units = units_of(islands(), folder)
    with said() as lines:
        traces = compute_missing_traces_parallel(units, "pmap", cache_dir=folder)
    alone = compute_missing_traces_parallel(units, "sequential", cache_dir=FOLDER / f"alone-{ME}")
    same = [traces[d].to_bytes() == alone[d].to_bytes() for d in units]
    return {
        "units": sorted(units),
        "order": list(traces) == list(units),
        "same": same,
        "said": [line for line in lines if line.startswith("process ")],
    }


def again() -> dict[str, Any]:
    """Each cache has one half: nothing is recorded, the bytes are exchanged."""
    folder = FOLDER / f"share-{ME}"
    before = entries(folder)
    trace = get_trace_hierarchical(islands(), min_size=2, cache_dir=folder)
    alone = stitch_scc_traces(
        collect_missing_traces_batch(islands(), min_size=2, cache_dir=FOLDER / f"alone-{ME}")[2], {}
    )
    return {
        "entries": before,
        "unchanged": entries(folder) == before,
        "same": trace.to_bytes() == alone.to_bytes(),
    }


def one_sided() -> dict[str, Any]:
    """Process 0 has everything, process 1 nothing."""
    folder = FOLDER / f"one-sided-{ME}"
    if ME == 0:
        compute_missing_traces_parallel(
            units_of(islands(6), folder), "sequential", cache_dir=folder
        )
    n = len(entries(folder))
    model = phasic.PhaseType(islands(6), min_size=2, cache_dir=folder)
    return {"before": n, "after": len(entries(folder)), "digest": model.trace.digest}


def different() -> dict[str, Any]:
    """The processes ask for different units, with some in common."""
    folder = FOLDER / f"different-{ME}"
    units = list(units_of(islands(7), folder).items())
    mine = dict(units[ME : len(units) - OTHER])  # all but the last one, or the first
    traces = compute_missing_traces_parallel(mine, cache_dir=folder)
    return {"got": sorted(traces) == sorted(mine), "n": len(units), "entries": entries(folder)}


def bad_unit() -> dict[str, Any]:
    """A unit that only process 1 has cannot be recorded: both report it and keep the others."""
    folder = FOLDER / f"bad-unit-{ME}"
    units = units_of(islands(), folder)
    digest = min(units)
    if ME == 1:
        units[digest] = units[digest][:-5]
    else:
        del units[digest]
    error = caught(lambda: compute_missing_traces_parallel(units, cache_dir=folder))
    return {"error": error, "digest": digest, "entries": entries(folder)}


def bad_call() -> dict[str, Any]:
    """Process 1 passes what is no work unit at all."""
    folder = FOLDER / f"bad-call-{ME}"
    units: dict[str, Any] = units_of(islands(), folder)
    if ME == 1:
        units[min(units)] = 7
    error = caught(lambda: compute_missing_traces_parallel(units, cache_dir=folder))
    return {"error": error}


def bad_graph() -> dict[str, Any]:
    """Process 1 fails before there is anything to record."""
    error = caught(lambda: get_trace_hierarchical(islands(), 9 if ME == 1 else None))
    return {"error": error}


def unusable_cache() -> dict[str, Any]:
    """The folder of process 1 is a file, and its warnings are errors."""
    folder = FOLDER / f"unusable-{ME}"
    units = units_of(islands(), folder)
    if ME == 1:
        folder.write_text("")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error = caught(lambda: compute_missing_traces_parallel(units, cache_dir=folder))
    return {"error": error}


def interrupted() -> dict[str, Any]:
    """Ctrl-C in process 1 before its first unit: process 0 is told how many units are left."""
    folder = FOLDER / f"interrupted-{ME}"
    units = units_of(islands(), folder)
    stop, pad = threading.Event(), _record_jax._pad
    native_stop = _core.stop_recording

    def stopped(ticket: int) -> None:
        native_stop(ticket)
        stop.set()

    def interrupting_pad(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(60)
        return pad(*args)

    if ME == 1:
        _record_jax._pad = interrupting_pad
        _recording._core.stop_recording = stopped
    error = caught(lambda: compute_missing_traces_parallel(units, "pmap", cache_dir=folder))
    _record_jax._pad = pad
    _recording._core.stop_recording = native_stop
    return {"error": error, "entries": entries(folder)}


def evaluation() -> dict[str, Any]:
    """The same numbers over all devices of both processes as in one call here."""
    model = phasic.PhaseType(islands(), min_size=2)
    rng = np.random.default_rng(1)
    thetas = rng.uniform(0.5, 2.0, (8, model.param_length))  # the same in both processes
    function = jax.vmap(jax.value_and_grad(model.expectation))
    expected = jax.tree.map(np.asarray, jax.jit(function)(thetas))

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("device",))
    spec = jax.sharding.PartitionSpec("device")
    sharding = jax.sharding.NamedSharding(mesh, spec)
    spread = jax.make_array_from_callback(thetas.shape, sharding, lambda index: thetas[index])
    over_mesh = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec))(spread)
    equal = [
        np.array_equal(np.asarray(shard.data), whole[shard.index])
        for found, whole in zip(over_mesh, expected, strict=True)
        for shard in found.addressable_shards
    ]

    def total(rows: jax.Array) -> jax.Array:  # a sum over all data, as a likelihood is
        return jax.lax.psum(jax.vmap(model.expectation)(rows).sum(), "device")

    summed = jax.shard_map(total, mesh=mesh, in_specs=spec, out_specs=jax.sharding.PartitionSpec())
    value, slope = jax.jit(jax.value_and_grad(summed))(spread)
    close = [bool(np.isclose(value, expected[0].sum(), rtol=1e-13, atol=0.0))]
    equal += [
        np.array_equal(np.asarray(shard.data), expected[1][shard.index])
        for shard in slope.addressable_shards
    ]
    density = jax.vmap(lambda theta: model.pdf(theta, np.array([0.5, 2.0])))
    plain = np.asarray(jax.jit(density)(thetas))
    found = jax.jit(jax.shard_map(density, mesh=mesh, in_specs=spec, out_specs=spec))(spread)
    close += [
        np.allclose(shard.data, plain[shard.index], rtol=1e-12, atol=0.0)
        for shard in found.addressable_shards
    ]

    mine = slice(4 * ME, 4 * ME + 4)  # pmap takes this process's rows, one leading row a device
    mapped = jax.pmap(function)(thetas[mine].reshape(2, 2, -1))
    equal += [
        np.array_equal(
            np.concatenate([shard.data for shard in found.addressable_shards]).reshape(
                whole[mine].shape
            ),
            whole[mine],
        )
        for found, whole in zip(mapped, expected, strict=True)
    ]
    return {"equal": equal, "close": close}


def killed(victim: int, sign: signal.Signals) -> dict[str, Any]:
    """The victim ends, or stops answering, when it begins to record its share."""
    folder = FOLDER / f"killed-{ME}"
    units = units_of(islands(), folder)
    pad = _record_jax._pad

    def fatal(*args: Any) -> Any:
        os.kill(os.getpid(), sign)
        return pad(*args)

    if victim == ME:
        _record_jax._pad = fatal
    began = time.monotonic()
    error = caught(lambda: compute_missing_traces_parallel(units, cache_dir=folder))
    return {"error": error, "seconds": time.monotonic() - began, "entries": entries(folder)}


SCENARIOS: dict[str, list[Callable[[], dict[str, Any]]]] = {
    "together": [
        share,
        again,
        one_sided,
        different,
        bad_unit,
        bad_call,
        bad_graph,
        unusable_cache,
        interrupted,
        evaluation,
    ],
    "killed-1": [lambda: killed(1, signal.SIGKILL)],
    "killed-0": [lambda: killed(0, signal.SIGKILL)],
    "frozen-1": [lambda: killed(1, signal.SIGSTOP)],
}


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_x64", True)
    jax.distributed.initialize(
        sys.argv[1], num_processes=2, process_id=ME, heartbeat_timeout_seconds=10
    )
    for scenario in SCENARIOS[sys.argv[3]]:
        report = json.dumps(scenario())
        sys.stdout.write(f"report {report}\n")
        sys.stdout.flush()
    if sys.argv[3] != "together":
        os._exit(0)  # leaving the usual way waits for the other process


if __name__ == "__main__":
    main()

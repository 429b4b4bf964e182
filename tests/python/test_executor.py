"""Recording on executors: threads, processes, a Dask cluster, and ones that misbehave."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import models
import phasic
from phasic import _core, _record_executor, _recording
from phasic.hierarchical_trace_cache import (
    collect_missing_traces_batch,
    compute_missing_traces_parallel,
    get_trace_hierarchical,
)


def islands() -> phasic.Graph:
    return phasic.Graph.from_serialized(models.two_islands(5))


@pytest.fixture
def units(empty_cache_dir: Path) -> dict[str, str]:
    return collect_missing_traces_batch(islands(), min_size=2)[0]


class Direct(Executor):
    """Runs a task when it is submitted; ``change`` may spoil what it returns."""

    def __init__(self, change: Callable[[bytes], Any] = lambda payload: payload) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self._change = change

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.sent.append(args)
        future: Future[Any] = Future()
        try:
            future.set_result(self._change(fn(*args, **kwargs)))
        except ValueError as error:
            future.set_exception(error)
        return future


def check_recording(units: dict[str, str], executor: Executor, folder: Path) -> None:
    """Recording, errors and everyday use on one executor."""
    digest = min(units)
    with pytest.raises(RuntimeError) as error:
        compute_missing_traces_parallel({**units, digest: units[digest][:-5]}, executor=executor)
    name = type(executor).__name__
    assert f"strategy '{name}': recording work unit {digest} (" in str(error.value)
    assert "characters of JSON) failed: " in str(error.value)
    assert isinstance(error.value.__cause__, ValueError)
    assert {path.name[:64] for path in folder.iterdir()} == set(units) - {digest}

    traces = compute_missing_traces_parallel(units, executor=executor)
    assert list(traces) == list(units)
    for each, trace in traces.items():
        assert trace.to_bytes() == _core.record_work_unit(each, units[each]).to_bytes()
    assert {path.name[:64] for path in folder.iterdir()} == set(units)
    trace = get_trace_hierarchical(islands(), min_size=2, executor=executor)
    assert phasic.PhaseType(islands(), executor=executor).trace.digest == trace.digest


def test_threads(units: dict[str, str], empty_cache_dir: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        check_recording(units, executor, empty_cache_dir)


def test_spawned_processes_and_one_that_dies(
    units: dict[str, str], empty_cache_dir: Path, tmp_path: Path
) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        check_recording(units, executor, empty_cache_dir)
        executor.submit(os._exit, 1)
        with pytest.raises(RuntimeError) as error:
            compute_missing_traces_parallel(units, executor=executor, cache_dir=tmp_path / "new")
    assert "strategy 'ProcessPoolExecutor': recording work unit" in str(error.value)
    assert all(f"{digest} (" in str(error.value) for digest in units)
    assert "terminated abruptly" in str(error.value)


@pytest.mark.extended
@pytest.mark.filterwarnings("default")  # what Dask and its libraries warn of is not ours
def test_a_dask_cluster(units: dict[str, str], empty_cache_dir: Path) -> None:
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        check_recording(units, executor, empty_cache_dir)


def test_units_are_sent_longest_first_and_only_when_needed(units: dict[str, str]) -> None:
    executor = Direct()
    compute_missing_traces_parallel(units, executor=executor)
    lengths = [len(args[1]) for args in executor.sent]
    assert len(lengths) == len(units) and lengths == sorted(lengths, reverse=True)
    compute_missing_traces_parallel(units, executor=executor)
    assert len(executor.sent) == len(units)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda payload: payload[:-1], "trace bytes are damaged"),
        (lambda payload: None, "the executor returned a NoneType, expected bytes"),
    ],
)
def test_what_comes_back_is_checked(
    units: dict[str, str], empty_cache_dir: Path, change: Callable[[bytes], Any], cause: str
) -> None:
    with pytest.raises(RuntimeError) as error:
        compute_missing_traces_parallel(units, executor=Direct(change))
    assert str(error.value).count(cause) == len(units)
    assert not empty_cache_dir.exists()


def test_the_trace_of_another_unit_is_refused(units: dict[str, str]) -> None:
    first, second, *_ = units
    payload = _core.record_work_unit(second, units[second]).to_bytes()
    executor = Direct(lambda _: payload)
    with pytest.raises(RuntimeError, match=f"component trace {second}, expected .*{first}"):
        compute_missing_traces_parallel({first: units[first]}, executor=executor)


def test_an_executor_that_takes_no_task(units: dict[str, str]) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match=r"recording work unit .* after shutdown"):
        compute_missing_traces_parallel(units, executor=executor)


def test_contradictory_arguments(units: dict[str, str]) -> None:
    executor = Direct()
    for strategy in ("pmap", "vmap", "sequential", "fast"):
        with pytest.raises(ValueError, match=f"strategy is '{strategy}' and an executor is given"):
            compute_missing_traces_parallel(units, strategy, executor=executor)
        with pytest.raises(ValueError, match=f"strategy is '{strategy}' and an executor is given"):
            phasic.PhaseType(islands(), strategy=strategy, executor=executor)
    with pytest.raises(ValueError, match="n_workers is 2 and an executor is given"):
        get_trace_hierarchical(islands(), n_workers=2, executor=executor)
    with pytest.raises(TypeError, match=r"executor is of type int, expected a concurrent\.futures"):
        compute_missing_traces_parallel(units, executor=3)  # type: ignore[arg-type]
    assert executor.sent == []


def test_ctrl_c_withdraws_what_no_worker_has_begun(
    units: dict[str, str], empty_cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes while the first unit is recorded, which is kept."""
    stopped = threading.Event()
    stop = _record_executor.ExecutorRun.stop
    record = _record_executor.record_bytes

    def noted(run: _record_executor.ExecutorRun) -> None:
        stop(run)
        stopped.set()

    def interrupting(digest: str, text: str, max_operations: float) -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped.wait(60)
        return record(digest, text, max_operations)

    monkeypatch.setattr(_record_executor.ExecutorRun, "stop", noted)
    monkeypatch.setattr(_record_executor, "record_bytes", interrupting)
    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
        compute_missing_traces_parallel(units, executor=executor)
    assert len(list(empty_cache_dir.iterdir())) == 1
    assert _recording.STRATEGIES == ("auto", "vmap", "pmap", "sequential")

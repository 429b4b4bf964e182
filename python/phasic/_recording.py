"""Recording a batch of work units by one of the strategies.

1. Units are looked up in the cache first; the rest is ordered longest text first.
2. `sequential` records one after another; `vmap` and `pmap` hand the batch to XLA custom calls.
   With several processes of `jax.distributed`, `pmap` shares the batch between all of them.
   An executor takes the place of a strategy.
3. Whatever was finished is decoded, cached and kept, also when other units failed or the caller
   pressed Ctrl-C, which stops before the next component.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from phasic import _core
from phasic._batch import (
    KEEPERS,
    UNIT_ERRORS,
    Batch,
    decode_trace,
    load_trace,
    log_counts,
)
from phasic._cache import TraceCache
from phasic._jax_runtime import is_distributed, jax_is_available, require_jax
from phasic._options import RECORD_MAX_OPERATIONS, thread_count

logger = logging.getLogger("phasic")

STRATEGIES = ("auto", "vmap", "pmap", "sequential")


def _run_interruptibly(work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Run ``work`` on a thread of its own, so that Ctrl-C can ask it to stop and wait for that.

    What it is doing when the signal comes is finished and kept. The thread also starts outside
    every JAX transformation that the caller may be in.
    """
    raised: list[BaseException] = []
    gate = threading.Lock()
    began, done = threading.Event(), threading.Event()

    def run() -> None:
        with gate:
            if done.is_set():  # interrupted before anything began
                return
            began.set()
        try:
            work()
        except BaseException as error:
            raised.append(error)
        finally:
            done.set()

    interrupt: KeyboardInterrupt | None = None
    try:
        threading.Thread(target=run, name="phasic-record", daemon=True).start()
    except KeyboardInterrupt as error:
        interrupt = error
    while not done.is_set():
        try:
            if interrupt is not None:
                stop()
                with gate:
                    if not began.is_set():
                        done.set()
            done.wait()
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
    if raised:
        raise raised[0]


def _record_sequential(batch: Batch) -> None:
    stopped = threading.Event()

    def work() -> None:
        for digest, text in batch.waiting():
            if stopped.is_set():
                return
            try:
                trace = _core.record_work_unit(digest, text, RECORD_MAX_OPERATIONS)
            except UNIT_ERRORS as error:
                batch.fail(digest, error)
            else:
                batch.keep(trace, trace.to_bytes())

    _run_interruptibly(work, stopped.set)


def _padded_row(unit: tuple[str, str]) -> tuple[str, bytes]:
    """Encode a unit. A row of length 0 is padding, so an empty text, malformed too, is a blank."""
    return unit[0], unit[1].encode() or b" "


@contextmanager
def _keeping(batch: Batch, ticket: int) -> Iterator[None]:
    """Take in and cache what is recorded under the ticket as soon as it is finished."""

    def keep() -> None:
        while (digest := _core.next_recorded(ticket)) is not None:
            try:
                trace, payload = _core.take_recorded(ticket, digest)
            except UNIT_ERRORS as error:
                batch.fail(digest, error)
            else:
                batch.keep(trace, payload)

    n_keepers = min(KEEPERS, max(1, len(batch.units)))
    with ThreadPoolExecutor(n_keepers, "phasic-keep") as pool:
        keepers = [pool.submit(keep) for _ in range(n_keepers)]
        try:
            yield
        finally:
            _core.close_recorded(ticket)
    for keeper in keepers:
        keeper.result()


def _record_through_jax(batch: Batch, n_workers: int | None) -> None:
    from phasic import _record_jax

    units = [_padded_row(unit) for unit in batch.waiting()]
    devices = _record_jax.cpu_devices()
    if batch.strategy == "pmap":
        devices = _devices(devices, n_workers)
    with _record_jax.tickets.one() as ticket:

        def work() -> None:
            with _keeping(batch, ticket):
                if batch.strategy == "pmap":
                    _record_jax.record_pmap(units, ticket, _threads_each(devices), devices)
                else:
                    _record_jax.record_vmap(units, ticket, thread_count(n_workers))

        _run_interruptibly(work, partial(_core.stop_recording, ticket))


def _record_over_processes(
    batch: Batch, n_workers: int | None, fault: BaseException | None
) -> None:
    """Record a share of what any process lacks and gather the rest; all processes must call it."""
    from phasic import _record_jax, _record_processes

    devices = _devices(_record_jax.cpu_devices(), n_workers, least=1)
    with _record_jax.tickets.one() as ticket:

        def record_share(share: set[str]) -> None:
            units = [_padded_row((d, text)) for d, text in batch.waiting() if d in share]
            with _keeping(batch, ticket):
                _record_jax.record_pmap(units, ticket, _threads_each(devices), devices)

        work = partial(
            _record_processes.record_together, batch, len(devices), record_share, fault
        )
        _run_interruptibly(work, partial(_core.stop_recording, ticket))


def _threads_each(devices: list[Any]) -> int:
    """Return the native threads of each of several calls that run at the same time.

    Without a limit (0) they share the cores: those of a call that ends go to the others.
    """
    limit = thread_count(None)
    return max(1, limit // len(devices)) if limit else 0


def _record_on_executor(batch: Batch, executor: Executor) -> None:
    from phasic._record_executor import ExecutorRun

    run = ExecutorRun(batch, executor)
    _run_interruptibly(run.work, run.stop)


def check_executor(executor: Executor | None, strategy: str, n_workers: int | None) -> None:
    """Raise unless ``executor`` is None or an executor that stands for the strategy.

    Raises
    ------
    TypeError
        If it is no `concurrent.futures.Executor`.
    ValueError
        If a strategy or a number of workers is asked for as well.
    """
    if executor is None:
        return
    if not isinstance(executor, Executor):
        raise TypeError(
            f"executor is of type {type(executor).__name__}, expected a "
            "concurrent.futures.Executor (of Dask: Client.get_executor())"
        )
    if strategy != "auto":
        raise ValueError(
            f"strategy is {strategy!r} and an executor is given, which takes the place of a "
            "strategy; leave out one of them"
        )
    if n_workers is not None:
        raise ValueError(
            f"n_workers is {n_workers!r} and an executor is given, which has its own workers; "
            "leave out one of them"
        )


def _devices(devices: list[Any], n_workers: int | None, least: int = 2) -> list[Any]:
    """Return the devices of this process that `pmap` uses."""
    if len(devices) < least:
        raise RuntimeError(
            "strategy 'pmap' needs several devices, but only 1 device available; use strategy "
            "'vmap' or 'sequential', or set jax.config.update('jax_num_cpu_devices', n) before "
            "JAX is first used"
        )
    if n_workers is None:
        return devices
    if not least <= n_workers <= len(devices):
        raise ValueError(
            f"n_workers is {n_workers}, expected {least} to {len(devices)} (devices) for strategy "
            "'pmap'"
        )
    return devices[:n_workers]


def resolve_strategy(strategy: str) -> str:
    """Return the strategy that will run; the choice of ``auto`` is logged at INFO.

    Raises
    ------
    ValueError
        If the name is unknown.
    ImportError
        If the strategy needs JAX, which is absent.
    RuntimeError
        If it is ``pmap`` and there is one device only.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}, expected one of {', '.join(STRATEGIES)}")
    if strategy == "sequential":
        return strategy
    if strategy == "auto" and not jax_is_available():
        logger.info("strategy 'auto': JAX is not installed, using 'sequential'")
        return "sequential"
    require_jax(f"strategy '{strategy}' (unlike 'sequential')")
    from phasic import _record_jax

    n_processes = _record_jax.process_count()
    n_devices = len(_record_jax.cpu_devices())
    if strategy == "pmap" and n_processes == 1:
        _devices(_record_jax.cpu_devices(), None)
    if strategy == "auto":
        strategy = "pmap" if n_devices > 1 or n_processes > 1 else "vmap"
        several = f"{n_processes} processes, this one with " if n_processes > 1 else ""
        logger.info("strategy 'auto': %s%d CPU devices, using '%s'", several, n_devices, strategy)
    return strategy


def _over_processes(strategy: str) -> bool:
    """Return whether the strategy shares work between the processes of `jax.distributed`."""
    if strategy not in ("auto", "pmap") or not is_distributed():
        return False
    from phasic import _record_jax

    return _record_jax.process_count() > 1


@contextmanager
def telling_others(strategy: str, executor: Executor | None) -> Iterator[None]:
    """Let an error that comes before `record` be raised in all processes that are to take part."""
    try:
        yield
    except BaseException as error:
        if executor is None and _over_processes(strategy):
            _record_over_processes(Batch({}, "pmap", TraceCache()), None, error)
        raise


def record(
    units: Mapping[str, str],
    strategy: str,
    cache: TraceCache,
    n_workers: int | None = None,
    verbose: bool = False,
    announce: bool = True,
    executor: Executor | None = None,
) -> dict[str, _core.Trace]:
    """Return the traces of all units, in their order; see the module's docstring.

    The counts of hits and misses are logged unless the caller did so (``announce=False``). With
    nothing to record ``auto`` makes no choice, so that JAX is not imported for it.
    """
    if n_workers is not None and (type(n_workers) is not int or n_workers < 1):
        raise ValueError(f"n_workers is {n_workers!r}, expected an integer >= 1 or None")
    check_executor(executor, strategy, n_workers)
    if executor is not None:
        strategy = type(executor).__name__
    elif strategy != "auto":
        strategy = resolve_strategy(strategy)
    batch = Batch(dict(units), strategy, cache, logging.INFO if verbose else logging.DEBUG)
    together = executor is None and _over_processes(strategy)
    fault = None
    try:
        batch.check()
        batch.look_up(announce)
    except BaseException as error:
        if not together:
            raise
        fault = error  # which the other processes have to be told
    if together or batch.waiting():
        batch.strategy = resolve_strategy(strategy) if strategy == "auto" else strategy
        try:
            if together:
                _record_over_processes(batch, n_workers, fault)
            elif executor is not None:
                _record_on_executor(batch, executor)
            elif batch.strategy == "sequential":
                _record_sequential(batch)
            else:
                _record_through_jax(batch, n_workers)
        finally:
            cache.prune()
    batch.raise_failures()
    return {digest: batch.traces[digest] for digest in units}


__all__ = ["STRATEGIES", "decode_trace", "load_trace", "log_counts", "record", "telling_others"]

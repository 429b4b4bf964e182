"""Recording a batch of work units: what is cached already, one of three engines, the bookkeeping.

1. Units are looked up in the cache first; the rest is ordered longest text first.
2. `sequential` records one after another; `vmap` and `pmap` hand the batch to XLA custom calls.
3. Whatever was finished is decoded, cached and kept, also when other units failed or the caller
   pressed Ctrl-C, which stops before the next component.
4. A failure is one ``RuntimeError`` that names strategy, digest, size and cause.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from phasic import _core
from phasic._cache import TraceCache, check_digest
from phasic._errors import CacheCorruptionError
from phasic._jax_runtime import jax_is_available, require_jax
from phasic._options import RECORD_MAX_OPERATIONS, thread_count

logger = logging.getLogger("phasic")

STRATEGIES = ("auto", "vmap", "pmap", "sequential")


def decode_trace(digest: str, payload: bytes) -> _core.Trace:
    """Return the component trace of ``digest`` that a cache entry's payload encodes.

    Raises
    ------
    CacheCorruptionError
        If the bytes do not decode, or to the trace of something else.
    """
    trace = _core.Trace.from_bytes(payload)
    if trace.kind != "component" or trace.digest != digest:
        raise CacheCorruptionError(
            f"holds the {trace.kind} trace {trace.digest}, expected the component trace {digest}"
        )
    return trace


def load_trace(cache: TraceCache, digest: str) -> _core.Trace | None:
    """Return the component trace that the cache holds under ``digest``, or None.

    Bytes that do not decode to that trace are quarantined like any other damage.
    """
    payload = cache.load(digest)
    if payload is None:
        return None
    try:
        return decode_trace(digest, payload)
    except CacheCorruptionError as error:
        cache.reject(digest, str(error))
        return None


def log_counts(cache: TraceCache, hits: int, misses: int) -> None:
    """Say how much of what is needed the cache holds."""
    logger.info("trace cache %s: %d hits, %d misses", cache.folder, hits, misses)


@dataclass
class Batch:
    """The units of one recording with what became of them so far."""

    units: dict[str, str]
    strategy: str
    cache: TraceCache
    log_level: int = logging.DEBUG
    traces: dict[str, _core.Trace] = field(default_factory=dict)
    failures: dict[str, ValueError] = field(default_factory=dict)

    def check(self) -> None:
        """Reject what is no digest and no text; a text that is not Unicode is a failed unit."""
        for digest, text in self.units.items():
            check_digest(digest)
            if not isinstance(text, str):
                raise TypeError(
                    f"work unit {digest} is of type {type(text).__name__}, expected str (JSON)"
                )
            try:
                text.encode()
            except UnicodeEncodeError as error:
                self.failures[digest] = error

    def look_up(self, announce: bool) -> None:
        """Take from the cache what it holds."""
        for digest in self.units:
            trace = None if digest in self.failures else load_trace(self.cache, digest)
            if trace is not None:
                self.traces[digest] = trace
        if announce:
            log_counts(self.cache, len(self.traces), len(self.units) - len(self.traces))

    def waiting(self) -> list[tuple[str, str]]:
        """Return the units that are not recorded, longest text first, ties by digest."""
        settled = {*self.traces, *self.failures}
        left = [(d, text) for d, text in self.units.items() if d not in settled]
        return sorted(left, key=lambda unit: (-len(unit[1]), unit[0]))

    def keep(self, trace: _core.Trace) -> None:
        """Take in a recorded trace and cache it."""
        payload = trace.to_bytes()
        self.traces[trace.digest] = trace
        stored = self.cache.store(trace.digest, payload)
        logger.log(
            self.log_level,
            "recorded %s by %s: %d vertices, %d operations, %d bytes%s",
            trace.digest,
            self.strategy,
            trace.n_vertices,
            trace.n_operations,
            len(payload),
            "" if stored else " (not cached)",
        )

    def raise_failures(self) -> None:
        """Report the first failed unit and how many more there are."""
        if not self.failures:
            return
        digest, cause = next(iter(self.failures.items()))
        others = [d for d in self.failures if d != digest]
        more = f"; {len(others)} more failed: {', '.join(others)}" if others else ""
        raise RuntimeError(
            f"strategy '{self.strategy}': recording work unit {digest} "
            f"({_size_text(self.units[digest])}) failed: {cause}{more}. The other units' traces "
            "are kept."
        ) from cause


def _size_text(text: str) -> str:
    """Describe the size of a work unit, whose JSON text may be malformed."""
    try:
        fields = json.loads(text)
        n_vertices = fields["n_vertices"] - 2  # without the starting and the absorbing vertex
    except (ValueError, TypeError, KeyError, RecursionError):
        return f"{len(text)} characters of JSON"
    return f"{n_vertices} vertices, {len(text)} characters of JSON"


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
            except ValueError as error:
                batch.failures[digest] = error
            else:
                batch.keep(trace)

    _run_interruptibly(work, stopped.set)


def _record_through_jax(batch: Batch, n_workers: int | None) -> None:
    from phasic import _record_jax

    waiting = batch.waiting()
    # A row of length 0 is padding, so an empty text, which is malformed too, becomes a blank.
    units = [(digest, text.encode() or b" ") for digest, text in waiting]
    with _record_jax.tickets.one() as ticket:
        if batch.strategy == "pmap":
            devices = _devices(_record_jax.cpu_devices(), n_workers)
            threads = thread_count(None) or max(1, _n_cores() // len(devices))
            work = partial(_record_jax.record_pmap, units, ticket, threads, devices)
        else:
            threads = thread_count(n_workers)
            work = partial(_record_jax.record_vmap, units, ticket, threads)
        try:
            _run_interruptibly(work, partial(_core.stop_recording, ticket))
        finally:
            for digest, _ in waiting:
                _collect(batch, ticket, digest)


def _collect(batch: Batch, ticket: int, digest: str) -> None:
    """Fetch one unit's outcome; a unit that was never started has none."""
    try:
        payload = _core.take_recorded(ticket, digest)
    except KeyError:
        return
    except ValueError as error:
        batch.failures[digest] = error
        return
    batch.keep(_core.Trace.from_bytes(payload))


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _devices(devices: list[Any], n_workers: int | None) -> list[Any]:
    """Return the devices that `pmap` uses."""
    if len(devices) < 2:
        raise RuntimeError(
            "strategy 'pmap' needs several devices, but only 1 device available; use strategy "
            "'vmap' or 'sequential', or set jax.config.update('jax_num_cpu_devices', n) before "
            "JAX is first used"
        )
    if n_workers is None:
        return devices
    if not 2 <= n_workers <= len(devices):
        raise ValueError(
            f"n_workers is {n_workers}, expected 2 to {len(devices)} (devices) for strategy 'pmap'"
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

    n_devices = len(_record_jax.cpu_devices())
    if strategy == "pmap":
        _devices(_record_jax.cpu_devices(), None)
    if strategy == "auto":
        strategy = "pmap" if n_devices > 1 else "vmap"
        logger.info("strategy 'auto': %d CPU devices, using '%s'", n_devices, strategy)
    return strategy


def record(
    units: Mapping[str, str],
    strategy: str,
    cache: TraceCache,
    n_workers: int | None = None,
    verbose: bool = False,
    announce: bool = True,
) -> dict[str, _core.Trace]:
    """Return the traces of all units, in their order; see the module's docstring.

    The counts of hits and misses are logged unless the caller did so (``announce=False``). With
    nothing to record ``auto`` makes no choice, so that JAX is not imported for it.
    """
    if n_workers is not None and (type(n_workers) is not int or n_workers < 1):
        raise ValueError(f"n_workers is {n_workers!r}, expected an integer >= 1 or None")
    if strategy != "auto":
        strategy = resolve_strategy(strategy)
    batch = Batch(dict(units), strategy, cache, logging.INFO if verbose else logging.DEBUG)
    batch.check()
    batch.look_up(announce)
    if batch.waiting():
        batch.strategy = resolve_strategy(strategy) if strategy == "auto" else strategy
        try:
            if batch.strategy == "sequential":
                _record_sequential(batch)
            else:
                _record_through_jax(batch, n_workers)
        finally:
            cache.prune()
    batch.raise_failures()
    return {digest: batch.traces[digest] for digest in units}


__all__ = ["STRATEGIES", "decode_trace", "load_trace", "log_counts", "record"]

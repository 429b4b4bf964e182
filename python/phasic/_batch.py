"""The work units of one recording, what the cache holds of them, and what became of each.

1. Units are looked up in the cache first; the rest is ordered longest text first.
2. Whatever was finished is kept and cached at once, also when other units fail later.
3. The failures are one ``RuntimeError`` that names strategy, digest, size and cause.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field

from phasic import _core
from phasic._cache import TraceCache, check_digest
from phasic._errors import CacheCorruptionError

logger = logging.getLogger("phasic")

# Threads that write to the cache while others record. A file is synced to the disk, for which the
# file system makes one writer wait much longer than several at once.
KEEPERS = 8

# What recording a unit may raise; anything else is no failure of the unit.
UNIT_ERRORS = (ValueError, RuntimeError, MemoryError)


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


@dataclass(frozen=True)
class Failure:
    """Why a unit was not recorded, how large it is, and where that happened if not here."""

    cause: BaseException
    size: str
    where: str = ""


@dataclass
class Batch:
    """The units of one recording with what became of them so far."""

    units: dict[str, str]
    strategy: str
    cache: TraceCache
    log_level: int = logging.DEBUG
    traces: dict[str, _core.Trace] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    def check(self) -> None:
        """Reject what is no digest and no text; a text that is not Unicode is a failed unit."""
        for digest, text in self.units.items():
            check_digest(digest)
            if not isinstance(text, str):
                raise TypeError(
                    f"work unit {digest} is of type {type(text).__name__}, expected str (JSON)"
                )
            if not text.isascii():  # a flag of the string; encoding would copy the text
                try:
                    text.encode()
                except UnicodeEncodeError as error:
                    self.fail(digest, error)

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

    def keep(self, trace: _core.Trace, payload: bytes) -> None:
        """Take in a recorded trace and cache its bytes; any number of threads may do so."""
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

    def receive(self, digest: str, payload: bytes, where: str = "") -> None:
        """Take in a trace that was recorded elsewhere, unless its bytes are another's."""
        try:
            self.traces[digest] = decode_trace(digest, payload)
        except CacheCorruptionError as error:
            self.failures[digest] = Failure(error, _size_text(self.units[digest]), where)

    def fail(self, digest: str, cause: BaseException) -> None:
        """Note why one of the units could not be recorded."""
        self.failures[digest] = Failure(cause, _size_text(self.units[digest]))

    def raise_failures(self) -> None:
        """Report every failed unit with its size and cause; the first cause is chained."""
        if not self.failures:
            return
        first, *others = [
            f"{digest} ({failure.size}) failed{failure.where}: {failure.cause}"
            for digest, failure in self.failures.items()
        ]
        more = "".join(f"\n  {line}" for line in others)
        raise RuntimeError(
            f"strategy '{self.strategy}': recording work unit {first}"
            + (f"; {len(others)} more failed:{more}\n" if more else ". ")
            + "The other units' traces are kept."
        ) from next(iter(self.failures.values())).cause


def _size_text(text: str) -> str:
    """Describe the size of a work unit, whose JSON text may be malformed."""
    try:
        fields = json.loads(text)
        n_vertices = fields["n_vertices"] - 2  # without the starting and the absorbing vertex
    except (ValueError, TypeError, KeyError, RecursionError):
        return f"{len(text)} characters of JSON"
    return f"{n_vertices} vertices, {len(text)} characters of JSON"


__all__ = [
    "KEEPERS",
    "UNIT_ERRORS",
    "Batch",
    "Failure",
    "decode_trace",
    "load_trace",
    "log_counts",
]

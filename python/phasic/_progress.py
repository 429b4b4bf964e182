"""The text line that `progress=True` writes to stderr during a long exploration."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

REWRITE_SECONDS = 0.1  # between two versions of the line on a terminal
LINE_SECONDS = 5.0  # between two lines in a file

ProgressFunction = Callable[[int, int], object]


class ProgressLine:
    """Writes how many states were found and explored.

    Parameters
    ----------
    stream
        Where to write. On a terminal the line is rewritten in place.
    clock
        Seconds, monotone.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._in_place = stream.isatty()
        self._interval = REWRITE_SECONDS if self._in_place else LINE_SECONDS
        self._start = self._shown = clock()
        self._pending = ""

    def __call__(self, n_found: int, n_explored: int) -> None:
        """Show the numbers, unless the last ones were shown a moment ago."""
        now = self._clock()
        self._pending = (
            f"phasic: {n_found} states found, {n_explored} explored, {now - self._start:.1f} s"
        )
        if now - self._shown >= self._interval:
            self._shown = now
            self._show(end="" if self._in_place else "\n")

    def close(self) -> None:
        """Show the last numbers, if they were not, and end the line."""
        self._show(end="\n")

    def _show(self, end: str) -> None:
        if self._pending:
            self._stream.write(("\r" if self._in_place else "") + self._pending + end)
            self._stream.flush()
        if end:
            self._pending = ""


def as_progress(value: Any) -> ProgressFunction | None:
    """Return what to call with the numbers of states found and explored, or None."""
    if value is None or (isinstance(value, bool | np.bool_) and not value):
        return None
    if isinstance(value, bool | np.bool_):
        return ProgressLine(sys.stderr)
    if callable(value):
        function: ProgressFunction = value
        return function
    raise ValueError(f"progress is {value!r}, expected True, False or a callable(found, explored)")

"""From the arguments of `Graph` to the native exploration of a callback's states."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phasic import _core
from phasic._progress import ProgressFunction, ProgressLine, as_progress
from phasic.callback import Callback


def as_int(name: str, value: Any) -> int:
    """Return an int; a bool or anything else is a ``ValueError`` that names the argument."""
    if not isinstance(value, bool | np.bool_):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise ValueError(f"{name} is {value!r}, expected an int")


def as_count(name: str, value: Any) -> int:
    """Return an int >= 1, cut to the number of vertices that a graph can have."""
    count = as_int(name, value)
    if count < 1:
        raise ValueError(f"{name} is {count}, expected at least 1")
    return min(count, np.iinfo(np.int32).max)


@dataclass(frozen=True)
class Model:
    """A callback without its decoration, and what the decoration or the caller said of it."""

    function: Callable[..., Any]
    ipv: Sequence[Any]
    batched: bool


def as_model(
    function: Callable[..., Any], ipv: Sequence[Any] | None, batched: bool | None
) -> Model:
    """Return what is explored; the arguments come before what the callback says of itself."""
    if batched is not None and not isinstance(batched, bool | np.bool_):
        raise ValueError(f"batched is {batched!r}, expected True or False")
    if isinstance(function, Callback):
        if batched is not None and bool(batched) != function.batched:
            raise ValueError(
                f"batched is {bool(batched)}, but the callback was decorated with "
                f"batched={function.batched}; say it once, where the callback is defined"
            )
        batched = function.batched
        ipv = function.ipv if ipv is None else ipv
        function = function.__wrapped__
    if ipv is None:
        raise ValueError(
            "the callback has no start distribution: pass ipv=[(state, probability), ...] or "
            "decorate it with @phasic.callback(ipv=...)"
        )
    return Model(function, ipv, bool(batched))


def explore(
    model: Model,
    discrete: bool,
    limits: tuple[int, int],
    progress: bool | ProgressFunction,
    kwargs: dict[str, Any],
) -> _core.GraphBuilder:
    """Return a builder with all states of the model; ``limits`` are max_states, batch_size."""
    max_states, batch_size = limits
    called = functools.partial(model.function, **kwargs) if kwargs else model.function
    report = as_progress(progress)
    try:
        if model.batched:
            return _core.GraphBuilder.explore_batched(
                called, model.ipv, discrete, max_states, batch_size, report
            )
        return _core.GraphBuilder.explore(called, model.ipv, discrete, max_states, report)
    finally:
        if isinstance(report, ProgressLine):
            report.close()


__all__ = ["Model", "as_count", "as_int", "as_model", "explore"]

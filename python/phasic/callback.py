"""The decorator that gives a model callback its start distribution."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any


class Callback:
    """A model callback together with its start distribution; made by `callback`.

    Calling it calls the function. `phasic.Graph` reads the start distribution from it.

    Parameters
    ----------
    function
        The callback: state to transitions.
    ipv
        The start distribution, pairs ``(state, probability)``.

    Attributes
    ----------
    ipv : list
        The start distribution as it was given.
    """

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], ipv: Sequence[Any]) -> None:
        functools.update_wrapper(self, function)  # sets __wrapped__
        self.ipv = list(ipv)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns."""
        return self.__wrapped__(*args, **kwargs)

    def __repr__(self) -> str:
        name = getattr(self.__wrapped__, "__qualname__", repr(self.__wrapped__))
        return f"<phasic.callback {name}, {len(self.ipv)} start states>"


def callback(ipv: Sequence[Any]) -> Callable[[Callable[..., Any]], Callback]:
    """Return a decorator that makes a function a model callback for `phasic.Graph`.

    Parameters
    ----------
    ipv : list of (state, probability)
        Start distribution. The probabilities are non-negative and sum to at most 1; what is
        missing to 1 is absorbed at time 0.

    Returns
    -------
    decorator
        Takes ``function(state, **kwargs)``, which returns a list of 2-tuples: ``(next_state,
        weight)`` for a constant edge, ``(next_state, [c1, c2, ...])`` for an edge of weight
        ``c1 * theta1 + c2 * theta2 + ...``. An empty list makes the state absorbing. ``state``
        arrives as a new int64 array at each call.

    Raises
    ------
    ValueError
        If ``ipv`` is not a list or tuple. Its entries are checked when a graph is built.

    Examples
    --------
    >>> from phasic import Graph, callback
    >>> @callback(ipv=[([3], 1.0)])
    ... def coalescent(state):
    ...     (n,) = state
    ...     return [([n - 1], [n * (n - 1) / 2])] if n > 1 else []
    >>> Graph(coalescent).states().tolist()
    [[0], [3], [2], [1]]
    """
    if not isinstance(ipv, list | tuple):
        raise ValueError(
            f"ipv is {ipv!r}, expected a list of pairs (state, probability): "
            "write @callback(ipv=[(state, probability), ...])"
        )

    def decorate(function: Callable[..., Any]) -> Callback:
        if not callable(function):
            raise ValueError(f"the callback is {function!r}, expected a function")
        return Callback(function, ipv)

    return decorate

"""The decorator that gives a model callback its start distribution."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Callback:
    """A model callback together with its start distribution; made by `callback`.

    Calling it calls the function. `phasic.Graph` reads the start distribution from it.

    Parameters
    ----------
    function
        The callback: state to transitions.
    ipv
        The start distribution, pairs ``(state, probability)``.
    batched
        True if the function takes many states at once.

    Attributes
    ----------
    ipv : list
        The start distribution as it was given.
    batched : bool
        True if the function takes many states at once.
    """

    __wrapped__: Callable[..., Any]

    def __init__(
        self, function: Callable[..., Any], ipv: Sequence[Any], batched: bool = False
    ) -> None:
        functools.update_wrapper(self, function)  # sets __wrapped__
        self.ipv = list(ipv)
        self.batched = batched

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns."""
        return self.__wrapped__(*args, **kwargs)

    def __repr__(self) -> str:
        name = getattr(self.__wrapped__, "__qualname__", repr(self.__wrapped__))
        return f"<phasic.callback {name}, {len(self.ipv)} start states>"


def callback(
    ipv: Sequence[Any], *, batched: bool = False
) -> Callable[[Callable[..., Any]], Callback]:
    """Return a decorator that makes a function a model callback for `phasic.Graph`.

    Parameters
    ----------
    ipv : list of (state, probability)
        Start distribution. The probabilities are non-negative and sum to at most 1; what is
        missing to 1 is absorbed at time 0.
    batched : bool
        False if the function takes one state, True if it takes many at once.

    Returns
    -------
    decorator
        Takes ``function(state, **kwargs)``, which returns a list of 2-tuples: ``(next_state,
        weight)`` for a constant edge, ``(next_state, [c1, c2, ...])`` for an edge of weight
        ``c1 * theta1 + c2 * theta2 + ...``. An empty list makes the state absorbing. ``state``
        arrives as a new int64 array at each call.

        With ``batched=True``, takes ``function(states, **kwargs)``, where ``states`` is a new
        int64 array of shape ``(m, state_length)``. It returns a 3-tuple of arrays
        ``(source_row, next_states, weights)`` that lists the transitions out of all of them:
        ``source_row``, shape ``(k,)``, whole numbers from 0 to m - 1; ``next_states``, shape
        ``(k, state_length)``, whole numbers that fit int32; ``weights``, shape ``(k,)`` for
        constant edges or ``(k, param_length)`` for coefficients. A list of such tuples is the
        same as one after the other, and may hold both kinds of edges. A row that no transition
        names is absorbing.

    Raises
    ------
    ValueError
        If ``ipv`` is not a list or tuple or ``batched`` is not a bool. The entries of ``ipv`` are
        checked when a graph is built.

    Notes
    -----
    Prefer ``batched=True`` for more than some ten thousand states: then no Python runs per state.
    Both forms give the same graph, with the vertices in the same order, if each lists the
    transitions out of one state in the same order; those of different states may come in any order.

    Examples
    --------
    >>> from phasic import Graph, callback
    >>> @callback(ipv=[([3], 1.0)])
    ... def coalescent(state):
    ...     (n,) = state
    ...     return [([n - 1], [n * (n - 1) / 2])] if n > 1 else []
    >>> Graph(coalescent).states().tolist()
    [[0], [3], [2], [1]]

    The same model, asked about many states at once:

    >>> import numpy as np
    >>> @callback(ipv=[([3], 1.0)], batched=True)
    ... def coalescent(states):
    ...     (rows,) = np.nonzero(states[:, 0] > 1)
    ...     n = states[rows]
    ...     return rows, n - 1, n * (n - 1) / 2
    >>> Graph(coalescent).states().tolist()
    [[0], [3], [2], [1]]
    """
    if not isinstance(ipv, list | tuple):
        raise ValueError(
            f"ipv is {ipv!r}, expected a list of pairs (state, probability): "
            "write @callback(ipv=[(state, probability), ...])"
        )
    if not isinstance(batched, bool | np.bool_):
        raise ValueError(f"batched is {batched!r}, expected True or False")

    def decorate(function: Callable[..., Any]) -> Callback:
        if not callable(function):
            raise ValueError(f"the callback is {function!r}, expected a function")
        return Callback(function, ipv, bool(batched))

    return decorate

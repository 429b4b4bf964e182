"""Graphs of the named phase-type distributions.

Each takes its rates (probabilities, in discrete time) and returns a graph with these numbers; where
rates are left out the graph has parameters, one for each of them, in the order stated. The numbers
given to the one are the theta of the other. The absorbing vertex has state 0.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from phasic._edge_table import EdgeTable, Floats, Integers
from phasic.graph import Graph


def exponential(rate: float | None = None) -> Graph:
    """Return the exponential distribution; theta is ``[rate]`` if no rate is given.

    Examples
    --------
    >>> exponential(4.0).expectation()
    0.25
    """
    return erlang(1, rate)


def erlang(n: int, rate: float | None = None) -> Graph:
    """Return the Erlang distribution, the sum of n exponential times of one rate.

    Parameters
    ----------
    n : int
        Number of stages, at least 1; the state counts those that are left.
    rate : float, optional
        Rate > 0 of every stage. Without it theta is ``[rate]``.

    Raises
    ------
    ValueError
        If ``n`` is not a whole number >= 1 or ``rate`` is not a finite number > 0.
    """
    stages = _as_count("n", n)
    if rate is None:
        return _chain(_parameters(np.ones(stages, np.int64), 1))
    return _chain(np.full((stages, 1), _as_rate("rate", rate)))


def hypoexponential(rates: int | npt.ArrayLike) -> Graph:
    """Return the sum of independent exponential times with rates of their own.

    Parameters
    ----------
    rates : array_like, shape (n,), or int
        Rates > 0 in the order of the stages, whose states are n, ..., 1; or n, and theta is
        ``[rate of the first stage, ..., rate of the last]``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if np.ndim(rates) == 0:
        stages = _as_count("rates", rates)
        return _chain(_parameters(np.arange(1, stages + 1), stages))
    return _chain(_as_rates("rates", rates)[:, None])


def hyperexponential(probabilities: npt.ArrayLike, rates: npt.ArrayLike | None = None) -> Graph:
    """Return the mixture of exponential distributions.

    Parameters
    ----------
    probabilities : array_like, shape (n,)
        Probability >= 0 of each branch; they sum to at most 1, the rest is absorbed at time 0.
    rates : array_like, shape (n,), optional
        Rate > 0 of each branch. Without it theta is ``[rate of branch 1, ..., rate of branch n]``.
        Branch i has state i.

    Raises
    ------
    ValueError
        If a number is not as above, or the two have different lengths.
    """
    shares = _as_rates("probabilities", probabilities, positive=False)
    n = len(shares)
    given = None if rates is None else _as_rates("rates", rates)
    if given is not None and len(given) != n:
        raise ValueError(f"rates has {len(given)} entries but probabilities has {n}")
    weight = _parameters(np.arange(1, n + 1), n) if given is None else given[:, None]
    start = np.zeros((n, weight.shape[1]))
    start[:, 0] = shares
    branches = np.arange(1, n + 1)
    return _graph(
        np.arange(n + 1),
        (np.zeros(n, np.int64), branches, start),
        (branches, np.full(n, n + 1), weight),
    )


def coxian(onward: int | npt.ArrayLike, exits: npt.ArrayLike | None = None) -> Graph:
    """Return the Coxian distribution: stages in a row, each of which may be the last.

    Parameters
    ----------
    onward : array_like, shape (n - 1,), or int
        Rates >= 0 from each stage to the next; or the number n of stages, and theta is
        ``[n - 1 rates onward, n exit rates]``.
    exits : array_like, shape (n,)
        Rates >= 0 from each stage to absorption, the last of them > 0. Stage i has state i.

    Raises
    ------
    ValueError
        If a number is not as above.

    Notes
    -----
    With rate mu and probability p to go on after a stage, its rates are ``mu * p`` onward and
    ``mu * (1 - p)`` to absorption.
    """
    if exits is None:
        n = _as_count("onward", onward)
        weight = _parameters(np.arange(1, 2 * n), 2 * n - 1)
    else:
        leaving = _as_rates("exits", exits, positive=False)
        ahead = _as_rates("onward", onward, positive=False) if np.size(onward) else np.zeros(0)
        n = len(leaving)
        if len(ahead) != n - 1 or leaving[-1] == 0:
            raise ValueError(
                f"onward has {len(ahead)} entries and exits has {n}, the last of them "
                f"{leaving[-1]}; expected one less onward than exits, and the last exit > 0"
            )
        weight = np.concatenate([ahead, leaving])[:, None]
    stages = np.arange(1, n + 1)
    return _graph(
        np.arange(n + 1),
        _certain_start(weight),
        (stages[:-1], stages[1:], weight[: n - 1]),
        (stages, np.full(n, n + 1), weight[n - 1 :]),
    )


def geometric(p: float | None = None) -> Graph:
    """Return the geometric distribution on 1, 2, ...: the trials up to the first success.

    Parameters
    ----------
    p : float, optional
        Probability of success, 0 < p <= 1. Without it theta is ``[p]``.
    """
    return negative_binomial(1, p)


def negative_binomial(n: int, p: float | None = None) -> Graph:
    """Return the distribution on n, n + 1, ... of the trials up to the n-th success.

    Parameters
    ----------
    n : int
        Number of successes, at least 1; the state counts those that are missing.
    p : float, optional
        Probability of success, 0 < p <= 1. Without it theta is ``[p]``.

    Raises
    ------
    ValueError
        If ``n`` or ``p`` is not as above.
    """
    stages = _as_count("n", n)
    if p is not None and not _as_rate("p", p) <= 1:
        raise ValueError(f"p is {p!r}, expected a probability > 0")
    weight = _parameters(np.ones(stages, np.int64), 1) if p is None else np.full((stages, 1), p)
    return _chain(weight, discrete=True)


def _as_count(name: str, value: Any) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if isinstance(value, bool | np.bool_) or count < 1:
        raise ValueError(f"{name} is {value!r}, expected a whole number >= 1")
    return count


def _as_rate(name: str, value: Any) -> float:
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "iuf" or not np.isfinite(array) or array <= 0:
        raise ValueError(f"{name} is {value!r}, expected a finite number > 0")
    return float(array)


def _as_rates(name: str, values: Any, positive: bool = True) -> Floats:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iuf" or array.size == 0:
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected a vector of numbers"
        )
    bad = ~np.isfinite(array) | (array <= 0 if positive else array < 0)
    if bad.any():
        first = int(np.argmax(bad))
        sign = ">" if positive else ">="
        raise ValueError(f"{name}[{first}] is {array[first]}, expected a finite number {sign} 0")
    return array.astype(np.float64)


_Edges = tuple[Integers, Integers, Floats]  # source, target, linear forms


def _parameters(numbers: Integers, n_params: int) -> Floats:
    """Return linear forms (k, 1 + n_params), each a parameter alone, numbered from 1."""
    weight = np.zeros((len(numbers), 1 + n_params))
    weight[np.arange(len(numbers)), numbers] = 1.0
    return weight


def _certain_start(weight: Floats) -> _Edges:
    form = np.zeros((1, weight.shape[1]))
    form[0, 0] = 1.0
    return np.zeros(1, np.int64), np.ones(1, np.int64), form


def _chain(weight: Floats, *, discrete: bool = False) -> Graph:
    """Return stages in a row, with the linear forms (n, 1 + n_params) of the steps between them."""
    stages = np.arange(1, len(weight) + 1)
    return _graph(
        np.append(0, stages[::-1]),
        _certain_start(weight),
        (stages, stages + 1, weight),
        discrete=discrete,
    )


def _graph(transient: Integers, *pieces: _Edges, discrete: bool = False) -> Graph:
    """Return a graph of states of length 1, with an absorbing vertex of state 0 at the end."""
    source, target, weight = (np.concatenate(x) for x in zip(*pieces, strict=True))
    states = np.append(transient, 0)[:, None]
    return Graph._from_core(EdgeTable(states, source, target, weight, discrete).build())


__all__ = [
    "coxian",
    "erlang",
    "exponential",
    "geometric",
    "hyperexponential",
    "hypoexponential",
    "negative_binomial",
]

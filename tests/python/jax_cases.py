"""A five-vertex model with all its derivatives from mpmath, to test what JAX does with phasic.

1. `CASES` are functions f(*parts) -> (n_outputs,) of the model: parts are theta, and for some
   rewards or times. Each has a batch of points.
2. `Case.derivative(k)` is the tensor of k-th derivatives in the concatenated parts, at every point,
   by mpmath's numerical differentiation of dense linear algebra at 40 digits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np

import phasic

N_POINTS = 4
DIGITS = 40


@cache
def model() -> phasic.PhaseType:
    """Start -> a; a <-> b; b -> c; a and c -> absorption; two parameters and one constant."""
    graph = phasic.Graph(1)
    a, b, c, end = (graph.find_or_create_vertex([i]) for i in range(1, 5))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, [1.0, 0.0])
    a.add_edge(end, 0.3)
    b.add_edge(a, [0.0, 1.0])
    b.add_edge(c, [1.0, 1.0])
    c.add_edge(end, [0.0, 1.0])
    return phasic.PhaseType(graph)


def _generator(theta: list[Any]) -> tuple[mpmath.matrix, mpmath.matrix]:
    """Sub-generator of (a, b, c) and the exit rates."""
    x, y = theta
    exits = mpmath.matrix([mpmath.mpf("0.3"), 0, y])
    rates = mpmath.matrix([[0, x, 0], [y, 0, x + y], [0, 0, 0]])
    for i in range(3):
        rates[i, i] = -sum(rates[i, j] for j in range(3) if j != i) - exits[i]
    return rates, exits


def _moments(theta: list[Any], rewards: list[Any], order: int) -> list[Any]:
    """Raw moments 1..order of each reward; rewards are flat rows of five vertices."""
    rates, _ = _generator(theta)
    found = []
    for row in range(len(rewards) // 5):
        reward = rewards[5 * row + 1 : 5 * row + 4]
        x = mpmath.matrix([1, 1, 1])
        for k in range(1, order + 1):
            x = mpmath.lu_solve(
                -rates, mpmath.matrix([k * r * xi for r, xi in zip(reward, x, strict=True)])
            )
            found.append(x[0])
    return found


def _over_time(theta: list[Any], times: list[Any], density: bool) -> list[Any]:
    rates, exits = _generator(theta)
    weights = exits if density else mpmath.matrix([1, 1, 1])
    return [(mpmath.expm(rates * t, method="taylor") * weights)[0] for t in times]


@dataclass(frozen=True)
class Case:
    """f(*parts): the function under test, the oracle, and where they are compared."""

    name: str
    function: Callable[..., Any]  # JAX: parts -> (n_outputs,)
    oracle: Callable[..., list[Any]]  # mpmath: flat parts -> outputs
    parts: tuple[np.ndarray, ...]  # each (N_POINTS, size)
    n_outputs: int

    @property
    def sizes(self) -> list[int]:
        return [part.shape[1] for part in self.parts]

    def slice(self, part: int) -> slice:
        """Where a part is in the concatenated parts."""
        start = sum(self.sizes[:part])
        return slice(start, start + self.sizes[part])

    def derivative(self, order: int) -> np.ndarray:
        """(N_POINTS, n_outputs, n, .., n) with ``order`` axes of the concatenated parts."""
        return _derivative(self.name, order)


@cache
def _derivative(name: str, order: int) -> np.ndarray:
    case = CASES[name]
    points = np.concatenate(case.parts, axis=1)
    n = points.shape[1]
    found = np.zeros((N_POINTS, case.n_outputs) + (n,) * order)
    with mpmath.workdps(DIGITS):
        for p, point in enumerate(points):
            at = tuple(mpmath.mpf(float(x)) for x in point)
            for index in itertools.combinations_with_replacement(range(n), order):
                orders = tuple(index.count(i) for i in range(n))
                for m in range(case.n_outputs):

                    def output(*x: Any, m: int = m) -> Any:
                        return case.oracle(*_split(x, case.sizes))[m]

                    value = float(mpmath.diff(output, at, orders) if order else output(*at))
                    for same in set(itertools.permutations(index)):
                        found[(p, m, *same)] = value
    return found


def _split(flat: tuple[Any, ...], sizes: list[int]) -> list[list[Any]]:
    ends = np.cumsum(sizes)
    return [list(flat[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def _points(*first: list[float]) -> tuple[np.ndarray, ...]:
    factors = 1 + 0.1 * np.arange(N_POINTS)
    return tuple(np.array(values) * factors[:, None] for values in first)


_THETA = [1.3, 0.7]
_REWARDS = [0.0, 1.0, 2.0, 0.5, 0.0]

CASES = {
    case.name: case
    for case in (
        Case(
            "expectation",
            lambda theta: model().expectation(theta).reshape(1),
            lambda theta: _moments(theta, [1] * 5, 1),
            _points(_THETA),
            1,
        ),
        Case(
            "reward",
            lambda theta, rewards: model().expectation(theta, rewards).reshape(1),
            lambda theta, rewards: _moments(theta, rewards, 1),
            _points(_THETA, _REWARDS),
            1,
        ),
        Case(
            "moments",
            lambda theta, rewards: model().moments(theta, 2, rewards),
            lambda theta, rewards: _moments(theta, rewards, 2),
            _points(_THETA, _REWARDS),
            2,
        ),
        Case(
            "pdf",
            lambda theta, t: model().pdf(theta, t),
            lambda theta, t: _over_time(theta, t, True),
            _points(_THETA, [1.1]),
            1,
        ),
        Case(
            "sf",
            lambda theta, t: model().sf(theta, t),
            lambda theta, t: _over_time(theta, t, False),
            _points(_THETA, [0.4, 2.0]),
            2,
        ),
    )
}

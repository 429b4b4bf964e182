"""The distribution of an accumulated reward, slowly, in certified balls.

1. Weights of a serialized model at one theta, exact; a search along positive weights.
2. Vertices without reward are eliminated by one dense solve. Those that lead neither to reward nor
   to absorption are left, as traps.
3. Continuous: start . e^(R^-1 Q y) over what is left. Discrete: P(reward > y) from smaller y.

Shares nothing with the engine: no order of elimination, no doubles, no expanded states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from flint import arb, arb_mat, ctx

DIGITS = 60


class Reward:
    """A model at one theta with the rewards of its vertices."""

    def __init__(
        self, graph: Mapping[str, Any], theta: Sequence[arb], rewards: Sequence[float]
    ) -> None:
        self.n = int(graph["n_vertices"])
        self.discrete = bool(graph["is_discrete"])
        self.weights = _weights(graph, theta)
        named = {u for u, v in self.weights if u != v}
        self.positive = {
            pair: w for pair, w in self.weights.items() if pair[0] != pair[1] and w > 0
        }
        self.absorbing = [v for v in range(1, self.n) if v not in named]
        transient = [v for v in range(1, self.n) if v in named]
        earning = [v for v in transient if rewards[v] > 0]
        leads = set(self.absorbing) | set(earning)
        grown = True
        while grown:
            more = {u for u, v in self.positive if v in leads} - leads
            grown = bool(more)
            leads |= more
        traps = [v for v in transient if v not in leads]
        self.left = earning + traps
        self.gone = [v for v in transient if v in leads and v not in earning]
        self.reward = [arb(float(rewards[v])) for v in earning] + [arb(1)] * len(traps)

    def block(self, rows: Sequence[int], columns: Sequence[int]) -> arb_mat:
        zero = arb(0)
        entries = [self.positive.get((u, v), zero) for u in rows for v in columns]
        return arb_mat(len(rows), len(columns), entries)

    def rates(self, rows: Sequence[int]) -> list[arb]:
        return [sum((w for (u, _), w in self.positive.items() if u == v), arb(0)) for v in rows]

    def through(self, rows: Sequence[int], columns: Sequence[int]) -> arb_mat:
        """Weights from rows to columns, directly and through the vertices that are gone."""
        direct = self.block(rows, columns)
        if not self.gone:
            return direct
        system = _diagonal(self.rates(self.gone)) - self.block(self.gone, self.gone)
        return direct + self.block(rows, self.gone) * system.solve(self.block(self.gone, columns))

    def survival(self, times: Sequence[float]) -> list[arb]:
        """Return P(reward > y) for each y."""
        n = len(self.left)
        start = self.through([0], self.left)
        if n == 0:
            return [arb(0)] * len(times)
        moves = self.through(self.left, self.left)
        if self.discrete:
            return self._steps(start, moves, [int(y) for y in times])
        generator = moves - _diagonal(self.rates(self.left))
        scaled = _diagonal([1 / r for r in self.reward]) * generator
        ones = arb_mat(n, 1, [arb(1)] * n)
        return [(start * ((scaled * arb(float(y))).exp() * ones))[0, 0] for y in times]

    def _steps(self, start: arb_mat, moves: arb_mat, times: list[int]) -> list[arb]:
        n = len(self.left)
        stays = [1 - rate for rate in self.rates(self.left)]
        moves = moves + _diagonal(stays)
        tail: list[list[arb]] = []
        for y in range(max(times) + 1):
            row = []
            for i, r in enumerate(self.reward):
                left = y - int(float(r))
                later = tail[left] if left >= 0 else None
                row.append(
                    arb(1)
                    if later is None
                    else sum((moves[i, j] * later[j] for j in range(n)), arb(0))
                )
            tail.append(row)
        return [sum((start[0, j] * tail[y][j] for j in range(n)), arb(0)) for y in times]


def survival(
    graph: Mapping[str, Any], theta: Sequence[float], rewards: Sequence[float], times: Any
) -> np.ndarray:
    """P(accumulated reward > y) of a serialized model at one theta, for each y."""
    with _precision():
        return _floats(Reward(graph, _balls(theta), rewards).survival(times))


def survival_slope(
    graph: Mapping[str, Any],
    theta: Sequence[float],
    direction: Sequence[float],
    rewards: Sequence[float],
    times: Any,
) -> np.ndarray:
    """Derivative of `survival` along a direction of theta: a central difference in 60 digits."""
    with _precision():
        step = arb(10) ** -15
        ends = [
            [x + sign * step * d for x, d in zip(_balls(theta), _balls(direction), strict=True)]
            for sign in (1, -1)
        ]
        above, below = (Reward(graph, end, rewards).survival(times) for end in ends)
        return _floats([(a - b) / (2 * step) for a, b in zip(above, below, strict=True)])


@contextmanager
def _precision() -> Iterator[None]:
    before, ctx.dps = ctx.dps, DIGITS
    try:
        yield
    finally:
        ctx.dps = before


def _balls(values: Sequence[float]) -> list[arb]:
    return [arb(float(x)) for x in values]


def _floats(values: Sequence[arb]) -> np.ndarray:
    return np.array([float(x) for x in values])


def _diagonal(entries: Sequence[arb]) -> arb_mat:
    n = len(entries)
    return arb_mat(n, n, [entries[i] if i == j else arb(0) for i in range(n) for j in range(n)])


def _weights(graph: Mapping[str, Any], theta: Sequence[arb]) -> dict[tuple[int, int], arb]:
    start = int(graph.get("start_vertex", 0))
    weights: dict[tuple[int, int], arb] = {}

    def add(u: float, v: float, weight: arb) -> None:
        pair = int(u), int(v)
        weights[pair] = weights.get(pair, arb(0)) + weight

    for row in np.asarray(graph["edges"]).reshape(-1, 3):
        add(row[0], row[1], arb(float(row[2])))
    for row in np.asarray(graph["start_edges"]).reshape(-1, 2):
        add(start, row[0], arb(float(row[1])))
    for row in np.asarray(graph["param_edges"]):
        terms = zip(row[2:], theta, strict=True)
        add(row[0], row[1], sum((arb(float(c)) * t for c, t in terms), arb(0)))
    for row in np.asarray(graph["start_param_edges"]):
        terms = zip(row[1:], theta, strict=True)
        add(start, row[0], sum((arb(float(c)) * t for c, t in terms), arb(0)))
    return weights

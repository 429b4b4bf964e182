"""Piecewise homogeneous models in certified balls: exponentials of block matrices, nothing else.

1. The generator of an epoch over all vertices, from the serialized dictionary, exactly.
2. State probabilities are a row times e^{Q d}, epoch after epoch; relabelling is a matrix.
3. The time spent and the moments of a reward come from block triangular matrices (Van Loan 1978):
   blocks Q on the diagonal and diag(r) above give E[Y^k / k!; state] in block k of the exponential.
4. The last epoch goes on for ever: linear solves over the states that are reached there.
5. Derivatives are central differences at 150 digits, good to far more than a double.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb, arb_mat, ctx

DIGITS = 150
STEP = 30  # differences of 10^-30 leave an error near 10^-60


class Piecewise:
    """A model with parameters (n_epochs, param_length) and starts, all as exact numbers.

    Parameters
    ----------
    graph : mapping
        Serialized model.
    theta, starts : nested sequences of arb or float
        Parameters of each epoch, and where the epochs start.
    relabel : mapping of int to array
        Matrices (n, n) by number of the epoch.
    """

    def __init__(
        self,
        graph: Mapping[str, Any],
        theta: Sequence[Sequence[Any]],
        starts: Sequence[Any],
        relabel: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        self.graph, self.n = graph, int(graph["n_vertices"])
        self.first = int(graph.get("start_vertex", 0))
        self.starts = [arb(x) for x in starts]
        self.relabel = {
            k: arb_mat(self.n, self.n, [arb(float(x)) for x in np.ravel(m)])
            for k, m in (relabel or {}).items()
        }
        weights = [self._weights([arb(x) for x in row]) for row in theta]
        self.start = arb_mat(1, self.n, [weights[0][self.first, j] for j in range(self.n)])
        self.generators = [self._generator(w) for w in weights]
        moving = {u for u, v in self._pairs() if u != v}
        self.absorbing = [v not in moving and v != self.first for v in range(self.n)]

    def _pairs(self) -> list[tuple[int, int]]:
        tables = (np.asarray(self.graph[name]) for name in ("edges", "param_edges"))
        return [(int(row[0]), int(row[1])) for table in tables for row in table]

    def _weights(self, theta: list[arb]) -> arb_mat:
        w = arb_mat(self.n, self.n)
        for name, columns in (("edges", 2), ("start_edges", 1)):
            for row in np.asarray(self.graph[name]).reshape(-1, columns + 1):
                u, v = (self.first, int(row[0])) if columns == 1 else (int(row[0]), int(row[1]))
                w[u, v] += arb(float(row[-1]))
        for name, columns in (("param_edges", 2), ("start_param_edges", 1)):
            for row in np.asarray(self.graph[name]):
                u, v = (self.first, int(row[0])) if columns == 1 else (int(row[0]), int(row[1]))
                for c, x in zip(row[columns:], theta, strict=True):
                    w[u, v] += arb(float(c)) * x
        return w

    def _generator(self, weights: arb_mat) -> arb_mat:
        q = arb_mat(self.n, self.n)
        for u in range(self.n):
            for v in range(self.n):
                if u != v and u != self.first:
                    q[u, v] = weights[u, v]
                    q[u, u] -= weights[u, v]
        return q

    def _blocks(self, k: int, rewards: Sequence[arb_mat], duration: arb) -> list[arb_mat]:
        """First row of blocks of exp of the matrix with Q on, and rewards above the diagonal."""
        n, size = self.n, len(rewards) + 1
        big = arb_mat(n * size, n * size)
        for b in range(size):
            for u in range(n):
                for v in range(n):
                    big[b * n + u, b * n + v] = self.generators[k][u, v] * duration
                if b:
                    big[(b - 1) * n + u, b * n + u] = rewards[b - 1][u, 0] * duration
        power = big.exp()
        return [
            arb_mat(n, n, [power[u, b * n + v] for u in range(n) for v in range(n)])
            for b in range(size)
        ]

    def _column(self, values: Sequence[float]) -> arb_mat:
        kept = [0 if self.absorbing[v] or v == self.first else values[v] for v in range(self.n)]
        return arb_mat(self.n, 1, [arb(x) for x in kept])

    def _ends(self) -> arb_mat:
        return arb_mat(self.n, 1, [arb(int(a)) for a in self.absorbing])

    def _into(self, k: int, row: arb_mat) -> arb_mat:
        return row * self.relabel[k] if k in self.relabel else row

    def at(self, t: Any) -> tuple[arb_mat, int]:
        """State probabilities at t, and the epoch that t is in."""
        t, row = arb(t), self.start
        for k in range(len(self.generators)):
            last = k + 1 == len(self.generators) or t < self.starts[k + 1]
            duration = (t if last else self.starts[k + 1]) - self.starts[k]
            row = row * (self.generators[k] * duration).exp()
            if last:
                return row, k
            row = self._into(k + 1, row)
        raise AssertionError("the last epoch has no end")

    def in_time(self, quantity: str, times: Sequence[Any]) -> list[arb]:
        """Return pdf, cdf, sf, state_probability or occupancy, flat."""
        found: list[arb] = []
        for t in times:
            row, k = self.at(t)
            ends = self._ends()
            if quantity == "state_probability":
                found += row.entries()
            elif quantity == "pdf":
                found.append((row * self.generators[k] * ends)[0, 0])
            elif quantity == "sf":
                inside = arb_mat(self.n, 1, [arb(int(not a)) for a in self.absorbing])
                found.append((row * inside)[0, 0])
            else:
                defect = 1 - sum(self.start.entries(), arb(0))
                found.append((row * ends)[0, 0] + defect)
        return found

    def moments(self, rewards: Sequence[Sequence[float]]) -> arb:
        """E[Y_1 Y_2 ..] of the given rewards, in all orders of time."""
        total = arb(0)
        for order in itertools.permutations(range(len(rewards))):
            total += self._ordered([self._column(rewards[i]) for i in order])
        return total

    def _ordered(self, columns: list[arb_mat]) -> arb:
        """Integral over s_1 < s_2 < .. of E[prod r_i(X(s_i))]."""
        n, size = self.n, len(columns) + 1
        state = [self.start] + [arb_mat(1, n) for _ in columns]
        for k in range(len(self.generators) - 1):
            duration = self.starts[k + 1] - self.starts[k]
            following = [arb_mat(1, n) for _ in range(size)]
            for a in range(size):
                for b, block in enumerate(self._blocks(k, columns[a:], duration)):
                    following[a + b] = following[a + b] + state[a] * block
            state = [self._into(k + 1, row) for row in following]
        return self._for_ever(state, columns)

    def _for_ever(self, state: list[arb_mat], columns: list[arb_mat]) -> arb:
        q = self.generators[-1]
        live = {v for v in range(self.n) for row in state if row[0, v] != 0}
        waiting = list(live)
        while waiting:
            u = waiting.pop()
            for v in range(self.n):
                if q[u, v] > 0 and v not in live:
                    live.add(v)
                    waiting.append(v)
        kept = sorted(v for v in live if not self.absorbing[v])
        m = len(kept)
        system = arb_mat(m, m, [-q[u, v] for u in kept for v in kept])
        value = arb_mat(m, 1, [arb(1)] * m)
        total = sum(state[-1].entries(), arb(0))
        for level in range(len(columns) - 1, -1, -1):
            right = arb_mat(m, 1, [columns[level][u, 0] * value[i, 0] for i, u in enumerate(kept)])
            value = system.solve(right) if m else right
            total += sum((state[level][0, u] * value[i, 0] for i, u in enumerate(kept)), arb(0))
        return total


def compute(function: Callable[..., list[arb]], *arguments: np.ndarray) -> np.ndarray:
    """Values of a function of nested lists of numbers, each proven to 1e-25 of itself or 1e-40."""
    with ctx.workdps(DIGITS):
        return _doubles(function(*(np.asarray(a).tolist() for a in arguments)))


def gradient(function: Callable[..., list[arb]], of: int, *arguments: Any) -> np.ndarray:
    """Derivatives (n_outputs, *shape of argument ``of``) by central differences."""
    with ctx.workdps(DIGITS):
        shape = np.shape(arguments[of])
        rows = certain_gradient(function, of, *arguments)
        return np.stack([_doubles(row) for row in rows]).reshape(-1, *shape)


def certain_gradient(
    function: Callable[..., list[arb]], of: int, *arguments: Any
) -> list[list[arb]]:
    """Derivatives as balls: one row an output, flat in argument ``of``."""
    columns = []
    for place in np.ndindex(*np.shape(arguments[of])):
        sides = []
        for sign in (1, -1):
            moved = [np.asarray(a, object) for a in arguments]
            moved[of] = moved[of].copy()
            at = arb(moved[of][place])
            size = max(abs(float(at.mid())), 1e-3)
            step = arb(size) * arb(10) ** -STEP
            moved[of][place] = at + sign * step
            sides.append(function(*(m.tolist() for m in moved)))
        columns.append([(a - b) / (2 * step) for a, b in zip(*sides, strict=True)])
    return [list(row) for row in zip(*columns, strict=True)]


def _doubles(values: list[arb]) -> np.ndarray:
    for x in values:
        if not (x.rad() <= abs(x.mid()) * arb(10) ** -25 or x.rad() <= arb(10) ** -40):
            raise ArithmeticError(f"{x} is not certain enough; raise DIGITS")
    return np.array([math.copysign(abs(float(x.mid())), float(x.mid())) for x in values])

"""Matrices with certified error balls and their exact partial derivatives.

1. Numbers are `flint.arb` balls: midpoint, radius, and the promise that the truth is inside.
2. A `Jet` is a matrix function of several variables at one point: the value and every partial
   derivative up to an order of at most 2, keyed by the sorted tuple of variables.
3. Sums and products follow Leibniz' rule; `Solver` differentiates A x = b term by term.
4. `certified` runs a computation at growing precision until every ball is narrow.

Source: F. Johansson, Arb: efficient arbitrary-precision midpoint-radius interval arithmetic, 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from flint import arb, arb_mat, ctx

DIGITS = (60, 240, 960)
NARROW = 64  # bits every reported entry is known to

Key = tuple[int, ...]


class ImpreciseError(ArithmeticError):
    """A ball is too wide at this precision."""


class Jet:
    """A matrix and its partial derivatives; a derivative that is not stored is zero."""

    def __init__(self, parts: dict[Key, arb_mat], order: int = 2) -> None:
        self.parts = parts
        self.order = order
        self.shape = (parts[()].nrows(), parts[()].ncols())

    def __add__(self, other: Jet) -> Jet:
        parts = dict(self.parts)
        for key, matrix in other.parts.items():
            parts[key] = parts[key] + matrix if key in parts else matrix
        return Jet(parts, min(self.order, other.order))

    def __sub__(self, other: Jet) -> Jet:
        return self + other.scale(arb(-1))

    def __matmul__(self, other: Jet) -> Jet:
        order = min(self.order, other.order)
        parts: dict[Key, arb_mat] = {}
        for a, left in self.parts.items():
            for b, right in other.parts.items():
                if len(a) + len(b) <= order:
                    term = left * right
                    if len(a) == 1 and a == b:  # both halves of 2 f' g'
                        term = term * arb(2)
                    key = tuple(sorted(a + b))
                    parts[key] = parts[key] + term if key in parts else term
        return Jet(parts, order)

    def scale(self, factor: arb) -> Jet:
        return Jet({key: matrix * factor for key, matrix in self.parts.items()}, self.order)

    def map(self, function: Callable[[arb_mat], arb_mat]) -> Jet:
        """The jet of a linear function of the matrix."""
        return Jet({key: function(matrix) for key, matrix in self.parts.items()}, self.order)

    def transpose(self) -> Jet:
        return self.map(lambda m: m.transpose())


class Solver:
    """Solves A x = b for jets with one inverse, derivative by derivative (Leibniz)."""

    def __init__(self, a: Jet) -> None:
        try:
            self._inverse = a.parts[()].inv()
        except ZeroDivisionError as error:
            raise ImpreciseError("matrix is singular at this precision") from error
        self._rest = {key: matrix for key, matrix in a.parts.items() if key}
        self._order = a.order

    def solve(self, b: Jet) -> Jet:
        order = min(self._order, b.order)
        x = {(): self._inverse * b.parts[()]}
        variables = sorted({v for key in (*self._rest, *b.parts) for v in key})
        keys: list[Key] = [(v,) for v in variables] if order >= 1 else []
        if order == 2:
            keys += [(v, w) for i, v in enumerate(variables) for w in variables[i:]]
        for key in keys:
            right = b.parts.get(key)
            for j, kept in _splits(key):
                if j in self._rest and kept in x:
                    term = self._rest[j] * x[kept] * arb(-1)
                    right = term if right is None else right + term
            if right is not None:
                x[key] = self._inverse * right
        return Jet(x, order)


def _splits(key: Key) -> list[tuple[Key, Key]]:
    """Leibniz pairs (derivative of the first factor, of the second), the first one not empty."""
    if len(key) == 1:
        return [(key, ())]
    return [(key, ()), (key[:1], key[1:]), (key[1:], key[:1])]


def matrix(rows: Sequence[Sequence[arb | float | int]]) -> arb_mat:
    return arb_mat([[arb(x) for x in row] for row in rows])


def constant(rows: Sequence[Sequence[arb | float | int]]) -> Jet:
    return Jet({(): matrix(rows)})


def identity(n: int) -> Jet:
    return constant([[int(i == j) for j in range(n)] for i in range(n)])


def diagonal(column: Jet) -> Jet:
    """The diagonal matrix of a column vector."""
    n = column.shape[0]

    def spread(m: arb_mat) -> arb_mat:
        return arb_mat([[m[i, 0] if i == j else arb(0) for j in range(n)] for i in range(n)])

    return column.map(spread)


def stack(rows: Sequence[Jet]) -> Jet:
    """Jets of equal width on top of each other."""
    order = min(row.order for row in rows)
    parts = {}
    for key in {key for row in rows for key in row.parts}:
        entries = []
        for row in rows:
            part = row.parts.get(key)
            blank = [[arb(0)] * row.shape[1] for _ in range(row.shape[0])]
            entries += blank if part is None else part.tolist()
        parts[key] = arb_mat(entries)
    return Jet(parts, order)


def _to_float(ball: arb, scale: arb) -> float:
    if ball.rad() == 0 or ball.rel_accuracy_bits() >= NARROW:
        return float(ball.mid())
    if not ball.is_finite():
        raise ImpreciseError(f"ball {ball} is not finite")
    if ball.contains(0) and ctx.dps >= DIGITS[1]:
        return 0.0  # zero to 240 digits
    if ball.contains(0) or ball.rad() > scale * arb(2) ** -NARROW:
        raise ImpreciseError(f"ball {ball} is wide")
    return float(ball.mid())


def to_arrays(jet: Jet, n_variables: int) -> list[np.ndarray]:
    """Value, gradient, Hessian (as far as the jet's order goes), the variables on the last axes."""
    rows, columns = jet.shape
    arrays = [np.zeros((rows, columns) + (n_variables,) * d) for d in range(jet.order + 1)]
    for key, part in jet.parts.items():
        scale = max((abs(x.mid()) for x in part.entries() if x.is_finite()), default=arb(0))
        for i in range(rows):
            for j in range(columns):
                number = _to_float(part[i, j], scale)
                arrays[len(key)][(i, j, *key)] = number
                arrays[len(key)][(i, j, *reversed(key))] = number
    return arrays


def certified(compute: Callable[[], Jet], n_variables: int) -> list[np.ndarray]:
    """`to_arrays(compute())` at the first precision whose balls are narrow enough."""
    for digits in DIGITS:
        with ctx.workdps(digits):
            try:
                return to_arrays(compute(), n_variables)
            except ImpreciseError as error:
                failure = error
    raise ImpreciseError(f"still imprecise with {DIGITS[-1]} digits: {failure}")

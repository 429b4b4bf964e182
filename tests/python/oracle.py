"""Slow and certain: every quantity of a serialized model, with derivatives, in certified balls.

1. Read the section-3 dictionary, make the weights at one theta (exact products and sums).
2. Search the graph along positive weights: what is reached, what is trapped.
3. Expectations: one dense linear system Lambda - W over the vertices that matter.
4. Densities: e^{Qt} by a Taylor series at t / 2^s and s doublings; discrete time by steps.
5. Derivatives in theta and in the rewards ride along as jets; those in t are powers of Q.

Nothing here is shared with the engine: no block order, no elimination of its own, no doubles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb, arb_mat, ctx

from oracle_jets import (
    DIGITS,
    ImpreciseError,
    Jet,
    Solver,
    certified,
    constant,
    diagonal,
    identity,
    matrix,
    stack,
    to_arrays,
)

Graph = Mapping[str, Any]


class TrappedError(ArithmeticError):
    """A reachable vertex cannot reach absorption, so expectations are infinite."""


class UndefinedError(ArithmeticError):
    """The derivative does not exist: a weight that is zero here leads into a trap."""


class Chain:
    """A model at one theta, cut down to the vertices that can matter, as jets.

    Parameters
    ----------
    graph : mapping
        Serialized model.
    theta : sequence of float
        Parameters, taken as the exact numbers that the doubles are.
    order : int
        Derivatives in theta to carry along, 0, 1 or 2.
    """

    def __init__(self, graph: Graph, theta: Sequence[float], order: int = 0) -> None:
        self.discrete = bool(graph.get("is_discrete", False))
        self.n = int(graph["n_vertices"])
        self.order = order
        self._theta = [arb(float(x)) for x in theta]
        start = int(graph.get("start_vertex", 0))
        self._edges: dict[tuple[int, int], list[arb]] = {}  # [weight, derivative 1, 2, ..]
        for row in np.asarray(graph["edges"]).reshape(-1, 3):
            self._add(int(row[0]), int(row[1]), float(row[2]), [])
        for row in np.asarray(graph["param_edges"]):
            self._add(int(row[0]), int(row[1]), 0.0, row[2:])
        for row in np.asarray(graph["start_edges"]).reshape(-1, 2):
            self._add(start, int(row[0]), float(row[1]), [])
        for row in np.asarray(graph["start_param_edges"]):
            self._add(start, int(row[0]), 0.0, row[1:])
        sources = {u for u, v in self._edges if u != v}  # a self loop leads nowhere
        self.absorbing = [v for v in range(self.n) if v not in sources]
        self._start = start
        self._search(start)

    def _add(self, u: int, v: int, base: float, coefficients: Sequence[float]) -> None:
        slopes = [arb(float(c)) for c in coefficients] or [arb(0)] * len(self._theta)
        old = self._edges.get((u, v), [arb(0)] * (1 + len(self._theta)))
        weight = arb(base) + sum((c * t for c, t in zip(slopes, self._theta, strict=True)), arb(0))
        self._edges[u, v] = [a + b for a, b in zip(old, [weight, *slopes], strict=True)]

    def _search(self, start: int) -> None:
        positive = [(u, v) for (u, v), w in self._edges.items() if w[0] > 0 and u != v]
        live = [
            (u, v)
            for (u, v), w in self._edges.items()
            if u != v and (w[0] > 0 or (self.order and any(x != 0 for x in w[1:])))
        ]
        reached = _closure({start}, positive) - {start}
        noticed = _closure({start}, live) - {start}
        safe = _closure(set(self.absorbing), [(v, u) for u, v in positive])
        self.trapped = sorted(reached - safe)
        self.undefined = sorted(noticed - safe)
        self.kept = sorted((noticed & safe) - set(self.absorbing))
        self.noticed = sorted(noticed - set(self.absorbing))

    def _entry(self, u: int, v: int, k: int) -> arb:
        return self._edges[u, v][k] if (u, v) in self._edges else arb(0)

    def _jet(self, rows: Sequence[int], columns: Sequence[int]) -> Jet:
        """Weights of the pairs rows x columns without self loops."""
        parts = {}
        for k in range(1 + (len(self._theta) if self.order else 0)):
            parts[(k - 1,) if k else ()] = arb_mat(
                len(rows),
                len(columns),
                [arb(0) if u == v else self._entry(u, v, k) for u in rows for v in columns],
            )
        return Jet(parts, self.order)

    def start_over(self, vertices: Sequence[int]) -> Jet:
        """Start weights of the given vertices as a row."""
        return self._jet([self._start], vertices)

    def exits(self) -> Jet:
        """Weights from the kept vertices into each absorbing vertex."""
        return self._jet(self.kept, self.absorbing)

    def system(self) -> Jet:
        """Lambda - W over the kept vertices; Lambda counts weights into traps as well."""
        everyone = list(range(self.n))
        total = self._jet(self.kept, everyone) @ constant([[1]] * self.n)
        return diagonal(total) - self._jet(self.kept, self.kept)

    def generator(self) -> tuple[Jet, list[int]]:
        """Q = W - Lambda over the noticed transient vertices, then the absorbing ones."""
        vertices = self.noticed + self.absorbing
        weights = self._jet(vertices, vertices)
        return weights - diagonal(weights @ constant([[1]] * len(vertices))), vertices

    def refuse_traps(self) -> None:
        if self.trapped:
            raise TrappedError(f"vertices {self.trapped} are reached and never left")
        self.refuse_undefined()

    def refuse_undefined(self) -> None:
        if self.order and self.undefined:
            raise UndefinedError(f"an edge of weight zero leads into vertices {self.undefined}")


def _closure(seeds: set[int], pairs: Sequence[tuple[int, int]]) -> set[int]:
    following: dict[int, list[int]] = {}
    for u, v in pairs:
        following.setdefault(u, []).append(v)
    found, waiting = set(seeds), list(seeds)
    while waiting:
        for v in following.get(waiting.pop(), []):
            if v not in found:
                found.add(v)
                waiting.append(v)
    return found


def _rewards(rewards: Any, chain: Chain, first_variable: int | None) -> list[Jet]:
    """One column over the kept vertices for each reward, which may be variables themselves."""
    table = np.ones((1, chain.n)) if rewards is None else np.atleast_2d(rewards)
    columns = []
    for i, row in enumerate(table):
        parts = {(): matrix([[row[v]] for v in chain.kept])}
        if first_variable is not None:
            for v in chain.kept:
                key = (first_variable + i * chain.n + v,)
                parts[key] = matrix([[int(u == v)] for u in chain.kept])
        columns.append(Jet(parts))
    return columns


def _scattered(row: Jet, positions: Sequence[int], n: int) -> Jet:
    """Columns of a jet moved to the given positions of n columns of zeros."""
    spread = [[int(j == p) for j in range(n)] for p in positions]
    return row @ constant(spread)


def _moments(chain: Chain, rewards: list[Jet], k: int) -> Jet:
    chain.refuse_traps()
    solver = Solver(chain.system())
    n = len(chain.kept)
    ones = constant([[1]] * n)
    step = identity(n) - chain.system()  # P of a discrete chain
    rows = []
    for r in rewards:
        reward = diagonal(r)
        found, after, row = [ones], [ones], []  # m_l, P m_l; m_0 is 1 on absorbing states too
        for order in range(1, k + 1):
            right = (reward @ found[-1]).scale(arb(order))
            if chain.discrete:
                power, right = reward, constant([[0]] * n)
                for low in range(order - 1, -1, -1):
                    right = right + (power @ after[low]).scale(arb(math.comb(order, low)))
                    power = power @ reward
            found.append(solver.solve(right))
            after.append(step @ found[-1])
            row.append((chain.start_over(chain.kept) @ found[-1]).transpose())
        rows.append(stack(row).transpose())
    return stack(rows)


def _visits(chain: Chain) -> Jet:
    """Expected time (visits, if discrete) in the kept vertices, a column."""
    start = chain.start_over(chain.kept).transpose()
    return Solver(chain.system().transpose()).solve(start)


def _cross(chain: Chain, rewards: list[Jet]) -> Jet:
    chain.refuse_traps()
    table = stack([r.transpose() for r in rewards])
    means = Solver(chain.system()).solve(table.transpose())
    visits = diagonal(_visits(chain))
    half = table @ visits @ means
    both = half + half.transpose()
    return both - table @ visits @ table.transpose() if chain.discrete else both


def _covariance(chain: Chain, rewards: list[Jet]) -> Jet:
    means = _moments(chain, rewards, 1)
    return _cross(chain, rewards) - means @ means.transpose()


def _sojourn(chain: Chain) -> Jet:
    chain.refuse_undefined()
    endless = constant([[arb.pos_inf() if v in chain.trapped else 0 for v in range(chain.n)]])
    return endless + _scattered(_visits(chain).transpose(), chain.kept, chain.n)


def _absorption(chain: Chain) -> Jet:
    chain.refuse_undefined()
    inside = Solver(chain.system()).solve(chain.exits())
    ends = chain.start_over(chain.absorbing) + chain.start_over(chain.kept) @ inside
    return _scattered(ends, chain.absorbing, chain.n)


def _exponentials(q: Jet, times: Sequence[float]) -> dict[float, tuple[Jet, Jet]]:
    """(e^{Qt}, integral of e^{Qs} over 0..t) for times that are t_max / 2^j."""
    longest = max(times)
    wanted = {t for t in times if t > 0}
    for t in wanted:
        if math.frexp(longest / t)[0] != 0.5:
            raise ValueError(f"time {t} is not {longest} divided by a power of two")
    n = q.shape[0]
    one = identity(n)
    rate = 2 * max((abs(float(x)) for x in q.parts[()].entries()), default=0.0)
    halvings = round(math.log2(longest / min(wanted)))
    halvings = max(6 + math.ceil(math.log2(rate * longest + 1e-300)), halvings)
    h = arb(longest) / arb(2) ** halvings
    step = q.scale(h)
    terms, size = 1, 0.0
    while size > -(ctx.prec + 4 * halvings + 20):  # (2^-6)^k / k! against the precision
        terms += 1
        size = -6.0 * terms - math.lgamma(terms + 1) / math.log(2)
    series = one
    for k in range(terms, 0, -1):
        series = one + (step @ series).scale(arb(1) / (k + 1))
    integral, power = series.scale(h), one + step @ series
    found = {}
    for j in range(halvings, -1, -1):
        t = math.ldexp(longest, -j)
        if t in wanted:
            found[t] = (power, integral)
        if j:
            integral = integral + power @ integral
            power = power @ power
    return found


def _paths(chain: Chain, times: Sequence[float]) -> tuple[list[tuple[Jet, Jet]], Jet, list[int]]:
    """(state probabilities, accumulated occupancy) at each time, Q and the vertices of its rows.

    In discrete time the occupancy of t counts the visits at the steps 0 .. t - 1.
    """
    q, vertices = chain.generator()
    row = chain.start_over(vertices)
    nothing = row.scale(arb(0))
    if not chain.discrete:
        grid = _exponentials(q, times) if any(t > 0 for t in times) else {}
        found = {t: (row @ power, row @ integral) for t, (power, integral) in grid.items()}
        return [found.get(t, (row, nothing)) for t in times], q, vertices
    trail = [(row, nothing)]
    for _ in range(int(max(times))):
        now, before = trail[-1]
        trail.append((now + now @ q, before + now))
    return [trail[int(t)] for t in times], q, vertices


def _state_table(chain: Chain, times: Sequence[float], which: int) -> Jet:
    paths, _, vertices = _paths(chain, times)
    return _scattered(stack([path[which] for path in paths]), vertices, chain.n)


def _density(chain: Chain, times: Sequence[float], quantity: str, slope: int) -> Jet:
    """Density, cumulative or survival function; in continuous time its `slope`-th t derivative."""
    paths, q, vertices = _paths(chain, times)
    inside = len(chain.noticed)
    ends = constant([[int(i >= inside)] for i in range(len(vertices))])
    if quantity == "pdf" and chain.discrete:
        before = _paths(chain, [max(t - 1, 0) for t in times])[0]
        return stack([row @ q @ ends for row, _ in before])  # absorbed by step t, times t >= 1
    column = ends
    for _ in range(slope + (quantity == "pdf")):
        column = q @ column
    if quantity == "sf":
        column = column.scale(arb(-1))
        if slope == 0:
            column = constant([[int(i < inside)] for i in range(len(vertices))])
    table = stack([row @ column for row, _ in paths])
    if quantity == "cdf" and slope == 0:
        weight = chain.start_over(vertices) @ constant([[1]] * len(vertices))
        defect = constant([[1]]) - weight
        table = table + stack([defect] * len(times))
    return table


def _logarithm(found: Jet) -> Jet:
    """Logarithm of each entry; of zero it is -inf, without derivatives."""
    values = found.parts[()].tolist()
    if ctx.dps < DIGITS[-1] and any(not x > 0 and x.rad() > 0 for row in values for x in row):
        raise ImpreciseError("a number is not known to be 0")
    rows = [[x.log() if x > 0 else arb.neg_inf() for x in row] for row in values]
    relative = {key: _quotient(m, found.parts[()]) for key, m in found.parts.items() if key}
    parts = {key: m for key, m in relative.items() if len(key) == 1}
    for key in {key for key in _pairs(parts) if found.order == 2}:
        product = _entrywise(lambda a, b: a * b, parts[key[:1]], parts[key[1:]])
        parts[key] = relative[key] - product if key in relative else product * arb(-1)
    return Jet({(): arb_mat(rows), **parts}, found.order)


def _pairs(keys: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    single = sorted(key[0] for key in keys if len(key) == 1)
    return [(v, w) for i, v in enumerate(single) for w in single[i:]]


def _entrywise(function: Callable[[arb, arb], arb], a: arb_mat, b: arb_mat) -> arb_mat:
    return arb_mat(
        [
            [function(x, y) for x, y in zip(r, s, strict=True)]
            for r, s in zip(a.tolist(), b.tolist(), strict=True)
        ]
    )


def _quotient(a: arb_mat, b: arb_mat) -> arb_mat:
    return _entrywise(lambda x, y: x / y, a, b)


def _log_slope(chain: Chain, times: Sequence[float], quantity: str) -> Jet:
    """Derivative in t of the logarithm of a density or survival function, without more of them."""
    value, slope = (_density(chain, times, quantity, d).parts[()] for d in (0, 1))
    return Jet({(): _quotient(slope, value)}, 0)


def evaluate(
    graph: Graph,
    theta: Sequence[float],
    quantity: str,
    *,
    rewards: Any = None,
    times: Sequence[float] = (),
    k: int = 1,
    order: int = 0,
    slope: int = 0,
    in_rewards: bool = False,
) -> list[np.ndarray]:
    """The quantity and its derivatives in theta up to `order`, each rounded once to float64.

    Parameters
    ----------
    graph, theta : mapping, sequence of float
        Serialized model and its parameters.
    quantity : str
        moments (R, k), cross (R, R), covariance (R, R), sojourn (n; infinite at trapped
        vertices), absorption (n), pdf cdf sf (T), logpdf logsf (T),
        state_probability (T, n), occupancy (T, n).
    rewards : array (R, n) or (n,), optional
        One reward for each vertex; ones if absent.
    times : sequence of float
        The longest one divided by powers of two (continuous), or integers (discrete).
    slope : int
        Derivatives in t of pdf, cdf, sf in continuous time; of their logarithms at most one.
    in_rewards : bool
        Differentiate in the entries of `rewards` too; they come behind those of theta.

    Raises
    ------
    TrappedError
        The expectation is infinite.
    UndefinedError
        A derivative was asked for where it does not exist.
    """

    def compute() -> Jet:
        chain = Chain(graph, theta, order)
        columns = _rewards(rewards, chain, len(theta) if in_rewards else None)
        simple = {
            "moments": lambda: _moments(chain, columns, k),
            "cross": lambda: _cross(chain, columns),
            "covariance": lambda: _covariance(chain, columns),
            "sojourn": lambda: _sojourn(chain),
            "absorption": lambda: _absorption(chain),
            "state_probability": lambda: _state_table(chain, times, 0),
            "occupancy": lambda: _state_table(chain, times, 1),
        }
        if quantity in simple:
            return simple[quantity]()
        if quantity.startswith("log") and slope == 1:
            return _log_slope(chain, times, quantity[3:])
        if quantity.startswith("log"):
            return _logarithm(_density(chain, times, quantity[3:], 0))
        return _density(chain, times, quantity, slope)

    arrays = certified(compute, len(theta) + (np.size(rewards) if in_rewards else 0))
    if quantity in ("sojourn", "absorption"):
        return [a[0] for a in arrays]
    in_time = ("pdf", "cdf", "sf", "logpdf", "logsf")
    return [a[:, 0] for a in arrays] if quantity in in_time else arrays


def sparse_expectations(graph: Graph, rewards: Any) -> np.ndarray:
    """Expected rewards of a big model of constant rates that starts in one vertex.

    One elimination in balls over dictionaries, last vertex first: v is replaced by its successors
    in the row of each predecessor, until only the vertex that the start leads to remains.
    """
    with ctx.workdps(DIGITS[1]):
        n = int(graph["n_vertices"])
        rows: list[dict[int, arb]] = [{} for _ in range(n)]
        for u, v, weight in graph["edges"]:
            rows[int(u)][int(v)] = arb(float(weight))
        table = np.atleast_2d(rewards)
        right = [[arb(float(x)) for x in table[:, v]] for v in range(n)]
        (first,) = (int(v) for v, _ in graph["start_edges"])
        for v in reversed([v for v in range(1, n) if rows[v] and v != first]):
            total = sum(rows[v].values(), arb(0))
            for u in range(1, n):
                if u != v and v in rows[u]:
                    share = rows[u].pop(v) / total
                    right[u] = [a + share * b for a, b in zip(right[u], right[v], strict=True)]
                    for z, weight in rows[v].items():
                        if z != u:
                            rows[u][z] = rows[u].get(z, arb(0)) + share * weight
            rows[v] = {}
        total = sum(rows[first].values(), arb(0))
        return to_arrays(Jet({(): matrix([[x / total for x in right[first]]])}, 0), 0)[0][0]

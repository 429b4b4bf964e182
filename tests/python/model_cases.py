"""Seeded random models for the conformance tests, one family for each thing that can go wrong.

1. A pattern of edges between transient vertices (acyclic, cyclic, blocks, one component).
2. Exits, dead ends (unreachable vertices and traps), then a weight for every pair.
3. A few parameter vectors; vertices that they trap get a constant exit; discrete rows are scaled.
4. Start edges, states, and a shuffle of the vertices, so that no order is favoured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from models import arrays

Pair = tuple[int, int]


@dataclass(frozen=True)
class Family:
    """What the models of one family have in common."""

    name: str
    pattern: str = "cyclic"
    size: tuple[int, int] = (2, 16)
    n_absorbing: int = 1
    parameterised: float = 0.6  # share of pairs with coefficients
    decades: float = 0.0  # half the span of a weight's or a parameter's exponent
    duplicate_states: bool = False
    self_loops: bool = False
    unreachable: int = 0
    unreachable_trap: bool = False
    zeros: bool = False
    negative: bool = False
    both_kinds: bool = False  # constant and parameterised part on one pair
    defect: bool = False
    start_absorbing: bool = False
    start_parameterised: bool = False


FAMILIES = (
    Family("acyclic", "acyclic"),
    Family("cyclic"),
    Family("constant", parameterised=0.0),
    Family("blocks", "blocks", size=(6, 21), n_absorbing=2),
    Family("single", "single", size=(3, 21)),
    Family("duplicate-states", duplicate_states=True),
    Family("self-loops", self_loops=True),
    Family("unreachable", unreachable=3),
    Family("unreachable-trap", "blocks", size=(4, 14), unreachable_trap=True),
    Family("zeros", "blocks", size=(4, 16), zeros=True, unreachable_trap=True),
    Family("stiff", "single", size=(2, 12), decades=12.0, parameterised=0.0),
    Family("stiff-theta", "blocks", size=(4, 14), decades=6.0),
    Family("negative", negative=True),
    Family("both-kinds", both_kinds=True, parameterised=1.0),
    Family("defect", "acyclic", defect=True),
    Family("start-absorbing", start_absorbing=True, n_absorbing=2, defect=True),
    Family("start-parameterised", start_parameterised=True, defect=True),
    Family("absorbing", "blocks", n_absorbing=4),
    Family(
        "mixed",
        "blocks",
        size=(6, 16),
        n_absorbing=3,
        duplicate_states=True,
        self_loops=True,
        unreachable=2,
        unreachable_trap=True,
        zeros=True,
        both_kinds=True,
        defect=True,
        start_absorbing=True,
        start_parameterised=True,
    ),
)
N_SEEDS = 6  # 19 families x 6 seeds x continuous and discrete = 228 models


@dataclass(frozen=True)
class Case:
    """A serialized model with arguments to evaluate it at."""

    name: str
    family: Family
    graph: dict[str, Any]
    thetas: np.ndarray  # (batch, param_length)
    rewards: np.ndarray  # (2, n_vertices), non-negative
    times: np.ndarray  # (4,)

    @property
    def discrete(self) -> bool:
        return bool(self.graph["is_discrete"])


@dataclass
class Draft:
    """A model under construction; vertex 0 is the start, then transient, then absorbing ones."""

    n_transient: int
    n_absorbing: int
    n_parameters: int
    thetas: np.ndarray
    constants: dict[Pair, float] = field(default_factory=dict)
    coefficients: dict[Pair, np.ndarray] = field(default_factory=dict)

    def add_constant(self, pair: Pair, weight: float) -> None:
        self.constants[pair] = self.constants.get(pair, 0.0) + weight

    def weights(self, pair: Pair) -> np.ndarray:
        """Weight of the pair at each parameter vector."""
        base = np.full(len(self.thetas), self.constants.get(pair, 0.0))
        if pair in self.coefficients:
            base = base + self.thetas @ self.coefficients[pair]
        return base

    def pairs(self) -> list[Pair]:
        return sorted(self.constants.keys() | self.coefficients.keys())

    def absorbing(self) -> range:
        return range(1 + self.n_transient, 1 + self.n_transient + self.n_absorbing)


def cases(n_seeds: int = N_SEEDS) -> list[Case]:
    """All families, each with n_seeds continuous and n_seeds discrete models."""
    return [
        make_case(family, discrete, seed)
        for family in FAMILIES
        for discrete in (False, True)
        for seed in range(n_seeds)
    ]


def multi_component_cases(n: int) -> list[Case]:
    """Models of many components, for stitching."""
    family = Family("stitched", "blocks", size=(8, 22), n_absorbing=2, zeros=False)
    return [make_case(family, seed % 4 == 3, 1000 + seed) for seed in range(n)]


def make_case(family: Family, discrete: bool, seed: int) -> Case:
    """One model of a family; the same arguments give the same model on every machine."""
    key = [ord(c) for c in family.name] + [int(discrete), seed]
    rng = np.random.default_rng(key)
    n_parameters = 0 if family.parameterised == 0.0 else int(rng.integers(1, 5))
    if family.negative:
        n_parameters = max(n_parameters, 2)
    n = int(rng.integers(family.size[0], family.size[1] + 1))
    draft = Draft(n, family.n_absorbing, n_parameters, _thetas(rng, family, n_parameters))
    inside = _pattern(rng, family.pattern, n)
    exits = [(u, int(rng.choice(draft.absorbing()))) for u in range(1, n + 1)]
    chosen = [pair for pair in exits if rng.random() < 0.3]
    for pair in dict.fromkeys([*inside, *chosen]):
        _weigh(rng, family, draft, pair)
    _release(rng, draft, exits)
    _add_dead_ends(rng, family, draft)
    if discrete:
        _scale_rows(draft)
    _add_start(rng, family, draft, n)
    graph = _assemble(rng, family, draft, discrete)
    rewards = rng.uniform(0.1, 2.0, (2, graph["n_vertices"])) * (
        rng.random((2, graph["n_vertices"])) > 0.25
    )
    times = np.array([1.0, 2.0, 5.0, 16.0]) if discrete else _times(rng, family, draft)
    name = f"{family.name}-{'discrete' if discrete else 'continuous'}-{seed}"
    return Case(name, family, graph, draft.thetas, rewards, times)


def _thetas(rng: np.random.Generator, family: Family, n_parameters: int) -> np.ndarray:
    if n_parameters == 0:
        return np.zeros((1, 0))
    shape = (3, n_parameters)
    if family.negative:
        return rng.integers(32, 129, shape) / 64  # sums of coefficients x theta are exact
    thetas = 10 ** rng.uniform(-family.decades, family.decades, shape)
    if not family.decades:
        thetas = rng.uniform(0.3, 3.0, shape)
    if family.zeros:
        thetas[0, rng.integers(n_parameters)] = 0.0
        thetas[1] *= rng.random(n_parameters) > 0.5
    return thetas


def _pattern(rng: np.random.Generator, kind: str, n: int) -> list[Pair]:
    """Edges between the transient vertices 1 .. n."""
    if kind == "acyclic":
        pairs = [
            (u, int(v)) for u in range(1, n) for v in rng.integers(u + 1, n + 1, rng.integers(1, 4))
        ]
    elif kind == "single":
        ring = [(u, u % n + 1) for u in range(1, n + 1)]
        pairs = ring + [(int(u), int(v)) for u, v in rng.integers(1, n + 1, (n, 2))]
    elif kind == "cyclic":
        pairs = [(int(u), int(v)) for u, v in rng.integers(1, n + 1, (2 * n, 2))]
        pairs += [(u, u + 1) for u in range(1, n)]
    else:
        pairs = _blocks(rng, n)
    return [(u, v) for u, v in dict.fromkeys(pairs) if u != v]


def _blocks(rng: np.random.Generator, n: int) -> list[Pair]:
    """Small components, several of one shape, with edges forward only."""
    pairs: list[Pair] = []
    first = 1
    while first <= n:
        size = min(int(rng.choice([1, 2, 3, 3, 4, 6])), n + 1 - first)
        pairs += [(first + i, first + (i + 1) % size) for i in range(size)]
        if size > 3:
            pairs += [(first, first + 2), (first + 3, first + 1)]
        later = first + size
        if later <= n:
            sources = rng.integers(first, later, 2)
            pairs += [(int(u), int(rng.integers(later, n + 1))) for u in sources]
        first = later
    return pairs


def _weigh(rng: np.random.Generator, family: Family, draft: Draft, pair: Pair) -> None:
    """Give a pair its constant weight, its coefficients, or both."""
    linear = draft.n_parameters and rng.random() < family.parameterised
    size = 10 ** rng.uniform(-family.decades, family.decades) if family.decades else 1.0
    if not linear or family.both_kinds:
        weight = float(rng.uniform(0.2, 2.0) * size)
        draft.add_constant(pair, 0.0 if family.zeros and rng.random() < 0.15 else weight)
    if not linear:
        return
    if family.negative:
        coefficients = _signed(rng, draft)
    else:
        coefficients = rng.uniform(0.1, 1.5, draft.n_parameters) * size
        coefficients *= rng.random(draft.n_parameters) > 0.4
        if not coefficients.any() and not family.zeros:
            coefficients[rng.integers(draft.n_parameters)] = size
    draft.coefficients[pair] = coefficients


def _signed(rng: np.random.Generator, draft: Draft) -> np.ndarray:
    """Coefficients of both signs whose weights are exact and not negative."""
    while True:
        coefficients = rng.integers(-8, 17, draft.n_parameters) / 8
        if (draft.thetas @ coefficients >= 0).all() and coefficients.any():
            return coefficients


def _release(rng: np.random.Generator, draft: Draft, exits: list[Pair]) -> None:
    """Add constant exits until every transient vertex leads to absorption at every theta."""
    pairs = draft.pairs()
    positive = {pair: draft.weights(pair) > 0 for pair in pairs}
    for b in range(len(draft.thetas)):
        while True:
            safe = set(draft.absorbing())
            grown = True
            while grown:
                more = {u for (u, v) in pairs if v in safe and positive[u, v][b]} - safe
                grown = bool(more)
                safe |= more
            stuck = [u for u in range(1, draft.n_transient + 1) if u not in safe]
            if not stuck:
                break
            pair = exits[stuck[-1] - 1]
            draft.add_constant(pair, float(rng.uniform(0.2, 1.0)))
            positive[pair] = draft.weights(pair) > 0
            pairs = draft.pairs()


def _add_dead_ends(rng: np.random.Generator, family: Family, draft: Draft) -> None:
    """Append unreachable vertices and traps, and self loops; absorbing vertices move behind."""
    n, extra = draft.n_transient, family.unreachable + 2 * family.unreachable_trap
    moved = {a: a + extra for a in draft.absorbing()}
    for table in (draft.constants, draft.coefficients):
        for u, v in list(table):
            if v in moved:
                table[u, moved[v]] = table.pop((u, v))
    draft.n_transient += extra
    for u in range(n + 1, n + 1 + family.unreachable):
        draft.add_constant((u, int(rng.integers(1, n + 1))), 1.5)
        draft.add_constant((u, draft.absorbing()[0]), 0.5)
    if family.unreachable_trap:
        a, b = n + extra - 1, n + extra
        draft.add_constant((a, b), 0.7)
        draft.add_constant((b, a), 1.1)
        if family.unreachable:
            draft.add_constant((n + 1, a), 0.3)  # from a vertex that is not reached either
        if family.zeros:
            draft.add_constant((1, a), 0.0)  # or over a weight of zero
    if family.self_loops:
        for u in rng.integers(1, n + 1, 3):
            draft.add_constant((int(u), int(u)), float(rng.uniform(0.1, 1.0)))


def _scale_rows(draft: Draft) -> None:
    """Turn rates into probabilities: powers of two lose nothing, some constant rows sum to 1."""
    rows: dict[int, list[Pair]] = {}
    for pair in draft.pairs():
        rows.setdefault(pair[0], []).append(pair)
    for u, pairs in rows.items():
        total = np.sum([draft.weights(pair) for pair in pairs], axis=0).max()
        linear = any(pair in draft.coefficients for pair in pairs)
        if u % 2 and not linear and total > 0:
            scale = 1.0 / total
        else:
            scale = 2.0 ** -np.ceil(np.log2(total)) if total > 0 else 1.0
        for pair in pairs:
            if pair in draft.constants:
                draft.constants[pair] *= scale
            if pair in draft.coefficients:
                draft.coefficients[pair] = draft.coefficients[pair] * scale


def _add_start(rng: np.random.Generator, family: Family, draft: Draft, reachable: int) -> None:
    """Start edges to one to three vertices, constant or with coefficients, perhaps defective."""
    targets = {1} | {int(v) for v in rng.integers(1, reachable + 1, rng.integers(0, 3))}
    if family.start_absorbing:
        targets.add(draft.absorbing()[-1])
    shares = rng.uniform(0.2, 1.0, len(targets))
    shares *= (0.75 if family.defect else 1.0) / shares.sum()
    linear = family.start_parameterised and draft.n_parameters > 0
    for i, (v, share) in enumerate(zip(sorted(targets), shares, strict=True)):
        if linear and (i == 0 or rng.random() < 0.6):
            coefficients = rng.uniform(0.0, 1.0, draft.n_parameters)
            largest = (draft.thetas @ coefficients).max()
            draft.coefficients[0, v] = coefficients * (share / largest)
        else:
            draft.constants[0, v] = float(share)


def _assemble(
    rng: np.random.Generator, family: Family, draft: Draft, discrete: bool
) -> dict[str, Any]:
    """Shuffle the vertices behind the start and write the dictionary."""
    n = 1 + draft.n_transient + draft.n_absorbing
    place = np.concatenate([[0], 1 + rng.permutation(n - 1)])
    length = int(rng.integers(1, 4))
    codes = rng.integers(1, 4, n) if family.duplicate_states else 1 + rng.permutation(n)
    states = np.array([[code // 5**d % 5 for d in range(length - 1)] + [code] for code in codes])
    states[0] = 0
    constants = [[place[u], place[v], w] for (u, v), w in draft.constants.items() if u]
    linear = [[place[u], place[v], *c] for (u, v), c in draft.coefficients.items() if u]
    start = [[place[v], w] for (u, v), w in draft.constants.items() if not u]
    start_linear = [[place[v], *c] for (u, v), c in draft.coefficients.items() if not u]
    graph = arrays(states, constants, start, linear, start_linear, draft.n_parameters, discrete)
    if rng.random() < 0.5:
        del graph["start_vertex"]  # row 0 is all zeros, so it is the start anyway
    return graph


def _times(rng: np.random.Generator, family: Family, draft: Draft) -> np.ndarray:
    """Four times, each twice the one before; rate x time reaches 1 .. 300, or 1e4 if stiff."""
    rates = np.zeros((1 + draft.n_transient, len(draft.thetas)))
    for u, v in draft.pairs():
        if u != v:
            rates[u] += draft.weights((u, v))
    reach = 1e4 if family.decades else float(rng.choice([1.0, 10.0, 100.0, 300.0]))
    longest = 2.0 ** np.floor(np.log2(reach / rates[1:].max()))
    return longest * np.array([0.125, 0.25, 0.5, 1.0])


def one_parameter_an_edge(kind: str, seed: int) -> Case:
    """A stiff model whose every weight is a parameter, so that gradients are elasticities.

    Parameters
    ----------
    kind : str
        "exit": ordinary weights, exit 1e-18; "link": two halves linked by 1e-12, exit 1e-18;
        "decades": every weight 10^U(-18, 18).
    """
    rng = np.random.default_rng([ord(c) for c in kind] + [seed])
    n = 14
    pairs = {(u, u % n + 1) for u in range(1, n + 1)}
    pairs |= {(int(u), int(v)) for u, v in rng.integers(1, n + 1, (3 * n, 2)) if u != v}
    if kind == "link":
        half = n // 2
        pairs = {(u, v) for u, v in pairs if (u <= half) == (v <= half)}
        pairs |= {(half, 1), (n, half + 1), (1, n), (n, 1)}
    edges = [*sorted(pairs), (n // 2, n + 1)]
    theta = rng.uniform(0.2, 1.0, len(edges))
    if kind == "decades":
        theta = 10 ** rng.uniform(-18.0, 18.0, len(edges))
    else:
        theta[-1] = 1e-18
    if kind == "link":
        theta[[edges.index((1, n)), edges.index((n, 1))]] = 1e-12
    eye = np.eye(len(edges))
    rows = [[u, v, *eye[i]] for i, (u, v) in enumerate(edges)]
    graph = arrays(np.arange(n + 2)[:, None], [], [[1, 1.0]], rows, [], len(edges), False)
    family = Family("one-parameter-an-edge")
    return Case(f"{kind}-{seed}", family, graph, theta[None], np.ones((2, n + 2)), np.ones(1))


def permuted(case: Case, seed: int) -> tuple[Case, np.ndarray]:
    """The same model with its vertices renamed, and the new place of each old vertex."""
    rng = np.random.default_rng(seed)
    graph = dict(case.graph)
    n = graph["n_vertices"]
    place = np.concatenate([[0], 1 + rng.permutation(n - 1)])
    back = np.argsort(place)
    graph["states"] = graph["states"][back]
    for name, columns in (("edges", 2), ("param_edges", 2), ("start_edges", 1)):
        table = graph[name].copy()
        if table.size:
            table[:, :columns] = place[table[:, :columns].astype(int)]
            graph[name] = table[rng.permutation(len(table))]
    table = graph["start_param_edges"].copy()
    if table.size:
        table[:, 0] = place[table[:, 0].astype(int)]
        graph["start_param_edges"] = table
    return replace(case, graph=graph, rewards=case.rewards[:, back]), place


def scaled(case: Case, factor: float) -> Case:
    """The same continuous model with every rate multiplied."""
    graph = dict(case.graph)
    for name in ("edges", "param_edges"):
        table = graph[name].copy()
        if table.size:
            table[:, 2:] *= factor
        graph[name] = table
    return replace(case, graph=graph, times=case.times / factor)


def trapped_graphs() -> Iterator[tuple[str, dict[str, Any], np.ndarray, list[int]]]:
    """(name, graph, theta, trapped vertices) of models whose expectation is infinite."""
    states = np.array([[0], [1], [2], [3], [4]])
    for discrete in (False, True):
        kind = "discrete" if discrete else "continuous"
        ring = [[1, 2, 0.5], [1, 4, 0.25], [2, 3, 0.5], [3, 2, 0.5]]
        graph = arrays(states, ring, [[1, 1.0]], [], [], 0, discrete)
        yield f"structural-{kind}", graph, np.zeros(0), [2, 3]
        leak = [[3, 4, 0.5]]
        graph = arrays(states, ring, [[1, 1.0]], leak, [], 1, discrete)
        yield f"zero-theta-{kind}", graph, np.zeros(1), [2, 3]
        graph = arrays(states, [*ring, [3, 4, 0.0]], [[1, 1.0]], [], [], 0, discrete)
        yield f"zero-weight-{kind}", graph, np.zeros(0), [2, 3]
        single = [[1, 2, 0.5], [1, 4, 0.25], [3, 4, 0.5]]
        graph = arrays(states, single, [[1, 1.0]], [[2, 4, 1.0]], [], 1, discrete)
        yield f"single-{kind}", graph, np.zeros(1), [2]

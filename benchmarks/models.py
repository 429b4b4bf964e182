"""The models of the benchmark, as callbacks that every contender can read.

A callback takes a state and returns ``[(next_state, coefficients), ...]``: the rate of a transition
is the product of its coefficients with theta. Nothing here imports a contender.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Transitions = list[tuple[list[int], list[float]]]


@dataclass(frozen=True)
class Model:
    """A model: its callback, its start state and the range that parameters are drawn from."""

    title: str
    callback: Callable[..., Transitions]
    start: list[int]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def thetas(self, count: int) -> np.ndarray:
        """Return parameter vectors, shape (count, param_length); the same in every process."""
        generator = np.random.default_rng(2026)
        return generator.uniform(self.low, self.high, (count, len(self.low)))


def kingman_blocks(n: int) -> Model:
    """Kingman's coalescent of n lineages: how many blocks there are of each size."""

    def callback(state: list[int]) -> Transitions:
        found: Transitions = []
        for i, j, pairs in _pairs(state):
            child = [int(count) for count in state]
            child[i] -= 1
            child[j] -= 1
            child[i + j + 1] += 1
            found.append((child, [pairs]))
        return found

    return Model(f"Kingman blocks n={n}", callback, [n] + [0] * (n - 1), (0.5,), (1.5,))


def island_lineages(n: int) -> Model:
    """Two islands, n lineages on the first at the start: how many lineages on each."""

    def callback(state: list[int]) -> Transitions:
        a, b = (int(count) for count in state)
        if a + b == 1:
            return []
        every: Transitions = [
            ([a - 1, b], [a * (a - 1) / 2, 0.0, 0.0]),
            ([a, b - 1], [0.0, b * (b - 1) / 2, 0.0]),
            ([a - 1, b + 1], [0.0, 0.0, float(a)]),
            ([a + 1, b - 1], [0.0, 0.0, float(b)]),
        ]
        return [(child, rates) for child, rates in every if any(rates)]

    return Model(f"islands, lineages n={n}", callback, [n, 0], (0.5,) * 3, (1.5,) * 3)


def island_blocks(n: int) -> Model:
    """Two islands, n lineages on the first at the start: blocks of each size on each."""

    def callback(state: list[int]) -> Transitions:
        if sum(state) == 1:
            return []
        found: Transitions = []
        for here in (0, n):
            for i, j, pairs in _pairs(state[here : here + n]):
                child = [int(count) for count in state]
                child[here + i] -= 1
                child[here + j] -= 1
                child[here + i + j + 1] += 1
                found.append((child, [0.0 if here else pairs, pairs if here else 0.0, 0.0]))
            for i in range(here, here + n):
                if state[i] > 0:
                    child = [int(count) for count in state]
                    child[i] -= 1
                    child[(i + n) % (2 * n)] += 1
                    found.append((child, [0.0, 0.0, float(state[i])]))
        return found

    start = [n] + [0] * (2 * n - 1)
    return Model(f"islands, blocks n={n}", callback, start, (0.5,) * 3, (1.5,) * 3)


def random_components(size: int, blocks: int = 1, degree: int = 4) -> Model:
    """A chain of random strongly connected components, ``degree`` edges out of each state."""
    generator = np.random.default_rng(2026)
    edges: list[Transitions] = [[] for _ in range(size * blocks)]

    def add(source: int, target: int, parameter: int, weight: float) -> None:
        rates = [0.0, 0.0, 0.0]
        rates[parameter] = weight
        edges[source].append(([target + 1], rates))

    for block in range(blocks):
        first = block * size
        for i in range(size):
            targets = {(i + 1) % size}  # a cycle through all of them keeps the block connected
            while len(targets) < min(degree, size - 1):
                targets.add(int(generator.choice(np.delete(np.arange(size), i))))
            for target in sorted(targets):
                parameter = int(generator.integers(3))
                add(first + i, first + target, parameter, generator.uniform(0.2, 1.0))
        for i in range(0, size, max(1, size // 5)):
            last = block == blocks - 1
            target = size * blocks if last else first + size + int(generator.integers(size))
            add(first + i, target, 0, generator.uniform(0.1, 0.5))

    def callback(state: list[int]) -> Transitions:
        row = int(state[0]) - 1
        return edges[row] if row < len(edges) else []

    title = f"random SCC {size}" if blocks == 1 else f"{blocks} random SCCs x {size}"
    title = title if degree < size - 1 else f"complete SCC {size}"
    return Model(title, callback, [1], (0.5,) * 3, (1.5,) * 3)


def first_passage(n: int) -> Model:
    """M/M/1 queue, first passage from 0 to n customers; it fills faster than it empties.

    The other way round the mean grows like (service / arrival)^n, and double precision solvers
    with cancellation lose every digit: there would be nothing to compare with.
    """

    def callback(state: list[int]) -> Transitions:
        customers = int(state[0]) - 1
        if customers == n:
            return []
        served: Transitions = [([customers], [0.0, 1.0])] if customers else []
        return [([customers + 2], [1.0, 0.0]), *served]

    return Model(f"M/M/1 0 -> {n}", callback, [1], (1.0, 0.5), (1.5, 1.0))


def lattice(side: int) -> Model:
    """A walk on a square lattice from one corner, absorbed at the opposite one."""

    def callback(state: list[int]) -> Transitions:
        x, y = (int(coordinate) for coordinate in state)
        if x > side:
            return []
        steps = ((1, 0, [1.0, 0.0]), (-1, 0, [0.0, 1.0]), (0, 1, [1.0, 0.0]), (0, -1, [0.0, 1.0]))
        inside = [
            ([x + dx, y + dy], rates)
            for dx, dy, rates in steps
            if 1 <= x + dx <= side and 1 <= y + dy <= side
        ]
        return [*inside, ([side + 1, side + 1], [1.0, 0.0])] if x == y == side else inside

    return Model(f"lattice {side} x {side}", callback, [1, 1], (0.7, 0.7), (1.3, 1.3))


def _pairs(blocks: list[int]) -> list[tuple[int, int, float]]:
    """Return the pairs of block sizes that can merge, with the number of such pairs of blocks."""
    present = [i for i, count in enumerate(blocks) if count > 0]
    return [
        (i, j, float(blocks[i] * (blocks[i] - 1) / 2 if i == j else blocks[i] * blocks[j]))
        for i in present
        for j in present
        if i < j or (i == j and blocks[i] > 1)
    ]


MODELS: dict[str, Callable[[], Model]] = {
    "kingman-20": lambda: kingman_blocks(20),
    "lineages-43": lambda: island_lineages(43),
    "lineages-98": lambda: island_lineages(98),
    "blocks-12": lambda: island_blocks(12),
    "scc-100": lambda: random_components(100),
    "chain-50x40": lambda: random_components(40, 50),
    "mm1-1000": lambda: first_passage(1000),
    "scc-500": lambda: random_components(500),
    "scc-1000": lambda: random_components(1000),
    "lattice-32": lambda: lattice(32),
    "complete-200": lambda: random_components(200, degree=199),
    "chain-50x200": lambda: random_components(200, 50),
}
"""The models of the table, by the name that selects them."""

QUICK = ("kingman-20", "lineages-43", "scc-100", "chain-50x40", "mm1-1000")
"""The models of a quick run."""

FAMILIES: dict[str, tuple[Callable[[int], Model], tuple[int, ...]]] = {
    "lattice": (lattice, (8, 16, 32, 64)),
    "random SCC": (random_components, (50, 100, 200, 400, 800)),
    "islands, lineages": (island_lineages, (10, 20, 40, 80)),
}
"""How cost grows: a builder and its sizes."""


def find(name: str) -> Model:
    """Return the model of a name of `MODELS`, or of ``family:size``."""
    if name in MODELS:
        return MODELS[name]()
    family, _, size = name.partition(":")
    return FAMILIES[family][0](int(size))

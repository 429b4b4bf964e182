"""Named models as serialized graphs: closed forms, queues, coalescents, the reset lattice.

1. `serialized` assembles the section-3 dictionary from plain edges; row 0 is the start.
2. `explored` walks a transition function breadth first, as a user's callback would be.
3. Each named model says what is known about it in its first line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

State = tuple[int, ...]
Weight = float | Sequence[float]
Edges = Mapping[tuple[int, int], Weight]


def serialized(
    states: Sequence[State],
    start: Mapping[int, Weight],
    edges: Edges,
    *,
    param_length: int = 0,
    discrete: bool = False,
) -> dict[str, Any]:
    """Serialized graph; `states` leaves out the start, whose row 0 is put in front.

    Vertices count from 1 in `start` and `edges`; a weight that is a sequence holds coefficients.
    """
    rows = np.array([(0,) * len(states[0]), *states], dtype=np.int32)
    constant = [[u, v, w] for (u, v), w in edges.items() if np.ndim(w) == 0]
    linear = [[u, v, *w] for (u, v), w in edges.items() if np.ndim(w) == 1]
    start_constant = [[v, w] for v, w in start.items() if np.ndim(w) == 0]
    start_linear = [[v, *w] for v, w in start.items() if np.ndim(w) == 1]
    return arrays(rows, constant, start_constant, linear, start_linear, param_length, discrete)


def arrays(
    states: np.ndarray,
    edges: Sequence[Sequence[float]],
    start_edges: Sequence[Sequence[float]],
    param_edges: Sequence[Sequence[float]],
    start_param_edges: Sequence[Sequence[float]],
    param_length: int,
    discrete: bool,
) -> dict[str, Any]:
    """The section-3 dictionary with the dtypes and shapes of the contract."""

    def table(rows: Sequence[Sequence[float]], columns: int) -> np.ndarray:
        return np.array(rows, dtype=np.float64).reshape(-1, columns)

    none = np.zeros((0, 0))
    return {
        "states": np.asarray(states, dtype=np.int32),
        "edges": table(edges, 3),
        "start_edges": table(start_edges, 2),
        "param_edges": table(param_edges, 2 + param_length) if param_length else none,
        "start_param_edges": table(start_param_edges, 1 + param_length) if param_length else none,
        "param_length": param_length,
        "state_length": int(states.shape[1]),
        "n_vertices": int(states.shape[0]),
        "is_discrete": discrete,
        "start_vertex": 0,
    }


def explored(
    start: Mapping[State, Weight],
    step: Callable[[State], Mapping[State, Weight]],
    *,
    param_length: int = 0,
    discrete: bool = False,
) -> dict[str, Any]:
    """Serialized graph of all states that `step` leads to, breadth first."""
    index = {state: i + 1 for i, state in enumerate(start)}
    waiting = list(start)
    edges: dict[tuple[int, int], Weight] = {}
    for state in waiting:
        for target, weight in step(state).items():
            if target not in index:
                index[target] = len(index) + 1
                waiting.append(target)
            edges[index[state], index[target]] = weight
    first = {index[state]: weight for state, weight in start.items()}
    return serialized(waiting, first, edges, param_length=param_length, discrete=discrete)


def erlang(k: int) -> dict[str, Any]:
    """k phases of rate theta_0: mean k / theta, density of the gamma distribution."""
    edges = {(i, i + 1): [1.0] for i in range(1, k + 1)}
    return serialized([(i,) for i in range(1, k + 2)], {1: 1.0}, edges, param_length=1)


def negative_binomial(k: int) -> dict[str, Any]:
    """k successes of probability theta_0: mean k / p, variance k (1 - p) / p^2."""
    return {**erlang(k), "is_discrete": True}


def coxian(k: int) -> dict[str, Any]:
    """k phases; theta = (k rates onward, of which the last one absorbs, then k - 1 exit rates)."""
    eye = np.eye(2 * k - 1)
    edges: dict[tuple[int, int], Weight] = {(i, i + 1): eye[i - 1] for i in range(1, k)}
    edges[k, k + 1] = eye[k - 1]
    edges.update({(i, k + 1): eye[k - 1 + i] for i in range(1, k)})
    states = [(i,) for i in range(1, k + 2)]
    return serialized(states, {1: 1.0}, edges, param_length=2 * k - 1)


def mm1k(capacity: int) -> dict[str, Any]:
    """Busy period of an M/M/1/K queue that starts with one customer; theta = (arrival, service)."""

    def step(state: State) -> dict[State, Weight]:
        (customers,) = state
        if customers == 0:
            return {}
        down = {(customers - 1,): [0.0, 1.0]}
        return down | ({(customers + 1,): [1.0, 0.0]} if customers < capacity else {})

    graph = explored({(1,): 1.0}, step, param_length=2)
    graph["states"][1:] += 1  # the empty queue is not the start
    return graph


def kingman(n: int) -> dict[str, Any]:
    """Block-counting coalescent of n samples, pair rate theta_0; column i: blocks of size i + 1."""

    def step(state: State) -> dict[State, Weight]:
        found: dict[State, Weight] = {}
        for i in range(n):
            for j in range(i, n):
                pairs = state[i] * (state[i] - 1) // 2 if i == j else state[i] * state[j]
                if pairs:
                    target = list(state)
                    target[i] -= 1
                    target[j] -= 1
                    target[i + j + 1] += 1
                    found[tuple(target)] = [float(pairs)]
        return found

    return explored({(n, *[0] * (n - 1)): 1.0}, step, param_length=1)


def two_islands(n: int) -> dict[str, Any]:
    """n lineages on island 1 of 2, theta = (pair rate 1, pair rate 2, migration 1>2, 2>1)."""

    def step(state: State) -> dict[State, Weight]:
        a, b = state
        if a + b == 1:
            return {}
        found: dict[State, Weight] = {}
        if a > 1:
            found[a - 1, b] = [a * (a - 1) / 2, 0.0, 0.0, 0.0]
        if b > 1:
            found[a, b - 1] = [0.0, b * (b - 1) / 2, 0.0, 0.0]
        if a:
            found[a - 1, b + 1] = [0.0, 0.0, float(a), 0.0]
        if b:
            found[a + 1, b - 1] = [0.0, 0.0, 0.0, float(b)]
        return found

    return explored({(n, 0): 1.0}, step, param_length=4)


def random_scc(n: int, seed: int, degree: int = 3) -> dict[str, Any]:
    """One strongly connected component of n vertices, parameters (inner scale, exit scale)."""
    rng = np.random.default_rng(seed)
    edges: dict[tuple[int, int], Weight] = {}
    for u in range(1, n + 1):
        for v in {u % n + 1, *(rng.integers(1, n + 1, degree - 1).tolist())} - {u}:
            edges[u, v] = [rng.uniform(0.2, 1.0), 0.0]
    for u in rng.choice(n, size=max(1, n // 8), replace=False) + 1:
        edges[int(u), n + 1] = [0.0, rng.uniform(0.2, 1.0)]
    states = [(i,) for i in range(1, n + 2)]
    return serialized(states, {1: 1.0}, edges, param_length=2)


def reset_lattice(side: int, seed: int = 0) -> dict[str, Any]:
    """A lattice in one component: steps right and down, resets to the start of the row or column.

    All weights are ordinary, U[0.2, 1]; only the far corner leads to absorption, so the expected
    time is huge and a factorisation that subtracts loses every digit of it.
    """
    rng = np.random.default_rng(seed)

    def vertex(i: int, j: int) -> int:
        return 1 + i * side + j

    edges: dict[tuple[int, int], Weight] = {}
    for i in range(side):
        for j in range(side):
            targets = [(i + 1, j), (i, j + 1), (0, j), (i, 0)]
            for a, b in targets:
                if (a, b) != (i, j) and a < side and b < side:
                    edges[vertex(i, j), vertex(a, b)] = rng.uniform(0.2, 1.0)
    edges[vertex(side - 1, side - 1), side * side + 1] = rng.uniform(0.2, 1.0)
    states = [(i + 1, j + 1) for i in range(side) for j in range(side)]
    return serialized([*states, (side + 1, side + 1)], {1: 1.0}, edges)

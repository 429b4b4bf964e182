"""Joint moments and transforms of a serialized model in certified balls, with derivatives in theta.

1. Joint moments go backwards, by vertex: M_a solves the model's system with the moments below a.
2. Transforms solve the system of the chain killed at each step or at each moment.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from oracle import Chain, _rewards
from oracle_jets import Jet, Solver, certified, constant, diagonal, identity


def joint_moment(
    graph: Mapping[str, Any],
    theta: Sequence[float],
    rewards: np.ndarray,
    powers: Sequence[int],
    order: int = 0,
) -> list[np.ndarray]:
    """E[prod Y_i^k_i] and its derivatives in theta up to ``order``."""

    def compute() -> Jet:
        chain = Chain(graph, theta, order)
        chain.refuse_traps()
        solver, n = Solver(chain.system()), len(chain.kept)
        columns = [diagonal(r) for r in _rewards(rewards, chain, None)]
        step = identity(n) - chain.system()
        found = {tuple(0 for _ in powers): constant([[1]] * n)}
        after = dict(found)  # P M; M_0 is 1 on absorbing vertices too
        for at in itertools.product(*(range(k + 1) for k in powers)):
            if not any(at):
                continue
            right = constant([[0]] * n)
            for below in found:
                gap = [a - b for a, b in zip(at, below, strict=True)]
                if min(gap) < 0 or (not chain.discrete and sum(gap) != 1):
                    continue
                term = after[below] if chain.discrete else found[below]
                for r, c in zip(columns, gap, strict=True):
                    for _ in range(c):
                        term = r @ term
                ways = math.prod(math.comb(a, b) for a, b in zip(at, below, strict=True))
                right = right + term.scale(arb(ways))
            found[at] = solver.solve(right)
            after[at] = step @ found[at]
        return chain.start_over(chain.kept) @ found[tuple(powers)]

    return [a[0, 0] for a in certified(compute, len(theta))]


def transform(
    graph: Mapping[str, Any],
    theta: Sequence[float],
    s: Sequence[float],
    rewards: np.ndarray,
    order: int = 0,
) -> list[np.ndarray]:
    """E[exp(-s_1 Y_1 - s_2 Y_2 - ..); absorbed] and its derivatives; s may be negative."""

    def compute() -> Jet:
        chain = Chain(graph, theta, order)
        chain.refuse_undefined()
        everyone, n = list(range(chain.n)), len(chain.kept)
        rate = constant([[0]] * n)
        for x, r in zip(s, _rewards(rewards, chain, None), strict=True):
            rate = rate + r.scale(arb(float(x)))
        ends = chain.exits() @ constant([[1]] * len(chain.absorbing))
        system = chain.system()
        if chain.discrete:
            factor = diagonal(Jet({(): _exponential(rate)}))
            ends = factor @ ends
            system = identity(n) - factor @ (identity(n) - system)
        else:
            system = system + diagonal(rate)
        inside = Solver(system).solve(ends)
        one = constant([[1]])
        start = chain.start_over(everyone) @ constant([[1]] * chain.n)
        at_once = chain.start_over(chain.absorbing) @ constant([[1]] * len(chain.absorbing))
        return one - start + at_once + chain.start_over(chain.kept) @ inside

    return [a[0, 0] for a in certified(compute, len(theta))]


def _exponential(rate: Jet) -> Any:
    column = rate.parts[()]
    return type(column)(column.nrows(), 1, [(-x).exp() for x in column.entries()])

"""Moments of rewards over a finite time, as state probabilities of larger models.

1. Copies of the model, its levels, are joined by edges of rate r(v) from a vertex to its copy one
   level up. If leaving v did not become faster by r(v), the mass of level l at time t would be
   ``E[Y^l / l!; state]`` (Van Loan 1978: the exponential of a block triangular matrix).
2. To be a process that loses mass rather than gains it, every vertex is killed in addition, so that
   stepping up and being killed have the same total rate c everywhere: all masses are then
   exp(-c t) times what they should be. Everything stays non-negative, nothing is subtracted.
3. Rewards are rescaled for c t = 1, which costs a factor e and no accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from phasic._derived import Indices, Terms


@dataclass(frozen=True)
class Ladder:
    """A model of several levels, and where its masses are.

    Parameters
    ----------
    terms : Terms
        The model. Its parameters are theta; a start weight for each level and vertex; and what the
        function that made it says.
    levels : array, shape (n_levels, n_inside)
        The copies of the model's vertices.
    collectors : array, shape (n_collectors,)
        Vertices that only collect.
    """

    terms: Terms
    levels: Indices
    collectors: Indices


def _levels(terms: Terms, inside: Indices, n_levels: int, n_collectors: int) -> Ladder:
    """Return unconnected copies of the edges between ``inside``, free to start, and collectors."""
    m = len(inside)
    place = np.zeros(terms.n_vertices, np.int64)
    place[inside] = 1 + np.arange(m)
    within = (place[terms.source] > 0) & (place[terms.target] > 0) & (terms.source != terms.target)
    part = terms.where(within)
    shifts = m * np.arange(n_levels)[:, None]
    copies = replace(
        part,
        states=np.zeros((2 + n_levels * m + n_collectors, 1), np.int32),
        source=(place[part.source] + shifts).reshape(-1),
        target=(place[part.target] + shifts).reshape(-1),
        parameter=np.tile(part.parameter, n_levels),
        value=np.tile(part.value, n_levels),
    )
    levels = 1 + np.arange(n_levels * m).reshape(n_levels, m)
    collectors = 1 + n_levels * m + np.arange(n_collectors)
    return Ladder(copies.with_parameters(0, levels), levels, collectors)


def _exits(terms: Terms, inside: Indices, sources: Indices, target: int, onto: Terms) -> Terms:
    """Return ``onto`` with the edges out of ``inside``, taken to ``target`` from other sources."""
    place = np.full(terms.n_vertices, -1)
    place[inside] = sources
    out = (place[terms.source] >= 0) & ~np.isin(terms.target, inside)
    part = terms.where(out)
    return replace(
        onto,
        source=np.concatenate([onto.source, place[part.source]]),
        target=np.concatenate([onto.target, np.full(len(part.source), target)]),
        parameter=np.concatenate([onto.parameter, part.parameter]),
        value=np.concatenate([onto.value, part.value]),
    )


def power_ladder(terms: Terms, inside: Indices, order: int) -> Ladder:
    """Return the model of moments 0..order of one reward; a collector a level gets the absorbed.

    Further parameters: rewards r (n_inside), c - r (n_inside), c.
    """
    m = len(inside)
    ladder = _levels(terms, inside, order + 1, order + 1)
    grown, killed = ladder.terms, ladder.terms.n_vertices - 1
    for level, collector in zip(ladder.levels, ladder.collectors, strict=True):
        grown = _exits(terms, inside, level, int(collector), grown)
    reward = grown.param_length + np.arange(m)
    grown = grown.with_edges(ladder.levels[:-1], ladder.levels[1:], reward)
    grown = grown.with_edges(ladder.levels[:-1], killed, reward + m)
    last = np.concatenate([ladder.levels[-1], ladder.collectors])
    return replace(ladder, terms=grown.with_edges(last, killed, int(reward[0]) + 2 * m))


def pair_ladder(terms: Terms, inside: Indices, n_rewards: int) -> Ladder:
    """Return the model of one reward earned before each of several; a collector for each of those.

    Further parameters: the first reward r (n_inside), c - r (n_inside), the rewards that come later
    (n_rewards, n_inside), c minus their sum (n_inside), c. What is absorbed is killed.
    """
    m = len(inside)
    ladder = _levels(terms, inside, 2, n_rewards)
    grown, killed = ladder.terms, ladder.terms.n_vertices - 1
    lower, upper = ladder.levels
    for level in ladder.levels:
        grown = _exits(terms, inside, level, killed, grown)
    reward = grown.param_length + np.arange(m)
    grown = grown.with_edges(lower, upper, reward).with_edges(lower, killed, reward + m)
    later = int(reward[0]) + 2 * m + np.arange(n_rewards * m).reshape(n_rewards, m)
    grown = grown.with_edges(upper, ladder.collectors[:, None], later)
    rest = int(reward[0]) + (2 + n_rewards) * m
    grown = grown.with_edges(upper, killed, rest + np.arange(m))
    return replace(ladder, terms=grown.with_edges(ladder.collectors, killed, rest + m))


__all__ = ["Ladder", "pair_ladder", "power_ladder"]

"""The graph of an accumulated reward, its weights evaluated at numbers.

The native side lists the terms of every weight (see ``phasic/transform.h``). Here they are summed:
edge weights of the model times probabilities of leaving the vertices without reward, which the same
subtraction-free elimination gives as the moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._concrete import link
from phasic._zero_parts import ZeroParts

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_CHUNK = 256  # rows evaluated at once


@dataclass(frozen=True)
class RewardTerms:
    """What the weights of a reward's graph are sums of; each array has one entry a term."""

    direct_weight: Integers
    direct_edge: Integers
    through_weight: Integers
    through_edge: Integers
    through_entry: Integers
    through_vertex: Integers
    rest_weight: Integers
    rest_of: Integers
    scale: Floats  # (n_weights,)

    @classmethod
    def of(cls, plan: dict[str, Any]) -> Self:
        """Return the terms among the results of ``_core.reward_graph``."""
        return cls(**{name: plan[name] for name in cls.__dataclass_fields__})


def reward_graph(graph: _core.Graph, rewards: Floats) -> _core.Graph:
    """Return the graph whose absorption time is the reward accumulated in a graph of numbers.

    Raises
    ------
    ValueError
        If a reward is negative, not finite or, in discrete time, not a whole number.
    """
    plan = _core.reward_graph(graph, rewards)
    terms = RewardTerms.of(plan)
    _, _, model, *_ = _core.linear_forms(graph)
    weights = _through(plan, terms, model)
    np.add.at(weights, terms.direct_weight, model[terms.direct_edge])
    weights *= terms.scale
    if terms.rest_weight.size:
        moved = np.bincount(terms.rest_weight, weights[terms.rest_of], len(weights))
        rest = np.unique(terms.rest_weight)
        weights[rest] = np.maximum(1.0 - moved[rest], 0.0)
    return _core.instantiate(plan["graph"], weights)


def _through(plan: dict[str, Any], terms: RewardTerms, model: Floats) -> Floats:
    """Return the part of each weight that leads through vertices without reward."""
    total = np.zeros(len(terms.scale))
    if len(plan["entry"]) == 0:
        return total
    parts = ZeroParts.of(plan)
    trace = link(parts.graph)
    row = parts.row[terms.through_entry]
    order = np.argsort(row, kind="stable")
    n_rows = len(parts.weight)
    ends = np.searchsorted(row[order], np.arange(0, n_rows + _CHUNK, _CHUNK))
    for chunk, first in enumerate(range(0, n_rows, _CHUNK)):
        theta = parts.starts[first : first + _CHUNK]
        leaving, _, status = _core.evaluate(trace, "absorption", theta)
        if status.any() or leaving is None:
            bad = int(np.argmax(status != 0))
            raise ValueError(_core.explain(trace, "absorption", int(status[bad]), theta[bad]))
        ways = order[ends[chunk] : ends[chunk + 1]]
        share = leaving[row[ways] - first, parts.end[ways]] / parts.weight[row[ways]]
        part = model[terms.through_edge[ways]] * share
        total += np.bincount(terms.through_weight[ways], part, len(total))
    return total


__all__ = ["RewardTerms", "reward_graph"]

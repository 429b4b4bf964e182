"""Probabilities of leaving the vertices without reward, many entries at a time.

1. Vertices without reward that no edges between them join never meet. Each such part gets absorbing
   vertices of its own, so parts do not mix what leaves them.
2. One evaluation then starts in one entry of every part at once: there are as many rows as the part
   with most entries has, instead of one row an entry.
3. The start weights of a row are one power of two, so dividing by it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._derived import Indices, Terms


@dataclass(frozen=True)
class ZeroParts:
    """The vertices without reward, as a graph whose parts have ends of their own.

    Parameters
    ----------
    graph
        Its parameters are those of the model, then a start weight for each entry.
    part : array, shape (n_vertices of graph,)
        Number of the part of each vertex, -1 for the starting vertex.
    row, entry_part : array, shape (n_entries,)
        The row that starts in an entry, and the part that this is in.
    weight : array, shape (n_rows,)
        Start weights of the rows.
    end : array, shape (n_through,)
        The vertex of ``graph`` that each of the plan's ways through ends in.
    """

    graph: _core.Graph
    part: Indices
    row: Indices
    entry_part: Indices
    weight: npt.NDArray[np.float64]
    end: Indices

    @classmethod
    def of(cls, plan: dict[str, Any]) -> ZeroParts:
        """Return the parts of what ``_core.reward_graph`` returned."""
        terms = Terms.of(plan["zero_graph"])
        entry: Indices = plan["entry"]
        n = terms.n_vertices
        gone = np.unique(terms.source[terms.source > 0])
        place = np.full(n, -1)
        place[gone] = np.arange(len(gone))
        source, target = place[terms.source], place[terms.target]
        inner = (source >= 0) & (target >= 0)
        part = _parts(len(gone), source[inner], target[inner])
        out = (source >= 0) & (target < 0)
        keys, copy = np.unique(part[source[out]] * n + terms.target[out], return_inverse=True)
        first_copy = 1 + len(gone)
        new_target = 1 + target
        new_target[out] = first_copy + copy.reshape(-1)
        made = Terms(
            np.zeros((first_copy + len(keys), 1), np.int32),
            1 + source,
            new_target,
            terms.parameter,
            terms.value,
            terms.param_length,
            terms.is_discrete,
        )
        entry_part = part[place[entry]]
        order = np.argsort(entry_part, kind="stable")
        begins = np.searchsorted(entry_part[order], entry_part[order])
        row = np.empty(len(entry), np.int64)
        row[order] = np.arange(len(entry)) - begins
        weight = 0.5 ** np.ceil(np.log2(np.bincount(row)))
        ends = entry_part[plan["through_entry"]] * n + plan["through_vertex"]
        return cls(
            made.graph(),
            np.concatenate([[-1], part, keys // n]),
            row,
            entry_part,
            weight,
            first_copy + np.searchsorted(keys, ends),
        )

    @cached_property
    def starts(self) -> npt.NDArray[np.float64]:
        """Start weights (n_rows, n_entries)."""
        table = np.zeros((len(self.weight), len(self.row)))
        table[self.row, np.arange(len(self.row))] = self.weight[self.row]
        return table


def _parts(n: int, source: Indices, target: Indices) -> Indices:
    """Return the number of the connected part of each of n vertices, edges taken both ways."""
    root = np.arange(n)
    while True:
        low = np.minimum(root[source], root[target])
        high = np.maximum(root[source], root[target])
        if (low == high).all():
            return np.unique(root, return_inverse=True)[1].reshape(-1)
        np.minimum.at(root, high, low)
        while (root != root[root]).any():
            root = root[root]


__all__ = ["ZeroParts"]

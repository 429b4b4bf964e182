"""A graph as flat arrays, so that whole graphs are transformed by vectorised NumPy.

1. One row an edge: source, target and the weight as a linear form (constant, c1, c2, ...).
2. Parallel rows may occur while a table is put together; `EdgeTable.build` adds them up.
3. `EdgeTable.build` hands the arrays to the native reader, which checks every rule of a graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from phasic import _core

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EdgeTable:
    """States and edges of a graph whose vertex 0 is the starting vertex.

    Parameters
    ----------
    states : array, int, shape (n_vertices, state_length)
    source, target : array, int, shape (n_edges,)
    weight : array, shape (n_edges, 1 + param_length)
        The constant part, then the coefficients of theta.
    discrete : bool
        Whether time is counted in steps.
    """

    states: npt.NDArray[Any]
    source: Integers
    target: Integers
    weight: Floats
    discrete: bool = False

    @classmethod
    def of(cls, graph: _core.Graph) -> Self:
        """Return the table of a finished graph, rows sorted by (source, target)."""
        fields = graph.to_arrays()
        n_params = int(fields["param_length"])
        names = ("start_edges", "edges", "start_param_edges", "param_edges")
        parts = [
            _rows(fields[name], n_params, "start" in name, "param" in name)
            for name in names[: 4 if n_params else 2]
        ]
        source, target, weight = (np.concatenate(x) for x in zip(*parts, strict=True))
        return cls(fields["states"], source, target, weight, graph.is_discrete).merged()

    @property
    def n_vertices(self) -> int:
        """Number of vertices, the starting vertex included."""
        return len(self.states)

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return int(self.weight.shape[1]) - 1

    @property
    def is_absorbing(self) -> npt.NDArray[np.bool_]:
        """Which vertices lead nowhere else, (n_vertices,)."""
        absorbing = np.ones(self.n_vertices, bool)
        absorbing[self.source[self.source != self.target]] = False
        absorbing[0] = False
        return absorbing

    def merged(self) -> Self:
        """Return the table with parallel rows added up, sorted by (source, target)."""
        key = self.source * self.n_vertices + self.target
        unique, row = np.unique(key, return_inverse=True)
        weight = np.zeros((len(unique), self.weight.shape[1]))
        np.add.at(weight, row, self.weight)
        source, target = np.divmod(unique, max(self.n_vertices, 1))
        return replace(self, source=source, target=target, weight=weight)

    def chosen(self, rows: npt.NDArray[Any]) -> Self:
        """Return the table with some of its edges only, given by mask or index."""
        return replace(
            self, source=self.source[rows], target=self.target[rows], weight=self.weight[rows]
        )

    def without_loops(self) -> Self:
        """Return the table without self loops."""
        return self.chosen(self.source != self.target)

    def reached_from_start(self) -> Self:
        """Return the table with a start edge of weight 0 to every vertex without one."""
        missing = np.setdiff1d(np.arange(1, self.n_vertices), self.target[self.source == 0])
        return replace(
            self,
            source=np.concatenate([np.zeros(len(missing), np.int64), self.source]),
            target=np.concatenate([missing, self.target]),
            weight=np.concatenate([np.zeros((len(missing), self.weight.shape[1])), self.weight]),
        )

    def build(self) -> _core.Graph:
        """Return the finished graph.

        Raises
        ------
        ValueError
            If the edges break a rule of graphs.
        """
        table = self.merged()
        linear = (table.weight[:, 1:] != 0).any(axis=1)
        constant = (table.weight[:, 0] != 0) | ~linear
        start = table.source == 0
        ends = np.stack([table.source, table.target], axis=1).astype(np.float64)
        fields: dict[str, Any] = {
            "edges": np.hstack([ends, table.weight[:, :1]])[constant & ~start],
            "start_edges": np.hstack([ends[:, 1:], table.weight[:, :1]])[constant & start],
        }
        if self.n_params:
            forms = np.hstack([ends, table.weight[:, 1:]])
            fields["param_edges"] = forms[linear & ~start]
            fields["start_param_edges"] = forms[linear & start, 1:]
        else:
            fields["param_edges"] = fields["start_param_edges"] = np.zeros((0, 0))
        return _core.Graph.from_arrays(
            fields
            | {
                "states": np.ascontiguousarray(self.states, dtype=np.int32),
                "n_vertices": self.n_vertices,
                "state_length": self.states.shape[1],
                "param_length": self.n_params,
                "start_vertex": 0,
                "is_discrete": self.discrete,
            }
        )


def _rows(
    array: Floats, n_params: int, is_start: bool, is_linear: bool
) -> tuple[Integers, Integers, Floats]:
    """Return (source, target, linear form) of the rows of one serialized array."""
    ends = 1 if is_start else 2
    source = np.zeros(len(array)) if is_start else array[:, 0]
    weight = np.zeros((len(array), 1 + n_params))
    weight[:, slice(1, None) if is_linear else slice(0, 1)] = array[:, ends:]
    return source.astype(np.int64), array[:, ends - 1].astype(np.int64), weight


__all__ = ["EdgeTable", "Floats", "Integers"]

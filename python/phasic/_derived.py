"""Graphs derived from a model by giving it further parameters.

A quantity that is no operand of the native code becomes one as parameters of a larger graph, behind
those of the model, and so gets every derivative that theta has:

1. `with_free_start`: the start distribution, one parameter a vertex.
2. `with_killing`: a rate out of every transient vertex into one more absorbing vertex.

A graph is held as the flat list of the terms of its weights, so the memory needed is in proportion
to its edges. The components of the model keep their patterns, hence their traces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from phasic import _core

Indices = npt.NDArray[np.int64]
CONSTANT = -1  # the "parameter" of a constant term


@dataclass(frozen=True)
class Terms:
    """A graph; the weight of an edge is the sum of its terms, ``value * theta[parameter]``.

    Parameters
    ----------
    states : array, shape (n_vertices, state_length)
        Row 0 is the starting vertex.
    source, target, parameter : array, shape (n_terms,)
        Vertices, and the parameter or `CONSTANT`.
    value : array, shape (n_terms,)
        Coefficients and constant weights.
    param_length : int
        Number of parameters.
    is_discrete : bool
        Whether time is counted in steps.
    """

    states: npt.NDArray[np.int32]
    source: Indices
    target: Indices
    parameter: Indices
    value: npt.NDArray[np.float64]
    param_length: int
    is_discrete: bool

    @classmethod
    def of(cls, graph: _core.Graph) -> Self:
        """Return the terms of a graph."""
        source, target, parameter, value = graph.terms()
        return cls(
            graph.states(),
            source.astype(np.int64),
            target.astype(np.int64),
            parameter.astype(np.int64),
            value,
            graph.param_length,
            graph.is_discrete,
        )

    @property
    def n_vertices(self) -> int:
        """Number of vertices, the starting one included."""
        return len(self.states)

    def where(self, keep: npt.NDArray[np.bool_]) -> Terms:
        """Return the same with the terms that ``keep`` (n_terms,) says."""
        return replace(
            self,
            source=self.source[keep],
            target=self.target[keep],
            parameter=self.parameter[keep],
            value=self.value[keep],
        )

    def with_vertices(self, count: int) -> Terms:
        """Return the same with so many vertices more, whose states are zeros."""
        more = np.zeros((count, self.states.shape[1]), np.int32)
        return replace(self, states=np.concatenate([self.states, more]))

    def with_parameters(self, source: Indices | int, target: Indices | int) -> Terms:
        """Return the same with edges whose weights are as many further parameters, in order."""
        source, target = np.broadcast_arrays(source, target)
        first = self.param_length
        return self._plus(source, target, np.arange(first, first + source.size))

    def with_edges(
        self, source: Indices | int, target: Indices | int, parameter: Indices | int
    ) -> Terms:
        """Return the same with edges of the weights ``theta[parameter]``."""
        source, target, parameter = np.broadcast_arrays(source, target, parameter)
        return self._plus(source, target, parameter.reshape(-1))

    def _plus(self, source: Indices, target: Indices, parameter: Indices) -> Terms:
        return replace(
            self,
            source=np.concatenate([self.source, source.reshape(-1)]),
            target=np.concatenate([self.target, target.reshape(-1)]),
            parameter=np.concatenate([self.parameter, parameter]),
            value=np.concatenate([self.value, np.ones(source.size)]),
            param_length=max(self.param_length, int(parameter.max(initial=-1)) + 1),
        )

    def graph(self) -> _core.Graph:
        """Return the finished graph."""
        return _core.Graph.from_terms(
            self.states,
            self.source.astype(np.int32),
            self.target.astype(np.int32),
            self.parameter.astype(np.int32),
            self.value,
            self.param_length,
            self.is_discrete,
        )


def transient_vertices(graph: _core.Graph) -> Indices:
    """Return the vertices other than the start that lead to others, in order."""
    return np.flatnonzero(~graph.is_absorbing())[1:]


def reachable_vertices(terms: Terms, seeds: Indices) -> Indices:
    """Return the vertices that edges lead to from ``seeds``, these included, in order.

    Every edge counts whose weight is not 0 at every theta.
    """
    live = np.flatnonzero(terms.value)
    order = live[np.argsort(terms.source[live], kind="stable")]
    target = terms.target[order]
    begin = np.searchsorted(terms.source[order], np.arange(terms.n_vertices + 1))
    seen = np.zeros(terms.n_vertices, np.bool_)
    frontier = np.unique(seeds)
    while frontier.size:
        seen[frontier] = True
        counts = begin[frontier + 1] - begin[frontier]
        offsets = np.repeat(begin[frontier] - np.cumsum(counts) + counts, counts)
        following = np.unique(target[offsets + np.arange(counts.sum())])
        frontier = following[~seen[following]]
    return np.flatnonzero(seen)


def with_free_start(terms: Terms, vertices: Indices) -> Terms:
    """Return the model started by parameters: theta, then the start weight of each vertex."""
    return terms.where(terms.source != 0).with_parameters(0, vertices)


def with_killing(terms: Terms, vertices: Indices) -> Terms:
    """Return the model with a killing rate as parameter at each vertex: theta, then the rates.

    The vertex that the killed process ends in is the last one.
    """
    return terms.with_vertices(1).with_parameters(vertices, terms.n_vertices)


__all__ = [
    "CONSTANT",
    "Indices",
    "Terms",
    "reachable_vertices",
    "transient_vertices",
    "with_free_start",
    "with_killing",
]

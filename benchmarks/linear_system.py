"""A model as the linear system ``A(theta) x = 1``, for the contenders that solve one.

``x`` are the mean times to absorption of the transient states. States are explored here, so that
nothing of phasic takes part. Entries of A in coordinates: the off-diagonal ones first, the diagonal
last; each is linear in theta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from models import Model


@dataclass(frozen=True)
class LinearSystem:
    """The pattern and the coefficients of A; the start state has row 0."""

    size: int
    rows: np.ndarray  # (entries,) int32
    columns: np.ndarray  # (entries,) int32
    coefficients: np.ndarray  # (entries, param_length)
    exits: np.ndarray  # (size, param_length): the rates into absorbing states

    def matrix(self, theta: np.ndarray) -> scipy.sparse.csc_matrix:
        """Return A at one theta."""
        entries = self.coefficients @ theta
        return scipy.sparse.csc_matrix((entries, (self.rows, self.columns)), (self.size, self.size))


def explore(model: Model) -> LinearSystem:
    """Return the linear system of a model."""
    start = tuple(model.start)
    index, queue = {start: 0}, [start]
    transitions = []
    for state in queue:
        found = model.callback(list(state))
        transitions.append(found)
        for child, _ in found:
            if tuple(child) not in index:
                index[tuple(child)] = len(queue)
                queue.append(tuple(child))

    transient = np.array([bool(found) for found in transitions])
    number = np.cumsum(transient) - 1
    size = int(transient.sum())
    outflow = np.zeros((size, len(model.low)))
    exits = np.zeros_like(outflow)
    entries: dict[tuple[int, int], np.ndarray] = {}
    for vertex, found in enumerate(transitions):
        for child, rates in found:
            source, target = int(number[vertex]), index[tuple(child)]
            outflow[source] += rates
            if transient[target]:
                place = (source, int(number[target]))
                entries[place] = entries.get(place, 0.0) - np.array(rates)
            else:
                exits[source] += rates
    places = np.array(list(entries), dtype=np.int32).reshape(-1, 2)
    diagonal = np.arange(size, dtype=np.int32)
    off_diagonal = np.array(list(entries.values())).reshape(-1, len(model.low))
    return LinearSystem(
        size,
        np.concatenate([places[:, 0], diagonal]),
        np.concatenate([places[:, 1], diagonal]),
        np.concatenate([off_diagonal, outflow]),
        exits,
    )

"""Graphs from matrices and generators, and back: the matrix side of `Graph`.

A matrix may be dense or sparse: anything with ``tocoo`` (SciPy's sparse arrays) is read without
making it dense. SciPy itself is not needed.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from phasic._concrete import ConcreteQuantities
from phasic._edge_table import EdgeTable, Floats, Integers

_EPS = np.finfo(np.float64).eps


class MatrixRepresentation(NamedTuple):
    """The transient part of a graph at one parameter vector, as matrices.

    Parameters
    ----------
    ipv : array, shape (n,)
        Start probability of each transient vertex. What they lack to 1 is absorbed at time 0.
    sim : array, shape (n, n)
        Sub-intensity matrix; in discrete time the sub-transition matrix, stays on its diagonal.
    states : array, int32, shape (n, state_length)
    indices : array, int64, shape (n,)
        Rows of ``graph.states()`` that the rows of the matrices stand for.
    """

    ipv: Floats
    sim: Floats
    states: npt.NDArray[np.int32]
    indices: Integers


class MatrixForms(ConcreteQuantities):
    """A base of `Graph`: conversions from and to matrices."""

    def as_matrices(self) -> MatrixRepresentation:
        """Return start distribution and sub-intensity matrix at the parameters in force.

        Returns
        -------
        MatrixRepresentation
            The named tuple ``(ipv, sim, states, indices)`` of the transient vertices, dense, in
            the order of `states`.

        Raises
        ------
        ValueError
            If the graph has parameters and `update_weights` was not called, or a weight comes out
            negative.

        Notes
        -----
        Exit rates are minus the row sums of ``sim``, and rounding them loses what an exit much
        smaller than the rest of its row is; the graph itself loses nothing.

        Examples
        --------
        >>> import phasic
        >>> phasic.erlang(2, 3.0).as_matrices().sim.tolist()
        [[-3.0, 3.0], [0.0, -3.0]]
        """
        table = self._concrete_table().without_loops()
        (indices,) = np.nonzero(~table.is_absorbing[1:])
        indices += 1
        row = np.full(table.n_vertices, -1)
        row[indices] = np.arange(len(indices))
        source, target, weight = row[table.source], row[table.target], table.weight[:, 0]
        ipv = np.zeros(len(indices))
        first = (table.source == 0) & (target >= 0)
        ipv[target[first]] = weight[first]
        sim = np.zeros((len(indices), len(indices)))
        inner = (source >= 0) & (target >= 0)
        sim[source[inner], target[inner]] = weight[inner]
        left = source >= 0
        out = np.bincount(source[left], weight[left], len(indices))
        diagonal = np.maximum(1.0 - out, 0.0) if table.discrete else -out
        sim[np.diag_indices(len(indices))] = diagonal
        return MatrixRepresentation(ipv, sim, table.states[indices].astype(np.int32), indices)

    @classmethod
    def from_matrices(
        cls,
        ipv: npt.ArrayLike,
        sim: Any,
        states: npt.ArrayLike | None = None,
        *,
        discrete: bool = False,
        exits: npt.ArrayLike | None = None,
    ) -> Self:
        """Return the graph of a start distribution and a sub-intensity matrix.

        Parameters
        ----------
        ipv : array_like, shape (n,)
            Start probabilities >= 0 that sum to at most 1; the rest is absorbed at time 0.
        sim : array_like or sparse, shape (n, n)
            Sub-intensity matrix: off-diagonal rates >= 0, row sums <= 0; in discrete time the
            sub-transition matrix: entries >= 0, row sums <= 1.
        states : array_like of int, shape (n,) or (n, state_length), optional
            State of each row; 0 to n - 1 by default.
        discrete : bool
            Whether ``sim`` holds probabilities.
        exits : array_like, shape (n,), optional
            Rate (probability) of absorption out of each row. The diagonal of ``sim`` is then not
            used. Without it exits are what the rows lack to 0 (to 1), up to rounding.

        Returns
        -------
        Graph
            Vertex i + 1 is row i; the last vertex absorbs, and its state is -1 throughout.

        Raises
        ------
        ValueError
            If a shape or an entry is not as above.

        Examples
        --------
        >>> import phasic
        >>> phasic.Graph.from_matrices([0.6, 0.4], [[-2.0, 1.0], [0.0, -4.0]]).expectation()
        0.475
        """
        start = _as_floats("ipv", ipv)
        n = len(start)
        row, column, value = _triplets("sim", sim, n)
        inner = row != column
        lowest = 0 if discrete else -np.inf
        _refuse("sim", row, column, value, (value < 0) & (inner | (value < lowest)), ">= 0")
        leave = (
            _exits(row, column, value, n, discrete) if exits is None else _as_floats("exits", exits)
        )
        if leave.shape != (n,):
            raise ValueError(f"exits has shape {leave.shape}, expected ({n},)")
        rows = np.arange(n)
        moving = np.bincount(row[inner & (value > 0)], minlength=n) > 0
        kept = (leave != 0) | ~moving  # a row without any edge is a trap: it leaves with weight 0
        (begun,) = np.nonzero(start)
        begun = begun if len(begun) else rows[:1]
        edges = inner & (value != 0)
        return cls._from_core(
            EdgeTable(
                _as_states(states, n, absorbing=True),
                np.concatenate([np.zeros(len(begun), np.int64), 1 + row[edges], 1 + rows[kept]]),
                np.concatenate([1 + begun, 1 + column[edges], np.full(kept.sum(), 1 + n)]),
                np.concatenate([start[begun], value[edges], leave[kept]])[:, None],
                bool(discrete),
            ).build()
        )

    @classmethod
    def from_ctmc(
        cls, generator: Any, start: int | npt.ArrayLike, states: npt.ArrayLike | None = None
    ) -> Self:
        """Return the graph of a continuous-time Markov chain; it stops where it cannot leave.

        Parameters
        ----------
        generator : array_like or sparse, shape (n, n)
            Rates >= 0 off the diagonal; every row sums to 0. Rows without rates are absorbing.
        start : int or array_like, shape (n,)
            The state that the chain starts in, or the probability of each.
        states : array_like of int, shape (n,) or (n, state_length), optional
            State of each row; 0 to n - 1 by default.

        Returns
        -------
        Graph
            Vertex i + 1 is row i. Of the generator only the off-diagonal entries are used, so
            nothing is lost in a row sum.

        Raises
        ------
        ValueError
            If a shape or an entry is not as above.

        Examples
        --------
        >>> import phasic
        >>> chain = [[-3.0, 2.0, 1.0], [4.0, -4.0, 0.0], [0.0, 0.0, 0.0]]
        >>> phasic.Graph.from_ctmc(chain, 0).expectation()
        1.5
        """
        n = _side("generator", generator)
        row, column, value = _triplets("generator", generator, n)
        inner = row != column
        _refuse("generator", row, column, value, inner & (value < 0), ">= 0")
        total = _row_sums(row, value, n)
        scale = _row_sums(row, np.abs(value), n)
        wrong = np.abs(total) > 4 * (1 + np.bincount(row, minlength=n)) * _EPS * scale
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"generator row {first} sums to {total[first]}, expected 0; a matrix whose rows "
                "sum to less is a sub-intensity matrix: use from_matrices"
            )
        begin = _start_distribution(start, n)
        (begun,) = np.nonzero(begin)
        edges = inner & (value != 0)
        return cls._from_core(
            EdgeTable(
                _as_states(states, n, absorbing=False),
                np.concatenate([np.zeros(len(begun), np.int64), 1 + row[edges]]),
                np.concatenate([1 + begun, 1 + column[edges]]),
                np.concatenate([begin[begun], value[edges]])[:, None],
            ).build()
        )


def _as_floats(name: str, values: npt.ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected a vector of finite "
            "numbers"
        )
    if (array < 0).any():
        first = int(np.argmax(array < 0))
        raise ValueError(f"{name}[{first}] is {array[first]}, expected a number >= 0")
    return array.astype(np.float64)


def _start_distribution(start: int | npt.ArrayLike, n: int) -> Floats:
    if np.ndim(start) == 0:
        try:
            index = operator.index(start)  # type: ignore[arg-type]
        except TypeError:
            raise ValueError(f"start is {start!r}, expected a row or a distribution") from None
        if not 0 <= index < n:
            raise ValueError(f"start is {index}, expected a row from 0 to {n - 1}")
        return np.asarray(np.arange(n) == index, np.float64)
    values = _as_floats("start", start)
    if values.shape != (n,) or not values.any():
        raise ValueError(
            f"start has shape {values.shape} and sum {values.sum()}, expected shape ({n},) and "
            "a positive sum"
        )
    return values


def _side(name: str, matrix: Any) -> int:
    shape = np.shape(matrix) if not hasattr(matrix, "tocoo") else matrix.shape
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"{name} has shape {tuple(shape)}, expected (n, n) with n >= 1")
    return int(shape[0])


def _triplets(name: str, matrix: Any, n: int) -> tuple[Integers, Integers, Floats]:
    """Return row, column and value of the entries of a dense or sparse matrix, each pair once."""
    if _side(name, matrix) != n:
        raise ValueError(
            f"{name} has {_side(name, matrix)} rows, expected {n}, one for each entry of ipv"
        )
    if hasattr(matrix, "tocoo"):
        sparse = matrix.tocoo()
        row, column = np.asarray(sparse.row, np.int64), np.asarray(sparse.col, np.int64)
        value = np.asarray(sparse.data)
    else:
        dense = np.asarray(matrix)
        row, column = np.nonzero(dense)
        value = dense[row, column]
    if value.dtype.kind not in "iuf":
        raise ValueError(f"{name} has dtype {value.dtype}, expected real numbers")
    _refuse(name, row, column, value, ~np.isfinite(value), "finite")
    key, place = np.unique(row * n + column, return_inverse=True)
    total = np.zeros(len(key))
    np.add.at(total, place, value)
    return key // n, key % n, total


def _refuse(
    name: str,
    row: Integers,
    column: Integers,
    value: npt.NDArray[Any],
    bad: npt.NDArray[np.bool_],
    expected: str,
) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{name}[{row[first]}, {column[first]}] is {value[first]}, expected a number that "
            f"is {expected}"
        )


def _row_sums(row: Integers, value: Floats, n: int) -> Floats:
    """Sum rows in extended precision, where the machine has it."""
    total = np.zeros(n, np.longdouble)
    np.add.at(total, row, value)
    return total.astype(np.float64)


def _exits(row: Integers, column: Integers, value: Floats, n: int, discrete: bool) -> Floats:
    """Return what each row lacks to 0, or to 1; what rounding can have made is 0."""
    rows = np.arange(n)
    exits = -_row_sums(
        np.concatenate([row, rows]), np.concatenate([value, np.full(n, -float(discrete))]), n
    )
    scale = np.maximum(_row_sums(row, np.abs(value), n), float(discrete))
    small = np.abs(exits) <= 2 * (1 + np.bincount(row, minlength=n)) * _EPS * scale
    exits[small] = 0.0
    if (exits < 0).any():
        first = int(np.argmin(exits))
        raise ValueError(
            f"sim row {first} sums to {float(discrete) - exits[first]}, expected at most "
            f"{int(discrete)}"
        )
    return exits


def _as_states(states: npt.ArrayLike | None, n: int, *, absorbing: bool) -> npt.NDArray[np.int32]:
    """Return the states of all vertices: the start, the rows, then the absorbing vertex."""
    found = np.arange(n) if states is None else np.asarray(states)
    if found.dtype.kind not in "iu" or found.ndim not in (1, 2) or len(found) != n:
        raise ValueError(
            f"states has shape {found.shape} and dtype {found.dtype}, expected ({n},) or "
            f"({n}, state_length) of int"
        )
    rows = found.reshape(n, -1)
    limits = np.iinfo(np.int32)
    if rows.shape[1] == 0 or rows.min() < limits.min or rows.max() > limits.max:
        raise ValueError("states has an entry outside the range of int32, or no entries")
    before = np.zeros((1, rows.shape[1]), np.int64)
    after = np.full((int(absorbing), rows.shape[1]), -1)
    return np.concatenate([before, rows, after]).astype(np.int32)


__all__ = ["MatrixForms", "MatrixRepresentation"]

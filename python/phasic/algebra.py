"""Sum, minimum, maximum and mixture of independent absorption times, as graphs.

1. Graphs become flat tables of edges over one parameter vector: behind each other's, or shared.
2. Sum and mixture put the vertices side by side; minimum and maximum take all pairs of them.
3. Weights of what is made are products of weights of the arguments. They are linear in theta if one
   factor of each is a number; anything else is refused.

Everything is vectorised over whole graphs. A defect (mass at time 0) counts as what it is: a time
that is 0.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from phasic._edge_table import EdgeTable, Floats, Integers
from phasic._errors import BudgetError
from phasic.graph import Graph

_MAX_EDGES = 50_000_000
_EPS = np.finfo(np.float64).eps


def convolution(*graphs: Graph, shared: bool = False) -> Graph:
    """Return the graph of the sum of independent absorption times.

    Parameters
    ----------
    *graphs : Graph
        At least one; all continuous or all discrete.
    shared : bool
        False: the parameters are those of the first graph, then those of the second, and so on.
        True: all graphs take the same theta.

    Returns
    -------
    Graph
        States are those of the arguments, filled up with zeros to one length, behind the number of
        the argument (1, 2, ...). The absorbing vertices are those of the last argument.

    Raises
    ------
    ValueError
        If arguments do not go together, or a weight would be a product of two that have
        parameters: where absorption has a rate with parameters, the start of the next graph must
        be numbers.

    Examples
    --------
    >>> import phasic
    >>> convolution(phasic.exponential(2.0), phasic.erlang(2, 4.0)).expectation()
    1.0
    """
    return _graph(functools.reduce(_in_a_row, _labelled(_aligned(graphs, shared))))


def mixture(
    graphs: Sequence[Graph], probabilities: npt.ArrayLike, *, shared: bool = False
) -> Graph:
    """Return the graph of a time that is one of several, chosen at random at the start.

    Parameters
    ----------
    graphs : sequence of Graph
        At least one; all continuous or all discrete.
    probabilities : array_like, shape (n_graphs,)
        Numbers >= 0 with a sum of at most 1; with what is left the time is 0.
    shared : bool
        As in `convolution`.

    Returns
    -------
    Graph
        States as in `convolution`; each argument keeps its absorbing vertices.

    Raises
    ------
    ValueError
        If arguments do not go together, or the probabilities are not such.
    """
    tables = _labelled(_aligned(graphs, shared))
    shares = np.asarray(probabilities)
    fine = shares.dtype.kind in "iuf" and shares.shape == (len(tables),)
    if not fine or not (np.isfinite(shares) & (shares >= 0)).all():
        raise ValueError(
            f"probabilities is {probabilities!r}, expected {len(tables)} numbers >= 0, one for "
            "each graph"
        )
    scaled = []
    for table, share in zip(tables, shares, strict=True):
        factor = np.where(table.source == 0, float(share), 1.0)
        scaled.append(replace(table, weight=table.weight * factor[:, None]))
    return _graph(functools.reduce(_side_by_side, scaled))


def minimum(*graphs: Graph, shared: bool = False) -> Graph:
    """Return the graph of the smallest of independent absorption times.

    Parameters
    ----------
    *graphs, shared
        As in `convolution`.

    Returns
    -------
    Graph
        Its vertices are combinations of vertices of the arguments, with their states behind each
        other. One in which some argument is absorbed absorbs: it tells which came first, and where
        the others were.

    Raises
    ------
    ValueError
        If arguments do not go together, or a weight would be a product of two that have
        parameters: at the start, and in discrete time, where all move at once, anywhere.
    BudgetError
        If there would be more than 5e7 edges.

    Examples
    --------
    >>> import phasic
    >>> minimum(phasic.exponential(2.0), phasic.exponential(3.0)).expectation()
    0.2
    """
    return _graph(functools.reduce(_first_of, _aligned(graphs, shared)))


def maximum(*graphs: Graph, shared: bool = False) -> Graph:
    """Return the graph of the largest of independent absorption times.

    Arguments, states and errors are those of `minimum`; a vertex absorbs if all arguments are
    absorbed in it.

    Examples
    --------
    >>> import phasic
    >>> round(maximum(phasic.exponential(1.0), phasic.exponential(1.0)).expectation(), 12)
    1.5
    """
    return _graph(functools.reduce(_last_of, _aligned(graphs, shared)))


def _graph(table: EdgeTable) -> Graph:
    return Graph._from_core(table.build())


# ------------------------------------------------------------------------------- arguments


def _aligned(graphs: Sequence[Graph], shared: bool) -> list[EdgeTable]:
    """Return the tables without self loops, their weights over one parameter vector."""
    if not graphs or not all(isinstance(graph, Graph) for graph in graphs):
        raise ValueError(f"graphs is {graphs!r}, expected at least one phasic.Graph")
    tables = [EdgeTable.of(graph._frozen()).without_loops() for graph in graphs]
    kinds = [table.discrete for table in tables]
    if len(set(kinds)) > 1:
        raise ValueError(f"graphs differ in is_discrete, found {kinds}; expected all alike")
    lengths = [table.n_params for table in tables]
    if shared and len(set(lengths) - {0}) > 1:
        raise ValueError(f"graphs have {lengths} parameters, expected equal numbers to share them")
    total = max(lengths) if shared else sum(lengths)
    first = [0] * len(lengths) if shared else np.cumsum([0, *lengths[:-1]]).tolist()
    return [_widened(table, at, total) for table, at in zip(tables, first, strict=True)]


def _widened(table: EdgeTable, first: int, n_params: int) -> EdgeTable:
    weight = np.zeros((len(table.source), 1 + n_params))
    weight[:, 0] = table.weight[:, 0]
    weight[:, 1 + first : 1 + first + table.n_params] = table.weight[:, 1:]
    return replace(table, weight=weight)


def _labelled(tables: list[EdgeTable]) -> list[EdgeTable]:
    """Return the tables with states of one length, behind the number of the table."""
    length = max(table.states.shape[1] for table in tables)
    labelled = []
    for number, table in enumerate(tables, 1):
        states = np.zeros((table.n_vertices, 1 + length), np.int32)
        states[:, 1 : 1 + table.states.shape[1]] = table.states
        states[1:, 0] = number
        labelled.append(replace(table, states=states))
    return labelled


# ----------------------------------------------------------------------------- linear forms


def _product(a: Floats, b: Floats) -> Floats:
    """Return products of linear forms (k, 1 + n_params), one of each pair being a number."""
    if ((a[:, 1:] != 0).any(axis=1) & (b[:, 1:] != 0).any(axis=1)).any():
        raise ValueError(
            "the result would have weights that are products of two parameterised weights, which "
            "are not linear in theta; put numbers into one of the graphs: update_weights(theta), "
            "then instantiate()"
        )
    found = a[:, :1] * b + b[:, :1] * a
    found[:, 0] = a[:, 0] * b[:, 0]
    return found


def _lack(table: EdgeTable) -> Floats:
    """Return what the edges out of each vertex lack to 1, (n_vertices, 1 + n_params)."""
    total = np.zeros((table.n_vertices, 1 + table.n_params))
    np.add.at(total, table.source, table.weight)
    lack = -total
    lack[:, 0] += 1.0
    fixed = ~(total[:, 1:] != 0).any(axis=1)
    n_edges = np.bincount(table.source, minlength=table.n_vertices)
    rounding = np.abs(lack[:, 0]) <= 2 * (1 + n_edges) * _EPS
    lack[fixed & (rounding | (lack[:, 0] < 0)), 0] = 0.0
    return lack


# --------------------------------------------------------------------- side by side, in a row


def _side_by_side(a: EdgeTable, b: EdgeTable) -> EdgeTable:
    """Return both, with one starting vertex; vertices of b come behind those of a."""
    moved = a.n_vertices - 1
    return EdgeTable(
        np.concatenate([a.states, b.states[1:]]),
        np.concatenate([a.source, np.where(b.source > 0, b.source + moved, 0)]),
        np.concatenate([a.target, b.target + moved]),
        np.concatenate([a.weight, b.weight]),
        a.discrete,
    )


def _with_absorbing(table: EdgeTable) -> tuple[EdgeTable, int]:
    """Return the table and an absorbing vertex of it, added if there is none."""
    (found,) = np.nonzero(table.is_absorbing)
    if len(found):
        return table, int(found[0])
    state = np.full((1, table.states.shape[1]), -1, table.states.dtype)
    return replace(table, states=np.concatenate([table.states, state])), table.n_vertices


def _start(table: EdgeTable) -> tuple[Integers, Floats]:
    first = table.source == 0
    return table.target[first], table.weight[first]


def _in_a_row(a: EdgeTable, b: EdgeTable) -> EdgeTable:
    """Return b started when a is absorbed."""
    entry, entry_form = _start(b)
    at_once = _lack(b)[0]
    if at_once.any():  # b takes no time: absorbed when a is
        b, end = _with_absorbing(b)
        entry, entry_form = np.append(entry, end), np.vstack([entry_form, at_once])
    absorbing = a.is_absorbing
    ending = absorbing[a.target]
    exits = a.chosen(ending)
    before_b = _lack(a)[0]
    source, leaving = exits.source, exits.weight
    if before_b.any():  # a takes no time: b begins at the start
        source, leaving = np.append(source, 0), np.vstack([leaving, before_b])
    stays = np.cumsum(~absorbing) - 1  # where the vertices of a that do not absorb go
    moved = int(stays[-1])
    kept = a.chosen(~ending)
    i, j = _all(len(source), len(entry))
    inner = b.chosen(b.source > 0)
    return EdgeTable(
        np.concatenate([a.states[~absorbing], b.states[1:]]),
        np.concatenate([stays[kept.source], stays[source[i]], inner.source + moved]),
        np.concatenate([stays[kept.target], entry[j] + moved, inner.target + moved]),
        np.concatenate([kept.weight, _product(leaving[i], entry_form[j]), inner.weight]),
        a.discrete,
    ).merged()


# ------------------------------------------------------------------------------------- pairs


def _first_of(a: EdgeTable, b: EdgeTable) -> EdgeTable:
    start = _start(a), _start(b)
    live = np.logical_and.outer(~a.is_absorbing[1:], ~b.is_absorbing[1:])
    return _pairs(a, b, live, [start])


def _last_of(a: EdgeTable, b: EdgeTable) -> EdgeTable:
    starts = [(_start(a), _start(b))]
    lack_a, lack_b = _lack(a)[:1], _lack(b)[:1]
    if lack_a.any():
        a, end = _with_absorbing(a)
        starts.append(((np.array([end]), lack_a), _start(b)))
    if lack_b.any():
        b, end = _with_absorbing(b)
        starts.append((_start(a), (np.array([end]), lack_b)))
    live = np.logical_or.outer(~a.is_absorbing[1:], ~b.is_absorbing[1:])
    return _pairs(a, b, live, starts)


_Start = tuple[Integers, Floats]


def _pairs(
    a: EdgeTable, b: EdgeTable, live: npt.NDArray[np.bool_], starts: list[tuple[_Start, _Start]]
) -> EdgeTable:
    """Return the table over pairs of vertices; those that are not ``live`` absorb."""
    n_b = b.n_vertices - 1

    def pair(u: Integers, v: Integers) -> Integers:
        return 1 + (u - 1) * n_b + (v - 1)

    edges = []
    for (x, fx), (y, fy) in starts:
        i, j = _all(len(x), len(y))
        edges.append((np.zeros(len(i), np.int64), pair(x[i], y[j]), _product(fx[i], fy[j])))
    moves = _together(a, b) if a.discrete else _one_at_a_time(a, b)
    edges += [(pair(u, v), pair(u_to, v_to), form) for (u, u_to), (v, v_to), form in moves]
    source, target, weight = (np.concatenate(x) for x in zip(*edges, strict=True))
    u, v = np.divmod(np.arange(live.size), n_b)
    states = np.zeros((1 + live.size, a.states.shape[1] + b.states.shape[1]), np.int32)
    states[1:] = np.hstack([a.states[1 + u], b.states[1 + v]])
    leads = np.concatenate([[True], live.reshape(-1)])[source]
    made = EdgeTable(states, source, target, weight, a.discrete).chosen(leads)
    return _without_isolated(made)


_Move = tuple[tuple[Integers, Integers], tuple[Integers, Integers], Floats]


def _all(n: int, m: int) -> tuple[Integers, Integers]:
    """Return the subscripts of all pairs of n and m things."""
    if n * m > _MAX_EDGES:
        raise BudgetError(
            f"the result would have about {n * m} edges, expected at most {_MAX_EDGES}"
        )
    return np.repeat(np.arange(n), m), np.tile(np.arange(m), n)


def _one_at_a_time(a: EdgeTable, b: EdgeTable) -> list[_Move]:
    """Return the moves in continuous time: one of the two moves, the other stays."""
    moves: list[_Move] = []
    for first, second in ((a, b), (b, a)):
        inner = first.chosen(first.source > 0)
        edge, still = _all(len(inner.source), second.n_vertices - 1)
        still = still + 1
        moving = inner.source[edge], inner.target[edge]
        where = (moving, (still, still)) if first is a else ((still, still), moving)
        moves.append((*where, inner.weight[edge]))
    return moves


def _together(a: EdgeTable, b: EdgeTable) -> list[_Move]:
    """Return the moves in discrete time: both move or stay at once."""
    (u, u_to, f), (v, v_to, g) = _with_stays(a), _with_stays(b)
    i, j = _all(len(u), len(v))
    moving = (u[i] != u_to[i]) | (v[j] != v_to[j])  # that both stay follows from the others
    i, j = i[moving], j[moving]
    return [((u[i], u_to[i]), (v[j], v_to[j]), _product(f[i], g[j]))]


def _with_stays(table: EdgeTable) -> tuple[Integers, Integers, Floats]:
    """Return source, target and form of all steps; vertices that cannot stay have no such step."""
    inner = table.chosen(table.source > 0)
    stay = _lack(table)
    (still,) = np.nonzero(stay.any(axis=1))
    still = still[still > 0]
    return (
        np.concatenate([inner.source, still]),
        np.concatenate([inner.target, still]),
        np.concatenate([inner.weight, stay[still]]),
    )


def _without_isolated(table: EdgeTable) -> EdgeTable:
    """Return the table without the vertices that no edge touches."""
    used = np.zeros(table.n_vertices, bool)
    used[0] = used[table.source] = used[table.target] = True
    place = np.cumsum(used) - 1
    return replace(
        table,
        states=table.states[used],
        source=place[table.source],
        target=place[table.target],
    ).merged()


__all__ = ["convolution", "maximum", "minimum", "mixture"]

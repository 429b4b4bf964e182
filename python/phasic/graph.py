"""State graphs: built by hand or explored from a callback, serialized, cloned and pickled.

1. A `Graph` holds a native builder, a native finished graph, or both (equal then): the finished
   one is made when it is first needed and dropped when the builder changes.
2. `Vertex` and `Edge` are light views: a vertex is a graph and an index.
3. Everything per vertex or per edge happens natively; this module only dispatches. A lock makes
   one graph usable from several threads.
"""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._concrete_sampling import ConcreteSampling
from phasic._matrices import MatrixForms
from phasic._progress import ProgressFunction, ProgressLine, as_progress
from phasic.callback import Callback

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]

DEFAULT_MAX_STATES = 10_000_000
DEFAULT_BATCH_SIZE = 65_536


class Edge:
    """One edge out of a vertex, parallel transitions added up. A snapshot, not a handle."""

    __slots__ = ("_coefficients", "_target", "_weight")

    def __init__(self, target: Vertex, weight: float, coefficients: FloatArray | None) -> None:
        self._target = target
        self._weight = weight
        self._coefficients = coefficients

    def to(self) -> Vertex:
        """Return the vertex that the edge leads to."""
        return self._target

    def weight(self) -> float:
        """Return the constant part of the weight, 0.0 if there is none."""
        return self._weight

    def coefficients(self) -> FloatArray:
        """Return the coefficients of theta, shape ``(param_length,)``, or ``(0,)`` if constant."""
        return np.zeros(0) if self._coefficients is None else self._coefficients.copy()

    def __repr__(self) -> str:
        part = "" if self._coefficients is None else f" + {self._coefficients.tolist()} . theta"
        return f"<phasic.Edge to {self._target.state().tolist()}, weight {self._weight}{part}>"


class Vertex:
    """One vertex of a graph. Two of them are equal if they are the same vertex of one graph."""

    __slots__ = ("_graph", "_index")

    def __init__(self, graph: Graph, index: int) -> None:
        self._graph = graph
        self._index = index

    def index(self) -> int:
        """Return the row of this vertex in `Graph.states`; the starting vertex has row 0."""
        return self._index

    def state(self) -> IntArray:
        """Return a copy of the state, shape ``(state_length,)``; all zeros for the start."""
        return self._graph._read().state(self._index)

    def edges(self) -> list[Edge]:
        """Return the edges out of this vertex, sorted by target row."""
        found = self._graph._read().out_edges(self._index)
        return [Edge(Vertex(self._graph, to), weight, coefs) for to, weight, coefs in found]

    def rate(self, theta: npt.ArrayLike | None = None) -> float:
        """Return the total weight of the edges to other vertices.

        Parameters
        ----------
        theta : array_like, shape (param_length,), optional
            Parameters. Needed if an edge out of this vertex has coefficients.

        Returns
        -------
        float
            Total weight. Self loops do not count: the vertex is not left through them.

        Raises
        ------
        ValueError
            If ``theta`` is needed and absent, or has another length than `Graph.param_length`.
        """
        edges = [edge for edge in self.edges() if edge.to() != self]
        total = sum((edge.weight() for edge in edges), 0.0)
        coefficients = [edge.coefficients() for edge in edges if edge.coefficients().size]
        if not coefficients:
            return total
        if theta is None:
            raise ValueError(
                f"the rate of state {self.state().tolist()} depends on theta: "
                f"pass theta with {self._graph.param_length()} parameters"
            )
        values = np.asarray(theta, dtype=np.float64)
        if values.shape != (self._graph.param_length(),):
            raise ValueError(
                f"theta has shape {values.shape}, expected ({self._graph.param_length()},)"
            )
        return float(total + np.sum(coefficients, axis=0) @ values)

    def add_edge(self, to: Vertex, weight: npt.ArrayLike) -> None:
        """Add an edge; a second one to the same vertex adds to the first.

        Parameters
        ----------
        to
            Target, a vertex of the same graph other than the starting vertex.
        weight : float or sequence of float
            A finite number >= 0, the rate (continuous time) or probability (discrete time, and
            out of the starting vertex); or the coefficients of theta, finite numbers, as many on
            every edge of the graph.

        Raises
        ------
        ValueError
            If ``to`` is not such a vertex or ``weight`` is not of that form.
        """
        if not isinstance(to, Vertex) or to._graph is not self._graph:
            raise ValueError(
                f"to is {to!r}, expected a vertex of the same graph (from "
                "find_or_create_vertex or vertices)"
            )
        self._graph._add_edge(self._index, to._index, weight)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vertex):
            return NotImplemented
        return self._graph is other._graph and self._index == other._index

    def __hash__(self) -> int:
        return hash((id(self._graph), self._index))

    def __repr__(self) -> str:
        return f"<phasic.Vertex {self._index}, state {self.state().tolist()}>"


class Graph(ConcreteSampling, MatrixForms):
    """A state graph whose edge weights are numbers or linear in a parameter vector theta.

    Parameters
    ----------
    source : int or callable
        The state length of a graph to build by hand, or the callback of a model (see
        `phasic.callback`): all states that it reaches from ``ipv`` become vertices, breadth first.
        The callback is asked once about each state.
    ipv : list of (state, probability), optional
        Start distribution of the model; taken from the callback if that was made by
        `phasic.callback`. Probabilities are >= 0 and sum to at most 1.
    discrete : bool
        True for discrete time: weights are probabilities, and what a row lacks to 1 is the
        probability to stay.
    max_states : int
        Largest number of states to explore.
    batched : bool, optional
        True if the callback takes many states at once (see `phasic.callback`); taken from the
        callback if that was made by `phasic.callback`, else False.
    batch_size : int
        Largest number of states in one call of a batched callback. The graph does not depend on
        it; the memory of the callback's own arrays does.
    progress : bool or callable
        True writes the numbers of states found and explored to stderr, every now and then. A
        callable gets the two numbers after each batch, or every 256 states.
    **kwargs
        Passed on to the callback.

    Raises
    ------
    ValueError
        If an argument, or something the callback returned, is malformed; the message names the
        state and the item. Also if there are more than ``max_states`` states. Exceptions of the
        callback itself pass through with a note that names the state.

    Notes
    -----
    Row 0 of `states` is the starting vertex, all zeros. An all-zero state of the model is an
    ordinary vertex beside it. Then come the states of ``ipv`` in their order, then, breadth first,
    those that the first of them leads to, in the order in which the callback lists them, those of
    the second, and so on.

    Examples
    --------
    >>> from phasic import Graph
    >>> graph = Graph(1)
    >>> busy = graph.find_or_create_vertex([1])
    >>> done = graph.find_or_create_vertex([2])
    >>> graph.starting_vertex().add_edge(busy, 1.0)
    >>> busy.add_edge(done, [1.0, 0.5])
    >>> graph.vertices_length(), graph.param_length()
    (3, 2)
    >>> Graph.from_json(graph.to_json()).states().tolist()
    [[0], [1], [2]]
    """

    def __init__(
        self,
        source: int | Callable[..., Any],
        /,
        *,
        ipv: Sequence[Any] | None = None,
        discrete: bool = False,
        max_states: int = DEFAULT_MAX_STATES,
        batched: bool | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        progress: bool | ProgressFunction = False,
        **kwargs: Any,
    ) -> None:
        if not isinstance(discrete, bool | np.bool_):
            raise ValueError(f"discrete is {discrete!r}, expected True or False")
        if callable(source):
            model = _as_model(source, ipv, batched)
            limits = _as_count("max_states", max_states), _as_count("batch_size", batch_size)
            builder = _explore(model, bool(discrete), limits, progress, kwargs)
        else:
            if ipv is not None or batched is not None or kwargs:
                given = {"ipv": ipv, "batched": batched}
                named = ", ".join([*(k for k, v in given.items() if v is not None), *kwargs])
                raise ValueError(
                    f"{named} given with the state length {source!r}; expected only with a callback"
                )
            builder = _core.GraphBuilder(_as_int("state_length", source), bool(discrete))
        self._hold(builder, None)

    def _hold(self, builder: _core.GraphBuilder | None, frozen: _core.Graph | None) -> None:
        self._lock = threading.RLock()
        self._builder = builder
        self._finished = frozen

    @classmethod
    def _from_core(cls, frozen: _core.Graph) -> Self:
        graph = cls.__new__(cls)
        graph._hold(None, frozen)
        return graph

    def _frozen(self) -> _core.Graph:
        """Return the finished native graph, made when it is first needed."""
        with self._lock:
            if self._finished is None:
                self._finished = self._change().freeze()
                self._builder = None  # a change makes it anew; both would double the memory
            return self._finished

    def _read(self) -> _core.Graph | _core.GraphBuilder:
        """Return what holds the vertices now, for reading."""
        with self._lock:
            return self._change() if self._finished is None else self._finished

    def _change(self) -> _core.GraphBuilder:
        """Return the builder, for changing; call with the lock held."""
        if self._builder is None:
            assert self._finished is not None
            self._builder = _core.GraphBuilder.from_graph(self._finished)
        return self._builder

    def _add_edge(self, source: int, target: int, weight: Any) -> None:
        with self._lock:
            self._change().add_edge(source, target, weight)
            self._finished = None

    def starting_vertex(self) -> Vertex:
        """Return the starting vertex; the edges out of it are the start distribution."""
        return Vertex(self, 0)

    def find_or_create_vertex(self, state: npt.ArrayLike) -> Vertex:
        """Return the vertex with a state; make one if there is none.

        Parameters
        ----------
        state : array_like of int, shape (state_length,)
            Whole numbers that fit int32. The starting vertex is never found this way.

        Raises
        ------
        ValueError
            If ``state`` has another length or other entries.
        """
        with self._lock:
            builder = self._change()
            before = builder.n_vertices
            index = builder.find_or_create_vertex(state)
            if builder.n_vertices != before:
                self._finished = None
            return Vertex(self, index)

    def vertices(self) -> list[Vertex]:
        """Return all vertices, the starting vertex first, in the row order of `states`."""
        return [Vertex(self, index) for index in range(self.vertices_length())]

    def vertices_length(self) -> int:
        """Return the number of vertices, the starting vertex included."""
        return self._read().n_vertices

    def states(self) -> npt.NDArray[np.int32]:
        """Return a copy of all states, int32, shape ``(vertices_length, state_length)``."""
        with self._lock:
            return self._read().states()

    def param_length(self) -> int:
        """Return the number of parameters; 0 while no edge has coefficients."""
        return self._read().param_length

    def state_length(self) -> int:
        """Return the number of entries of a state."""
        return self._read().state_length

    @property
    def is_discrete(self) -> bool:
        """True in discrete time."""
        return self._read().is_discrete

    def serialize(self, param_length: int | None = None) -> dict[str, Any]:
        """Return the graph as a dict of arrays and plain numbers (see ``docs/format.md``).

        Parameters
        ----------
        param_length
            If given, must equal the graph's own.

        Returns
        -------
        dict
            ``states``, ``edges``, ``start_edges``, ``param_edges``, ``start_param_edges``,
            ``param_length``, ``state_length``, ``n_vertices``, and the optional fields
            ``start_vertex``, ``is_discrete``, ``format_version``, ``vertex_indices``.

        Raises
        ------
        ValueError
            If ``param_length`` differs, or the graph breaks a rule (no start edge, start weights
            that sum to more than 1, ...).
        """
        fields = self._frozen().to_arrays()
        if param_length is not None:
            wanted = _as_int("param_length", param_length)
            if wanted != fields["param_length"]:
                raise ValueError(
                    f"param_length is {wanted}, but the graph has {fields['param_length']} "
                    "parameters"
                )
        return fields

    @classmethod
    def from_serialized(cls, fields: Mapping[str, Any]) -> Self:
        """Return the graph that a dict of `serialize` describes.

        Parameters
        ----------
        fields
            The dict; arrays may be nested lists. Unknown keys are ignored.

        Raises
        ------
        ValueError
            If a field is missing or malformed; the message names the field and the row.
        """
        if not isinstance(fields, Mapping):
            raise ValueError(f"fields is a {type(fields).__name__}, expected a dict (serialize)")
        return cls._from_core(_core.Graph.from_arrays(dict(fields)))

    def to_json(self) -> str:
        """Return the serialized graph as one JSON text; equal graphs give equal texts."""
        return self._frozen().to_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the graph that a JSON text describes.

        Parameters
        ----------
        text
            UTF-8 without a byte order mark; an object with the fields of `serialize`.

        Raises
        ------
        ValueError
            If the text is not strict JSON, or a field is missing or malformed.
        """
        return cls._from_core(_core.Graph.from_json(text))

    def clone(self) -> Self:
        """Return an independent graph with the same vertices and edges."""
        with self._lock:
            copy = self.__class__.__new__(self.__class__)
            builder = self._change().copy() if self._finished is None else None
            copy._hold(builder, self._finished)
            return copy

    def __copy__(self) -> Self:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.clone()

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__._from_core, (self._frozen(),)

    def __repr__(self) -> str:
        kind = "discrete" if self.is_discrete else "continuous"
        return (
            f"<phasic.Graph: {self.vertices_length()} vertices, state length "
            f"{self.state_length()}, {self.param_length()} parameters, {kind}>"
        )


def _as_int(name: str, value: Any) -> int:
    if not isinstance(value, bool | np.bool_):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise ValueError(f"{name} is {value!r}, expected an int")


def _as_count(name: str, value: Any) -> int:
    """Return an int >= 1, cut to the number of vertices that a graph can have."""
    count = _as_int(name, value)
    if count < 1:
        raise ValueError(f"{name} is {count}, expected at least 1")
    return min(count, np.iinfo(np.int32).max)


@dataclass(frozen=True)
class _Model:
    function: Callable[..., Any]
    ipv: Sequence[Any]
    batched: bool


def _as_model(
    function: Callable[..., Any], ipv: Sequence[Any] | None, batched: bool | None
) -> _Model:
    """Return what is explored; the arguments come before what the callback says of itself."""
    if batched is not None and not isinstance(batched, bool | np.bool_):
        raise ValueError(f"batched is {batched!r}, expected True or False")
    if isinstance(function, Callback):
        if batched is not None and bool(batched) != function.batched:
            raise ValueError(
                f"batched is {bool(batched)}, but the callback was decorated with "
                f"batched={function.batched}; say it once, where the callback is defined"
            )
        batched = function.batched
        ipv = function.ipv if ipv is None else ipv
        function = function.__wrapped__
    if ipv is None:
        raise ValueError(
            "the callback has no start distribution: pass ipv=[(state, probability), ...] or "
            "decorate it with @phasic.callback(ipv=...)"
        )
    return _Model(function, ipv, bool(batched))


def _explore(
    model: _Model,
    discrete: bool,
    limits: tuple[int, int],
    progress: bool | ProgressFunction,
    kwargs: dict[str, Any],
) -> _core.GraphBuilder:
    max_states, batch_size = limits
    called = functools.partial(model.function, **kwargs) if kwargs else model.function
    report = as_progress(progress)
    try:
        if model.batched:
            return _core.GraphBuilder.explore_batched(
                called, model.ipv, discrete, max_states, batch_size, report
            )
        return _core.GraphBuilder.explore(called, model.ipv, discrete, max_states, report)
    finally:
        if isinstance(report, ProgressLine):
            report.close()

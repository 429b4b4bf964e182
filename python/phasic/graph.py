"""State graphs: built by hand or explored from a callback, serialized, cloned and pickled.

1. A `Graph` holds a native builder, a native finished graph, or both (equal then): the finished
   one is made when it is first needed and dropped when the builder changes.
2. `Vertex` and `Edge` are light views: a vertex is a graph and an index.
3. Everything per vertex or per edge happens natively; this module only dispatches. A lock makes
   one graph usable from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._concrete_sampling import ConcreteSampling
from phasic._exploration import as_count, as_int, as_model, explore
from phasic._jax_functions import JaxFunctions
from phasic._matrices import MatrixForms
from phasic._plot import Drawing
from phasic._progress import ProgressFunction
from phasic._transformations import Transformations

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]

DEFAULT_MAX_STATES = 10_000_000
DEFAULT_BATCH_SIZE = 65_536


class Edge:
    """One edge out of a vertex, parallel transitions added up. A snapshot, not a handle."""

    __slots__ = ("_coefficients", "_constant", "_target")

    def __init__(self, target: Vertex, constant: float, coefficients: FloatArray | None) -> None:
        self._target = target
        self._constant = constant
        self._coefficients = coefficients

    def to(self) -> Vertex:
        """Return the vertex that the edge leads to."""
        return self._target

    def weight(self, theta: npt.ArrayLike | None = None) -> float:
        """Return the weight at a parameter vector.

        Parameters
        ----------
        theta : array_like, shape (param_length,), optional
            Parameters; by default those of `Graph.update_weights`. An edge with coefficients has
            its constant part as weight as long as there are none, 0.0 if it has no such part.

        Raises
        ------
        ValueError
            If ``theta`` has another length than `Graph.param_length`.
        """
        if self._coefficients is None:
            return self._constant
        values = self._target._graph._theta_or(theta)
        return self._constant if values is None else self._constant + self._linear(values)

    def _linear(self, theta: FloatArray) -> float:
        return 0.0 if self._coefficients is None else float(self._coefficients @ theta)

    def coefficients(self) -> FloatArray:
        """Return the coefficients of theta, shape ``(param_length,)``, or ``(0,)`` if constant."""
        return np.zeros(0) if self._coefficients is None else self._coefficients.copy()

    def __repr__(self) -> str:
        part = "" if self._coefficients is None else f" + {self._coefficients.tolist()} . theta"
        return f"<phasic.Edge to {self._target.state().tolist()}, weight {self._constant}{part}>"


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

    def edges_length(self) -> int:
        """Return the number of edges out of this vertex."""
        return len(self._graph._read().out_edges(self._index))

    def rate(self, theta: npt.ArrayLike | None = None) -> float:
        """Return the total weight of the edges to other vertices.

        Parameters
        ----------
        theta : array_like, shape (param_length,), optional
            Parameters; by default those of `Graph.update_weights`. Needed if an edge out of this
            vertex has coefficients.

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
        values = self._graph._theta_or(theta)
        if values is None and any(edge.coefficients().size for edge in edges):
            raise ValueError(
                f"the rate of state {self.state().tolist()} depends on theta: pass theta with "
                f"{self._graph.param_length()} parameters, or set it with update_weights"
            )
        return sum((edge.weight(values) for edge in edges), 0.0)

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


class Graph(ConcreteSampling, MatrixForms, Transformations, JaxFunctions, Drawing):
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
            model = as_model(source, ipv, batched)
            limits = as_count("max_states", max_states), as_count("batch_size", batch_size)
            builder = explore(model, bool(discrete), limits, progress, kwargs)
        else:
            if ipv is not None or batched is not None or kwargs:
                given = {"ipv": ipv, "batched": batched}
                named = ", ".join([*(k for k, v in given.items() if v is not None), *kwargs])
                raise ValueError(
                    f"{named} given with the state length {source!r}; expected only with a callback"
                )
            builder = _core.GraphBuilder(as_int("state_length", source), bool(discrete))
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

    def _become(self, graph: _core.Graph) -> None:
        """Take the place of another finished graph."""
        with self._lock:
            self._builder, self._finished = None, graph

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

    def create_vertex(self, state: npt.ArrayLike) -> Vertex:
        """Return a new vertex, even if others have its state; see `find_or_create_vertex`."""
        with self._lock:
            index = self._change().add_vertex(state)
            self._finished = None
            return Vertex(self, index)

    def find_vertex(self, state: npt.ArrayLike) -> Vertex:
        """Return the vertex with a state, the first one if there are several.

        Raises
        ------
        ValueError
            If there is none, or ``state`` is malformed. The starting vertex is never found.
        """
        with self._lock:
            index = self._change().find_vertex(state)
        if index < 0:
            raise ValueError(
                f"no vertex has the state {np.asarray(state).tolist()}; find_or_create_vertex "
                "makes one"
            )
        return Vertex(self, index)

    def vertex_exists(self, state: npt.ArrayLike) -> bool:
        """Return whether a vertex other than the starting vertex has a state."""
        with self._lock:
            return self._change().find_vertex(state) >= 0

    def vertex_at(self, index: int) -> Vertex:
        """Return the vertex of a row of `states`.

        Raises
        ------
        ValueError
            If there is no such row.
        """
        row = as_int("index", index)
        if not 0 <= row < self.vertices_length():
            raise ValueError(f"index is {row}, expected 0 to {self.vertices_length() - 1}")
        return Vertex(self, row)

    def vertices(self) -> list[Vertex]:
        """Return all vertices, the starting vertex first, in the row order of `states`."""
        return [Vertex(self, index) for index in range(self.vertices_length())]

    def vertices_length(self) -> int:
        """Return the number of vertices, the starting vertex included."""
        return self._read().n_vertices

    def edges_length(self) -> int:
        """Return the number of edges, those out of the starting vertex included."""
        return self._frozen().n_edges

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
            wanted = as_int("param_length", param_length)
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
        """Return an independent graph with the same vertices and edges.

        The parameters that `update_weights` set go with it.
        """
        with self._lock:
            copy = self.__class__.__new__(self.__class__)
            builder = self._change().copy() if self._finished is None else None
            copy._hold(builder, self._finished)
            copy._theta, copy._linked, copy.rewards = self._theta, self._linked, self.rewards
            return copy

    def copy(self) -> Self:
        """Return an independent graph with the same vertices, edges and parameters; see `clone`."""
        return self.clone()

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

"""Graphs built by hand: vertices, edges, copies, and what is rejected."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from case_ids import shown
from phasic import Edge, Graph, Vertex


def two_phases() -> Graph:
    """Start -> (1) -> (2) -> (3); the first weight is constant, the second has coefficients."""
    graph = Graph(1)
    one, two, three = (graph.find_or_create_vertex([k]) for k in (1, 2, 3))
    graph.starting_vertex().add_edge(one, 1.0)
    one.add_edge(two, 0.5)
    two.add_edge(three, [1.0, -2.0])
    return graph


def same(a: Graph, b: Graph) -> bool:
    return a.to_json() == b.to_json()


def test_an_empty_graph_has_its_starting_vertex() -> None:
    graph = Graph(3)
    assert graph.vertices_length() == 1
    assert graph.vertices() == [graph.starting_vertex()]
    assert graph.states().tolist() == [[0, 0, 0]]
    assert graph.states().dtype == np.int32
    assert (graph.param_length(), graph.state_length(), graph.is_discrete) == (0, 3, False)
    assert Graph(np.int64(2), discrete=np.True_).is_discrete is True


def test_vertices_are_found_by_state_and_the_start_is_not() -> None:
    graph = Graph(2)
    zero = graph.find_or_create_vertex([0, 0])
    assert zero.index() == 1
    assert zero != graph.starting_vertex()
    for state in ([3, 4], (3, 4), np.array([3, 4]), np.array([3.0, 4.0]), [3.0, np.int8(4)]):
        assert graph.find_or_create_vertex(state).index() == 2
    assert graph.find_or_create_vertex(np.array([3, 4], dtype=np.uint8)).state().tolist() == [3, 4]
    extreme = graph.find_or_create_vertex([-(2**31), 2**31 - 1])
    assert extreme.state().dtype == np.int64
    assert extreme.state().tolist() == [-(2**31), 2**31 - 1]
    assert graph.vertices_length() == 4
    assert [v.index() for v in graph.vertices()] == [0, 1, 2, 3]


def test_returned_arrays_are_copies() -> None:
    graph = two_phases()
    graph.states()[:] = 9
    graph.vertices()[1].state()[:] = 9
    graph.vertices()[2].edges()[0].coefficients()[:] = 9
    assert graph.states().tolist() == [[0], [1], [2], [3]]
    assert graph.vertices()[2].edges()[0].coefficients().tolist() == [1.0, -2.0]


def test_edges_show_what_was_added() -> None:
    graph = two_phases()
    start, one, two, three = graph.vertices()
    (edge,) = start.edges()
    assert isinstance(edge, Edge)
    assert (edge.to(), edge.weight(), edge.coefficients().shape) == (one, 1.0, (0,))
    (edge,) = two.edges()
    assert (edge.to(), edge.weight(), edge.coefficients().tolist()) == (three, 0.0, [1.0, -2.0])
    assert three.edges() == []
    assert graph.param_length() == 2


def test_parallel_transitions_add_before_and_after_freezing() -> None:
    graph = two_phases()
    _, one, two, _ = graph.vertices()
    one.add_edge(two, 0.25)
    one.add_edge(two, np.array([0.5, 0.0]))
    one.add_edge(two, (0.5, 1))
    one.add_edge(one, 7)
    before = one.edges()
    frozen = graph.serialize()
    after = one.edges()
    for edges in (before, after):
        assert [e.to() for e in edges] == [one, two]
        assert [e.weight() for e in edges] == [7.0, 0.75]
        assert edges[1].coefficients().tolist() == [1.0, 1.0]
    assert frozen["edges"].tolist() == [[1, 1, 7.0], [1, 2, 0.75]]


@pytest.mark.parametrize(
    ("weight", "value"),
    [
        (2, 2.0),
        (np.float32(0.5), 0.5),
        (np.int16(3), 3.0),
        (np.array(0.25), 0.25),
        (Fraction(1, 4), 0.25),
        (Decimal("0.125"), 0.125),
        (0, 0.0),
        (-0.0, 0.0),
        (5e-324, 5e-324),
        (2**70, 2.0**70),
    ],
)
def test_numbers_of_many_kinds_are_weights(weight: Any, value: float) -> None:
    graph = two_phases()
    _, one, _, three = graph.vertices()
    one.add_edge(three, weight)
    found = one.edges()[-1].weight()
    assert found == value
    assert np.signbit(found) == np.False_


@pytest.mark.parametrize("weights", [[1, 2], (1.0, np.float32(2)), np.array([1, 2])], ids=shown)
def test_coefficients_of_many_kinds(weights: Any) -> None:
    graph = Graph(1)
    one = graph.find_or_create_vertex([1])
    graph.starting_vertex().add_edge(one, weights)
    assert graph.starting_vertex().edges()[0].coefficients().tolist() == [1.0, 2.0]


NOT_WEIGHTS: list[tuple[Any, str]] = [
    (True, "True \\(bool\\)"),
    (np.True_, "numpy.bool"),
    ("1", "'1' \\(str\\)"),
    (b"1", "bytes"),
    (None, "None"),
    (1j, "complex"),
    (np.complex128(1), "complex"),
    (np.datetime64("2020-01-01"), "datetime64"),
    (object(), "object"),
    ({}, "dict"),
    (range(1, 3), "range"),
    (10**400, "int"),
    (np.array([[1.0]]), "shape \\(1, 1\\)"),
    (np.array([True]), "dtype bool"),
    (np.array(["1"]), "dtype <U1"),
    (np.array([1j]), "complex128"),
    (np.array([1.0], dtype=object), "dtype object"),
    (np.ma.masked_array([1.0, 2.0], mask=[0, 1]), "masked array"),
    (float("nan"), "is nan, expected a finite number >= 0"),
    (float("inf"), "is inf, expected a finite number >= 0"),
    (-1e-300, "is -1e-300, expected a finite number >= 0"),
    ([], "has 0 coefficients"),
    (np.zeros(0), "has 0 coefficients"),
    ([1.0], "has 1 coefficients, but earlier edges have 2"),
    ([1.0, 2.0, 3.0], "has 3 coefficients, but earlier edges have 2"),
    ([1.0, float("nan")], "coefficient 1 of the edge .* is nan, expected a finite number"),
    ([1.0, float("-inf")], "coefficient 1 of the edge .* is -inf"),
    ([1.0, None], "coefficient 1 is None, expected a number"),
    ([1.0, "2"], "coefficient 1 is '2' \\(str\\)"),
    ([True, 2.0], "coefficient 0 is True"),
    ([[1.0], 2.0], "coefficient 0 is"),
]


@pytest.mark.parametrize(("weight", "message"), NOT_WEIGHTS, ids=shown)
def test_other_weights_are_rejected_and_change_nothing(weight: Any, message: str) -> None:
    graph = two_phases()
    text = graph.to_json()
    _, one, _, three = graph.vertices()
    with pytest.raises(ValueError, match=message):
        one.add_edge(three, weight)
    assert graph.to_json() == text


def test_objects_that_offer_an_array_are_read() -> None:
    graph = Graph(2)
    one = graph.find_or_create_vertex(jnp.array([1, 0]))
    two = graph.find_or_create_vertex([2, jnp.array(0)])
    assert graph.states().tolist() == [[0, 0], [1, 0], [2, 0]]
    graph.starting_vertex().add_edge(one, jnp.array(0.5))
    one.add_edge(two, jnp.array([0.5, 2.0]))
    one.add_edge(one, [jnp.float32(1.0), 2])
    assert graph.serialize()["param_edges"].tolist() == [[1, 1, 1.0, 2.0], [1, 2, 0.5, 2.0]]

    class Broken:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def __array__(self, *args: Any, **kwargs: Any) -> Any:
            raise self.error

    with pytest.raises(ValueError, match=r"weight is .*Broken.*, expected a number"):
        one.add_edge(two, Broken(TypeError("no")))
    with pytest.raises(KeyboardInterrupt):
        one.add_edge(two, Broken(KeyboardInterrupt()))
    with pytest.raises(ValueError, match=r"weight is .*Tracer.*, expected a number"):
        jax.jit(lambda x: one.add_edge(two, x))(1.0)


@pytest.mark.parametrize(
    "state",
    [
        [1],
        [1, 2, 3],
        [],
        [1.5, 0],
        [float("nan"), 0],
        [2**31, 0],
        [-(2**31) - 1, 0],
        [2**64, 0],
        [True, 0],
        [None, 0],
        ["1", 0],
        "ab",
        b"ab",
        None,
        5,
        {1: 2},
        {1, 2},
        np.array([[1, 2]]),
        np.array([1.5, 0]),
        np.array([np.inf, 0]),
        np.array([2**31, 0]),
        np.array([2**64 - 1, 0], dtype=np.uint64),
        np.array([True, False]),
        np.array(["a", "b"]),
        np.array([1, 2], dtype=object),
        np.array([1j, 0]),
        np.ma.masked_array([1, 2], mask=[1, 0]),
        np.int64(3),
        np.array(3),
        list(range(1000)),
    ],
    ids=shown,
)
def test_states_must_be_exact_int32_of_the_right_length(state: Any) -> None:
    graph = Graph(2)
    with pytest.raises(ValueError, match=r"^state is .*, expected"):
        graph.find_or_create_vertex(state)
    assert graph.vertices_length() == 1


def test_edges_into_the_start_and_between_graphs_are_rejected() -> None:
    graph, other = two_phases(), two_phases()
    one = graph.vertices()[1]
    with pytest.raises(ValueError, match="leads to the starting vertex, which no edge may enter"):
        one.add_edge(graph.starting_vertex(), 1.0)
    with pytest.raises(ValueError, match="starting vertex"):
        graph.starting_vertex().add_edge(graph.starting_vertex(), 1.0)
    with pytest.raises(ValueError, match="expected a vertex of the same graph"):
        one.add_edge(other.vertices()[2], 1.0)
    for wrong in (2, None, "2"):
        with pytest.raises(ValueError, match="expected a vertex of the same graph"):
            one.add_edge(wrong, 1.0)  # type: ignore[arg-type]
    assert same(graph, other)


@pytest.mark.parametrize("length", [0, -1, 2.0, 1.5, "2", None, True, np.False_, [2]], ids=shown)
def test_state_length_is_a_positive_int(length: Any) -> None:
    with pytest.raises(ValueError, match=r"state_length is .*, expected"):
        Graph(length)


def test_arguments_of_a_callback_need_a_callback() -> None:
    with pytest.raises(ValueError, match="ipv, n given with the state length 2"):
        Graph(2, ipv=[([1, 0], 1.0)], n=3)
    with pytest.raises(ValueError, match="discrete is 1, expected True or False"):
        Graph(2, discrete=1)  # type: ignore[arg-type]


def test_whole_graph_rules_are_checked_when_it_is_used() -> None:
    graph = Graph(1)
    one, two = graph.find_or_create_vertex([1]), graph.find_or_create_vertex([2])
    with pytest.raises(ValueError, match="the graph has no start edge"):
        graph.serialize()
    graph.starting_vertex().add_edge(one, 0.75)
    graph.serialize()
    graph.starting_vertex().add_edge(two, 0.75)
    with pytest.raises(ValueError, match=r"start weights sum to 1.5, expected at most 1"):
        graph.to_json()
    assert len(graph.starting_vertex().edges()) == 2
    assert graph.vertices_length() == 3

    chain = Graph(1, discrete=True)
    one, two = chain.find_or_create_vertex([1]), chain.find_or_create_vertex([2])
    chain.starting_vertex().add_edge(one, 1)
    one.add_edge(two, 0.5)
    one.add_edge(one, 0.625)
    with pytest.raises(ValueError, match=r"out of state \(1\) \(vertex 1\) sum to 1.125"):
        chain.serialize()


def test_weights_that_add_up_to_infinity_are_rejected() -> None:
    graph = two_phases()
    _, one, two, _ = graph.vertices()
    one.add_edge(two, 1.7e308)
    one.add_edge(two, 1.7e308)
    with pytest.raises(ValueError, match="add up to more than the largest double"):
        graph.serialize()


def test_rate_is_the_weight_to_other_vertices() -> None:
    graph = two_phases()
    start, one, two, three = graph.vertices()
    one.add_edge(one, 100.0)
    one.add_edge(three, 0.25)
    assert (start.rate(), one.rate(), three.rate()) == (1.0, 0.75, 0.0)
    two.add_edge(three, 5.0)
    assert two.rate([1.0, 2.0]) == 2.0
    assert one.rate(None) == 0.75
    with pytest.raises(ValueError, match=r"rate of state \[2\] depends on theta"):
        two.rate()
    for theta in ([1.0], [1.0, 2.0, 3.0], 1.0, [[1.0, 2.0]]):
        with pytest.raises(ValueError, match=r"theta has . entries .*, expected \(2,\)"):
            two.rate(theta)


def test_a_graph_may_grow_after_it_was_used() -> None:
    graph = two_phases()
    first = graph._frozen()
    assert graph._frozen() is first
    assert graph.find_or_create_vertex([1]) == graph.vertices()[1]
    assert graph._frozen() is first
    four = graph.find_or_create_vertex([4])
    assert graph._frozen() is not first
    graph.vertices()[3].add_edge(four, 1.0)
    assert graph._frozen().n_edges == 4
    assert first.n_edges == 3
    assert first.n_vertices == 4


def test_a_loaded_graph_may_be_read_and_grow() -> None:
    graph = Graph.from_json(two_phases().to_json())
    assert graph._builder is None
    assert graph.vertices()[2].edges()[0].coefficients().tolist() == [1.0, -2.0]
    assert graph.vertices()[1].state().tolist() == [1]
    assert graph._builder is None  # reading needs no builder
    assert graph.find_or_create_vertex([3]).index() == 3
    graph.vertices()[3].add_edge(graph.find_or_create_vertex([0]), [1, 1])
    assert graph.vertices_length() == 5
    assert graph.states().tolist() == [[0], [1], [2], [3], [0]]
    with pytest.raises(ValueError, match="has 3 coefficients, but earlier edges have 2"):
        graph.vertices()[3].add_edge(graph.vertices()[2], [1, 2, 3])


@pytest.mark.parametrize(
    "copier", [Graph.clone, copy.copy, copy.deepcopy], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("frozen", [False, True])
def test_copies_are_independent(copier: Any, frozen: bool) -> None:
    graph = two_phases()
    if frozen:
        graph.serialize()
    other = copier(graph)
    assert same(graph, other)
    other.vertices()[1].add_edge(other.find_or_create_vertex([9]), 1.0)
    assert graph.vertices_length() == 4
    assert other.vertices_length() == 5
    graph.vertices()[1].add_edge(graph.vertices()[3], 2.0)
    assert len(graph.vertices()[1].edges()) == len(other.vertices()[1].edges()) == 2


def test_an_unfinished_graph_may_be_cloned_but_not_pickled() -> None:
    graph = Graph(1)
    graph.find_or_create_vertex([1])
    assert graph.clone().vertices_length() == 2
    with pytest.raises(ValueError, match="no start edge"):
        pickle.dumps(graph)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_everything(protocol: int) -> None:
    graph = two_phases()
    other = pickle.loads(pickle.dumps(graph, protocol))
    assert same(graph, other)
    other.vertices()[1].add_edge(other.find_or_create_vertex([9]), 1.0)
    assert graph.vertices_length() == 4

    class Model(Graph):
        pass

    core = pickle.loads(pickle.dumps(graph._frozen(), protocol))
    assert core.to_json() == graph.to_json()
    assert type(Model.from_json(graph.to_json())) is Model
    assert type(Model(1).clone()) is Model


def test_equality_is_identity_for_graphs_and_place_for_vertices() -> None:
    graph, other = two_phases(), two_phases()
    assert graph != other
    assert graph.vertices()[1] == graph.find_or_create_vertex([1])
    assert graph.vertices()[1] != other.vertices()[1]
    assert graph.vertices()[1] != 1
    assert len({*graph.vertices(), *graph.vertices()}) == 4


def test_reprs_say_what_it_is() -> None:
    graph = two_phases()
    assert repr(graph) == ("<phasic.Graph: 4 vertices, state length 1, 2 parameters, continuous>")
    assert repr(graph.vertices()[2]) == "<phasic.Vertex 2, state [2]>"
    assert repr(graph.vertices()[1].edges()) == "[<phasic.Edge to [2], weight 0.5>]"
    assert repr(graph.vertices()[2].edges()[0]) == (
        "<phasic.Edge to [3], weight 0.0 + [1.0, -2.0] . theta>"
    )


def test_threads_may_read_and_extend_one_graph() -> None:
    graph = Graph(1)
    graph.starting_vertex().add_edge(graph.find_or_create_vertex([0]), 1.0)
    n_threads, n_each = 8, 300
    barrier = threading.Barrier(n_threads)

    def extend(thread: int) -> None:
        barrier.wait()
        first = graph.find_or_create_vertex([0])
        for k in range(n_each):
            vertex: Vertex = graph.find_or_create_vertex([1 + k])  # the same states everywhere
            first.add_edge(vertex, 1.0)
            if k % 50 == thread:
                assert graph._frozen().n_vertices >= k
                assert graph.states().shape[1] == 1

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(extend, range(n_threads)))
    assert graph.vertices_length() == 2 + n_each
    weights = [edge.weight() for edge in graph.vertices()[1].edges()]
    assert weights == [float(n_threads)] * n_each

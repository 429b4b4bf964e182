"""The serialized dict: exact round trips, and every malformed field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasic import Graph

Fields = dict[str, Any]

ARRAYS = ("states", "edges", "start_edges", "param_edges", "start_param_edges")
LENGTHS = ("param_length", "state_length", "n_vertices")


def small() -> Fields:
    """Start -> 1 -> 2 with a constant and a parameterised part on 1 -> 2."""
    return {
        "states": np.array([[0, 0], [1, 0], [2, 0]], dtype=np.int32),
        "edges": np.array([[1, 2, 0.5]]),
        "start_edges": np.array([[1, 1.0]]),
        "param_edges": np.array([[1, 2, 0.0, 3.0]]),
        "start_param_edges": np.zeros((0, 3)),
        "param_length": 2,
        "state_length": 2,
        "n_vertices": 3,
    }


def assert_same(a: Fields, b: Fields) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == b[name].dtype, name
            assert value.shape == b[name].shape, name
            assert value.tobytes() == b[name].tobytes(), name
        else:
            assert type(value) is type(b[name]), name
            assert value == b[name], name


def test_fields_have_the_documented_types_and_shapes() -> None:
    fields = Graph.from_serialized(small()).serialize()
    assert [fields[name].dtype for name in ARRAYS] == [np.int32] + [np.float64] * 4
    assert [fields[name].shape for name in ARRAYS] == [(3, 2), (1, 3), (1, 2), (1, 4), (0, 3)]
    assert all(type(fields[name]) is int for name in LENGTHS)
    assert [fields[name] for name in LENGTHS] == [2, 2, 3]
    assert (fields["start_vertex"], fields["is_discrete"]) == (0, False)
    assert type(fields["is_discrete"]) is bool
    assert fields["format_version"] == 1
    assert fields["vertex_indices"].tolist() == [0, 1, 2]
    for name in ARRAYS:
        assert np.array_equal(fields[name], small()[name]), name
    json.dumps({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields.items()})


def test_without_parameters_both_param_arrays_are_0_by_0() -> None:
    graph = Graph(1)
    graph.starting_vertex().add_edge(graph.find_or_create_vertex([1]), 1.0)
    fields = graph.serialize()
    assert fields["param_edges"].shape == fields["start_param_edges"].shape == (0, 0)
    assert fields["edges"].shape == (0, 3)
    assert fields["param_length"] == 0
    assert_same(fields, Graph.from_serialized(fields).serialize())


def test_serialize_checks_a_given_param_length() -> None:
    graph = Graph.from_serialized(small())
    assert_same(graph.serialize(param_length=2), graph.serialize())
    assert_same(graph.serialize(param_length=np.int64(2)), graph.serialize())  # type: ignore[arg-type]
    for wrong in (0, 1, 3, -1):
        with pytest.raises(ValueError, match=f"param_length is {wrong}, but the graph has 2"):
            graph.serialize(param_length=wrong)
    for other in (2.0, True, "2"):
        with pytest.raises(ValueError, match=r"param_length is .*, expected an int"):
            graph.serialize(param_length=other)  # type: ignore[arg-type]


@st.composite
def random_fields(draw: st.DrawFn) -> Fields:
    """Any valid graph: duplicate states, self loops, both parts, defect, either kind of start."""
    n = draw(st.integers(2, 7))
    d = draw(st.integers(1, 3))
    p = draw(st.integers(0, 3))
    coordinates = st.integers(-(2**31), 2**31 - 1) | st.integers(0, 1)
    states = draw(st.lists(st.lists(coordinates, min_size=d, max_size=d), min_size=n, max_size=n))
    states[0] = [0] * d
    discrete = draw(st.booleans())
    largest = 1.0 / n if discrete else 1e308
    weights = st.floats(0.0, largest)
    coefs = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=p, max_size=p)
    vertices = st.integers(1, n - 1)
    pairs = st.lists(st.tuples(vertices, vertices), unique=True, max_size=8)
    targets = st.lists(vertices, unique=True, max_size=n - 1)
    start = draw(st.lists(vertices, unique=True, min_size=1, max_size=n - 1))
    return {
        "states": np.array(states, dtype=np.int32),
        "edges": np.array([[*q, draw(weights)] for q in draw(pairs)]).reshape(-1, 3),
        "start_edges": np.array([[t, draw(st.floats(0.0, 1.0 / n))] for t in start]),
        "param_edges": np.array([[*q, *draw(coefs)] for q in draw(pairs)] if p else []).reshape(
            (-1, 2 + p) if p else (0, 0)
        ),
        "start_param_edges": np.array(
            [[t, *draw(coefs)] for t in draw(targets)] if p else []
        ).reshape((-1, 1 + p) if p else (0, 0)),
        "param_length": p,
        "state_length": d,
        "n_vertices": n,
        "is_discrete": discrete,
    }


def sorted_rows(fields: Fields, name: str) -> list[list[float]]:
    return sorted((np.asarray(fields[name], dtype=float) + 0.0).tolist())


@settings(max_examples=200, deadline=None)
@given(random_fields())
def test_round_trips_lose_nothing(fields: Fields) -> None:
    graph = Graph.from_serialized(fields)
    written = graph.serialize()
    assert np.array_equal(written["states"], fields["states"])
    for name in ARRAYS[1:]:
        assert sorted_rows(written, name) == sorted_rows(fields, name)
    for name in (*LENGTHS, "is_discrete"):
        assert written[name] == fields[name]
    assert_same(written, Graph.from_serialized(written).serialize())
    assert_same(written, Graph.from_json(graph.to_json()).serialize())
    assert_same(written, graph.clone().serialize())
    thawed = graph.clone()
    thawed._finished, thawed._builder = None, thawed._change()
    assert_same(written, thawed.serialize())  # through the builder


def test_values_may_be_lists_other_dtypes_and_views() -> None:
    expected = Graph.from_serialized(small()).to_json()

    def check(**changes: Any) -> None:
        assert Graph.from_serialized(small() | changes).to_json() == expected

    check(**{name: small()[name].tolist() for name in ARRAYS})
    check(**{name: tuple(map(tuple, small()[name].tolist())) for name in ARRAYS})
    check(states=list(small()["states"]), edges=[small()["edges"][0]])
    for dtype in (np.int8, np.uint64, np.int64, np.float32, np.float64, np.float16, ">i4"):
        check(states=small()["states"].astype(dtype))
    check(edges=np.array([[1, 2, 0.5]], dtype=np.float16), start_edges=np.array([[1, 1]]))
    check(states=np.asfortranarray(small()["states"]), edges=small()["edges"][::1, ::1])
    check(states=np.repeat(small()["states"], 2, axis=0)[::2])
    check(start_param_edges=np.zeros(0))
    check(start_param_edges=[])
    check(start_param_edges=np.zeros((0, 0)))
    check(n_vertices=np.int32(3), state_length=np.uint8(2), param_length=np.array(2))
    check(is_discrete=np.False_, start_vertex=np.int64(0), format_version=1)
    check(vertex_indices="anything", unknown=object())


def test_a_mapping_that_is_not_a_dict_is_read() -> None:
    class Fields(dict[str, Any]):
        pass

    assert Graph.from_serialized(Fields(small())).vertices_length() == 3


@pytest.mark.parametrize("fields", [None, 5, "{}", [], [("states", 1)], b"{}"], ids=repr)
def test_other_types_than_a_dict_are_rejected(fields: Any) -> None:
    with pytest.raises(ValueError, match=r"fields is a .*, expected a dict"):
        Graph.from_serialized(fields)


def test_the_starting_row() -> None:
    fields = small() | {"states": [[5, 5], [1, 0], [2, 0]], "start_edges": [[0, 1.0]]}
    graph = Graph.from_serialized(fields)
    assert graph.states().tolist() == [[0, 0], [5, 5], [1, 0], [2, 0]]
    assert graph.serialize()["edges"].tolist() == [[2, 3, 0.5]]
    fields = small() | {"start_vertex": 2, "start_edges": [[0, 1.0]], "param_edges": []}
    graph = Graph.from_serialized(fields | {"edges": [[0, 1, 0.5]]})
    assert graph.states().tolist() == [[2, 0], [0, 0], [1, 0]]
    assert graph.serialize()["edges"].tolist() == [[1, 2, 0.5]]


@pytest.mark.parametrize("name", [*ARRAYS, *LENGTHS])
def test_a_missing_field_is_named(name: str) -> None:
    fields = small()
    del fields[name]
    with pytest.raises(ValueError, match=f"missing required fields: {name}$"):
        Graph.from_serialized(fields)


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize(
    "value",
    [3.0, "3", None, True, np.True_, np.float64(3), [3], {}, 1j, 2**70, np.array([3, 3])],
    ids=repr,
)
def test_lengths_are_ints(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"invalid metadata types: {name} is .*expected an int"):
        Graph.from_serialized(small() | {name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_discrete": 1}, "invalid metadata types: is_discrete is 1 .*expected a bool"),
        ({"is_discrete": None}, "invalid metadata types: is_discrete is None"),
        ({"start_vertex": 0.0}, "invalid metadata types: start_vertex"),
        ({"start_vertex": None}, "invalid metadata types: start_vertex is None"),
        ({"start_vertex": -1}, "start_vertex is -1, expected a row of states from 0 to 2"),
        ({"start_vertex": 3}, "start_vertex is 3, expected a row of states from 0 to 2"),
        ({"format_version": 2}, "format_version is 2, expected 1"),
        ({"format_version": "1"}, "invalid metadata types: format_version"),
        ({"param_length": -1}, "param_length is -1, expected 0 to"),
        ({"param_length": 2**40}, "param_length is 1099511627776"),
        ({"state_length": 0}, "state_length is 0, expected 1 to"),
        ({"state_length": -(2**63)}, "state_length is -9223372036854775808"),
        ({"n_vertices": -1}, "n_vertices is -1, expected 0 to"),
        ({"n_vertices": 2**62}, "n_vertices is 4611686018427387904"),
    ],
    ids=repr,
)
def test_bad_metadata_is_named(change: Fields, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph.from_serialized(small() | change)


MISMATCH = "states array shape mismatch: .*expected "
EDGES = "edges array has wrong shape: .*expected "
SHORT = "coefficient length < param_length: "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_vertices": 4}, MISMATCH + r"\(4, 2\)"),
        ({"state_length": 3}, MISMATCH + r"\(3, 3\)"),
        ({"states": np.zeros((0, 2), int)}, MISMATCH),
        ({"states": np.zeros((3, 2, 1), int)}, MISMATCH + "2"),
        ({"states": np.zeros(6, int)}, MISMATCH),
        ({"states": [[0, 0], [1, 0], [2]]}, MISMATCH),
        ({"states": [[0, 0], [1, 0], 2]}, MISMATCH + "a list of numbers"),
        ({"states": np.array(3)}, MISMATCH),
        ({"states": None}, MISMATCH + "an array"),
        ({"states": 3}, MISMATCH + "an array"),
        ({"states": "abc"}, MISMATCH + "an array"),
        ({"states": {0: [0, 0]}}, MISMATCH + "an array"),
        ({"edges": np.zeros((1, 2))}, EDGES + r"\(n, 3\)"),
        ({"edges": np.zeros((1, 4))}, EDGES),
        ({"edges": np.zeros((0, 2))}, EDGES),
        ({"edges": np.zeros(3)}, EDGES),
        ({"edges": np.zeros((1, 1, 3))}, EDGES),
        ({"edges": [[1, 2, 0.5], [1, 2]]}, "edges array has wrong shape: row 1 with 2 columns"),
        ({"edges": [1, 2, 0.5]}, EDGES),
        ({"edges": None}, EDGES),
        ({"start_edges": np.zeros((1, 3))}, "start_" + EDGES + r"\(n, 2\)"),
        ({"start_edges": [[1]]}, "start_" + EDGES),
        ({"param_edges": np.zeros((1, 3))}, SHORT + r"param_edges .*expected \(n, 4\)"),
        ({"param_edges": np.zeros((0, 3))}, SHORT),
        ({"param_edges": [[1, 2, 1.0, 1.0], [1, 1, 1.0]]}, SHORT + "param_edges has row 1"),
        ({"start_param_edges": [[1, 1.0]]}, SHORT + "start_param_edges"),
        ({"param_edges": np.zeros((1, 5))}, "coefficient length > param_length: param_edges"),
        ({"param_length": 3}, SHORT),
        ({"param_length": 0}, "coefficient length > param_length"),
    ],
    ids=repr,
)
def test_wrong_shapes_have_the_fixed_phrases(change: Fields, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph.from_serialized(small() | change)


def test_param_rows_without_parameters_are_rejected() -> None:
    fields = small() | {"param_length": 0, "start_param_edges": np.zeros((0, 0))}
    with pytest.raises(ValueError, match=r"param_edges array has wrong shape.*expected \(0, 0\)"):
        Graph.from_serialized(fields | {"param_edges": [[1, 2]]})


WHOLE = "states row 1: column 0 is .*expected a whole number from -2147483648 to 2147483647"


@pytest.mark.parametrize(
    "cell",
    [1.5, float("nan"), float("inf"), 2**31, -(2**31) - 1, 2**70, True, None, "1", 1j, [1]],
    ids=repr,
)
def test_state_cells_are_exact_int32(cell: Any) -> None:
    with pytest.raises(ValueError, match=WHOLE):
        Graph.from_serialized(small() | {"states": [[0, 0], [cell, 0], [2, 0]]})


@pytest.mark.parametrize(
    "dtype_and_value",
    [(np.float64, 1.5), (np.float64, np.nan), (np.int64, 2**31), (np.uint64, 2**64 - 1)],
    ids=repr,
)
def test_state_arrays_are_exact_int32(dtype_and_value: tuple[Any, Any]) -> None:
    dtype, value = dtype_and_value
    states = small()["states"].astype(dtype)
    states[1, 0] = value
    with pytest.raises(ValueError, match=WHOLE):
        Graph.from_serialized(small() | {"states": states})


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("dtype", [bool, complex, object, "U4", "S4", "M8[s]", [("a", float)]])
def test_arrays_hold_integers_or_floats(name: str, dtype: Any) -> None:
    array = np.zeros(small()[name].shape, dtype=dtype)
    with pytest.raises(ValueError, match=f"{name} has dtype .*expected integers or floats"):
        Graph.from_serialized(small() | {name: array})


@pytest.mark.parametrize("name", ARRAYS)
def test_masked_arrays_are_rejected(name: str) -> None:
    array = np.ma.masked_array(small()[name], mask=False)
    with pytest.raises(ValueError, match=f"{name} is a masked array"):
        Graph.from_serialized(small() | {name: array})


def row_cases() -> list[tuple[Fields, str]]:
    nan, inf = float("nan"), float("inf")
    return [
        ({"edges": [[1, 2, 0.5], [1, 3, 0.5]]}, "edges row 1: to is 3, expected a whole number"),
        ({"edges": [[1.5, 2, 0.5]]}, "edges row 0: from is 1.5"),
        ({"edges": [[-1, 2, 0.5]]}, "edges row 0: from is -1"),
        ({"edges": [[nan, 2, 0.5]]}, "edges row 0: from is nan"),
        ({"edges": [[1, 2, -0.5]]}, "edges row 0: weight is -0.5, expected a finite number >= 0"),
        ({"edges": [[1, 2, nan]]}, "edges row 0: weight is nan"),
        ({"edges": [[1, 2, inf]]}, "edges row 0: weight is inf"),
        ({"edges": [[1, 2, "x"]]}, "edges row 0: column 2 is 'x' .*expected a number"),
        ({"edges": [[1, 2, True]]}, "edges row 0: column 2 is True"),
        ({"edges": [[1, 0, 0.5]]}, "edges row 0: to is 0, the starting vertex"),
        ({"edges": [[0, 1, 0.5]]}, "edges row 0: from is 0, the starting vertex"),
        ({"edges": [[1, 2, 1], [1, 2, 1]]}, r"edges row 1 repeats the pair \(1, 2\) of row 0"),
        ({"start_edges": [[0, 1.0]]}, "start_edges row 0: to is 0, the starting vertex"),
        ({"start_edges": [[1, 0.5], [1, 0.5]]}, "start_edges row 1 repeats the target 1 of row 0"),
        ({"start_edges": [[1, 1.5]]}, "start_edges: the start weights sum to 1.5"),
        ({"start_edges": []}, "the graph has no start edge"),
        ({"param_edges": [[1, 2, nan, 1]]}, "param_edges row 0: coefficient 0 is nan"),
        ({"param_edges": [[1, 2, 1, inf]]}, "param_edges row 0: coefficient 1 is inf"),
        ({"param_edges": [[1, 7, 1, 1]]}, "param_edges row 0: to is 7"),
        ({"param_edges": [[1, 2, 1, 1]] * 2}, "param_edges row 1 repeats the pair"),
        ({"start_param_edges": [[9, 1, 1]]}, "start_param_edges row 0: to is 9"),
        ({"start_param_edges": [[1, 1, 1]] * 2}, "start_param_edges row 1 repeats the target 1"),
        (
            {"is_discrete": True, "edges": [[1, 2, 1.5]], "param_edges": []},
            r"out of state \(1, 0\) \(vertex 1\) sum to 1.5",
        ),
    ]


@pytest.mark.parametrize(("change", "message"), row_cases(), ids=lambda v: repr(v)[:40])
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_rows_are_named_alike_in_dicts_and_json(
    change: Fields, message: str, as_json: bool
) -> None:
    fields = small() | change
    read: Callable[[], Graph] = lambda: Graph.from_serialized(fields)  # noqa: E731
    if as_json:
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields.items()}
        text = json.dumps(plain)
        if "NaN" in text or "Infinity" in text:
            message = "not valid JSON"
        message = message.split("is 'x'")[0].split("is True")[0]  # types have JSON names there
        read = lambda: Graph.from_json(text)  # noqa: E731
    with pytest.raises(ValueError, match=message):
        read()
    assert Graph.from_serialized(small()).vertices_length() == 3  # everything still works


def test_reading_a_hostile_object_raises_its_own_error() -> None:
    class Interrupting:
        def __float__(self) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Graph.from_serialized(small() | {"edges": [[1, 2, Interrupting()]]})

    rows: list[Any] = [[1, 2, 0.5]] * 50

    class Shrinking:
        def __float__(self) -> float:
            rows.clear()
            return 0.5

    rows[0] = [1, 2, Shrinking()]
    graph = Graph.from_serialized(small() | {"edges": rows})
    assert graph.serialize()["edges"].tolist() == [[1, 2, 0.5]]

"""Batched callbacks: the graphs of one-state callbacks, and every malformed result."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from case_ids import shown
from phasic import Graph, callback

States = npt.NDArray[np.int64]


def as_batched(one: Callable[[States], list[Any]], shuffle: int | None = None) -> Any:
    """Ask a one-state callback about each row; optionally list the source rows in random order."""

    def batched(states: States) -> Any:
        parts: dict[bool, tuple[list[int], list[Any], list[Any]]] = {}
        order = np.arange(len(states))
        if shuffle is not None:
            np.random.default_rng(shuffle).shuffle(order)
        for row in order:
            for next_state, weight in one(states[row]):
                rows, targets, weights = parts.setdefault(np.ndim(weight) == 1, ([], [], []))
                rows.append(int(row))
                targets.append(next_state)
                weights.append(weight)
        return [tuple(np.array(field) for field in part) for part in parts.values()]

    return batched


def coalescent(state: States) -> list[Any]:
    (n,) = state
    return [([n - 1], [n * (n - 1) / 2])] if n > 1 else []


def islands(state: States) -> list[Any]:
    """Two islands with migration and coalescence; cycles between states."""
    i, j = state
    moves = [
        (i > 1, (i - 1, j), [i * (i - 1) / 2, 0, 0]),
        (j > 1, (i, j - 1), [0, j * (j - 1) / 2, 0]),
        (i > 0, (i - 1, j + 1), [0, 0, i]),
        (j > 0, (i + 1, j - 1), [0, 0, j]),
    ]
    return [(to, weight) for possible, to, weight in moves if possible and i + j > 1]


def rabbits(state: States) -> list[Any]:
    """Two islands with jumps and floods; parallel transitions, and an all-zero state."""
    a, b = state
    moves = [
        (a > 0, (a - 1, b + 1), [1.0, 0.0]),
        (a > 0, (0, b), [0.0, 1.0]),
        (b > 0, (a + 1, b - 1), [1.0, 0.0]),
        (b > 0, (a, 0), [0.0, 2.0]),
    ]
    return [(to, weight) for possible, to, weight in moves if possible]


def ladder(state: States) -> list[Any]:
    """Constant weights, self loops, negative coordinates."""
    k = state[0]
    return [([k - 1], 0.5), ([k], 0.25), ([k - 1], 0.125), ([-3 * k - 9], 0.0)] if k > -8 else []


def mixed(state: States) -> list[Any]:
    """Constant and parameterised edges between the same states; constant ones come first."""
    k = state[0]
    constant = [([k + 1], 1.5), ([2 * k], 0.5)]
    return [*constant, ([2 * k], [1.0, 2.0]), ([k + 1], [0.0, k])] if k < 40 else []


def cube(state: States) -> list[Any]:
    """Flip any of ten bits: levels of many sizes."""
    flips = np.eye(10, dtype=np.int64)
    return [(state ^ flip, float(k + 1)) for k, flip in enumerate(flips)]


MODELS: list[tuple[Callable[[States], list[Any]], list[Any]]] = [
    (coalescent, [([12], 1.0)]),
    (islands, [([7, 5], 0.5), ([5, 6], 0.25)]),
    (rabbits, [([9, 0], 1.0)]),
    (ladder, [([2], 1.0)]),
    (mixed, [([1], 1.0)]),
    (cube, [([0] * 10, 1.0)]),
]
IDS = [one.__name__ for one, _ in MODELS]


@pytest.mark.parametrize("batch_size", [1, 2, 7, 65_536])
@pytest.mark.parametrize("shuffle", [None, 1])
@pytest.mark.parametrize(("one", "ipv"), MODELS, ids=IDS)
def test_the_graph_is_that_of_the_one_state_callback(
    one: Callable[[States], list[Any]], ipv: list[Any], shuffle: int | None, batch_size: int
) -> None:
    expected = Graph(one, ipv=ipv)
    found = Graph(as_batched(one, shuffle), ipv=ipv, batched=True, batch_size=batch_size)
    assert found.to_json() == expected.to_json()


def rabbits_batched(states: States) -> list[Any]:
    a, b = states.T
    empty = np.zeros_like(a)
    moves = [
        (a > 0, (a - 1, b + 1), [1.0, 0.0]),
        (a > 0, (empty, b), [0.0, 1.0]),
        (b > 0, (a + 1, b - 1), [1.0, 0.0]),
        (b > 0, (a, empty), [0.0, 2.0]),
    ]
    parts = []
    for possible, to, weight in moves:
        (rows,) = np.nonzero(possible)
        parts.append((rows, np.stack(to, axis=1)[rows], np.tile(weight, (len(rows), 1))))
    return parts


def test_a_model_in_numpy_is_explored_like_one_in_python() -> None:
    ipv = [([30, 0], 1.0)]
    expected = Graph(rabbits, ipv=ipv)
    assert expected.vertices_length() == 31 * 32 // 2 + 1
    for batch_size in (5, 100):
        found = Graph(rabbits_batched, ipv=ipv, batched=True, batch_size=batch_size)
        assert found.to_json() == expected.to_json()

    def one_tuple(states: States) -> Any:
        return tuple(np.concatenate(field) for field in zip(*rabbits_batched(states), strict=True))

    assert Graph(one_tuple, ipv=ipv, batched=True).to_json() == expected.to_json()


def test_a_decorated_function_says_that_it_is_batched() -> None:
    @callback(ipv=[([4], 1.0)], batched=True)
    def model(states: States, step: int = 1) -> Any:
        (rows,) = np.nonzero(states[:, 0] > step)
        n = states[rows]
        return rows, n - step, n * (n - 1) / 2

    assert model.batched
    assert Graph(model).states().tolist() == [[0], [4], [3], [2], [1]]
    assert Graph(model, batched=True, step=2).states().tolist() == [[0], [4], [2]]
    assert Graph(model, ipv=[([2], 1.0)]).vertices_length() == 3
    with pytest.raises(ValueError, match="batched is False, but the callback was decorated with"):
        Graph(model, batched=False)
    assert not callback(ipv=[([4], 1.0)])(coalescent).batched


def test_the_states_are_the_frontier_a_fresh_int64_array() -> None:
    seen = []

    def binary(states: States) -> Any:
        assert states.dtype == np.int64
        assert states.flags.c_contiguous and states.flags.writeable and states.flags.owndata
        seen.append(states.ravel().tolist())
        rows = np.repeat(np.flatnonzero(states[:, 0] < 8), 2)
        result = rows, 2 * states[rows] + np.tile([[0], [1]], (len(rows) // 2, 1)), rows + 1.0
        states[:] = -7
        return result

    ipv = [([1], 1.0)]
    graph = Graph(binary, ipv=ipv, batched=True)
    assert seen == [[1], [2, 3], [4, 5, 6, 7], list(range(8, 16))]
    assert graph.states().ravel().tolist() == list(range(16))
    seen.clear()
    assert Graph(binary, ipv=ipv, batched=True, batch_size=3).vertices_length() == 16
    assert seen == [[1], [2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [13, 14, 15]]


def explore_result(result: Any, **options: Any) -> Graph:
    """Explore a model whose callback gives one fixed result for states (7, 1) and (8, 1)."""

    def model(states: States) -> Any:
        if states[0, 0] == 7:
            return result
        return np.zeros(0, int), np.zeros((0, 2), int), np.zeros(0)

    return Graph(model, ipv=[([7, 1], 0.5), ([8, 1], 0.5)], batched=True, **options)


ROWS, NEXT, WEIGHTS = np.array([1, 0, 1]), np.array([[1, 2], [3, 4], [5, 6]]), np.ones(3)
COEFFICIENTS = np.ones((3, 2))


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float32, ">i4", np.longdouble])
def test_whole_numbers_of_any_dtype_and_layout(dtype: Any) -> None:
    expected = explore_result((ROWS, NEXT, COEFFICIENTS)).to_json()
    rows, states = ROWS.astype(dtype), NEXT.astype(dtype)
    weights = COEFFICIENTS.astype(dtype)
    assert explore_result((rows, states, weights)).to_json() == expected
    assert explore_result((rows, np.asfortranarray(states), weights)).to_json() == expected
    spread = np.zeros((6, 4), dtype)
    spread[::2, ::2] = states
    assert explore_result((rows, spread[::2, ::2], weights)).to_json() == expected


def test_objects_that_offer_an_array_are_arrays() -> None:
    class Wrapped:
        def __init__(self, array: npt.NDArray[Any]) -> None:
            self.array = array

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
            return self.array

    expected = explore_result((ROWS, NEXT, WEIGHTS)).to_json()
    assert explore_result((Wrapped(ROWS), Wrapped(NEXT), Wrapped(WEIGHTS))).to_json() == expected


@pytest.mark.parametrize(
    "result", [[], [(np.zeros(0), np.zeros((0, 2)), np.zeros(0))], (ROWS[:0], NEXT[:0], ROWS[:0])]
)
def test_no_transitions_are_absorbing_states(result: Any) -> None:
    assert explore_result(result).states().tolist() == [[0, 0], [7, 1], [8, 1]]


@pytest.mark.parametrize(
    "result",
    [
        None,
        5,
        "abc",
        {},
        (),
        (ROWS, NEXT),
        (ROWS, NEXT, WEIGHTS, WEIGHTS),
        np.zeros((3, 3)),
        iter([]),
    ],
    ids=lambda v: shown(v)[:30],
)
def test_a_result_of_another_form_is_rejected(result: Any) -> None:
    whole = r"result for 2 states, the first \(7, 1\), is .*expected a 3-tuple of arrays"
    with pytest.raises(ValueError, match=whole):
        explore_result(result)
    part = r"for 2 states, the first \(7, 1\), part 1, is .*expected a 3-tuple of arrays"
    with pytest.raises(ValueError, match=part):
        explore_result([(ROWS, NEXT, WEIGHTS), result])


@pytest.mark.parametrize("field", [0, 1, 2])
@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        [0, 1, 1],
        "abc",
        np.array([True, False, True]),
        np.array([0, 1, 1], dtype=object),
        np.array([0j, 1, 1]),
        np.array(["a", "b", "c"]),
        np.array(["2020-01-01"] * 3, dtype="M8[D]"),
        np.int64(3),
    ],
    ids=lambda v: shown(v)[:30],
)
def test_a_field_that_is_no_array_of_numbers_is_rejected(field: int, value: Any) -> None:
    result = [ROWS, NEXT, WEIGHTS]
    result[field] = value
    name = ("source_row", "next_states", "weights")[field]
    message = rf"the first \(7, 1\): {name} is .*expected an array of numbers"
    with pytest.raises(ValueError, match=message):
        explore_result(tuple(result))


def test_a_masked_array_is_rejected() -> None:
    masked = np.ma.masked_array(NEXT, mask=NEXT == 4)
    with pytest.raises(ValueError, match="next_states is a masked array, expected one without"):
        explore_result((ROWS, masked, WEIGHTS))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (0, ROWS[:, None], r"source_row is .*shape \(3, 1\), expected one dimension"),
        (0, np.array(1), r"source_row is .*shape \(\), expected one dimension"),
        (0, ROWS[:2], r"next_states is .*shape \(3, 2\), expected the shape \(2, 2\)"),
        (1, NEXT[:2], r"next_states is .*shape \(2, 2\), expected the shape \(3, 2\)"),
        (1, NEXT.T, r"next_states is .*shape \(2, 3\), expected the shape \(3, 2\)"),
        (1, NEXT.ravel(), r"next_states is .*shape \(6,\), expected the shape \(3, 2\)"),
        (1, NEXT[:, :1], r"next_states is .*shape \(3, 1\), expected the shape \(3, 2\)"),
        (1, NEXT[None], r"next_states is .*shape \(1, 3, 2\), expected the shape"),
        (2, WEIGHTS[:2], r"weights is .*shape \(2,\), expected the shape \(3,\) for constant"),
        (2, np.array(1.0), r"weights is .*shape \(\), expected the shape \(3,\)"),
        (2, COEFFICIENTS.T, r"weights is .*shape \(2, 3\), .*or \(3, param_length\) for coef"),
        (2, np.ones((3, 0)), r"weights is .*shape \(3, 0\), .*or \(3, param_length\) for coef"),
        (2, np.ones((3, 2, 1)), r"weights is .*shape \(3, 2, 1\), .*expected the shape"),
    ],
    ids=lambda v: shown(v)[:30],
)
def test_a_field_of_a_wrong_shape_is_rejected(field: int, value: Any, message: str) -> None:
    result = [ROWS, NEXT, WEIGHTS]
    result[field] = value
    with pytest.raises(ValueError, match=r"for 2 states, the first \(7, 1\): " + message):
        explore_result(tuple(result))


@pytest.mark.parametrize(
    ("value", "found"),
    [(2, "2"), (-1, "-1"), (2**31, "2147483648"), (2**32, "4294967296"), (-(2**63), "-922337203")],
)
def test_a_source_row_outside_the_batch_is_rejected(value: int, found: str) -> None:
    rows = np.array([1, 0, value])
    message = rf"first \(7, 1\), row 2: source_row is {found}.*expected a whole number from 0 to 1"
    with pytest.raises(ValueError, match=message):
        explore_result((rows, NEXT, WEIGHTS))


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -1.0, 2.0, 1e300])
def test_a_source_row_that_is_not_whole_is_rejected(value: float) -> None:
    with pytest.raises(ValueError, match=r"row 0: source_row is .*expected a whole number from 0"):
        explore_result((np.array([value, 0.25, 7.0]), NEXT, WEIGHTS))


@pytest.mark.parametrize(
    "value",
    [2**31, -(2**31) - 1, 2**63 - 1, np.uint64(2**64 - 1), 1.5, np.nan, -np.inf, 2.0**31, 1e300],
    ids=shown,
)
def test_a_next_state_that_is_no_int32_is_rejected(value: Any) -> None:
    states = NEXT.astype(np.asarray(value).dtype)
    states[1, 1] = value
    message = (
        r"for state \(7, 1\), row 1: next_states column 1 is .*expected a whole number from -2"
    )
    with pytest.raises(ValueError, match=message):
        explore_result((ROWS, states, WEIGHTS))
    states[1, 1] = 2
    states[2, 0] = value
    message = r"for state \(8, 1\), part 1, row 2: next_states column 0 is .*expected a whole"
    with pytest.raises(ValueError, match=message):
        explore_result([(ROWS, NEXT, WEIGHTS), (ROWS, states, WEIGHTS)])


def test_the_extreme_states_are_kept() -> None:
    states = np.array([[2**31 - 1, -(2**31)]])
    graph = explore_result((np.array([1]), states, np.ones(1)))
    assert graph.states()[-1].tolist() == [2**31 - 1, -(2**31)]


@pytest.mark.parametrize("value", [-1.0, -1e-300, np.nan, np.inf, -np.inf])
def test_a_bad_weight_is_rejected(value: float) -> None:
    weights = np.array([1.0, 2.0, value])
    message = (
        r"for state \(8, 1\), row 2: the weight of the edge .*\(5, 6\) is .*finite number >= 0"
    )
    with pytest.raises(ValueError, match=message):
        explore_result((ROWS, NEXT, weights))
    if value == -1.0:
        weights = weights.astype(np.int32)
        with pytest.raises(ValueError, match=message):
            explore_result((ROWS, NEXT, weights))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_coefficient_is_rejected(value: float) -> None:
    coefficients = COEFFICIENTS.copy()
    coefficients[1] = -1.0  # allowed
    coefficients[0, 1] = value
    message = r"state \(8, 1\), row 0: coefficient 1 of the edge .*expected a finite number"
    with pytest.raises(ValueError, match=message):
        explore_result((ROWS, NEXT, coefficients))


def test_the_number_of_coefficients_is_the_same_everywhere() -> None:
    message = r"weights is .*shape \(3, 3\), .*or \(3, 2\) for coefficients, as many as on earlier"
    with pytest.raises(ValueError, match=message):
        explore_result([(ROWS, NEXT, COEFFICIENTS), (ROWS, NEXT, np.ones((3, 3)))])

    def grows(states: States) -> Any:
        k = states[0, 0]
        return np.array([0]), states + 1, np.ones((1, k))

    message = r"for state \(2\): weights is .*expected the shape \(1,\) .* or \(1, 1\) for coef"
    with pytest.raises(ValueError, match=message):
        Graph(grows, ipv=[([1], 1.0)], batched=True)


def test_discrete_rows_are_checked() -> None:
    with pytest.raises(ValueError, match=r"out of state \(8, 1\) .*sum to 2, expected at most 1"):
        explore_result((ROWS, NEXT, WEIGHTS), discrete=True).to_json()


def endless(states: States) -> Any:
    """Three successors each."""
    rows = np.repeat(np.arange(len(states)), 3)
    return rows, 3 * states[rows] + np.tile([[0], [1], [2]], (len(states), 1)), np.ones(len(rows))


def test_the_number_of_states_is_limited() -> None:
    ipv = [([1], 1.0)]
    message = (
        r"reached 121 states, expected at most 100 \(max_states\), when 40 of them were explored; "
        r"the newest is \(161\)\. Check that the state space is finite, or raise max_states"
    )
    with pytest.raises(ValueError, match=message):
        Graph(endless, ipv=ipv, batched=True, max_states=100)
    with pytest.raises(ValueError, match=r"reached 103 states, .*when 34 of them"):
        Graph(endless, ipv=ipv, batched=True, max_states=100, batch_size=1)
    assert explore_result((ROWS, NEXT, WEIGHTS), max_states=5).vertices_length() == 6
    with pytest.raises(ValueError, match="reached 5 states, expected at most 4"):
        explore_result((ROWS, NEXT, WEIGHTS), max_states=4)


def test_bad_options_are_rejected() -> None:
    for bad in (0, -1, -(10**30), 1.5, None, True):
        with pytest.raises(ValueError, match=r"batch_size is .*expected a"):
            explore_result([], batch_size=bad)
    assert explore_result([], batch_size=10**30, max_states=10**30).vertices_length() == 3
    for bad in (1, "yes", np.array([True])):
        with pytest.raises(ValueError, match="batched is"):
            Graph(endless, ipv=[([1], 1.0)], batched=bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="batched is"):
            callback(ipv=[([1], 1.0)], batched=bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batched given with the state length 3"):
        Graph(3, batched=True)


def test_exceptions_of_the_callback_pass_through_with_the_batch() -> None:
    def fails(states: States) -> Any:
        if len(states) == 9:
            raise RuntimeError("no rate")
        return endless(states)

    with pytest.raises(RuntimeError, match="no rate") as caught:
        Graph(fails, ipv=[([1], 1.0)], batched=True)
    assert caught.value.__notes__ == ["raised by the callback for 9 states, the first (9)"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration, MemoryError])
def test_interrupts_stop_the_exploration(error: type[BaseException]) -> None:
    def interrupted(states: States) -> Any:
        if len(states) > 9:
            raise error
        return endless(states)

    with pytest.raises(error):
        Graph(interrupted, ipv=[([1], 1.0)], batched=True)


def test_a_signal_stops_the_exploration() -> None:
    calls = []

    def interrupted(states: States) -> Any:
        calls.append(len(states))
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return endless(states)

    with pytest.raises(KeyboardInterrupt):
        Graph(interrupted, ipv=[([1], 1.0)], batched=True, batch_size=5)
    assert len(calls) == 3


def test_a_large_model_is_explored_completely() -> None:
    graph = Graph(rabbits_batched, ipv=[([400, 0], 1.0)], batched=True)
    states = graph.states()[1:]
    assert len(states) == 401 * 402 // 2
    assert len(np.unique(states, axis=0)) == len(states)
    fields = graph.serialize()
    assert len(fields["param_edges"]) == 2 * 400 * 401

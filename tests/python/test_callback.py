"""Graphs explored from callbacks: order, arguments, and every malformed result."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from case_ids import shown
from phasic import Graph, callback
from test_graph import NOT_WEIGHTS

State = npt.NDArray[np.int64]


@callback(ipv=[([4], 1.0)])
def coalescent(state: State) -> list[Any]:
    """Pairs of lineages merge."""
    (n,) = state
    return [([n - 1], [n * (n - 1) / 2])] if n > 1 else []


def test_a_decorated_function_has_its_start() -> None:
    graph = Graph(coalescent)
    assert graph.states().tolist() == [[0], [4], [3], [2], [1]]
    fields = graph.serialize()
    assert fields["start_edges"].tolist() == [[1, 1.0]]
    assert fields["param_edges"].tolist() == [[1, 2, 6.0], [2, 3, 3.0], [3, 4, 1.0]]
    assert coalescent.__name__ == "coalescent"
    assert coalescent.__doc__ == "Pairs of lineages merge."
    assert coalescent(np.array([1])) == []
    assert repr(coalescent) == "<phasic.callback coalescent, 1 start states>"
    assert Graph(coalescent, ipv=[([2], 1.0)]).vertices_length() == 3  # an argument wins


def test_states_are_found_breadth_first_and_asked_once() -> None:
    asked: list[tuple[int, ...]] = []

    def grid(state: State) -> list[Any]:
        asked.append(tuple(state.tolist()))
        i, j = state
        right, down = ((i + 1, j), 1.0), ((i, j + 1), 2.0)
        return [item for item, inside in ((right, i < 2), (down, j < 2)) if inside]

    graph = Graph(grid, ipv=[((0, 0), 1)])
    assert asked == [tuple(row) for row in graph.states().tolist()[1:]]
    assert asked == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (2, 1), (1, 2), (2, 2)]


def test_the_state_is_a_fresh_int64_array() -> None:
    seen = []

    def spoil(state: State) -> list[Any]:
        assert state.dtype == np.int64
        assert state.flags.writeable
        assert state.flags.owndata
        n = int(state[0])
        assert n * (n - 1) == int(state[0] * (state[0] - 1))  # 64 bits
        seen.append(state)
        state[:] = -7
        return [([n - 1], 1.0)] if n > 2_000_000_000 - 2 else []

    graph = Graph(spoil, ipv=[([2_000_000_000], 1.0)])
    assert graph.states().ravel().tolist() == [0, 2_000_000_000, 1_999_999_999, 1_999_999_998]
    assert len({id(state) for state in seen}) == 3


def test_keyword_arguments_reach_the_callback() -> None:
    def chain(state: State, length: int, *, source: float, step: int = 1) -> list[Any]:
        k = state[0] + step
        return [([k], source)] if k <= length else []

    graph = Graph(chain, ipv=[([1], 1.0)], length=5, source=0.5, step=2)
    assert graph.states().ravel().tolist() == [0, 1, 3, 5]
    assert graph.vertices()[1].edges()[0].weight() == 0.5
    assert Graph(chain, ipv=[([1], 1.0)], discrete=True, length=2, source=0.5).is_discrete


def test_transitions_of_many_kinds() -> None:
    def model(state: State) -> list[Any]:
        if state[0] != 1:
            return []
        return [
            ([2], 0.5),
            ((2,), np.float32(0.25)),  # the same state again: the weights add
            (np.array([3]), [1, 2]),
            (np.array([3.0]), np.array([0.5, 0.5])),
            (np.array([3], dtype=np.uint8), 1),
            ([1], 4.0),  # a self loop
            ([0], (0.0, -1.0)),  # all zeros: an ordinary state
        ]

    graph = Graph(model, ipv=[([1], 0.5), (np.array([2]), 0.25), [[1], 0.125]])
    assert graph.states().ravel().tolist() == [0, 1, 2, 3, 0]
    fields = graph.serialize()
    assert fields["start_edges"].tolist() == [[1, 0.625], [2, 0.25]]
    assert fields["edges"].tolist() == [[1, 1, 4.0], [1, 2, 0.75], [1, 3, 1.0]]
    assert fields["param_edges"].tolist() == [[1, 3, 1.5, 2.5], [1, 4, 0.0, -1.0]]


def explore_result(result: Any) -> Graph:
    """Explore a model whose callback gives one fixed result for state (7, 1)."""
    return Graph(lambda state: result if state[0] == 7 else [], ipv=[([7, 1], 1.0)])


@pytest.mark.parametrize(
    "result",
    [
        None,
        (),
        {},
        "",
        5,
        ([1, 2], 1.0),
        np.zeros((0, 2)),
        iter([]),
        set(),
    ],
    ids=shown,
)
def test_a_result_that_is_no_list_is_rejected(result: Any) -> None:
    with pytest.raises(
        ValueError, match=r"result for state \(7, 1\) is .*expected a list of 2-tup"
    ):
        explore_result(result)


@pytest.mark.parametrize(
    "item",
    [None, 5, "ab", (), ([1, 2],), ([1, 2], 1.0, 2.0), [[1, 2], 1.0], {1: 2}, np.zeros(2)],
    ids=shown,
)
def test_an_item_that_is_no_pair_is_rejected(item: Any) -> None:
    with pytest.raises(ValueError, match=r"state \(7, 1\), item 1, is .*expected a 2-tuple"):
        explore_result([([1, 2], 1.0), item])


@pytest.mark.parametrize(
    "state",
    [
        [1],
        [1, 2, 3],
        [],
        [1.5, 2],
        [2**31, 0],
        [float("nan"), 0],
        [True, 0],
        [None, 0],
        None,
        5,
        "ab",
        np.array([1.5, 2.0]),
        np.array([[1, 2]]),
        np.array([True, False]),
        np.array([2**40, 1]),
        np.ma.masked_array([1, 2], mask=[0, 1]),
        object(),
    ],
    ids=lambda v: shown(v)[:30],
)
def test_a_bad_next_state_is_rejected(state: Any) -> None:
    with pytest.raises(ValueError, match=r"state \(7, 1\), item 1: next_state is .*expected"):
        explore_result([([1, 2], 1.0), (state, 1.0)])


@pytest.mark.parametrize(("weight", "message"), NOT_WEIGHTS, ids=shown)
def test_a_bad_weight_is_rejected(weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"state \(7, 1\), item 1.*" + message):
        explore_result([([1, 2], [1.0, 2.0]), ([1, 3], weight)])


@pytest.mark.parametrize(
    ("ipv", "message"),
    [
        ([], "ipv is .*expected a list with at least one pair"),
        ((), "ipv is .*expected a list with at least one pair"),
        (5, "ipv is 5 .*expected a list"),
        ("ab", "ipv is 'ab'"),
        ({(1,): 1.0}, "ipv is .*expected a list"),
        ([5], r"ipv item 0 is 5 \(int\), expected a pair \(state, probability\)"),
        ([([1],)], "ipv item 0 is .*expected a pair"),
        ([([1], 0.5), ([1], 0.5, 0.1)], "ipv item 1 is .*expected a pair"),
        ([([], 1.0)], r"ipv item 0: state is \[\] .*at least one"),
        ([([1], 0.5), ([1, 2], 0.5)], "ipv item 1: state is .*of length 1"),
        ([([1.5], 1.0)], "ipv item 0: state is"),
        ([(1, 1.0)], "ipv item 0: state is 1"),
        ([([2**31], 1.0)], "ipv item 0: state is"),
        ([([1], None)], "ipv item 0: probability is None, expected a number from 0 to 1"),
        ([([1], True)], "ipv item 0: probability is True"),
        ([([1], "1")], "ipv item 0: probability is '1'"),
        ([([1], [0.5, 0.5])], "ipv item 0: probability is"),
        ([([1], -0.5)], "ipv item 0: .*is -0.5, expected a finite number >= 0"),
        ([([1], float("nan"))], "ipv item 0: .*is nan"),
        ([([1], float("inf"))], "ipv item 0: .*is inf"),
        ([([1], 0.5), ([2], 0.75)], "ipv: .*start weights sum to 1.25, expected at most 1"),
    ],
    ids=lambda v: shown(v)[:40],
)
def test_a_bad_start_is_rejected_before_the_callback_runs(ipv: Any, message: str) -> None:
    def never(state: State) -> list[Any]:
        raise AssertionError("the callback was called")

    with pytest.raises(ValueError, match=message):
        Graph(never, ipv=ipv)


def test_a_start_is_needed() -> None:
    with pytest.raises(ValueError, match="the callback has no start distribution: pass ipv="):
        Graph(lambda state: [])
    with pytest.raises(ValueError, match=r"write @callback\(ipv="):

        @callback  # type: ignore[arg-type]
        def forgotten(state: State) -> list[Any]:
            return []

    with pytest.raises(ValueError, match="expected a function"):
        callback(ipv=[([1], 1.0)])(5)  # type: ignore[arg-type]


def test_exceptions_of_the_callback_pass_through_with_the_state() -> None:
    class ModelError(Exception):
        pass

    def fails(state: State) -> list[Any]:
        if state[0] == 3:
            raise ModelError("no rate")
        return [([state[0] + 1], 1.0)]

    with pytest.raises(ModelError, match="no rate") as caught:
        Graph(fails, ipv=[([1], 1.0)])
    assert caught.value.__notes__ == ["raised by the callback for state (3)"]
    assert any(
        "raise ModelError" in line for line in traceback.format_tb(caught.value.__traceback__)
    )
    assert Graph(coalescent).vertices_length() == 5  # everything still works


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration, MemoryError])
def test_interrupts_stop_the_exploration(error: type[BaseException]) -> None:
    def interrupted(state: State) -> list[Any]:
        if state[0] == 50:
            raise error
        return [([state[0] + 1], 1.0)]

    with pytest.raises(error):
        Graph(interrupted, ipv=[([1], 1.0)])


def test_wrong_arguments_are_the_callbacks_type_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        Graph(coalescent, n=3)


def test_the_number_of_states_is_limited() -> None:
    def endless(state: State) -> list[Any]:
        return [([state[0] + 1], 1.0)]

    with pytest.raises(
        ValueError, match=r"reached 101 states, expected at most 100 \(max_states\)"
    ):
        Graph(endless, ipv=[([1], 1.0)], max_states=100)

    def up_to(state: State, last: int) -> list[Any]:
        return endless(state) if state[0] < last else []

    assert Graph(up_to, ipv=[([1], 1.0)], max_states=100, last=100).vertices_length() == 101
    with pytest.raises(ValueError, match="reached 2 states, expected at most 1"):
        Graph(up_to, ipv=[([1], 0.5), ([2], 0.5)], max_states=1, last=2)
    for bad in (0, -1, 1.5, None, True):
        with pytest.raises(ValueError, match="max_states is"):
            Graph(up_to, ipv=[([1], 1.0)], max_states=bad, last=3)  # type: ignore[arg-type]


def test_a_callback_that_changes_its_own_result_does_no_harm() -> None:
    result: list[Any] = []

    class Clearing:
        def __index__(self) -> int:
            return 3

        def __float__(self) -> float:
            result.clear()
            return 3.0

    result.extend([([Clearing()], 1.0)] * 5)
    graph = Graph(lambda state: result, ipv=[([1], 1.0)])
    assert graph.states().ravel().tolist() == [0, 1, 3]


def test_a_callback_may_build_other_graphs() -> None:
    def nested(state: State) -> list[Any]:
        inner = Graph(coalescent)
        return [([state[0] - 1], float(inner.vertices_length()))] if state[0] > 0 else []

    graph = Graph(nested, ipv=[([2], 1.0)])
    assert [v.rate() for v in graph.vertices()] == [1.0, 5.0, 5.0, 0.0]


def test_callable_objects_and_methods_are_callbacks() -> None:
    class Model:
        def __init__(self, size: int) -> None:
            self.size = size

        def step(self, state: State) -> list[Any]:
            return [([state[0] + 1], 1.0)] if state[0] < self.size else []

        __call__ = step

    ipv = [([1], 1.0)]
    assert Graph(Model(3), ipv=ipv).vertices_length() == 4
    assert Graph(Model(3).step, ipv=ipv).vertices_length() == 4
    assert Graph(callback(ipv=ipv)(Model(3).step)).vertices_length() == 4

"""Graphs to matrices and back, and chains from generators, against the certified oracle."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import oracle
import phasic
from conformance import CASES, assert_near
from model_cases import Case

SEEDS_0 = [name for name in CASES if name.endswith("-0")]
STIFF = [name for name in SEEDS_0 if CASES[name].family.decades]


def concrete(case: Case) -> phasic.Graph:
    graph = phasic.Graph.from_serialized(case.graph)
    graph.update_weights(case.thetas[-1])
    return graph


def exact(case: Case, quantity: str, **options: object) -> np.ndarray:
    return np.asarray(oracle.evaluate(case.graph, case.thetas[-1], quantity, **options)[0])


@pytest.mark.parametrize("name", [name for name in SEEDS_0 if name not in STIFF])
def test_the_round_trip_keeps_the_distribution(name: str) -> None:
    case = CASES[name]
    ipv, sim, states, indices = concrete(case).as_matrices()
    np.testing.assert_array_equal(states, concrete(case).states()[indices])
    back = phasic.Graph.from_matrices(ipv, sim, states, discrete=case.discrete)
    # An exit is what a row lacks to 0, hence known to a rounding of the row's largest entry.
    assert_near(back.sf(case.times), exact(case, "sf", times=case.times), 1e-12)
    assert_near(back.moments(2), exact(case, "moments", k=2).reshape(-1), 1e-12)
    again = back.as_matrices()
    np.testing.assert_array_equal(again.ipv, ipv)
    np.testing.assert_allclose(again.sim, sim, rtol=0, atol=1e-15 * np.abs(sim).max())


@pytest.mark.parametrize("name", STIFF)
def test_exits_given_apart_keep_stiff_models(name: str) -> None:
    case = CASES[name]
    ipv, sim, states, indices = concrete(case).as_matrices()
    arrays = case.graph["edges"], case.graph["param_edges"]
    exits = np.zeros(case.graph["n_vertices"])
    absorbing = np.setdiff1d(np.arange(1, len(exits)), indices)
    for rows in arrays:
        for row in rows:
            if row[1] in absorbing:
                exits[int(row[0])] += row[2] if rows is arrays[0] else row[2:] @ case.thetas[-1]
    back = phasic.Graph.from_matrices(
        ipv, sim, states, discrete=case.discrete, exits=exits[indices]
    )
    assert_near(back.moments(1), exact(case, "moments", k=1).reshape(-1), 1e-12)


@pytest.mark.parametrize("convert", [np.asarray, scipy.sparse.csr_array, scipy.sparse.coo_matrix])
def test_generators_dense_and_sparse(convert: object) -> None:
    """M/M/1/K: the busy period ends at 0; its mean has a closed form."""
    arrivals, service, capacity = 0.9, 1.3, 30
    up, down = np.full(capacity, arrivals), np.full(capacity, service)
    up[0] = 0.0  # an empty queue absorbs
    generator = np.diag(up, 1) + np.diag(down, -1)
    generator -= np.diag(generator.sum(axis=1))
    graph = phasic.Graph.from_ctmc(convert(generator), 1)  # type: ignore[operator]
    ratio = arrivals / service
    mean = (1 - ratio**capacity) / (service - arrivals)
    assert graph.expectation() == pytest.approx(mean, rel=1e-14)
    start = np.arange(capacity + 1) == 1
    as_distribution = phasic.Graph.from_ctmc(generator, start.astype(float))
    assert as_distribution.to_json() == graph.to_json()
    ipv, sim, states, _ = graph.as_matrices()
    np.testing.assert_array_equal(sim, generator[1:, 1:])
    np.testing.assert_array_equal(states.ravel(), np.arange(1, capacity + 1))
    assert ipv.tolist() == start[1:].tolist()


def test_rates_far_below_the_diagonal_survive_in_a_generator() -> None:
    chain = [[-1.0, 1.0, 1e-20], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]
    assert phasic.Graph.from_ctmc(chain, 0).expectation() == pytest.approx(2e20, rel=1e-14)


def test_rows_without_a_way_out_are_traps() -> None:
    trap = phasic.Graph.from_matrices([1.0, 0.0], [[-2.0, 1.0], [0.0, 0.0]])
    assert trap.cdf(100.0) == pytest.approx(0.5, rel=1e-13)
    with pytest.raises(ValueError, match=r"cannot reach absorption"):
        trap.expectation()
    assert trap.as_matrices().sim.tolist() == [[-2.0, 1.0], [0.0, 0.0]]
    stays = phasic.Graph.from_matrices([1.0], [[1.0]], discrete=True)
    assert stays.sf(1000) == 1.0


def test_nothing_to_wait_for() -> None:
    graph = phasic.Graph.from_matrices([0.0, 0.0], [[-1.0, 0.0], [0.0, -1.0]])
    assert (graph.expectation(), graph.cdf(0.0)) == (0.0, 1.0)


def test_matrix_errors() -> None:
    make, chain = phasic.Graph.from_matrices, phasic.Graph.from_ctmc
    good = [[-1.0, 0.5], [0.0, -1.0]]
    for call, text in [
        (lambda: make([0.7, 0.7], good), r"start weights sum to 1.4"),
        (lambda: make([0.5, -0.5], good), r"ipv\[1\] is -0.5"),
        (lambda: make([1.0], good), r"sim has 2 rows, expected 1"),
        (lambda: make([1.0, 0.0], [[-1.0, 2.0], [0.0, -1.0]]), r"sim row 0 sums to 1.0"),
        (lambda: make([1.0, 0.0], [[-1.0, -0.5], [0.0, -1.0]]), r"sim\[0, 1\] is -0.5"),
        (lambda: make([1.0, 0.0], good, discrete=True), r"sim\[0, 0\] is -1.0"),
        (lambda: make([1.0, 0.0], [[0.9, 0.2], [0.0, 0.5]], discrete=True), r"row 0 sums to 1\.1"),
        (lambda: make([1.0, 0.0], [[np.nan, 0.5], [0.0, -1.0]]), r"sim\[0, 0\] is .*finite"),
        (lambda: make([1.0, 0.0], good, states=[[1], [2], [3]]), r"states has shape \(3, 1\)"),
        (lambda: make([1.0, 0.0], good, exits=[1.0]), r"exits has shape \(1,\)"),
        (lambda: chain([[-1.0, 0.5], [0.0, 0.0]], 0), r"row 0 sums to -0.5.*from_matrices"),
        (lambda: chain([[0.0]], 1), r"start is 1, expected a row from 0 to 0"),
        (lambda: chain(np.zeros((2, 3)), 0), r"generator has shape \(2, 3\)"),
        (lambda: chain([[-1.0, 1.0], [0.0, 0.0]], [0.0, 0.0]), r"start has shape"),
        (lambda: phasic.erlang(2).as_matrices(), r"update_weights"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()

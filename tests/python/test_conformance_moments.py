"""Expectations, moments and covariances of 228 models against the oracle, and the reset lattice.

Relative tolerance 1e-12: the elimination only adds, multiplies and divides non-negative numbers,
so a moment of order 10 of 20 states keeps all but a few hundred units in the last place.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

import models
import oracle
import phasic
from conformance import CASES, assert_near, native, program, truth
from phasic import _core


@pytest.mark.parametrize("name", CASES)
def test_moments_to_order_ten(name: str) -> None:
    case = CASES[name]
    (exact,) = truth(case, "moments", rewards=case.rewards, k=10)
    orders = 10
    while not (exact[..., :orders] < 1e300).all():
        orders -= 1  # beyond the range of a double
    exact = exact[..., :orders]
    for kernel in _core.available_kernels():
        found = native(
            program(name), case, "moments", rewards=case.rewards, k=orders, kernel=kernel
        )
        assert_near(found.reshape(exact.shape), exact, 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_absorption_time_and_cross_moments(name: str) -> None:
    case = CASES[name]
    (exact,) = truth(case, "moments")
    assert_near(native(program(name), case, "moments"), exact[:, 0], 1e-12)
    (exact,) = truth(case, "cross", rewards=case.rewards)
    found = native(program(name), case, "cross_moments", rewards=case.rewards)
    assert_near(found.reshape(exact.shape), exact, 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_covariance(name: str) -> None:
    case = CASES[name]
    (exact,) = truth(case, "covariance", rewards=case.rewards)
    (scale,) = truth(case, "cross", rewards=case.rewards)
    cross = native(program(name), case, "cross_moments", rewards=case.rewards)
    means = native(program(name), case, "moments", rewards=case.rewards)
    found = cross.reshape(exact.shape) - means[:, :, None] * means[:, None, :]
    assert_near(found, exact, 1e-12, scale)


@pytest.mark.parametrize("name", CASES)
def test_sojourn_and_absorption(name: str) -> None:
    case = CASES[name]
    for quantity in ("sojourn", "absorption"):
        (exact,) = truth(case, quantity)
        assert_near(native(program(name), case, quantity), exact, 1e-12)


@pytest.mark.parametrize("n", [4, 9])
def test_branch_lengths_of_the_coalescent(n: int) -> None:
    graph = models.kingman(n)
    rewards = graph["states"].T[: n - 1].astype(float)
    found = phasic.PhaseType(phasic.Graph.from_serialized(graph)).expectation([0.5], rewards)
    assert_near(np.asarray(found), 4 / np.arange(1, n), 1e-14)


def test_two_islands() -> None:
    graph, theta = models.two_islands(9), [1.0, 0.4, 0.3, 1e-6]
    found = phasic.PhaseType(phasic.Graph.from_serialized(graph)).moments(theta, 4)
    exact = oracle.evaluate(graph, theta, "moments", k=4)[0][0]
    assert_near(np.asarray(found), exact, 1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_reset_lattice_where_factorisations_that_subtract_are_lost(seed: int) -> None:
    graph = models.reset_lattice(32, seed)
    n = graph["n_vertices"]
    some = np.array([1, 33, 500, 900, 1024])
    rewards = np.vstack([np.ones(n), np.eye(n)[some]])
    exact = oracle.sparse_expectations(graph, rewards)
    assert exact[0] > 1e18

    distribution = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    assert_near(np.asarray(distribution.expectation(None, rewards)), exact, 1e-13)
    assert_near(np.asarray(distribution.expected_sojourn(None))[some], exact[1:], 1e-13)

    sources, targets, weights = graph["edges"].T
    shape = (n, n)
    weight = scipy.sparse.coo_array((weights, (sources.astype(int), targets.astype(int))), shape)
    matrix = (scipy.sparse.diags_array(weight.sum(axis=1)) - weight).tocsc()[1:-1, 1:-1]
    dense = np.linalg.solve(matrix.toarray(), np.ones(n - 2))[0]
    sparse = scipy.sparse.linalg.splu(matrix).solve(np.ones(n - 2))[0]
    for other in (dense, sparse):
        assert not abs(other / exact[0] - 1) < 0.5  # LAPACK and SuperLU: not one digit

"""Derivatives in theta and in rewards against the oracle, and stiff ones where the usual way fails.

Tolerance 1e-9 of the largest entry, as the contract says; elasticities of stiff chains 1e-12.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import model_cases
import oracle
from conformance import (
    CASES,
    WITH_PARAMETERS,
    assert_near,
    derivative_scale,
    largest,
    native,
    program,
    record,
    truth,
)
from model_cases import Case

THETA = ("theta", "theta")
NATIVE = {"moments": "moments", "cross": "cross_moments"}


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_gradients_and_hessians_of_moments(name: str) -> None:
    case = CASES[name]
    exact = truth(case, "moments", 2, rewards=case.rewards, k=3)
    for order in (1, 2):
        found = native(
            program(name), case, "moments", THETA[:order], rewards=case.rewards, k=3
        ).reshape(exact[order].shape)
        assert_near(found, exact[order], 1e-9, derivative_scale(case, exact[: order + 1], order))


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_gradients_and_hessians_of_several_first_moments(name: str) -> None:
    case = CASES[name]
    exact = [array[:, :, 0] for array in truth(case, "moments", 2, rewards=case.rewards)]
    for order in (1, 2):
        found = native(program(name), case, "moments", THETA[:order], rewards=case.rewards)
        assert_near(found, exact[order], 1e-9, derivative_scale(case, exact[: order + 1], order))


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_gradients_and_hessians_of_cross_moments(name: str) -> None:
    case = CASES[name]
    exact = truth(case, "cross", 2, rewards=case.rewards)
    for order in (1, 2):
        found = native(program(name), case, "cross_moments", THETA[:order], rewards=case.rewards)
        scale = derivative_scale(case, exact[: order + 1], order)
        assert_near(found.reshape(exact[order].shape), exact[order], 1e-9, scale)


@pytest.mark.parametrize("quantity", ["sojourn", "absorption"])
@pytest.mark.parametrize("name", WITH_PARAMETERS[::2])
def test_gradients_and_hessians_of_sojourn_and_absorption(name: str, quantity: str) -> None:
    case = CASES[name]
    exact = truth(case, quantity, 2)
    for order in (1, 2):
        found = native(program(name), case, quantity, THETA[:order])
        scale = derivative_scale(case, exact[: order + 1], order + (quantity == "absorption"))
        assert_near(found, exact[order], 1e-9, scale)


@pytest.mark.parametrize("name", CASES)
def test_gradients_in_the_rewards(name: str) -> None:
    case = CASES[name]
    for quantity, k in (("moments", 3), ("moments", 1), ("cross", 1)):
        exact = truth(case, quantity, 1, rewards=case.rewards, k=k, in_rewards=True)[1]
        exact = exact[..., case.thetas.shape[1] :]
        found = native(
            program(name), case, NATIVE[quantity], ("rewards",), rewards=case.rewards, k=k
        )
        assert_near(found.reshape(exact.shape), exact, 1e-9, largest(exact, 1))


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].rewards.size < 24])
def test_second_derivatives_in_theta_and_rewards(name: str) -> None:
    case = replace(CASES[name], thetas=CASES[name].thetas[-1:])
    n_parameters = case.thetas.shape[1]
    parts = {"theta": np.s_[:n_parameters], "rewards": np.s_[n_parameters:]}
    for quantity, k in (("moments", 3), ("cross", 1)):
        exact = truth(case, quantity, 2, rewards=case.rewards, k=k, in_rewards=True)[2]
        for wrt in (("theta", "rewards"), ("rewards", "theta"), ("rewards", "rewards")):
            if "theta" in wrt and not n_parameters:
                continue
            found = native(program(name), case, NATIVE[quantity], wrt, rewards=case.rewards, k=k)
            block = exact[(..., *(parts[part] for part in wrt))]
            assert_near(found.reshape(block.shape), block, 1e-9, largest(block, 2))


def eliminated(weights: np.ndarray, exits: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(Lambda - W)^-1 right without subtractions (Grassmann, Taksar, Heyman 1985), in doubles."""
    w, e, x = weights.copy(), exits.copy(), right.copy()
    n = len(e)
    pivots = np.zeros(n)
    for v in range(n):
        pivots[v] = e[v] + w[v, v + 1 :].sum()
        for u in range(v + 1, n):
            share = w[u, v] / pivots[v]
            w[u, v + 1 :] += share * w[v, v + 1 :]
            e[u] += share * e[v]
            x[u] += share * x[v]
    for v in reversed(range(n)):
        x[v] = (x[v] + w[v, v + 1 :] @ x[v + 1 :]) / pivots[v]
    return x


def textbook_gradient(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """d x_1 / d w_ij = u_i (x_j - x_i) with u and x good to 1e-14; also x."""
    theta, rows = case.thetas[0], case.graph["param_edges"]
    n = case.graph["n_vertices"]
    weights = np.zeros((n, n))
    weights[rows[:, 0].astype(int), rows[:, 1].astype(int)] = theta
    inner, exits = weights[1:-1, 1:-1], weights[1:-1, -1]
    means = np.append(eliminated(inner, exits, np.ones(n - 2)), 0.0)
    visits = [eliminated(inner, exits, unit)[0] for unit in np.eye(n - 2)]
    gradient = [visits[int(u) - 1] * (means[int(v) - 1] - means[int(u) - 1]) for u, v, *_ in rows]
    return np.array(gradient), means


@pytest.mark.parametrize("kind", ["exit", "link", "decades"])
def test_stiff_elasticities_where_the_implicit_adjoint_is_lost(kind: str) -> None:
    lost = 0.0
    for seed in range(5):
        case = model_cases.one_parameter_an_edge(kind, seed)
        theta = case.thetas[0]
        exact, gradient = (a[0, 0] for a in oracle.evaluate(case.graph, theta, "moments", order=1))
        elasticity = theta * gradient / exact
        np.testing.assert_allclose(elasticity.sum(), -1.0, rtol=1e-13)  # x is homogeneous
        found = native(record(case), case, "moments", ("theta",))[0, 0]
        np.testing.assert_allclose(theta * found / exact, elasticity, rtol=0, atol=1e-12)

        textbook, means = textbook_gradient(case)
        np.testing.assert_allclose(means[0], exact, rtol=1e-13)  # its ingredients are right
        lost = max(lost, np.abs(theta * textbook / exact - elasticity).max())
    assert lost > 100.0  # and yet it is off by more than a hundred times the largest elasticity

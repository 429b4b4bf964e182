"""Derivatives in theta and in rewards against the oracle, and stiff ones where the usual way fails.

Tolerance 1e-9 of the largest entry, as the contract says; elasticities of stiff chains 1e-12.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import model_cases
import oracle
from conformance import (
    CASES,
    WITH_PARAMETERS,
    assert_near,
    derivative,
    derivative_scale,
    distribution,
    largest,
    make_distribution,
    truth,
)
from model_cases import Case


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_gradient_and_hessian_of_the_expectation(name: str) -> None:
    case = CASES[name]
    exact = truth(case, "moments", 2, rewards=case.rewards)
    exact = [array[:, :, 0] for array in exact]
    for order in (1, 2):
        function = partial(distribution(name).expectation, rewards=case.rewards)
        found = derivative(function, case, order)
        assert_near(found, exact[order], 1e-9, derivative_scale(case, exact[: order + 1], order))


@pytest.mark.parametrize("name", WITH_PARAMETERS[::3])
def test_derivatives_of_higher_moments(name: str) -> None:
    case = CASES[name]
    exact = truth(case, "moments", 2, rewards=case.rewards, k=4)
    for order in (1, 2):
        found = derivative(lambda th: distribution(name).moments(th, 4, case.rewards), case, order)
        assert_near(found, exact[order], 1e-9, derivative_scale(case, exact[: order + 1], order))


@pytest.mark.parametrize("name", WITH_PARAMETERS[1::3])
def test_derivatives_of_covariances(name: str) -> None:
    case = CASES[name]
    exact = truth(case, "covariance", 2, rewards=case.rewards)
    products = truth(case, "cross", 2, rewards=case.rewards)  # what the difference is taken of
    for order in (1, 2):
        found = derivative(lambda th: distribution(name).covariance(th, case.rewards), case, order)
        scale = 1e-3 * derivative_scale(case, products[: order + 1], order)
        scale = np.maximum(largest(exact[order], order), scale)
        assert_near(found, exact[order], 1e-9, scale)


@pytest.mark.parametrize("quantity", ["sojourn", "absorption"])
@pytest.mark.parametrize("name", WITH_PARAMETERS[2::3])
def test_derivatives_of_sojourn_and_absorption(name: str, quantity: str) -> None:
    case = CASES[name]
    exact = truth(case, quantity, 2)
    methods = {"sojourn": "expected_sojourn", "absorption": "absorption_probability"}
    for order in (1, 2):
        found = derivative(getattr(distribution(name), methods[quantity]), case, order)
        scale = derivative_scale(case, exact[: order + 1], order)
        assert_near(found, exact[order], 1e-9, scale)


@pytest.mark.parametrize("name", list(CASES)[::4])
def test_derivatives_in_the_rewards(name: str) -> None:
    case = CASES[name]
    theta = case.thetas[0] if case.thetas.shape[1] else None
    methods = {
        "moments": lambda r: distribution(name).moments(theta, 3, r),
        "covariance": lambda r: distribution(name).covariance(theta, r),
    }
    for quantity, function in methods.items():
        _, exact = oracle.reward_gradient(case.graph, case.thetas[0], quantity, case.rewards, k=3)
        found = np.asarray(jax.jacrev(function)(jnp.asarray(case.rewards)))
        assert_near(found, exact, 1e-9, largest(exact, 2))


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
        found = np.asarray(jax.grad(make_distribution(case).expectation)(jnp.asarray(theta)))
        np.testing.assert_allclose(theta * found / exact, elasticity, rtol=0, atol=1e-12)

        textbook, means = textbook_gradient(case)
        np.testing.assert_allclose(means[0], exact, rtol=1e-13)  # its ingredients are right
        lost = max(lost, np.abs(theta * textbook / exact - elasticity).max())
    assert lost > 100.0  # and yet it is off by more than a hundred times the largest elasticity

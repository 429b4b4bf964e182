"""`PhaseType` under JAX against the oracle: one model of each family, every method and derivative.

The other models of the families go through the same kernels in the other conformance tests; here
each call is compiled by XLA, which takes far longer than the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
from conformance import (
    CASES,
    WITH_PARAMETERS,
    assert_near,
    derivative_scale,
    distribution,
    largest,
    occupancy_truth,
    truth,
)
from model_cases import FAMILIES, Case

SEEDS = {family.name: i % 6 for i, family in enumerate(FAMILIES)}
CHOSEN = [name for name, case in CASES.items() if name.endswith(f"-{SEEDS[case.family.name]}")]
LINEAR = [name for name in CHOSEN if name in WITH_PARAMETERS]


def batched(function: Callable[..., Any], case: Case) -> np.ndarray:
    """A method of the distribution over the batch of the case, batch axis first."""
    if case.thetas.shape[1]:
        return np.asarray(function(jnp.asarray(case.thetas)))
    return np.asarray(function(None))[None]


def derivative(function: Callable[[Any], Any], case: Case, order: int) -> np.ndarray:
    """Jacobian or Hessian in theta at each parameter vector of the case."""
    rule = jax.jacrev(function) if order == 1 else jax.hessian(function)
    return np.asarray(jax.jit(jax.vmap(rule))(jnp.asarray(case.thetas)))


def density(name: str) -> Callable[..., Any]:
    d = distribution(name)
    return d.pmf if CASES[name].discrete else d.pdf


@pytest.mark.parametrize("name", CHOSEN)
def test_values(name: str) -> None:
    case, d = CASES[name], distribution(name)
    (exact,) = truth(case, "moments", rewards=case.rewards, k=3)
    assert_near(batched(partial(d.moments, k=3, rewards=case.rewards), case), exact, 1e-12)
    found = batched(partial(d.expectation, rewards=case.rewards[0]), case)
    assert_near(found, exact[:, 0, 0], 1e-12)
    (exact,) = truth(case, "covariance", rewards=case.rewards)
    (scale,) = truth(case, "cross", rewards=case.rewards)
    assert_near(batched(partial(d.covariance, rewards=case.rewards), case), exact, 1e-12, scale)
    found = batched(partial(d.variance, rewards=case.rewards), case)
    diagonal = (..., [0, 1], [0, 1])
    assert_near(found, exact[diagonal], 1e-12, scale[diagonal])
    assert_near(batched(d.expected_sojourn, case), truth(case, "sojourn")[0], 1e-12)
    assert_near(batched(d.absorption_probability, case), truth(case, "absorption")[0], 1e-12)


@pytest.mark.parametrize("name", CHOSEN)
def test_values_in_time(name: str) -> None:
    case, d = CASES[name], distribution(name)
    for quantity, function in (("pdf", density(name)), ("cdf", d.cdf), ("sf", d.sf)):
        (exact,) = truth(case, quantity, times=case.times)
        assert_near(batched(partial(function, t=case.times), case), exact, 1e-9, largest(exact, 1))
    (exact,) = truth(case, "state_probability", times=case.times)
    found = batched(partial(d.state_probability, t=case.times), case)
    assert_near(found, exact, 1e-9, np.ones(1))
    exact = occupancy_truth(case)
    found = batched(partial(d.accumulated_occupancy, t=case.times), case)
    assert_near(found, exact, 1e-9, case.times[:, None])


@pytest.mark.parametrize("name", LINEAR)
def test_gradient_and_hessian_of_the_expectation(name: str) -> None:
    case = CASES[name]
    exact = [array[:, 0, 0] for array in truth(case, "moments", 2, rewards=case.rewards[:1])]
    function = partial(distribution(name).expectation, rewards=case.rewards[0])
    for order in (1, 2):
        scale = derivative_scale(case, exact[: order + 1], order)
        assert_near(derivative(function, case, order), exact[order], 1e-9, scale)


@pytest.mark.parametrize("name", [*LINEAR[::4], *LINEAR[1::4]])
def test_gradient_and_hessian_of_the_covariance(name: str) -> None:
    case = CASES[name]
    exact = truth(case, "covariance", 2, rewards=case.rewards)
    products = truth(case, "cross", 2, rewards=case.rewards)  # what the difference is taken of
    function = partial(distribution(name).covariance, rewards=case.rewards)
    for order in (1, 2):
        scale = 1e-3 * derivative_scale(case, products[: order + 1], order)
        scale = np.maximum(largest(exact[order], order), scale)
        assert_near(derivative(function, case, order), exact[order], 1e-9, scale)


@pytest.mark.parametrize("name", [*LINEAR[2::4], *LINEAR[3::4]])
def test_gradient_and_hessian_of_the_density(name: str) -> None:
    case = CASES[name]
    exact = truth(case, "pdf", 2, times=case.times)
    function = partial(density(name), t=case.times)
    for order in (1, 2):
        scale = derivative_scale(case, exact[: order + 1], order + 1)
        assert_near(derivative(function, case, order), exact[order], 1e-9, scale)


@pytest.mark.parametrize("name", [name for name in CHOSEN if not CASES[name].discrete][::2])
def test_derivatives_in_time(name: str) -> None:
    case = CASES[name]
    theta = jnp.asarray(case.thetas[0]) if case.thetas.shape[1] else None
    scalar = partial(distribution(name).cdf, theta)
    for slope, rule in ((1, jax.grad(scalar)), (2, jax.grad(jax.grad(scalar)))):
        found = np.asarray(jax.jit(jax.vmap(rule))(jnp.asarray(case.times)))
        exact = oracle.evaluate(case.graph, case.thetas[0], "cdf", times=case.times, slope=slope)
        assert_near(found, exact[0], 1e-9, largest(exact[0], 1))


@pytest.mark.parametrize("name", [name for name in LINEAR if not CASES[name].discrete][1::4])
def test_mixed_derivative_in_theta_and_time(name: str) -> None:
    case = CASES[name]
    theta = jnp.asarray(case.thetas[0])
    mixed = jax.jacrev(jax.grad(distribution(name).cdf, argnums=1), argnums=0)
    found = np.asarray(jax.jit(jax.vmap(partial(mixed, theta)))(jnp.asarray(case.times)))
    exact = oracle.evaluate(case.graph, theta, "cdf", times=case.times, slope=1, order=1)[1]
    assert_near(found, exact, 1e-9, largest(exact, 2))


@pytest.mark.parametrize("name", CHOSEN[::6])
def test_gradients_in_the_rewards(name: str) -> None:
    case, d = CASES[name], distribution(name)
    theta = case.thetas[0] if case.thetas.shape[1] else None
    for quantity, function in (
        ("moments", lambda r: d.moments(theta, 3, r)),
        ("covariance", lambda r: d.covariance(theta, r)),
    ):
        exact = truth(case, quantity, 1, rewards=case.rewards, k=3, in_rewards=True)[1][0]
        exact = exact[..., case.thetas.shape[1] :]
        found = np.asarray(jax.jit(jax.jacrev(function))(jnp.asarray(case.rewards)))
        assert_near(found.reshape(exact.shape), exact, 1e-9, largest(exact, 1))

"""Joint moments and correlations against certified recursions and closed forms."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle_transforms
import phasic
from conformance import CASES, distribution
from models import negative_binomial, serialized

DEFAULT = ("stiff-continuous-0", "mixed-discrete-1")
POWERS = ((2, 1), (1, 3))


def marked(names: Any) -> list[Any]:
    """All names; those that are not run every time carry the mark."""
    return [n if n in DEFAULT else pytest.param(n, marks=pytest.mark.extended) for n in names]


@pytest.mark.parametrize("name", marked([n for n in CASES if n[-1] in "01"]))
def test_joint_moments_of_generated_models(name: str) -> None:
    case, model = CASES[name], distribution(name)
    for powers in POWERS:
        found = model.joint_moment(case.thetas, case.rewards, powers)
        exact = [
            oracle_transforms.joint_moment(case.graph, theta, case.rewards, powers)[0]
            for theta in case.thetas
        ]
        np.testing.assert_allclose(found, exact, rtol=1e-12, err_msg=str(powers))


@pytest.mark.parametrize("name", marked(["mixed-continuous-1", "mixed-discrete-1"]))
def test_derivatives_of_joint_moments(name: str) -> None:
    case, model = CASES[name], distribution(name)
    theta = case.thetas[-1]
    exact = oracle_transforms.joint_moment(case.graph, theta, case.rewards, (2, 1), order=2)
    moment = partial(model.joint_moment, rewards=case.rewards, powers=(2, 1))
    slope, curvature = jax.jit(lambda x: (jax.grad(moment)(x), jax.hessian(moment)(x)))(theta)
    np.testing.assert_allclose(slope, exact[1], rtol=1e-9, atol=1e-11 * abs(exact[1]).max())
    np.testing.assert_allclose(curvature, exact[2], rtol=1e-9, atol=1e-11 * abs(exact[2]).max())


def two_locus() -> tuple[phasic.PhaseType, np.ndarray]:
    """Two lineages at two loci; theta = (recombination rate, 1), rewards the two heights."""
    both, three, four, left, right, done = range(1, 7)
    edges = {
        (both, done): 1.0,
        (both, three): [1.0, 0.0],
        (three, four): [0.5, 0.0],
        (three, both): 1.0,
        (three, left): 1.0,
        (three, right): 1.0,
        (four, three): 4.0,
        (four, left): 1.0,
        (four, right): 1.0,
        (left, done): 1.0,
        (right, done): 1.0,
    }
    graph = serialized([(i,) for i in range(1, 7)], {both: 1.0}, edges, param_length=2)
    rewards = np.zeros((2, 7))
    rewards[0, [both, three, four, left]] = 1.0
    rewards[1, [both, three, four, right]] = 1.0
    return phasic.PhaseType(phasic.Graph.from_serialized(graph)), rewards


def test_two_locus_covariance_and_its_derivative() -> None:
    model, rewards = two_locus()
    rho = np.array([0.0, 0.1, 1.0, 7.0, 100.0, 1e4])
    theta = np.stack([rho, np.ones_like(rho)], axis=1)
    top, bottom = rho + 18, rho**2 + 13 * rho + 18
    exact = top / bottom
    slope = (bottom - top * (2 * rho + 13)) / bottom**2

    def covariance(x: Any) -> Any:
        return model.covariance(x, rewards)[0, 1]

    # absolute: both heights have variance 1
    np.testing.assert_allclose(model.covariance(theta, rewards)[:, 0, 1], exact, atol=1e-14)
    np.testing.assert_allclose(model.correlation(theta, rewards)[:, 0, 1], exact, atol=1e-14)
    found = jax.vmap(jax.grad(covariance))(jnp.asarray(theta))[:, 0]
    np.testing.assert_allclose(found, slope, rtol=1e-10, atol=1e-15)
    joint = model.joint_moment(theta, rewards, (1, 1))
    np.testing.assert_allclose(joint, exact + 1, rtol=1e-14)


@pytest.mark.extended
def test_powers_of_equal_and_opposite_rewards() -> None:
    model = phasic.PhaseType(phasic.Graph.from_serialized(negative_binomial(3)))
    theta = np.array([[0.3], [0.8]])
    reward = np.array([0.0, 1.0, 2.0, 3.0, 0.0])
    third = model.moments(theta, 3, reward)[:, -1]
    for signs, powers in (((1, 1, 1), (1, 1, 1)), ((1, -1), (1, 2)), ((-1, 1), (2, 1))):
        rewards = np.outer(signs, reward)
        found = model.joint_moment(theta, rewards, powers)
        np.testing.assert_allclose(found, third * np.prod(np.power(signs, powers)), rtol=1e-13)
    rewards = np.stack([reward, 2 * reward, -reward])
    np.testing.assert_allclose(model.joint_moment(theta, rewards, (0, 3, 0)), 8 * third, rtol=1e-14)
    assert (np.asarray(model.joint_moment(theta, rewards, (0, 0, 0))) == 1.0).all()
    np.testing.assert_allclose(
        model.correlation(theta, rewards)[0], [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], rtol=1e-13
    )


@pytest.mark.extended
def test_batches_and_transformations_agree_with_loops() -> None:
    model, rewards = two_locus()
    theta = np.array([[0.5, 1.0], [2.0, 1.0], [3.0, 1.0]])
    scale = np.array([1.0, 2.0, 0.5])
    many = rewards * scale[:, None, None]
    loop = [model.joint_moment(x, r, (2, 1)) for x, r in zip(theta, many, strict=True)]
    np.testing.assert_allclose(model.joint_moment(theta, many, (2, 1)), loop, rtol=1e-13)
    mapped = jax.jit(jax.vmap(lambda x, r: model.joint_moment(x, r, (2, 1))))(theta, many)
    np.testing.assert_allclose(mapped, loop, rtol=1e-13)
    slopes = jax.grad(lambda r: model.joint_moment(theta[0], r, (2, 1)))(jnp.asarray(many[0]))
    # homogeneous of degree 3 in all rewards
    np.testing.assert_allclose((slopes * many[0]).sum(), 3 * loop[0], rtol=1e-12)


def test_what_is_wrong_is_said() -> None:
    model, rewards = two_locus()
    theta = np.ones(2)
    with pytest.raises(ValueError, match=r"powers is \(1,\), expected 2 ints >= 0"):
        model.joint_moment(theta, rewards, (1,))
    with pytest.raises(ValueError, match=r"powers is \(1, -1\), expected 2 ints >= 0"):
        model.joint_moment(theta, rewards, (1, -1))
    with pytest.raises(TypeError, match=r"powers is \(1, 0.5\), expected a sequence of ints"):
        model.joint_moment(theta, rewards, (1, 0.5))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"which takes 10201 eliminations, more than 1000"):
        model.joint_moment(theta, rewards, (100, 100))
    with pytest.raises(ValueError, match=r"rewards has shape \(7,\), expected \(..., n_rewards"):
        model.joint_moment(theta, rewards[0], (1,))
    with pytest.raises(ValueError, match=r"theta gives the edge from .* the weight -"):
        model.joint_moment(-theta, rewards, (2, 1))
    assert np.isnan(jax.jit(lambda x: model.joint_moment(x, rewards, (2, 1)))(-theta))

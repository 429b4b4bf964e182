"""Weights that are products of powers, or a JAX function of theta, against models written out."""

from __future__ import annotations

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phasic
from models import serialized, two_islands
from phasic._derived import Terms
from phasic._weights import Powers, weighted

EDGES: dict[tuple[int, int], Any] = {
    (1, 2): [1.0, -0.5, 0.0],
    (2, 1): [0.0, 2.0, 1.0],
    (2, 3): [1.0, -0.5, 0.0],
    (3, 4): 0.7,
    (1, 4): [0.0, 0.0, 0.0],
}
LOG = serialized([(1,), (2,), (3,), (4,)], {1: 1.0}, EDGES, param_length=3)
FACTOR = 2.5  # of the edge from 2 to 1


def log_graph() -> phasic.Graph:
    graph = phasic.Graph.from_serialized(LOG)
    vertices = graph.vertices()
    vertices[2].add_edge(vertices[1], FACTOR)
    return graph


def by_hand(theta: Any) -> Any:
    """The weights of the edges of `plain`, in their order."""
    x, y, z = theta
    return jnp.stack([x / jnp.sqrt(y), FACTOR * y**2 * z, x / jnp.sqrt(y), 0.7, jnp.ones_like(x)])


def plain() -> phasic.PhaseType:
    edges = {pair: np.eye(5)[i] for i, pair in enumerate(EDGES)}
    graph = serialized([(1,), (2,), (3,), (4,)], {1: 1.0}, edges, param_length=5)
    return phasic.PhaseType(phasic.Graph.from_serialized(graph))


THETA = np.array([1.3, 0.8, 2.1])


def test_products_of_powers_are_what_they_say() -> None:
    model, other = phasic.PhaseType(log_graph(), weight_mode="log"), plain()
    assert model.param_length == 3
    weights = by_hand(jnp.asarray(THETA))
    np.testing.assert_allclose(model.expectation(THETA), other.expectation(weights), rtol=1e-14)
    slope, exact = (
        jax.jit(jax.value_and_grad(f))(jnp.asarray(THETA))
        for f in (model.expectation, lambda x: other.expectation(by_hand(x)))
    )
    np.testing.assert_allclose(slope[1], exact[1], rtol=1e-13)
    times = np.array([0.5, 2.0])
    np.testing.assert_allclose(model.pdf(THETA, times), other.pdf(weights, times), rtol=1e-13)
    np.testing.assert_allclose(model.laplace(THETA, 0.5), other.laplace(weights, 0.5), rtol=1e-14)


def test_equal_weights_share_a_parameter() -> None:
    native, weights = weighted(log_graph()._frozen(), "log", None)
    assert weights is not None and isinstance(weights.function, Powers)
    assert weights.function.exponents.shape == (3, 3)  # of the four edges two are equal
    terms = Terms.of(native)
    assert terms.param_length == 3
    fixed = terms.value[terms.parameter < 0]
    np.testing.assert_array_equal(np.sort(fixed), [0.7, 1.0])


def test_powers_of_zero() -> None:
    model = phasic.PhaseType(log_graph(), weight_mode="log")
    theta = jnp.array([1.3, 0.8, 0.0])
    value, slope = jax.value_and_grad(model.expectation)(theta)
    near = model.expectation(jnp.array([1.3, 0.8, 1e-7]))
    np.testing.assert_allclose((near - value) / 1e-7, slope[2], rtol=1e-6)
    with pytest.raises(ValueError, match=r"theta gives parameter \d of the graph the value"):
        model.expectation(jnp.array([1.3, -0.8, 1.0]))


def test_a_function_of_theta() -> None:
    other = plain()
    model = phasic.PhaseType(other.graph, weights=by_hand)
    thetas = THETA * np.array([[1.0], [1.5], [0.7]])
    weights = jax.vmap(by_hand)(jnp.asarray(thetas))
    np.testing.assert_allclose(model.variance(thetas), other.variance(weights), rtol=1e-14)
    found = jax.jit(jax.vmap(jax.grad(model.variance)))(jnp.asarray(thetas))
    exact = jax.vmap(jax.grad(lambda x: other.variance(by_hand(x))))(jnp.asarray(thetas))
    np.testing.assert_allclose(found, exact, rtol=1e-13)
    np.testing.assert_allclose(model.quantile(thetas, 0.3), other.quantile(weights, 0.3))


@pytest.mark.extended
def test_every_kind_of_quantity_takes_the_function() -> None:
    other = plain()
    model = phasic.PhaseType(other.graph, weights=by_hand)
    weights = by_hand(jnp.asarray(THETA))
    rewards = np.array([[0, 1, 2, 0.5, 0], [0, 1, 0, 1, 0.0]])
    np.testing.assert_allclose(
        model.joint_moment(THETA, rewards, (2, 1)), other.joint_moment(weights, rewards, (2, 1))
    )
    np.testing.assert_allclose(model.mgf(THETA, 0.05), other.mgf(weights, 0.05), rtol=1e-13)
    key = jax.random.key(3)
    np.testing.assert_array_equal(model.sample(key, THETA, (5,)), other.sample(key, weights, (5,)))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.expectation(THETA), model.expectation(THETA))
    hessian = jax.hessian(model.expectation)(jnp.asarray(THETA))
    exact = jax.hessian(lambda x: other.expectation(by_hand(x)))(jnp.asarray(THETA))
    np.testing.assert_allclose(hessian, exact, rtol=1e-12)


@pytest.mark.extended
def test_epochs_take_both() -> None:
    other, epochs = plain(), np.stack([THETA, 2 * THETA])
    weights = jax.vmap(by_hand)(jnp.asarray(epochs))
    exact = phasic.PiecewisePhaseType(other.graph, [0.0, 0.8]).expectation(weights)
    for model in (
        phasic.PiecewisePhaseType(other.graph, [0.0, 0.8], weights=by_hand),
        phasic.PiecewisePhaseType(log_graph(), [0.0, 0.8], weight_mode="log"),
    ):
        np.testing.assert_allclose(model.expectation(epochs), exact, rtol=1e-13)
        copy = pickle.loads(pickle.dumps(model))
        np.testing.assert_allclose(copy.expectation(epochs), exact, rtol=1e-13)
        assert model.param_length in (3, 5)


def test_what_is_wrong_is_said() -> None:
    graph = phasic.Graph.from_serialized(two_islands(2))
    with pytest.raises(ValueError, match="weight_mode is 'loglinear', expected one of linear, log"):
        phasic.PhaseType(graph, weight_mode="loglinear")
    with pytest.raises(ValueError, match="weight_mode is 'log' and weights is given"):
        phasic.PhaseType(graph, weight_mode="log", weights=lambda x: x)
    model = phasic.PhaseType(graph, weights=lambda x: x[:3])
    with pytest.raises(ValueError, match=r"weights returns 3 numbers for theta of shape \(7,\)"):
        model.expectation(np.ones(7))
    with pytest.raises(ValueError, match="theta is missing but the weights are a function of it"):
        model.expectation()
    logarithmic = phasic.PhaseType(log_graph(), weight_mode="log")
    with pytest.raises(ValueError, match="theta has 2 entries but the model has 3 parameters"):
        logarithmic.expectation(np.ones(2))


def test_rewards_of_a_model_with_a_function() -> None:
    other = plain()
    model = phasic.PhaseType(other.graph, weights=by_hand)
    rewards = [0.0, 1.0, 0.0, 3.0, 0.0]
    exact = other.reward_transform(rewards).sf(by_hand(jnp.asarray(THETA)), 0.7)
    found = model.reward_transform(rewards).sf(THETA, 0.7)
    np.testing.assert_allclose(found, exact, rtol=1e-13)

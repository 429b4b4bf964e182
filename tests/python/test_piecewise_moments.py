"""Higher moments and covariances over epochs: block exponentials, simulations, identities."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phasic
from models import erlang, two_islands
from piecewise_oracle import Piecewise, certain_gradient, compute, gradient
from test_piecewise import (
    CASES,
    DEMES,
    arguments,
    assert_derivatives,
    join_matrix,
    joined_demes,
    two_demes,
)

SMALL = [name for name in CASES if CASES[name].graph["n_vertices"] <= 8]


def marked(names: Any) -> list[Any]:
    """All names; those that are not run every time carry the mark."""
    return [n if n == SMALL[0] else pytest.param(n, marks=pytest.mark.extended) for n in names]


def truth(graph: Any, rewards: np.ndarray, theta: Any, starts: Any) -> list[Any]:
    """Moments 1..3 of each reward, then the cross moments."""
    exact = Piecewise(graph, theta, starts)
    powers = [exact.moments([r] * k) for r in rewards for k in (1, 2, 3)]
    return powers + [exact.moments([r, q]) for r in rewards for q in rewards]


def everything(
    model: phasic.PiecewisePhaseType, rewards: np.ndarray, theta: Any, starts: Any
) -> Any:
    powers = model.moments(theta, 3, rewards, starts=starts)
    mean = powers[:, 0]
    both = model.covariance(theta, rewards, starts=starts) + mean[:, None] * mean
    return jnp.concatenate([powers.reshape(-1), both.reshape(-1)])


@pytest.mark.parametrize("name", marked(CASES))
def test_moments_of_generated_models(name: str) -> None:
    model, theta, starts, _ = arguments(name)
    rewards = CASES[name].rewards
    exact = compute(partial(truth, CASES[name].graph, rewards), theta, starts)
    found = jax.jit(partial(everything, model, rewards))(theta, starts)
    np.testing.assert_allclose(found, exact, rtol=1e-12)


@pytest.mark.extended
@pytest.mark.parametrize("name", SMALL)
def test_derivatives_of_moments_in_theta_and_starts(name: str) -> None:
    model, theta, starts, _ = arguments(name)
    theta = np.where(theta == 0, 0.01, theta)
    rewards = CASES[name].rewards
    compute_all = partial(everything, model, rewards)
    found = jax.jit(jax.jacrev(compute_all, (0, 1)))(theta, starts)
    value = compute_all(theta, starts)
    for of, at in enumerate((theta, starts)):
        if at.size:
            exact = gradient(partial(truth, CASES[name].graph, rewards), of, theta, starts)
            if of == 1:
                exact[:, 0] = 0.0  # the first start is 0 and stays there
            assert_derivatives(found[of], exact, value, at)


@pytest.mark.extended
@pytest.mark.parametrize("name", ["acyclic-continuous-0", "stiff-theta-continuous-1"])
def test_hessians_of_a_covariance(name: str) -> None:
    model, theta, starts, _ = arguments(name)
    theta, starts = theta[:2], starts[:2]
    graph, rewards = CASES[name].graph, CASES[name].rewards
    model = phasic.PiecewisePhaseType(phasic.Graph.from_serialized(graph), starts)

    def covariance(th: Any) -> Any:
        exact = Piecewise(graph, th, starts)
        first, second = (exact.moments([r]) for r in rewards)
        return [exact.moments(list(rewards)) - first * second]

    def slopes(th: Any) -> Any:
        return list(certain_gradient(covariance, 0, th)[0])

    exact = gradient(slopes, 0, theta).reshape(theta.size, theta.size)
    found = jax.jit(jax.hessian(lambda th: model.covariance(th, rewards)[0, 1]))(theta)
    found = np.asarray(found).reshape(theta.size, theta.size)
    at = np.outer(theta, theta)  # second derivatives in the logarithm, where they compare
    value = abs(float(model.covariance(theta, rewards)[0, 1]))
    allowed = 1e-9 * np.abs(exact * at).max() + 1e-13 * value
    assert np.abs((found - exact) * at).max() <= allowed


def test_covariance_of_height_and_length_agrees_with_simulated_trees() -> None:
    # docs/piecewise.md has the msprime 1.4 program: 200000 trees, seed 1
    lineages = phasic.Graph(two_demes).states().sum(1)
    rewards = np.stack([np.ones(len(lineages)), lineages])
    found = joined_demes().covariance(DEMES, rewards)
    simulated = np.array([[4.32071093, 9.04290377], [9.04290377, 19.5487874]])
    error = np.array([[0.02570463, 0.05250914], [0.05250914, 0.1087008]])
    assert (np.abs(found - simulated) < 4 * error).all()


@pytest.mark.extended
def test_moments_after_a_relabelling() -> None:
    graph = phasic.Graph(two_demes)
    matrix = 0.25 * join_matrix(graph) + 0.75 * np.eye(graph.vertices_length())
    model = phasic.PiecewisePhaseType(graph, [0.0, 0.5, 0.7], relabel={1: matrix})
    rewards = np.random.default_rng(5).uniform(0, 2, (2, graph.vertices_length()))
    serialized = graph.serialize()

    def exact(theta: Any, starts: Any) -> list[Any]:
        oracle = Piecewise(serialized, theta, starts, {1: matrix})
        return [oracle.moments([r, q]) for r in rewards for q in rewards]

    theta = np.maximum(DEMES, 0.1)
    second = compute(exact, theta, np.array([0.0, 0.5, 0.7])).reshape(2, 2)
    mean = model.expectation(theta, rewards)
    found = model.covariance(theta, rewards)
    np.testing.assert_allclose(found, second - np.outer(mean, mean), rtol=1e-11)
    np.testing.assert_allclose(model.variance(theta, rewards), np.diag(found), rtol=1e-11)


@pytest.mark.extended
def test_equal_epochs_are_one_epoch() -> None:
    graph = phasic.Graph.from_serialized(two_islands(3))
    whole = phasic.PhaseType(graph)
    theta = np.array([0.8, 1.4, 0.3, 0.6])
    rewards = np.random.default_rng(3).uniform(0, 2, (3, whole.n_vertices))
    rewards[2] = 0.0
    for starts in ([0.0], [0.0, 0.0, 0.3, 0.3, 2.0]):
        model = phasic.PiecewisePhaseType(graph, starts)
        epochs = np.tile(theta, (len(starts), 1))
        np.testing.assert_allclose(
            model.covariance(epochs, rewards), whole.covariance(theta, rewards), rtol=1e-12
        )
        np.testing.assert_allclose(
            model.moments(epochs, 5, rewards), whole.moments(theta, 5, rewards), rtol=1e-12
        )
        np.testing.assert_allclose(model.variance(epochs), whole.variance(theta), rtol=1e-12)
    thetas = np.stack([epochs, 2 * epochs])
    np.testing.assert_allclose(
        model.covariance(thetas, rewards)[1], whole.covariance(2 * theta, rewards), rtol=1e-12
    )


def test_rewards_below_zero_are_refused() -> None:
    model = phasic.PiecewisePhaseType(phasic.Graph.from_serialized(erlang(1)), [0.0, 1.0])
    theta = np.ones((2, 1))
    rewards = np.array([[-1.0, 1.0, -1.0], [0.0, -2.0, 0.0]])
    with pytest.raises(ValueError, match=r"rewards\[1, 1\] is -2.0, expected a finite number >= 0"):
        model.covariance(theta, rewards)
    with pytest.raises(ValueError, match=r"rewards has shape \(3,\), expected \(..., n_rewards"):
        model.covariance(theta, rewards[0])
    with pytest.raises(ValueError, match=r"k is 0, expected an int >= 1"):
        model.moments(theta, 0)
    np.testing.assert_allclose(model.moments(theta, 1), [1.0], rtol=1e-14)
    np.testing.assert_allclose(model.moments(theta, 1, np.ones((2, 3))), [[1.0], [1.0]], rtol=1e-14)
    np.testing.assert_allclose(model.variance(theta, rewards[0]), 1.0, rtol=1e-13)
    assert np.isnan(jax.jit(model.variance)(theta, rewards[1]))
    with pytest.raises(ValueError, match=r"epoch 0: theta gives the edge .* the weight -1"):
        model.variance(-theta)

"""Draws of piecewise models: laws, states, rewards, the same numbers always, errors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import phasic
from models import erlang
from test_piecewise import (
    CASES,
    DEME_STARTS,
    DEMES,
    arguments,
    join_matrix,
    joined_demes,
    two_demes,
)

KEY = jax.random.key(11)
N = 40_000
NAMES = ("start-parameterised-continuous-1", "mixed-continuous-0", "absorbing-continuous-1")


def assert_frequencies(vertex: Any, probability: Any) -> None:
    """Counts of vertices, -1 the defect, against probabilities that may lack the defect."""
    n = len(probability)
    expected = np.append(probability, max(1 - np.sum(probability), 0.0))
    observed = np.bincount(np.where(vertex < 0, n, vertex), minlength=n + 1)
    assert observed[expected == 0].sum() == 0
    rare = expected * len(vertex) < 5
    bins = [np.append(x[~rare], x[rare].sum()) for x in (observed, expected * len(vertex))]
    kept = bins[1] > 1e-9
    degrees = max(kept.sum() - 1, 1)
    statistic = ((bins[0] - bins[1])[kept] ** 2 / bins[1][kept]).sum()
    assert scipy.stats.chi2.sf(statistic, degrees) > 1e-4


@pytest.mark.extended
@pytest.mark.parametrize("name", NAMES)
def test_times_and_states_of_generated_models(name: str) -> None:
    model, theta, starts, _times = arguments(name)
    found = model.sample_with_state(KEY, theta, N)
    atom = float(model.cdf(theta, 0.0))
    late = np.asarray(found.value)[np.asarray(found.value) > 0]
    assert abs((N - len(late)) / N - atom) <= 5 * np.sqrt(atom * (1 - atom) / N)

    def law(t: np.ndarray) -> np.ndarray:
        return (np.asarray(model.cdf(theta, t)) - atom) / (1 - atom)

    assert scipy.stats.kstest(late[:4000], law).pvalue > 1e-4
    assert_frequencies(np.asarray(found.vertex), np.asarray(model.absorption_probability(theta)))
    for t in (0.5 * starts[1], starts[1], 1.1 * starts[2]):
        stopped = model.sample_with_state(KEY, theta, N, horizon=t)
        assert float(stopped.value.max()) <= t
        expected = np.asarray(model.state_probability(theta, t))
        assert_frequencies(np.asarray(stopped.vertex), expected)


@pytest.mark.parametrize("kind", ["matrix", pytest.param("function", marks=pytest.mark.extended)])
def test_rewards_over_a_split(kind: str) -> None:
    graph = phasic.Graph(two_demes)
    matrix = join_matrix(graph)
    if kind == "matrix":
        matrix = 0.4 * matrix + 0.6 * np.eye(len(matrix))
        matrix[0] = 0.0
    model = joined_demes(None if kind == "function" else matrix)
    theta = DEMES if kind == "function" else np.maximum(DEMES, 0.2)
    rewards = np.stack([np.ones(len(matrix)), graph.states().sum(1), graph.states()[:, 0] - 1.0])
    found = model.sample_with_state(KEY, theta, N, rewards)
    draws = np.asarray(found.value)
    np.testing.assert_allclose(draws[:, 0], model.sample(KEY, theta, N), rtol=1e-12)
    mean = np.asarray(model.expectation(theta, rewards))
    error = draws.std(0) / np.sqrt(N)
    assert (abs(draws.mean(0) - mean) < 4.5 * error).all()
    covariance = np.asarray(model.covariance(theta, rewards[:2]))
    off = draws[:, :2] - mean[:2]
    products = np.einsum("di,dj->dij", off, off)
    assert (abs(products.mean(0) - covariance) < 4.5 * products.std(0) / np.sqrt(N)).all()
    at = np.asarray(model.sample_with_state(KEY, theta, N, horizon=1.0).vertex)
    assert_frequencies(at, np.asarray(model.state_probability(theta, 1.0)))
    before = np.asarray(model.sample_with_state(KEY, theta, N, horizon=1 - 1e-9).vertex)
    both = graph.states()[before]
    assert (both[:, 1] > 0).any()  # not joined yet


@pytest.mark.extended
def test_the_same_numbers_under_every_transformation() -> None:
    model = joined_demes()
    thetas = DEMES * np.array([0.5, 1.0, 1.5])[:, None, None]
    one = model.sample_with_state(KEY, DEMES, (3, 2))
    assert one.value.shape == one.vertex.shape == (3, 2)
    again = jax.jit(lambda key: model.sample_with_state(key, DEMES, (3, 2)))(KEY)
    np.testing.assert_array_equal(again.value, one.value)
    legacy = model.sample(np.asarray(jax.random.key_data(KEY)), DEMES, (3, 2))
    np.testing.assert_array_equal(legacy, one.value)
    keys = jax.random.split(KEY, 3)
    loop = np.stack([model.sample(k, t, 4) for k, t in zip(keys, thetas, strict=True)])
    mapped = jax.vmap(lambda k, t: model.sample(k, t, 4))(keys, thetas)
    np.testing.assert_array_equal(mapped, loop)
    batch = model.sample(KEY, thetas, 4)
    assert batch.shape == (3, 4)
    assert np.unique(batch).size == 12
    starts = DEME_STARTS * np.array([[0.5], [1.0]])
    rewards = np.ones((5, model.n_vertices))
    assert model.sample(KEY, DEMES, 4, rewards, starts=starts).shape == (2, 4, 5)
    np.testing.assert_array_equal(model.sample(KEY, DEMES, 9)[:4], model.sample(KEY, DEMES, 4))


def test_one_epoch_is_a_phase_type() -> None:
    graph = phasic.Graph.from_serialized(CASES[NAMES[0]].graph)
    theta = CASES[NAMES[0]].thetas[0]
    model = phasic.PiecewisePhaseType(graph, [0.0])
    whole = phasic.PhaseType(graph)
    found, expected = model.sample(KEY, theta[None], 50), whole.sample(KEY, theta, 50)
    np.testing.assert_array_equal(found, expected)


def test_what_is_wrong_with_draws_is_said() -> None:
    model = joined_demes()
    stuck = DEMES * np.array([[1], [1], [0]])
    with pytest.raises(ValueError, match=r"epoch 2: the expectation is infinite"):
        model.sample(KEY, stuck, 10)
    free = jax.jit(lambda theta: model.sample_with_state(KEY, theta, 10))(stuck)
    assert np.isposinf(free.value).any()
    assert (np.asarray(free.vertex)[np.isposinf(free.value)] == -1).all()
    assert np.isfinite(model.sample_with_state(KEY, stuck, 10, horizon=9.0).value).all()
    with pytest.raises(ValueError, match=r"epoch 1: theta gives the edge .* the weight -"):
        model.sample(KEY, DEMES * np.array([[1], [-1], [1]]), 10)
    bad = jax.jit(lambda theta: model.sample(KEY, theta, 10))(DEMES * np.array([[1], [-1], [1]]))
    assert np.isnan(bad).all()
    for horizon in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"horizon is .*, expected a finite number >= 0"):
            model.sample_with_state(KEY, DEMES, 10, horizon=horizon)
        found = jax.jit(lambda h: model.sample_with_state(KEY, DEMES, 10, horizon=h))(horizon)
        assert np.isnan(found.value).all()
    with pytest.raises(TypeError, match="key is of type int"):
        model.sample(3, DEMES)
    for of in (0, 1):
        with pytest.raises(TypeError, match="samples cannot be differentiated"):
            jax.grad(lambda th, s: model.sample(KEY, th, starts=s), of)(
                jnp.asarray(DEMES), jnp.asarray(DEME_STARTS)
            )
    tight = phasic.PiecewisePhaseType(
        phasic.Graph.from_serialized(erlang(2)),
        [0.0, 1.0],
        options=phasic.EvaluationOptions(max_operations=1e3),
    )
    with pytest.raises(phasic.BudgetError, match="epoch 0: "):
        tight.sample(KEY, np.ones((2, 1)), 1000)

"""Transforms and states given survival against certified arithmetic and closed forms."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle_transforms
import phasic
from conformance import CASES, distribution
from model_cases import trapped_graphs
from models import erlang, mm1k, negative_binomial

DEFAULT = (
    "blocks-continuous-1",
    "stiff-continuous-0",
    "mixed-continuous-1",
    "mixed-discrete-1",
    "zero-theta-discrete",
)


def marked(names: Any) -> list[Any]:
    """All names; those that are not run every time carry the mark."""
    return [n if n in DEFAULT else pytest.param(n, marks=pytest.mark.extended) for n in names]


@pytest.mark.parametrize("name", marked([n for n in CASES if n[-1] in "01"]))
def test_laplace_transforms_of_generated_models(name: str) -> None:
    case, model = CASES[name], distribution(name)
    ones = np.ones((1, model.n_vertices))
    for theta in case.thetas:
        mean = model.expectation(theta)
        s = np.array([0.0, 0.3, 1.0, 40.0]) / float(mean)
        exact = [oracle_transforms.transform(case.graph, theta, [x], ones)[0] for x in s]
        # atol: what start weights lack to 1 is mass at 0, and their sum rounds
        np.testing.assert_allclose(model.laplace(theta, s), exact, rtol=1e-12, atol=2.3e-16)
        both = np.array([0.7, 1.9]) / float(mean)
        exact = oracle_transforms.transform(case.graph, theta, both, case.rewards)[0]
        found = model.laplace(theta, both, case.rewards)
        np.testing.assert_allclose(found, exact, rtol=1e-12, atol=2.3e-16)


@pytest.mark.parametrize("name", marked(["mixed-continuous-1", "blocks-discrete-1"]))
def test_derivatives_of_the_laplace_transform(name: str) -> None:
    case, model = CASES[name], distribution(name)
    theta, s = case.thetas[-1], np.array([0.3, 0.8])
    exact = oracle_transforms.transform(case.graph, theta, s, case.rewards, order=2)

    def transform(x: Any) -> Any:
        return model.laplace(x, s, case.rewards)

    slope, curvature = jax.jit(lambda x: (jax.grad(transform)(x), jax.hessian(transform)(x)))(theta)
    np.testing.assert_allclose(slope, exact[1], rtol=1e-9, atol=1e-11 * abs(exact[1]).max())
    np.testing.assert_allclose(curvature, exact[2], rtol=1e-9, atol=1e-11 * abs(exact[2]).max())


def test_laplace_and_moment_generating_function_of_a_gamma_time() -> None:
    model = phasic.PhaseType(phasic.Graph.from_serialized(erlang(3)))
    theta, s = jnp.array([2.0]), jnp.array([0.0, 0.5, 30.0, 1e9, 1e80])

    def exact(rate: Any, x: Any) -> Any:
        return (rate / (rate + x)) ** 3

    np.testing.assert_allclose(model.laplace(theta, s), exact(2.0, s), rtol=1e-14)
    slopes = jax.vmap(jax.grad(model.laplace, 1), (None, 0))(theta, s[:3])
    np.testing.assert_allclose(slopes, -3 * 8 / (2 + s[:3]) ** 4, rtol=1e-14)
    up = jnp.array([-4.0, -1.0, 0.0, 0.5, 1.9])
    np.testing.assert_allclose(model.mgf(theta, up), exact(2.0, -up), rtol=1e-12)
    assert np.isposinf(model.mgf(theta, jnp.array([2.0, 2.5, 100.0]))).all()
    for of in (0, 1):
        assert np.isnan(jax.grad(model.mgf, of)(theta, 2.5)).all()
        assert np.isfinite(jax.grad(model.mgf, of)(theta, 1.9)).all()
    slope = jax.grad(lambda x: model.mgf(x, 0.5))(theta)
    np.testing.assert_allclose(slope, [3 * (2 / 1.5) ** 2 * -0.5 / 1.5**2], rtol=1e-13)


@pytest.mark.extended
def test_busy_period_in_closed_form() -> None:
    # one place: exponential; two places: a customer more starts a busy period of one place first
    theta, s = np.array([0.7, 1.3]), 0.4
    alone = theta[1] / (theta[1] + s)
    for places, exact in ((1, alone), (2, theta[1] / (theta.sum() + s - theta[0] * alone))):
        model = phasic.PhaseType(phasic.Graph.from_serialized(mm1k(places)))
        np.testing.assert_allclose(model.laplace(theta, s), exact, rtol=1e-14)


def pole(model: phasic.PhaseType, theta: np.ndarray) -> float:
    """Where E[exp(s T)] becomes infinite: the slowest decay of the states that are reached."""
    graph = model.graph
    graph.update_weights(theta)
    _, inner, _, rows = graph.as_matrices()
    kept = np.asarray(model.expected_sojourn(theta))[rows] > 0
    values = np.linalg.eigvals(inner[np.ix_(kept, kept)])
    slowest = float(values.real.max())
    return -math.log(slowest) if model.is_discrete else -slowest


@pytest.mark.parametrize(
    "name",
    marked([n for n in CASES if n[-1] == "1" and "stiff" not in n and "trap" not in n]),
)
def test_moment_generating_function_of_generated_models(name: str) -> None:
    case, model = CASES[name], distribution(name)
    ones = np.ones((1, model.n_vertices))
    for theta in case.thetas:
        end = pole(model, theta)
        for share in (1e-3, 0.3, 0.9, 0.999):
            (exact,) = oracle_transforms.transform(case.graph, theta, [-share * end], ones)
            # rounding of the rates moves the pole
            found = model.mgf(theta, share * end)
            np.testing.assert_allclose(found, exact, rtol=1e-12 / (1 - share))
        assert np.isposinf(model.mgf(theta, np.array([1.001, 2.0, 50.0]) * end)).all()


def test_generating_function_of_a_negative_binomial_number() -> None:
    model = phasic.PhaseType(phasic.Graph.from_serialized(negative_binomial(3)))
    theta, z = jnp.array([0.3]), jnp.array([0.0, 1e-80, 1e-60, 1e-3, 0.5, 1.0])

    def exact(p: Any, x: Any) -> Any:
        return (p * x / (1 - (1 - p) * x)) ** 3

    np.testing.assert_allclose(model.pgf(theta, z), exact(0.3, z), rtol=1e-13)
    slopes = jax.vmap(jax.grad(model.pgf, 1), (None, 0))(theta, z)
    np.testing.assert_allclose(slopes, jax.vmap(jax.grad(exact, 1), (None, 0))(0.3, z), rtol=1e-13)
    s = jnp.array([0.1, 3.0, 300.0])
    np.testing.assert_allclose(model.laplace(theta, s), exact(0.3, jnp.exp(-s)), rtol=1e-13)
    s = jnp.array([0.1, 0.3])
    np.testing.assert_allclose(model.mgf(theta, s), exact(0.3, jnp.exp(s)), rtol=1e-12)
    assert np.isposinf(model.mgf(theta, -np.log(0.7) + 1e-9))


TRAPPED = {name: (graph, theta) for name, graph, theta, _ in trapped_graphs()}


@pytest.mark.parametrize("name", marked(TRAPPED))
def test_paths_that_are_trapped_count_zero(name: str) -> None:
    graph, theta = TRAPPED[name]
    model = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    s = np.array([0.0, 0.5])
    rate = np.expm1(s) if model.is_discrete else s
    np.testing.assert_allclose(model.laplace(theta, s), 0.25 / (0.75 + rate), rtol=1e-14)
    assert np.isposinf(model.mgf(theta, 0.01))
    np.testing.assert_allclose(model.mgf(theta, -s), model.laplace(theta, s), rtol=1e-14)


def test_states_given_survival() -> None:
    model = phasic.PhaseType(phasic.Graph.from_serialized(erlang(2)))
    t = np.array([0.0, 1.0, 300.0])
    exact = np.stack([0 * t, 1 / (1 + t), t / (1 + t), 0 * t], axis=1)
    found = model.conditional_state_probability(np.ones(1), t)
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    slope = jax.jacfwd(model.conditional_state_probability, 1)(np.ones(1), jnp.array(1.0))
    np.testing.assert_allclose(slope, [0, -0.25, 0.25, 0], atol=1e-14)
    assert np.isnan(model.conditional_state_probability(np.ones(1), 2000.0)).any()
    starts = np.arange(0.0, 2000.0, 500.0)
    epochs = phasic.PiecewisePhaseType(model.graph, starts)
    late = epochs.conditional_state_probability(np.ones((4, 1)), 2000.0)
    np.testing.assert_allclose(late, np.array([0, 1, 2000, 0]) / 2001, rtol=1e-11)


@pytest.mark.extended
def test_batches_agree_with_loops() -> None:
    model = phasic.PhaseType(phasic.Graph.from_serialized(mm1k(3)))
    theta = np.array([[0.7, 1.3], [0.2, 2.0], [1.5, 1.1]])
    s = np.array([0.0, 0.4])
    loop = np.stack([model.laplace(x, s) for x in theta])
    assert loop.shape == (3, 2)
    np.testing.assert_allclose(model.laplace(theta, s), loop, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(jax.vmap(model.laplace, (0, None)))(theta, s), loop)
    np.testing.assert_allclose(model.laplace(theta, s[1]), loop[:, 1], rtol=1e-14)
    reward = 2.0 * np.ones(model.n_vertices)
    np.testing.assert_allclose(model.laplace(theta, s / 2, reward), loop, rtol=1e-14)
    np.testing.assert_allclose(model.mgf(theta, -s), loop, rtol=1e-14)


def test_what_is_wrong_is_said() -> None:
    model = phasic.PhaseType(phasic.Graph.from_serialized(mm1k(3)))
    theta = np.array([0.7, 1.3])
    raises = pytest.raises
    with raises(ValueError, match=r"s\[1\] is -0.5, expected a finite number >= 0"):
        model.laplace(theta, np.array([1.0, -0.5]))
    assert np.isnan(jax.jit(model.laplace)(theta, -0.5))
    with raises(ValueError, match=r"rewards\[1\] is -1.0, expected a finite number >= 0"):
        model.laplace(theta, 1.0, -np.ones(model.n_vertices))
    with raises(ValueError, match=r"s has shape \(\), expected \(..., 2\)"):
        model.laplace(theta, 1.0, np.ones((2, model.n_vertices)))
    with raises(ValueError, match=r"theta gives the edge from .* the weight -"):
        model.laplace(-theta, 1.0)
    with raises(ValueError, match="pgf does not apply to a continuous model; use laplace"):
        model.pgf(theta, 0.5)
    discrete = phasic.PhaseType(phasic.Graph.from_serialized(negative_binomial(1)))
    with raises(ValueError, match=r"z is 1.5, expected a finite number >= 0 and <= 1"):
        discrete.pgf(np.array([0.5]), 1.5)
    big = phasic.PhaseType(phasic.Graph.from_serialized(erlang(5000)))
    with raises(phasic.BudgetError, match="more than 4000"):
        big.mgf(np.ones(1), 0.1)

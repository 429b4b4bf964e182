"""Laplace transforms over epochs against certified arithmetic and closed forms."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phasic
from models import erlang
from piecewise_oracle import Piecewise, compute, gradient
from test_piecewise import (
    CASES,
    DEMES,
    arguments,
    assert_derivatives,
    join_matrix,
    joined_demes,
    two_demes,
)

NAMES = [
    name
    for name in CASES
    if CASES[name].graph["n_vertices"] <= 12 and not CASES[name].family.unreachable_trap
]


def transform(
    graph: Any, weights: np.ndarray, relabel: Any, theta: Any, starts: Any, s: Any
) -> list[Any]:
    """E[exp(-s Y)] is what is not killed at rate s r: 1 - E[s Y] up to there."""
    n = graph["n_vertices"]
    plain = Piecewise(graph, theta, starts)
    alive = [v for v in range(n) if not plain.absorbing[v] and v != plain.first]
    found = []
    for x in s:
        lost = np.zeros(n + 1)
        lost[alive] = float(x) * np.asarray(weights, float)[alive]
        killing = [[v, n, lost[v]] for v in alive]
        edges = np.concatenate([np.asarray(graph["edges"]).reshape(-1, 3), killing])
        killed = {**graph, "n_vertices": n + 1, "edges": edges}
        wide = {k: np.pad(m, (0, 1)) for k, m in (relabel or {}).items()}
        for matrix in wide.values():
            matrix[n, n] = 1.0
        found.append(1 - Piecewise(killed, theta, starts, wide).moments([lost]))
    return found


@pytest.mark.extended
@pytest.mark.parametrize("name", NAMES)
def test_transforms_of_generated_models(name: str) -> None:
    model, theta, starts, _ = arguments(name)
    case = CASES[name]
    mean = float(model.expectation(theta))
    s = np.array([0.0, 0.3, 1.0, 40.0]) / mean
    reward = case.rewards[0] + 0.1
    exact = compute(partial(transform, case.graph, reward, None), theta, starts, s)
    found = jax.jit(lambda th, st: model.laplace(th, s, reward, starts=st))(theta, starts)
    # atol: what start weights lack to 1 is mass at 0, and their sum rounds
    np.testing.assert_allclose(found, exact, rtol=2e-12, atol=2.3e-16)
    both = model.laplace(theta, np.array([0.2, 0.5]) / mean, case.rewards)
    mixed = model.laplace(theta, 1 / mean, np.array([0.2, 0.5]) @ case.rewards)
    np.testing.assert_allclose(both, mixed, rtol=1e-12)
    np.testing.assert_allclose(
        model.laplace(theta, s), model.laplace(theta, s / 2, np.full(model.n_vertices, 2.0))
    )


@pytest.mark.extended
def test_derivatives_over_a_split() -> None:
    model, theta, s = joined_demes(), np.maximum(DEMES, 0.2), np.array([0.4])
    serialized = phasic.Graph(two_demes).serialize()
    reward = np.asarray(serialized["states"]).sum(1)
    relabel = {2: join_matrix(phasic.Graph.from_serialized(serialized))}
    starts = np.array([0.0, 0.4, 1.0])
    truth = partial(transform, serialized, reward, relabel)
    for of, at in enumerate((theta, starts)):
        exact = gradient(truth, of, theta, starts, s)
        if of == 1:
            exact[:, 0] = 0.0
        found = jax.jacrev(lambda th, st: model.laplace(th, s, reward, starts=st), of)(
            jnp.asarray(theta), jnp.asarray(starts)
        )
        assert_derivatives(found, exact, compute(truth, theta, starts, s), at)


def test_one_rate_that_changes_in_closed_form_and_errors() -> None:
    model = phasic.PiecewisePhaseType(phasic.Graph.from_serialized(erlang(1)), [0.0, 2.0])
    a, b, s = 0.7, 3.0, np.array([0.0, 0.5, 300.0])
    late = np.exp(-2 * (a + s))
    exact = a / (a + s) * -np.expm1(-2 * (a + s)) + late * b / (b + s)
    theta = np.array([[a], [b]])
    np.testing.assert_allclose(model.laplace(theta, s), exact, rtol=1e-13)
    assert model.laplace(theta, 0.5).shape == ()
    np.testing.assert_allclose(model.correlation(theta, [[0, 1, 0], [0, 2, 0]]), 1, rtol=1e-12)
    with pytest.raises(ValueError, match=r"s\[1\] is -1.0, expected a finite number >= 0"):
        model.laplace(theta, [0.0, -1.0])
    assert np.isnan(jax.jit(lambda x: model.laplace(theta, x))(-1.0))
    with pytest.raises(ValueError, match=r"s has shape \(3,\), expected \(..., 2\)"):
        model.laplace(theta, np.ones(3), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"rewards\[1\] is -1.0, expected a finite number >= 0"):
        model.laplace(theta, s, [0.0, -1.0, 0.0])

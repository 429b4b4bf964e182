"""Quantiles of piecewise models: in closed form, as inverses of the cdf, with derivatives."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import phasic
from models import erlang
from test_piecewise import DEME_STARTS, DEMES, arguments, joined_demes

NAMES = (
    "stiff-theta-continuous-0",
    "start-parameterised-continuous-1",
    "mixed-continuous-0",
    "absorbing-continuous-1",
    "defect-continuous-0",
    "unreachable-trap-continuous-1",
)
LEVELS = np.array([1e-12, 0.01, 0.3, 0.5, 0.50001, 0.7, 0.99, 1 - 1e-9])


@pytest.mark.parametrize(
    "rates",
    [
        pytest.param((0.7, 0.1, 4.0), marks=pytest.mark.extended),
        (1e-25, 0.3, 1e-3),
        pytest.param((1e-3, 900.0, 2.0), marks=pytest.mark.extended),
    ],
)
def test_one_rate_that_changes_against_mpmath(rates: tuple[float, float, float]) -> None:
    model = phasic.PiecewisePhaseType(phasic.Graph.from_serialized(erlang(1)), [0.0, 1.0, 3.0])
    theta = np.array(rates)[:, None]
    settled = -math.expm1(-rates[0])
    near = [settled * (1 + x) for x in (-1e-9, 1e-12, 0.5, 3.0) if settled * (1 + x) < 1]
    levels = np.array([1e-300, 1e-30, *near, 0.2, 0.5, 0.500001, 0.9, 1 - 1e-12, 1 - 2**-53])
    found = model.quantile(theta, levels)
    with mpmath.workdps(40):
        a, b, c = (mpmath.mpf(x) for x in rates)
        for q, t in zip(levels, np.asarray(found), strict=True):
            need = -mpmath.log1p(-mpmath.mpf(q))  # the cumulated rate
            parts = ((need, 0, a), (need - a, 1, b), (need - a - 2 * b, 3, c))
            which = 0 if need < a else 1 if need < a + 2 * b else 2
            left, start, rate = parts[which]
            error = abs(start + left / rate - mpmath.mpf(t)) / t
            conditioning = min(q / (1 - q), 1) / (rate * t)  # of t against rounding of the cdf
            assert error <= 1e-14 * (1 + float(conditioning)), (q, float(t))


@pytest.mark.extended
@pytest.mark.parametrize("name", NAMES)
def test_quantiles_of_generated_models(name: str) -> None:
    model, theta, _starts, times = arguments(name)
    defect = float(model.cdf(theta, 0.0))
    reached = float(np.asarray(model.absorption_probability(theta)).sum()) + defect
    found = np.asarray(model.quantile(theta, LEVELS))
    assert (found[defect >= LEVELS] == 0).all()
    inside = (defect + 1e-15 < LEVELS) & (reached * (1 - 1e-15) > LEVELS)
    t, q = found[inside], LEVELS[inside]
    assert (np.diff(t) > 0).all()
    upper = q > 0.5
    np.testing.assert_allclose(model.cdf(theta, t[~upper]), q[~upper], rtol=2e-14)
    np.testing.assert_allclose(model.sf(theta, t[upper]), 1 - q[upper], rtol=5e-14)
    levels = np.asarray(model.cdf(theta, times))
    kept = (levels > defect) & (levels < 0.999) & (np.asarray(model.pdf(theta, times)) > 1e-3)
    back = np.asarray(model.quantile(theta, levels[kept]))
    np.testing.assert_allclose(back, times[kept], rtol=1e-9)


def test_slopes_in_the_level_are_one_over_the_density() -> None:
    model = phasic.PiecewisePhaseType(phasic.Graph.from_serialized(erlang(1)), [0.0, 1.0])
    theta = np.array([[0.5], [2.0]])
    levels = jnp.array([0.1, 0.7])
    slopes = jax.vmap(jax.grad(lambda q: model.quantile(theta, q)))(levels)
    np.testing.assert_allclose(slopes, 1 / (np.array([0.5, 2.0]) * (1 - levels)), rtol=1e-13)


@pytest.mark.extended
def test_derivatives_of_one_rate_that_changes() -> None:
    model = phasic.PiecewisePhaseType(phasic.Graph.from_serialized(erlang(1)), [0.0, 1.0, 3.0])
    rates, starts = jnp.array([0.7, 0.1, 0.4]), jnp.array([0.0, 1.0, 3.0])

    def exact(r: jax.Array, s: jax.Array, q: jax.Array) -> jax.Array:
        need = -jnp.log1p(-q)
        first, second = r[0] * s[1], r[1] * (s[2] - s[1])
        late = s[2] + (need - first - second) / r[2]
        middle = s[1] + (need - first) / r[1]
        return jnp.where(need < first, need / r[0], jnp.where(need < first + second, middle, late))

    def ours(r: jax.Array, s: jax.Array, q: jax.Array) -> jax.Array:
        return model.quantile(r[:, None], q, starts=s)

    for q in (0.2, 0.55, 0.9):
        point = rates, starts, jnp.array(q)
        np.testing.assert_allclose(ours(*point), exact(*point), rtol=1e-14)
        for found, expected in zip(
            jax.grad(ours, (0, 1, 2))(*point), jax.grad(exact, (0, 1, 2))(*point), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
        bend = jax.hessian(ours)(*point)
        np.testing.assert_allclose(bend, jax.hessian(exact)(*point), rtol=1e-10, atol=1e-12)


@pytest.mark.extended
def test_transformations_shapes_and_ends() -> None:
    model = joined_demes()
    thetas = DEMES * np.array([0.5, 1.0, 1.5])[:, None, None]
    levels = np.array([0.0, 1e-3, 0.4, 0.95, 1.0])
    loop = np.stack([model.quantile(theta, levels) for theta in thetas])
    assert (loop[:, 0] == 0).all()
    assert np.isposinf(loop[:, -1]).all()
    np.testing.assert_allclose(model.quantile(thetas, levels), loop, rtol=1e-13)
    mapped = jax.jit(jax.vmap(model.quantile, (0, None)))(thetas, levels)
    np.testing.assert_allclose(mapped, loop, rtol=1e-13)
    assert model.quantile(DEMES, 0.5).shape == ()
    starts = DEME_STARTS * np.array([[0.5], [1.0]])
    both = model.quantile(DEMES, 0.5, starts=starts[:, None])
    each = [model.quantile(DEMES, 0.5, starts=s) for s in starts]
    np.testing.assert_allclose(both[:, 0], each, rtol=1e-13)
    slope = jax.grad(lambda q: model.quantile(DEMES, q))
    assert slope(0.0) == 0
    assert np.isnan(slope(1.0))


@pytest.mark.extended
def test_a_trap_of_the_last_epoch_is_never_left() -> None:
    model = joined_demes(lambda state: state)
    theta = DEMES * np.array([[1], [1], [0]])
    reached = float(np.asarray(model.absorption_probability(theta)).sum())
    below, above = model.quantile(theta, np.array([0.9 * reached, min(1.1 * reached, 1.0)]))
    assert float(model.cdf(theta, below)) == pytest.approx(0.9 * reached, rel=1e-13)
    assert np.isposinf(above)


def test_what_is_wrong_with_levels_is_said() -> None:
    model = joined_demes()
    for q in (-1e-9, 1 + 1e-9, math.nan):
        with pytest.raises(ValueError, match=r"q is .*, expected a finite number >= 0 and <= 1"):
            model.quantile(DEMES, q)
        assert np.isnan(jax.jit(lambda x: model.quantile(DEMES, x))(q))
    with pytest.raises(ValueError, match="q is missing"):
        model.quantile(DEMES, None)
    with pytest.raises(ValueError, match=r"epoch 1: theta gives the edge .* the weight -"):
        model.quantile(DEMES * np.array([[1], [-1], [1]]), 0.5)

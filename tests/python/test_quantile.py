"""Quantiles invert the cdf: in closed form, in mpmath, in the kernel; with derivatives."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats
from jax.sharding import Mesh, PartitionSpec

import phasic
from jax_cases import model
from model_cases import Case, cases
from models import coxian
from phasic import _core
from phasic.trace_elimination import record_elimination_trace

LOW = [1e-300, 1e-100, 1e-20, 1e-5, 0.1, 0.5]
LEVELS = np.array([*LOW, 0.50001, 0.9, 0.999, 1 - 1e-10, 1 - 2**-53])
THETA = np.array([1.3, 0.7])
CASES = [case for case in cases(1) if case.family.decades == 0]


@pytest.mark.parametrize("k", [1, 2, 50])
def test_gamma_distributions(k: int) -> None:
    exact = scipy.stats.gamma(k, scale=0.5)
    expected = np.where(LEVELS < 0.5, exact.ppf(LEVELS), exact.isf(1 - LEVELS))
    # SciPy's own error reaches 2e-14, at 1e-300.
    np.testing.assert_allclose(phasic.erlang(k, 2.0).quantile(LEVELS), expected, rtol=3e-14)


@pytest.mark.parametrize("ratio", [1e2, 1e4])
def test_two_scales_against_mpmath(ratio: float) -> None:
    """Between the scales the cdf is flat, where Newton's steps alone would fail."""
    graph = phasic.hyperexponential([0.5, 0.5], [ratio, 1.0])
    levels = np.array([1e-9, 0.3, 0.499, 0.5, 0.501, 0.75, 1 - 1e-12])
    with mpmath.workdps(40):
        for q, t in zip(levels, graph.quantile(levels), strict=True):
            alive = [0.5 * mpmath.exp(-rate * mpmath.mpf(t)) for rate in (ratio, 1.0)]
            slope = ratio * alive[0] + alive[1]
            error = (1 - mpmath.mpf(q) - sum(alive)) / slope  # of t, to first order
            conditioning = min(q, 1 - q) / (slope * t)
            kernel = 1e-13 + 2e-17 * ratio * t  # the error of cdf and sf grows with their terms
            assert abs(error / t) <= 1e-15 + kernel * conditioning, q


@pytest.mark.parametrize("p", [0.3, 0.01, 1e-4])
def test_geometric_and_negative_binomial(p: float) -> None:
    levels = LEVELS[3:-1]
    first = phasic.geometric(p).quantile(levels)
    np.testing.assert_array_equal(first, scipy.stats.geom(p).ppf(levels))
    third = phasic.negative_binomial(3, p).quantile(levels)
    np.testing.assert_array_equal(third, scipy.stats.nbinom(3, p).ppf(levels) + 3)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_quantiles_of_generated_models(case: Case) -> None:
    graph = phasic.Graph.from_serialized(case.graph)
    graph.update_weights(case.thetas[0])
    levels = np.array([0.01, 0.3, 0.5, 0.7, 0.99, 1 - 1e-9])
    found = graph.quantile(levels)
    defect = graph.cdf(0.0)
    assert (found[levels <= defect] == 0).all()
    inside = levels > defect + 1e-15
    t, q = found[inside], levels[inside]
    if case.discrete:
        np.testing.assert_array_equal(t, np.floor(t))
        assert (graph.cdf(t) >= q * (1 - 1e-13)).all()
        assert (graph.cdf(t - 1) < q).all()
    else:
        np.testing.assert_allclose(graph.cdf(t), q, rtol=2e-14)
        upper = q > 0.5
        np.testing.assert_allclose(graph.sf(t[upper]), 1 - q[upper], rtol=1e-12)


def test_the_ends() -> None:
    assert phasic.exponential(1.0).quantile([0.0, 1.0]).tolist() == [0.0, math.inf]
    assert phasic.geometric(0.5).quantile([0.0, 1.0]).tolist() == [0.0, math.inf]
    steps = phasic.Graph(1, discrete=True)
    a, b, c, end = (steps.find_or_create_vertex([i]) for i in range(1, 5))
    steps.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, 1.0)
    b.add_edge(c, 0.5)
    b.add_edge(end, 0.5)
    c.add_edge(end, 1.0)
    assert steps.quantile([1e-9, 0.5, 0.500001, 1.0]).tolist() == [2.0, 2.0, 3.0, 3.0]
    once = phasic.Graph(1)
    once.starting_vertex().add_edge(once.find_or_create_vertex([1]), 1.0)
    assert once.quantile([0.0, 0.3, 1.0]).tolist() == [0.0] * 3


def test_a_defect_and_a_trap() -> None:
    graph = phasic.Graph(1)
    a, end, trap = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 0.9)
    a.add_edge(end, 2.0)
    a.add_edge(trap, 1.0)
    trap.add_edge(end, [1.0])
    graph.update_weights([0.0])
    found = graph.quantile([0.05, 0.1, 0.1 + 1e-9, 0.4, 0.6999, 0.7, 0.8, 1.0])
    assert found[:2].tolist() == [0.0, 0.0]
    exact = [-math.log1p(-(q - 0.1) / 0.6) / 3 for q in (0.4, 0.6999)]
    np.testing.assert_allclose(found[3:5], exact, rtol=1e-12)
    np.testing.assert_allclose(found[2], 1e-9 / 1.8, rtol=1e-6)
    assert found[5:].tolist() == [math.inf] * 3
    with_params = phasic.PhaseType(graph)
    np.testing.assert_allclose(with_params.quantile(np.zeros(1), 0.4), exact[0], rtol=1e-14)
    slope = jax.jit(jax.grad(with_params.quantile, 1))
    np.testing.assert_allclose(slope(np.zeros(1), 0.4), 1 / (3 * 0.3), rtol=1e-13)
    assert slope(np.zeros(1), 0.05) == 0
    assert np.isnan(slope(np.zeros(1), 0.9))


def test_jumps_of_the_cdf_come_back() -> None:
    graph = phasic.negative_binomial(3, 0.05)
    steps = np.arange(3.0, 700.0, 7.0)
    np.testing.assert_array_equal(graph.quantile(graph.cdf(steps)), steps)


@pytest.mark.parametrize("q", [-1e-9, 1 + 1e-9, math.nan, math.inf])
def test_what_is_no_probability(q: float) -> None:
    graph = phasic.exponential(1.0)
    made = phasic.PhaseType(graph)
    for call in (graph.quantile, lambda x: made.quantile(None, x)):
        with pytest.raises(ValueError, match=r"q\[1\] is .*, expected a probability in \[0, 1\]"):
            call([0.5, q])
    assert np.isnan(jax.jit(lambda x: made.quantile(None, x))(np.array(q)))


def test_other_bad_arguments() -> None:
    for q in (None, "x", 0.5j):
        with pytest.raises((TypeError, ValueError), match="q "):
            model().quantile(THETA, q)
    with pytest.raises(ValueError, match="q has dtype"):
        phasic.exponential(1.0).quantile("x")
    with pytest.raises(ValueError, match=r"the weight -1.* \(row 1 of the batch\)"):
        model().quantile(np.array([THETA, [-1.0, 1.0]]), 0.5)
    found = jax.jit(model().quantile)(np.array([THETA, [-1.0, 1.0]]), 0.5)
    np.testing.assert_array_equal(np.isnan(found), [False, True])
    tight = phasic.PhaseType.from_trace(
        model().trace, options=phasic.EvaluationOptions(max_operations=10.0)
    )
    with pytest.raises(phasic.BudgetError, match="the search for a quantile stopped"):
        tight.quantile(THETA, 0.5)
    trace = record_elimination_trace(phasic.exponential(1.0))
    for theta, q in ((np.zeros(1), np.zeros(1)), (np.zeros(0), np.zeros((1, 1)))):
        with pytest.raises(ValueError, match="expected one axis"):
            _core.quantile(trace, theta, q)


def test_shapes_and_dtypes() -> None:
    thetas = THETA * np.ones((5, 1, 1))
    assert model().quantile(THETA, 0.5).shape == ()
    assert model().quantile(THETA, [0.1, 0.5]).shape == (2,)
    assert model().quantile(thetas, 0.5).shape == (5, 1)
    assert model().quantile(thetas, np.full((3, 2), 0.5)).shape == (5, 3, 2)
    assert model().quantile(thetas, np.zeros((3, 0))).shape == (5, 3, 0)
    assert phasic.exponential(1.0).quantile(np.full((2, 3), 0.5)).shape == (2, 3)
    assert phasic.exponential(1.0).quantile(np.zeros((2, 0))).shape == (2, 0)
    single = model().quantile(THETA.astype(np.float32), np.float32(0.25))
    assert single.dtype == np.float32
    exact = model().quantile(THETA.astype(np.float32).astype(float), 0.25)
    np.testing.assert_allclose(single, exact, rtol=1e-7)


def test_jit_vmap_pmap_and_shard_map() -> None:
    thetas = THETA * (1 + 0.1 * np.arange(40))[:, None]
    levels = np.array([0.2, 0.9])
    loop = np.array([model().quantile(theta, levels) for theta in thetas])
    np.testing.assert_allclose(loop, model().quantile(thetas, levels), rtol=1e-14)
    mapped = jax.vmap(model().quantile, (0, None))
    np.testing.assert_allclose(mapped(thetas, levels), loop, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(mapped)(thetas, levels), loop, rtol=1e-14)
    by_level = jax.vmap(model().quantile, (None, 0), out_axes=1)(thetas, levels)
    np.testing.assert_allclose(by_level, loop, rtol=1e-14)
    halves = jax.pmap(lambda x: model().quantile(x, levels))(thetas.reshape(2, 20, 2))
    np.testing.assert_allclose(np.asarray(halves).reshape(40, 2), loop, rtol=1e-14)
    mesh = Mesh(np.array(jax.devices()[:2]), ("d",))
    spec = PartitionSpec("d")
    slopes = jax.shard_map(
        jax.vmap(jax.grad(model().quantile), (0, None)),
        mesh=mesh,
        in_specs=(spec, PartitionSpec()),
        out_specs=spec,
    )
    expected = jax.vmap(jax.grad(model().quantile), (0, None))(thetas, 0.9)
    np.testing.assert_allclose(jax.jit(slopes)(thetas, 0.9), expected, rtol=1e-12)


def _oracle(x: Any, y: Any, q: Any) -> Any:
    """The quantile of a sum of exponential times with rates x and y."""

    def excess(t: Any) -> Any:
        return (y * mpmath.exp(-x * t) - x * mpmath.exp(-y * t)) / (y - x) - (1 - q)

    return mpmath.findroot(excess, (1.0, 2.0), tol=1e-60)


@pytest.mark.parametrize("q", [0.2, 0.9])
def test_derivatives_against_mpmath(q: float) -> None:
    graph = phasic.Graph(1)
    a, b, end = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, [1.0, 0.0])
    b.add_edge(end, [0.0, 1.0])
    made = phasic.PhaseType(graph)

    def function(v: Any) -> Any:
        return made.quantile(v[:2], v[2])

    point = jnp.array([*THETA, q])
    unit = np.eye(3, dtype=int)
    with mpmath.workdps(40):
        at = tuple(mpmath.mpf(float(v)) for v in point)
        value = float(_oracle(*at))
        slope = [float(mpmath.diff(_oracle, at, tuple(i))) for i in unit]
        bend = [[float(mpmath.diff(_oracle, at, tuple(i + j))) for j in unit] for i in unit]
    np.testing.assert_allclose(function(point), value, rtol=1e-14)
    for gradient in (jax.grad, jax.jacfwd):
        np.testing.assert_allclose(gradient(function)(point), slope, rtol=1e-12)
    np.testing.assert_allclose(jax.hessian(function)(point), bend, rtol=1e-10)


def test_derivatives_deep_in_both_tails() -> None:
    """Exponential: t = -log(1 - q) / theta."""
    graph = phasic.Graph.from_serialized(coxian(1))
    made = phasic.PhaseType(graph)
    theta = jnp.array([2.0])
    for q in (1e-200, 1e-12, 0.5, 1 - 1e-12):
        t = -math.log1p(-q) / 2
        np.testing.assert_allclose(jax.grad(made.quantile)(theta, q), [-t / 2], rtol=1e-12)
        np.testing.assert_allclose(
            jax.grad(made.quantile, 1)(theta, q), 1 / (2 * (1 - q)), rtol=1e-12
        )


def test_discrete_quantiles_have_no_derivative() -> None:
    made = phasic.PhaseType(phasic.geometric(0.2))
    assert jax.jit(made.quantile)(None, 0.5) == 4
    with pytest.raises(TypeError, match="quantile of a discrete model cannot be differentiated"):
        jax.grad(made.quantile, 1)(None, 0.5)

"""Logarithms of densities and survival functions where entries of the sweep's vector underflow.

Most of the mass stays while what is asked for, rare paths, is below 1e-300. The truth is in balls.
An error of a logarithm is the relative error of the value; it may be 1e-12 and 1e-14 of its size.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
import oracle
import phasic
from conformance import assert_near

Edges = dict[tuple[int, int], Any]


def rare_path(n: int, slow: float, fast: float) -> dict[str, Any]:
    """Two states that exchange at a fast rate, then a chain of slow transitions."""
    edges: Edges = {(1, 2): fast, (2, 1): fast} | {(i, i + 1): slow for i in range(2, n + 1)}
    return models.serialized([(i,) for i in range(1, n + 2)], {1: 1.0}, edges)


def two_rates(n: int, back: float) -> dict[str, Any]:
    """The same with parameters: the fast rate, the slow one; some transitions go back."""
    edges: Edges = {(1, 2): [1.0, 0.0], (2, 1): [1.0, 0.0]}
    edges |= {(i, i + 1): [0.0, 1.0 + 0.25 * (i % 3)] for i in range(2, n + 1)}
    edges |= {(i, i - 2): back for i in range(5, n + 1, 4)}
    states = [(i,) for i in range(1, n + 2)]
    return models.serialized(states, {1: 0.75, 2: 0.25}, edges, param_length=2)


def random_rare(seed: int, discrete: bool = False) -> tuple[dict[str, Any], float]:
    """A random chain of 12 to 40 states with shortcuts, ways back and rates over 20 decades."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(12, 41))
    edges: Edges = {(i, i + 1): 10.0 ** rng.uniform(-20, 0) for i in range(1, n + 1)}
    for _ in range(n):
        u, v = (int(x) for x in rng.integers(1, n + 2, size=2))
        if u != v and u <= n:
            edges[u, v] = 10.0 ** rng.uniform(-20, 0)
    order = rng.permutation(n) + 1  # no order is favoured; vertex n + 1 absorbs
    names = {i: int(order[i - 1]) for i in range(1, n + 1)} | {n + 1: n + 1}
    edges = {(names[u], names[v]): w for (u, v), w in edges.items()}
    rate = max(sum(w for (u, _), w in edges.items() if u == i) for i in range(1, n + 1))
    if discrete:
        edges = {pair: w * 0.9 / rate for pair, w in edges.items()}
    states = [(i,) for i in range(1, n + 2)]
    return models.serialized(states, {names[1]: 1.0}, edges, discrete=discrete), rate


def of(graph: dict[str, Any], **options: Any) -> phasic.PhaseType:
    return phasic.PhaseType(
        phasic.Graph.from_serialized(graph), options=phasic.EvaluationOptions(**options)
    )


def check_logs(found: Any, exact: np.ndarray) -> None:
    found, usual = np.asarray(found), np.isfinite(exact)
    assert (found[~usual] == exact[~usual]).all()  # log 0
    assert_near(found[usual], exact[usual], 1.0, 1e-12 + 1e-14 * np.abs(exact[usual]))


def seeds(n: int, n_default: int) -> list[Any]:
    return [
        pytest.param(i, marks=() if i < n_default else pytest.mark.extended) for i in range(n)
    ]


@pytest.mark.parametrize(
    ("n", "slow", "fast", "times"),
    [
        pytest.param(60, 1e-8, 1e4, [1.0], id="60"),
        pytest.param(40, 1e-30, 10.0, [0.25, 1.0, 0.0078125], id="40"),
        pytest.param(20, 1e-40, 1e6, [64.0, 2.0**20], id="20-long"),
        pytest.param(60, 1e-8, 1e4, [0.125, 8.0], id="60-8", marks=pytest.mark.extended),
        pytest.param(60, 1e-8, 1e4, [1000.0], id="60-1000", marks=pytest.mark.extended),
    ],
)
def test_a_rare_path(n: int, slow: float, fast: float, times: list[float]) -> None:
    graph, times = rare_path(n, slow, fast), np.array(times)
    d = of(graph)
    for quantity in ("logpdf", "logsf"):
        exact = oracle.evaluate(graph, [], quantity, times=times)[0]
        check_logs(getattr(d, quantity)(None, times), exact)
    slope = oracle.evaluate(graph, [], "logpdf", times=times, slope=1)[0]
    assert_near(jax.vmap(jax.grad(lambda t: d.logpdf(None, t)))(times), slope, 1e-11)


@pytest.mark.parametrize("seed", seeds(40, 3))
def test_random_models(seed: int) -> None:
    graph, rate = random_rare(seed)
    times = 2.0 ** np.round(np.log2(64 / rate)) / 2.0 ** np.array([0, 1, 4, 8, 20])
    d = of(graph, density="uniformization")
    logs = {q: oracle.evaluate(graph, [], q, times=times)[0] for q in ("logpdf", "logsf")}
    for quantity, exact in logs.items():
        check_logs(getattr(d, quantity)(None, times), exact)
        slope = oracle.evaluate(graph, [], quantity, times=times, slope=1)[0]
        found = jax.vmap(jax.grad(lambda t, q=quantity: getattr(d, q)(None, t)))(times)
        assert_near(found, slope, 1e-10, np.maximum(np.abs(slope), rate * 1e-8))
    hazard = np.exp(logs["logpdf"] - logs["logsf"])
    normal = hazard > 1e-290
    assert_near(np.asarray(d.hazard(None, times))[normal], hazard[normal], 1e-11)


@pytest.mark.parametrize("seed", seeds(16, 3))
def test_random_discrete_models(seed: int) -> None:
    graph, _ = random_rare(seed, discrete=True)
    times = np.array([1.0, 5.0, 16.0, 17.0, 100.0, 1000.0])
    d = of(graph)
    for quantity in ("logpdf", "logsf"):
        exact = oracle.evaluate(graph, [], quantity, times=times)[0]
        check_logs(getattr(d, quantity.replace("pdf", "pmf"))(None, times), exact)


@pytest.mark.parametrize(
    ("back", "times"),
    [
        pytest.param(0.5, [0.125, 2.0], id="sweep"),
        pytest.param(0.5, [2.0, 512.0], id="both"),
        pytest.param(1e-12, [0.125, 2.0], id="sweep-1e-12", marks=pytest.mark.extended),
        pytest.param(1e-12, [64.0, 2.0**20], id="squaring", marks=pytest.mark.extended),
    ],
)
def test_gradients_and_hessians(back: float, times: list[float]) -> None:
    graph, times = two_rates(24, back), np.array(times)
    d = of(graph)
    theta = jnp.asarray([3.0, 1e-20])
    value, gradient, hessian = oracle.evaluate(graph, theta, "logpdf", times=times, order=2)
    assert value.max() < -700
    check_logs(d.logpdf(theta, times), value)
    size = 1 / np.asarray(theta)
    assert_near(jax.jacrev(d.logpdf)(theta, times), gradient, 1e-11, size)
    assert_near(jax.jacfwd(d.logpdf)(theta, times), gradient, 1e-11, size)
    assert_near(jax.hessian(d.logpdf)(theta, times), hessian, 1e-11, size[:, None] * size)
    mixed = oracle.evaluate(graph, theta, "logpdf", times=times, slope=1)[0]
    assert_near(jax.vmap(jax.grad(d.logpdf, 1), (None, 0))(theta, times), mixed, 1e-11)


def test_a_leak_that_outlives_the_mass() -> None:
    """1e-500 of the mass reaches a slow state, which is all that is left at the end."""
    edges: Edges = {(1, 5): 1.0, (1, 2): 1e-160, (2, 3): 1e-160, (2, 1): 1.0, (3, 4): 1e-160}
    edges |= {(4, 5): 1e-3}
    graph = models.serialized([(i,) for i in range(1, 6)], {1: 1.0}, edges)
    times = 4096.0 / 2.0 ** np.arange(5)
    d = of(graph, density="uniformization")
    for quantity in ("logpdf", "logsf"):
        exact = oracle.evaluate(graph, [], quantity, times=times)[0]
        assert exact.max() > -1400
        check_logs(getattr(d, quantity)(None, times), exact)


def test_small_terms_at_millions_of_steps() -> None:
    """Inside a chunk of steps terms are divided by up to k^15, here 1e97."""
    graph, theta, times = two_rates(24, 1e-12), [3.0, 1e-20], 2.0 ** np.array([20.0, 18.0])
    exact = oracle.evaluate(graph, theta, "logpdf", times=times)[0]
    for method in ("uniformization", "squaring"):
        check_logs(of(graph, density=method).logpdf(theta, times), exact)


def test_many_steps_of_a_discrete_model() -> None:
    """Three rare events one after the other: negative binomial."""
    p, steps = 1e-150, np.array([3.0, 100.0, 2.0**22])
    edges: Edges = {(i, i + 1): p for i in (1, 2, 3)}
    graph = models.serialized([(i,) for i in range(1, 5)], {1: 1.0}, edges, discrete=True)
    exact = np.log((steps - 1) / 2) + np.log(steps - 2) + 3 * np.log(p)
    check_logs(of(graph).logpmf(None, steps), exact)


def test_rows_and_times_do_not_see_each_other() -> None:
    graph = two_rates(24, 0.5)
    d, one = of(graph), of(graph, threads=1)
    thetas = np.array([[3.0, 1e-14], [3.0, 1.0], [0.5, 1e-20], [2.0, 1e-3], [1.0, 0.0]] * 5)
    times = np.array([0.125, 2.0, 1e-3])
    together = np.asarray(d.logpdf(thetas, times))
    assert np.isfinite(together[:4]).all()
    assert (together[4] == -np.inf).all()  # no path at all
    assert (together == np.asarray(one.logpdf(thetas, times))).all()
    slopes = jax.vmap(jax.grad(lambda x: d.logpdf(x, times).sum()))
    gradients = np.asarray(slopes(thetas[:4]))
    for i, theta in enumerate(thetas[:4]):
        assert (np.asarray(d.logpdf(theta, times)) == together[i]).all()
        assert (np.asarray(slopes(theta[None]))[0] == gradients[i]).all()
    for i, t in enumerate(times):
        check_logs(d.logpdf(thetas[:4], t), together[:4, i])


def test_gradients_of_densities_near_the_end_of_the_range() -> None:
    graph, times = two_rates(20, 0.5), np.array([1.0])
    d, theta = of(graph), np.array([3.0, 2e-15])
    value, gradient = oracle.evaluate(graph, theta, "pdf", times=times, order=1)
    assert 1e-295 < value[0] < 1e-272
    assert_near(jax.jacrev(d.pdf)(theta, times), gradient, 1e-11)


def test_probabilities_do_not_exceed_one() -> None:
    edges: Edges = {(1, 2): 1e3, (2, 1): 1e3, (2, 3): 1e-13}
    d = of(models.serialized([(1,), (2,), (3,)], {1: 1.0}, edges), density="uniformization")
    times = np.linspace(0.0, 20.0, 200)
    assert np.asarray(d.sf(None, times)).max() <= 1.0
    assert np.asarray(d.logsf(None, times)).max() <= 0.0
    assert np.asarray(of(models.erlang(2)).cdf([1.0], times * 10)).max() <= 1.0


def test_what_would_take_too_long_is_an_error() -> None:
    d = of(rare_path(60, 1e-8, 1e4), max_operations=1e7)
    with pytest.raises(phasic.BudgetError, match="must carry exponents of its own"):
        d.logpdf(None, 1.0)
    assert np.isnan(jax.jit(d.logpdf)(None, 1.0))
    assert float(d.pdf(None, 1.0)) == 0.0

"""The oracle itself against closed forms, and the promises of the model generators."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import model_cases
import models
from oracle import TrappedError, UndefinedError, evaluate


def test_erlang_moments_and_their_derivatives() -> None:
    k, rate = 4, 1.7
    value, gradient, hessian = evaluate(models.erlang(k), [rate], "moments", k=10, order=2)
    orders = np.arange(1, 11)
    rising = np.array([math.prod(range(k, k + m)) for m in orders], dtype=float)
    exact = rising / rate**orders
    np.testing.assert_allclose(value[0], exact, rtol=1e-14)
    np.testing.assert_allclose(gradient[0, :, 0], -orders * exact / rate, rtol=1e-14)
    np.testing.assert_allclose(
        hessian[0, :, 0, 0], orders * (orders + 1) * exact / rate**2, rtol=1e-14
    )


def test_erlang_density_and_its_derivatives() -> None:
    k, rate = 5, 2.25
    times = np.array([0.5, 1.0, 2.0, 4.0])
    f, f_rate, f_rate2 = evaluate(models.erlang(k), [rate], "pdf", times=times, order=2)
    exact = stats.gamma.pdf(times, k, scale=1 / rate)
    score = k / rate - times
    np.testing.assert_allclose(f, exact, rtol=1e-12)
    np.testing.assert_allclose(f_rate[:, 0], score * exact, rtol=1e-12)
    np.testing.assert_allclose(f_rate2[:, 0, 0], (score**2 - k / rate**2) * exact, rtol=1e-12)
    slope = evaluate(models.erlang(k), [rate], "pdf", times=times, slope=1)[0]
    np.testing.assert_allclose(slope, ((k - 1) / times - rate) * exact, rtol=1e-12)
    cdf = evaluate(models.erlang(k), [rate], "cdf", times=times)[0]
    np.testing.assert_allclose(cdf, stats.gamma.cdf(times, k, scale=1 / rate), rtol=1e-12)
    sf = evaluate(models.erlang(k), [rate], "sf", times=times)[0]
    np.testing.assert_allclose(sf, stats.gamma.sf(times, k, scale=1 / rate), rtol=1e-12)


def test_negative_binomial() -> None:
    k, p = 3, 0.3
    graph = models.negative_binomial(k)
    moments = evaluate(graph, [p], "moments", k=2)[0][0]
    np.testing.assert_allclose(moments[0], k / p, rtol=1e-14)
    np.testing.assert_allclose(moments[1] - moments[0] ** 2, k * (1 - p) / p**2, rtol=1e-13)
    times = np.arange(1, 30)
    exact = stats.nbinom.pmf(times - k, k, p)
    np.testing.assert_allclose(evaluate(graph, [p], "pdf", times=times)[0], exact, rtol=1e-12)
    cdf = evaluate(graph, [p], "cdf", times=times)[0]
    np.testing.assert_allclose(cdf, np.cumsum(exact), rtol=1e-12)


def test_geometric_moments_with_rewards() -> None:
    p, r = 0.2, 1.5
    rewards = np.array([9.0, r, 9.0])
    found = evaluate(models.negative_binomial(1), [p], "moments", rewards=rewards, k=3)[0][0]
    trials = np.arange(1, 2000)
    weights = p * (1 - p) ** (trials - 1)
    exact = [(weights * (r * trials) ** m).sum() for m in (1, 2, 3)]
    np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_busy_period() -> None:
    arrival, service, capacity = 0.8, 1.1, 7
    exact = sum(arrival**j / service ** (j + 1) for j in range(capacity))
    found = evaluate(models.mm1k(capacity), [arrival, service], "moments")[0]
    np.testing.assert_allclose(found, exact, rtol=1e-14)


def fu_covariance(n: int) -> np.ndarray:
    """sigma_ij of Fu 1995 (Theor. Popul. Biol. 48:172), equations 2 and 3."""

    def a(m: int) -> float:
        return sum(1 / k for k in range(1, m))

    def beta(i: int) -> float:
        return 2 * n / ((n - i + 1) * (n - i)) * (a(n + 1) - a(i)) - 2 / (n - i)

    sigma = np.zeros((n - 1, n - 1))
    for i in range(1, n):
        if 2 * i < n:
            sigma[i - 1, i - 1] = beta(i + 1)
        elif 2 * i == n:
            sigma[i - 1, i - 1] = 2 * (a(n) - a(i)) / (n - i) - 1 / i**2
        else:
            sigma[i - 1, i - 1] = beta(i) - 1 / i**2
        for j in range(1, i):
            if i + j < n:
                x = (beta(i + 1) - beta(i)) / 2
            elif i + j == n:
                x = (a(n) - a(i)) / (n - i) + (a(n) - a(j)) / (n - j)
                x -= (beta(i) + beta(j + 1)) / 2 + 1 / (i * j)
            else:
                x = (beta(j) - beta(j + 1)) / 2 - 1 / (i * j)
            sigma[i - 1, j - 1] = sigma[j - 1, i - 1] = x
    return sigma


@pytest.mark.parametrize("n", [2, 5, 8])
def test_branch_length_covariances_of_the_coalescent(n: int) -> None:
    graph = models.kingman(n)
    rewards = graph["states"].T[: n - 1].astype(float)
    means = evaluate(graph, [1.0], "moments", rewards=rewards)[0][:, 0]
    np.testing.assert_allclose(means, 2 / np.arange(1, n), rtol=1e-14)
    found = evaluate(graph, [1.0], "covariance", rewards=rewards)[0]
    np.testing.assert_allclose(found, 4 * fu_covariance(n), rtol=1e-11, atol=1e-13)


def test_occupancy_grows_into_the_sojourn() -> None:
    graph, theta = models.two_islands(4), [1.0, 0.5, 0.3, 0.2]
    sojourn = evaluate(graph, theta, "sojourn")[0]
    occupancy = evaluate(graph, theta, "occupancy", times=[0.0, 8.0, 1024.0])[0]
    assert not occupancy[0].any()
    np.testing.assert_allclose(occupancy.sum(axis=1), [0, 8, 1024], rtol=1e-14)
    transient = sojourn > 0
    np.testing.assert_allclose(occupancy[-1][transient], sojourn[transient], rtol=1e-14)
    ends = evaluate(graph, theta, "absorption")[0]
    late = evaluate(graph, theta, "state_probability", times=[1024.0])[0][0]
    np.testing.assert_allclose(ends, late, rtol=1e-14, atol=1e-90)


@pytest.mark.parametrize("quantity", ["covariance", "absorption", "sf", "occupancy", "sojourn"])
def test_derivatives_agree_with_differences(quantity: str) -> None:
    case = next(c for c in model_cases.cases(1) if c.name == "mixed-continuous-0")
    theta, step = case.thetas[2] + 0.5, 1e-4
    options = {"rewards": case.rewards, "times": case.times}
    _, gradient, hessian = evaluate(case.graph, theta, quantity, order=2, **options)
    for i in range(len(theta)):
        shift = step * np.eye(len(theta))[i]
        up = evaluate(case.graph, theta + shift, quantity, order=1, **options)
        down = evaluate(case.graph, theta - shift, quantity, order=1, **options)
        slopes = [(u - d) / (2 * step) for u, d in zip(up, down, strict=True)]
        scale = np.abs(hessian).max() + np.abs(gradient).max()
        np.testing.assert_allclose(gradient[..., i], slopes[0], rtol=0, atol=1e-6 * scale)
        np.testing.assert_allclose(hessian[..., i, :], slopes[1], rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("quantity", ["moments", "cross", "covariance"])
@pytest.mark.parametrize("discrete", [False, True])
def test_reward_derivatives_agree_with_differences(quantity: str, discrete: bool) -> None:
    case = model_cases.make_case(model_cases.FAMILIES[1], discrete, 3)
    theta, rewards, step = case.thetas[0], case.rewards, 1e-4
    options = {"k": 2, "in_rewards": True}
    _, gradient, hessian = evaluate(
        case.graph, theta, quantity, rewards=rewards, order=2, **options
    )
    for i, index in enumerate(np.ndindex(*rewards.shape)):
        shift = np.zeros_like(rewards)
        shift[index] = step
        up = evaluate(case.graph, theta, quantity, rewards=rewards + shift, order=1, **options)
        down = evaluate(case.graph, theta, quantity, rewards=rewards - shift, order=1, **options)
        slopes = [(u - d) / (2 * step) for u, d in zip(up, down, strict=True)]
        scale = np.abs(hessian).max() + np.abs(gradient).max()
        i += len(theta)
        np.testing.assert_allclose(gradient[..., i], slopes[0], rtol=0, atol=1e-7 * scale)
        np.testing.assert_allclose(hessian[..., i, :], slopes[1], rtol=0, atol=1e-7 * scale)


def test_precision_grows_until_the_balls_are_narrow() -> None:
    edges = {(1, 2): 1.0, (2, 1): 1.0, (2, 3): 1e-90}
    graph = models.serialized([(1,), (2,), (3,)], {1: 1.0}, edges)
    np.testing.assert_allclose(evaluate(graph, [], "moments")[0], 2e90, rtol=1e-15)
    cdf = evaluate(graph, [], "cdf", times=[1.0])[0]
    assert 0 < cdf[0] < 1e-90


def test_traps_are_found_and_absorption_is_defective() -> None:
    for _, graph, theta, trapped in model_cases.trapped_graphs():
        with pytest.raises(TrappedError, match=str(trapped[0])):
            evaluate(graph, theta, "moments")
        sojourn = evaluate(graph, theta, "sojourn")[0]
        assert np.isposinf(sojourn[trapped]).all() and np.isfinite(sojourn).sum() == 5 - len(
            trapped
        )
        ends = evaluate(graph, theta, "absorption")[0]
        np.testing.assert_allclose(ends.sum(), 1 / 3, rtol=1e-15)


def test_no_derivative_where_a_zero_weight_leads_into_a_trap() -> None:
    edges = {(1, 2): [1.0], (1, 4): 1.0, (2, 3): 1.0, (3, 2): 1.0}
    graph = models.serialized([(1,), (2,), (3,), (4,)], {1: 1.0}, edges, param_length=1)
    assert evaluate(graph, [0.0], "moments")[0] == 1.0
    with pytest.raises(UndefinedError):
        evaluate(graph, [0.0], "moments", order=1)


def test_generated_models_keep_their_promises() -> None:
    cases = model_cases.cases()
    assert len(cases) >= 200
    assert len({case.name for case in cases}) == len(cases)
    for case, again in zip(cases, model_cases.cases(), strict=True):
        for field, table in case.graph.items():
            np.testing.assert_array_equal(table, again.graph[field])
        assert 4 <= case.graph["n_vertices"] <= 25 or case.family.size[0] == 2
        for theta in case.thetas:
            _check_weights(case.graph, theta)


def _check_weights(graph: dict, theta: np.ndarray) -> None:
    n = graph["n_vertices"]
    weights = np.zeros((n, n))
    for u, v, w in graph["edges"]:
        weights[int(u), int(v)] += w
    for u, v, *c in graph["param_edges"]:
        weights[int(u), int(v)] += np.dot(c, theta)
    for v, w in graph["start_edges"]:
        weights[0, int(v)] += w
    for v, *c in graph["start_param_edges"]:
        weights[0, int(v)] += np.dot(c, theta)
    assert (weights >= 0).all()
    assert weights[0].sum() <= 1 + 1e-12
    if graph["is_discrete"]:
        assert weights.sum(axis=1).max() <= 1 + 1e-12

"""The demonstration: its statistics against closed forms and exact arithmetic; a small run."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import phasic

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "examples" / "data" / "gbsg2.csv"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples"))
        import gbsg2_survival

        return gbsg2_survival


@pytest.fixture(scope="module")
def data(demo: ModuleType):
    return demo.read_survival(DATA)


def log_likelihood(demo: ModuleType, n_phases: int, data):
    model = phasic.PhaseType(demo.coxian(n_phases), min_size=1)
    return demo.log_likelihood_of(model, data)


def test_the_data_are_those_of_the_trial(data) -> None:
    assert (data.events.size, data.censored.size) == (299, 387)
    assert data.times.max() * 365.25 == pytest.approx(2659)
    assert data.times.sum() * 365.25 == pytest.approx(771400, abs=0.5)


def test_one_phase_is_the_exponential_model(demo: ModuleType, data) -> None:
    fit = demo.fit_coxian(1, data, np.empty(0), n_starts=16)
    exact = demo.fit_exponential(data)
    assert fit.log_likelihood == pytest.approx(exact.log_likelihood, rel=1e-13)
    assert math.exp(fit.log_rates[0]) == pytest.approx(1 / exact.mean, rel=1e-10)
    assert fit.mean == pytest.approx(exact.mean, rel=1e-10)
    assert fit.mean_error == pytest.approx(exact.mean_error, rel=1e-10)


@pytest.mark.parametrize("n_phases", [2, 3, 4])
def test_the_smaller_model_is_a_point_of_the_larger_one(
    demo: ModuleType, data, n_phases: int
) -> None:
    smaller = np.random.default_rng(n_phases).normal(-0.5, 0.7, 2 * n_phases - 3)
    starts = demo.starting_points(n_phases, 16, data, smaller, seed=1)
    before = log_likelihood(demo, n_phases - 1, data)(jnp.asarray(smaller))
    after = log_likelihood(demo, n_phases, data)(jnp.asarray(starts[0]))
    np.testing.assert_allclose(after, before, rtol=1e-12)


def exact_log_likelihood(demo: ModuleType, n_phases: int, data):
    """Return the same function in 50 digits: partial fractions of distinct total rates."""

    def value(*log_rates):
        rates = [mpmath.exp(x) for x in log_rates]
        onwards, ending = [*rates[: n_phases - 1], mpmath.mpf(0)], rates[n_phases - 1 :]
        total = [a + b for a, b in zip(onwards, ending, strict=True)]
        # The probability of phase m at time t is reach[m] * sum_i weight[m][i] exp(-total_i t).
        density, survival = [mpmath.mpf(0)] * n_phases, [mpmath.mpf(0)] * n_phases
        reach = mpmath.mpf(1)
        for m in range(n_phases):
            for i in range(m + 1):
                others = (total[j] - total[i] for j in range(m + 1) if j != i)
                weight = reach / mpmath.fprod(others)
                density[i] += weight * ending[m]
                survival[i] += weight
            reach *= onwards[m]

        def log_sum(weights, times):
            return mpmath.fsum(
                mpmath.log(mpmath.fdot(weights, [mpmath.exp(-r * t) for r in total]))
                for t in map(mpmath.mpf, times)
            )

        return log_sum(density, data.events) + log_sum(survival, data.censored)

    return value


@pytest.mark.parametrize("n_phases", [2, 3])
def test_value_gradient_and_hessian_agree_with_exact_arithmetic(
    demo: ModuleType, data, n_phases: int
) -> None:
    few = demo.Survival(data.events[::10], data.censored[::10])
    function = log_likelihood(demo, n_phases, few)
    size = 2 * n_phases - 1
    point = np.random.default_rng(n_phases).normal(-0.3, 0.6, size)
    with mpmath.workdps(50):
        exact = exact_log_likelihood(demo, n_phases, few)
        at = tuple(mpmath.mpf(x) for x in point)
        unit = np.eye(size, dtype=int)
        value = float(exact(*at))
        gradient = [float(mpmath.diff(exact, at, tuple(e))) for e in unit.tolist()]
        hessian = np.array(
            [[float(mpmath.diff(exact, at, tuple((a + b).tolist()))) for a in unit] for b in unit]
        )
    # 1e-8 of the largest entry: what the foundation promises for fitted models.
    assert float(function(point)) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(
        jax.grad(function)(point), gradient, rtol=0, atol=1e-8 * np.abs(gradient).max()
    )
    np.testing.assert_allclose(
        jax.hessian(function)(point), hessian, rtol=0, atol=1e-8 * np.abs(hessian).max()
    )


def test_weibull_fit_is_a_maximum(demo: ModuleType, data) -> None:
    fit = demo.fit_weibull(data)
    at_risk = data.times
    log_hazard = np.log(fit.hazard(data.events)).sum()
    log_survival = np.log(fit.survival(at_risk)).sum()
    assert fit.log_likelihood == pytest.approx(log_hazard + log_survival, rel=1e-12)
    assert fit.log_likelihood == pytest.approx(-873.0023304503294, rel=1e-10)  # lifelines 0.30.3


def test_kaplan_meier_of_the_trial(demo: ModuleType, data) -> None:
    times, survival, low, high = demo.kaplan_meier(data)
    after = [np.searchsorted(times, years, side="right") - 1 for years in (1, 3, 5)]
    # lifelines 0.30.3
    np.testing.assert_allclose(survival[after], [0.915558, 0.642620, 0.491645], atol=5e-7)
    np.testing.assert_allclose([low[after[1]], high[after[1]]], [0.603302, 0.679123], atol=5e-7)


def test_kaplan_meier_by_hand(demo: ModuleType) -> None:
    few = demo.Survival(np.array([1.0, 2.0, 2.0, 4.0]), np.array([2.0, 3.0, 5.0]))
    times, survival, low, high = demo.kaplan_meier(few)
    np.testing.assert_allclose(times, [1, 2, 4])
    np.testing.assert_allclose(survival, [6 / 7, 6 / 7 * 4 / 6, 6 / 7 * 4 / 6 * 1 / 2])
    greenwood = math.sqrt(1 / (7 * 6) + 2 / (6 * 4))
    half = 1.959963984540054 * greenwood / abs(math.log(4 / 7))
    np.testing.assert_allclose(low[1], (4 / 7) ** math.exp(half))
    np.testing.assert_allclose(high[1], (4 / 7) ** math.exp(-half))
    assert np.all((low >= 0) & (low <= survival) & (survival <= high) & (high <= 1))


def test_a_small_run_shows_everything(demo: ModuleType, tmp_path: Path, capsys) -> None:
    picture = tmp_path / "picture.png"
    fits = demo.main(["--phases", "3", "--starts", "24", "--output", str(picture)])
    printed = capsys.readouterr().out
    values = [fit.log_likelihood for fit in fits[:3]]
    assert values[0] <= values[1] <= values[2]
    assert values[1] == pytest.approx(-860.16374839, abs=1e-7)
    assert values[2] == pytest.approx(-855.40461377, abs=1e-7)
    for name in ("Coxian, 3 phases", "exponential", "Weibull", "log-likelihood", "AIC"):
        assert name in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


def test_a_second_run_loads_all_traces(demo: ModuleType, empty_cache_dir: Path) -> None:
    graph = demo.coxian(3)
    assert demo.record_traces(graph).endswith("0 from the cache, 1 recorded")
    assert demo.record_traces(graph).endswith("1 from the cache, 0 recorded")

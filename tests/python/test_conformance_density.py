"""Densities, cumulative and survival functions, and their derivatives in theta and t.

Tolerance 1e-9 of the largest entry over the times (the stated accuracy up to rate x time 1e5).
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

import models
import oracle
import phasic
from conformance import (
    CASES,
    CONTINUOUS,
    WITH_PARAMETERS,
    assert_derivatives_in_time,
    assert_near,
    derivative_scale,
    largest,
    native,
    occupancy_truth,
    program,
    truth,
)

THETA = ("theta", "theta")


@pytest.mark.parametrize("name", CASES)
def test_pdf_cdf_sf(name: str) -> None:
    case = CASES[name]
    for quantity in ("pdf", "cdf", "sf"):
        (exact,) = truth(case, quantity, times=case.times)
        found = native(program(name), case, quantity, times=case.times)
        scale = np.maximum(largest(exact, 1), 1e-6)  # start weights sum to 1 up to rounding
        assert_near(found, exact, 1e-9, scale if quantity == "cdf" else largest(exact, 1))


@pytest.mark.parametrize("name", CASES)
def test_state_probability_and_occupancy(name: str) -> None:
    case = CASES[name]
    (exact,) = truth(case, "state_probability", times=case.times)
    found = native(program(name), case, "state_probability", times=case.times)
    assert_near(found.reshape(exact.shape), exact, 1e-9, np.ones(1))
    exact = occupancy_truth(case)
    found = native(program(name), case, "accumulated_occupancy", times=case.times)
    assert_near(found.reshape(exact.shape), exact, 1e-9, case.times[:, None])


@pytest.mark.parametrize(
    ("name", "quantity"),
    [(name, "pdf") for name in WITH_PARAMETERS]
    + [(name, "sf") for name in WITH_PARAMETERS[::4]]
    + [(name, "cdf") for name in WITH_PARAMETERS[2::4]],
)
def test_gradients_and_hessians_in_theta(name: str, quantity: str) -> None:
    case = CASES[name]
    exact = truth(case, quantity, 2, times=case.times)
    for order in (1, 2):
        found = native(program(name), case, quantity, THETA[:order], times=case.times)
        scale = derivative_scale(case, exact[: order + 1], order + 1)
        assert_near(found, exact[order], 1e-9, scale)
    if quantity != "cdf":
        _check_logarithm(name, quantity, exact)


def _check_logarithm(name: str, quantity: str, exact: list[np.ndarray]) -> None:
    """Derivatives of the logarithm, entry by entry, where the function itself is a usual number."""
    case, (value, gradient, hessian) = CASES[name], exact
    usual = value > 1e-300
    value = np.where(usual, value, 1.0)[:, :, None]
    exact = [np.log(value[:, :, 0]), gradient / value]
    exact.append(hessian / value[..., None] - exact[1][..., :, None] * exact[1][..., None, :])
    for order in (1, 2):
        found = native(program(name), case, f"log{quantity}", THETA[:order], times=case.times)
        scale = np.maximum(derivative_scale(case, exact[: order + 1], order), 1e-6)
        scale = np.broadcast_to(scale, found.shape)
        assert_near(found[usual], exact[order][usual], 1e-9, scale[usual])


@pytest.mark.parametrize("name", CASES)
def test_logarithms(name: str) -> None:
    case = CASES[name]
    for quantity in ("logpdf", "logsf"):
        (exact,) = truth(case, quantity, times=case.times)
        found = native(program(name), case, quantity, times=case.times)
        np.testing.assert_allclose(found, exact, rtol=1e-13, atol=1e-10)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_derivatives_in_time(name: str) -> None:
    assert_derivatives_in_time(name, 1e-9)


@pytest.mark.parametrize("name", sorted({*CONTINUOUS} & {*WITH_PARAMETERS})[::2])
def test_mixed_derivative_in_theta_and_time(name: str) -> None:
    case = CASES[name]
    exact = truth(case, "cdf", 1, times=case.times, slope=1)[1]
    found = native(program(name), case, "cdf", ("theta", "times"), times=case.times)
    diagonal = np.arange(4)
    found = found[:, diagonal, :, diagonal].swapaxes(0, 1)
    assert_near(found, exact, 1e-9, largest(exact, 2))


@pytest.mark.parametrize("reach", [1e3, 1e5])
def test_rate_times_time_up_to_the_stated_limit(reach: float) -> None:
    edges = {(1, 2): 1.0, (2, 1): 0.9, (2, 3): 2e-5, (3, 1): 0.5, (3, 4): 1.0, (1, 4): 1e-5}
    graph = models.serialized([(i,) for i in range(1, 5)], {1: 1.0}, edges)
    distribution = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    times = 2.0 ** np.floor(np.log2(reach)) * np.array([0.125, 0.25, 0.5, 1.0])
    for quantity in ("pdf", "cdf", "sf"):
        exact = oracle.evaluate(graph, [], quantity, times=times)[0]
        found = np.asarray(getattr(distribution, quantity)(None, times))
        assert_near(found, exact, 1e-9, largest(exact, 1))


@pytest.mark.parametrize("k", [50, 200])
def test_erlang_chains_against_the_gamma_distribution(k: int) -> None:
    d = phasic.PhaseType(phasic.Graph.from_serialized(models.erlang(k)))
    times = np.array([0.25, 0.5, 1.0, 2.0])
    for quantity in ("pdf", "cdf", "sf"):
        exact = getattr(scipy.stats.gamma, quantity)(times, k, scale=1 / k)
        assert_near(getattr(d, quantity)([float(k)], times), exact, 1e-12, largest(exact, 1))


def test_logarithms_beyond_the_range_of_a_double() -> None:
    graph, theta, times = models.erlang(5), [1.0], np.array([1024.0, 2048.0, 4096.0])
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    for quantity in ("logpdf", "logsf"):
        exact = oracle.evaluate(graph, theta, quantity, times=times)[0]
        assert exact[-1] < -4000
        assert_near(getattr(d, quantity)(theta, times), exact, 1e-12)


def test_time_zero() -> None:
    edges = {(1, 2): 2.0}
    graph = models.serialized([(1,), (2,)], {1: 0.5, 2: 0.25}, edges)
    distribution = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    assert float(distribution.pdf(None, 0.0)) == 1.0  # the density of the continuous part
    assert float(distribution.cdf(None, 0.0)) == 0.5  # the atom 0.25 and the defect 0.25
    assert float(distribution.sf(None, 0.0)) == 0.5

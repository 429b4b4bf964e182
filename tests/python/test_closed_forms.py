"""Distributions with closed forms: spectra, busy periods of queues, numbers of trials."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import oracle
import phasic
from models import mm1k, negative_binomial

CAPACITIES = [1, 2, 5, 20, pytest.param(100, marks=pytest.mark.extended)]
LOADS = [0.2, 0.9, 1.0, 1.75]


# ------------------------------------------------------------------ M/M/1/K busy periods


@cache
def queue(capacity: int) -> phasic.PhaseType:
    return phasic.PhaseType(phasic.Graph.from_serialized(mm1k(capacity)))


def busy_moments(capacity: int, arrival: Fraction, service: Fraction) -> tuple[Fraction, Fraction]:
    """First two moments of the time from one customer to none.

    From j customers to j - 1 it is an exponential time and, with probability p, the times from
    j + 1 to j and from j to j - 1.
    """
    total = arrival + service
    p = arrival / total
    first, second = 1 / service, 2 / service**2
    for _ in range(capacity - 1):
        above, above_second = first, second
        first = (1 + arrival * above) / service
        twice = p * (above_second + 2 * above * first)
        second = (2 / total**2 + 2 / total * p * (above + first) + twice) / (1 - p)
    return first, second


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_moments_of_a_busy_period(capacity: int) -> None:
    model = queue(capacity)
    for load in LOADS:
        theta = np.array([load * 1.5, 1.5])
        arrival, service = (Fraction(float(x)) for x in theta)
        first, second = busy_moments(capacity, arrival, service)
        load_exact = arrival / service
        assert first == sum(load_exact**i for i in range(capacity)) / service
        np.testing.assert_allclose(model.expectation(theta), float(first), rtol=1e-14)
        np.testing.assert_allclose(model.moments(theta, 2)[1], float(second), rtol=1e-14)
        np.testing.assert_allclose(model.variance(theta), float(second - first**2), rtol=1e-12)
        # d/d arrival of the sum of load^i / service, and of minus its service, by the exponents
        terms = [i * load_exact ** (i - 1) / service**2 for i in range(1, capacity)]
        slope = float(sum(terms, Fraction(0)))
        by_service = -float((first + load_exact * sum(terms, Fraction(0)) * service) / service)
        found = jax.grad(model.expectation)(jnp.asarray(theta))
        np.testing.assert_allclose(found, [slope, by_service], rtol=1e-13)


def busy_density(capacity: int, theta: np.ndarray, times: np.ndarray) -> tuple[Any, Any, Any]:
    """Density, cdf and survival from the spectrum of the symmetrised generator, 60 digits."""
    with mpmath.workdps(60):
        arrival, service = (mpmath.mpf(float(x)) for x in theta)
        system = mpmath.matrix(capacity, capacity)
        for j in range(capacity):
            system[j, j] = service + (arrival if j + 1 < capacity else 0)
            if j:
                system[j, j - 1] = system[j - 1, j] = -mpmath.sqrt(arrival * service)
        rates, vectors = mpmath.eigsy(system)
        # row e_1 exp(-A t) of the similar matrix; the sum over states needs the scaling back
        scale = [mpmath.sqrt(arrival / service) ** j for j in range(capacity)]
        total = [sum(vectors[j, i] * scale[j] for j in range(capacity)) for i in range(capacity)]
        at = [mpmath.mpf(float(t)) for t in times]
        first = [vectors[0, i] for i in range(capacity)]
        density = [
            service * sum(f * f * mpmath.exp(-r * t) for f, r in zip(first, rates, strict=True))
            for t in at
        ]
        left = [
            sum(f * s * mpmath.exp(-r * t) for f, s, r in zip(first, total, rates, strict=True))
            for t in at
        ]
        found = density, [1 - x for x in left], left
        return tuple(np.array([float(x) for x in row]) for row in found)


@pytest.mark.parametrize("capacity", CAPACITIES[:-1])
@pytest.mark.parametrize("load", LOADS)
def test_density_of_a_busy_period(capacity: int, load: float) -> None:
    graph, model = mm1k(capacity), queue(capacity)
    theta = np.array([load * 1.5, 1.5])
    times = 60.0 * 0.5 ** np.array([26, 8, 6, 4, 2, 0])
    density, cdf, left = busy_density(capacity, theta, times)
    np.testing.assert_allclose(model.pdf(theta, times), density, rtol=1e-12)
    np.testing.assert_allclose(model.cdf(theta, times), cdf, rtol=1e-12)
    np.testing.assert_allclose(model.sf(theta, times), left, rtol=1e-12)
    np.testing.assert_allclose(model.hazard(theta, times), density / left, rtol=1e-12)
    if capacity == 5:
        balls = oracle.evaluate(graph, theta, "pdf", times=times)[0]
        np.testing.assert_allclose(density, np.ravel(balls), rtol=1e-14)
    if capacity == 2:
        # the busy period of two places: two rates, the roots of x^2 - (2 service + arrival) x + ..
        middle = theta[1] + theta[0] / 2
        root = math.sqrt(theta[0] * theta[1] + theta[0] ** 2 / 4)
        fast, slow = middle + root, middle - root
        weight = (theta.sum() - slow) / (fast - slow)
        closed = weight * np.exp(-fast * times) + (1 - weight) * np.exp(-slow * times)
        np.testing.assert_allclose(model.pdf(theta, times), theta[1] * closed, rtol=1e-11)


# ------------------------------------------------------------------ numbers of trials


@cache
def trials(successes: int) -> phasic.PhaseType:
    return phasic.PhaseType(phasic.Graph.from_serialized(negative_binomial(successes)))


def trial_moments(successes: int, p: Fraction, order: int) -> list[Fraction]:
    """Raw moments of the number of trials, a sum of independent geometric numbers."""
    one = [Fraction(1)]
    for k in range(1, order + 1):  # E[G^k] = 1 + (1 - p) (E[(1 + G)^k] - 1), without the G^k on
        lower = sum((math.comb(k, i) * one[i] for i in range(k)), Fraction(0))
        one.append((p + (1 - p) * lower) / p)
    total = [Fraction(1)] + [Fraction(0)] * order
    for _ in range(successes):
        total = [
            sum((math.comb(k, i) * total[i] * one[k - i] for i in range(k + 1)), Fraction(0))
            for k in range(order + 1)
        ]
    return total[1:]


@pytest.mark.parametrize("successes", [1, 3, 12])
@pytest.mark.parametrize("p", [0.3, 0.01, 0.999])
def test_numbers_of_trials(successes: int, p: float) -> None:
    model = trials(successes)
    theta = np.array([p])
    steps = np.array([0, 1, 2, 3, 7, 12, 13, 40, 300, 2000])
    with mpmath.workdps(60):
        chance = mpmath.mpf(p)
        log = [
            mpmath.log(mpmath.binomial(k - 1, successes - 1))
            + successes * mpmath.log(chance)
            + (k - successes) * mpmath.log(1 - chance)
            if k >= successes
            else -mpmath.inf
            for k in steps.tolist()
        ]
        below = [
            mpmath.betainc(successes, k - successes + 1, 0, chance, regularized=True)
            if k >= successes
            else mpmath.mpf(0)
            for k in steps.tolist()
        ]
        logs = np.array([float(x) for x in log])
        cdf = np.array([float(x) for x in below])
        left = np.array([float(1 - x) for x in below])
        pmf = np.array([float(mpmath.exp(x)) for x in log])
    normal = pmf > 1e-290
    found = np.asarray(model.pmf(theta, steps))
    np.testing.assert_allclose(found[normal], pmf[normal], rtol=1e-12)
    assert (found[pmf == 0] == 0).all()
    np.testing.assert_allclose(model.logpmf(theta, steps), logs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.cdf(theta, steps), cdf, rtol=1e-12)
    kept = left > 1e-290
    np.testing.assert_allclose(np.asarray(model.sf(theta, steps))[kept], left[kept], rtol=1e-12)
    levels = np.array([1e-9, 0.1, 0.5, 0.9, 1 - 1e-9])
    at = np.asarray(model.quantile(theta, levels)).astype(int)
    with mpmath.workdps(60):

        def reached(k: int) -> mpmath.mpf:
            if k < successes:
                return mpmath.mpf(0)
            return mpmath.betainc(successes, k - successes + 1, 0, chance, regularized=True)

        for q, k in zip(levels.tolist(), at.tolist(), strict=True):
            assert reached(k - 1) < q <= reached(k) + mpmath.mpf(1e-16), (q, k)
    exact = trial_moments(successes, Fraction(p), 4)
    np.testing.assert_allclose(model.moments(theta, 4), [float(x) for x in exact], rtol=1e-13)
    spread = float(exact[1] - exact[0] ** 2)
    rounding = 1e-15 * float(exact[1])  # the square of the mean is taken off
    np.testing.assert_allclose(model.variance(theta), spread, rtol=1e-13, atol=rounding)

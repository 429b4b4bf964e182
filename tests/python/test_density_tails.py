"""Densities in both tails: relative accuracy down to 1e-290, logarithms beyond it.

Times from 1e-6 to 50 means. The tolerance is 1e-10 of each value; logarithms are as accurate as the
value's relative error and their own rounding allow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import models
import oracle
import phasic
from conformance import assert_near
from phasic import _core
from phasic.trace_elimination import record_elimination_trace

SMALLEST = 1e-290
OUT_OF_RANGE = 7


def _cycle(n: int) -> dict[str, Any]:
    """A directed cycle of n states; the last one may leave it."""
    edges = {(u, u % n + 1): 1.0 + 0.5 * (u % 3) for u in range(1, n + 1)}
    edges[n, n + 1] = 0.25
    return models.serialized([(i,) for i in range(1, n + 2)], {1: 1.0}, edges)


def _lattice(side: int) -> dict[str, Any]:
    """A random walk on a lattice that ends in the far corner."""
    rng = np.random.default_rng(3)
    edges = {}
    for i in range(side):
        for j in range(side):
            for a, b in ((i + 1, j), (i, j + 1), (i - 1, j), (i, j - 1)):
                if 0 <= a < side and 0 <= b < side:
                    edges[1 + i * side + j, 1 + a * side + b] = rng.uniform(0.5, 1.0)
    edges[side * side, side * side + 1] = 1.0
    states = [(i + 1, j + 1) for i in range(side) for j in range(side)]
    return models.serialized([*states, (side + 1, side + 1)], {1: 1.0}, edges)


def _check(d: phasic.PhaseType, theta: Any, quantity: str, times: Any, exact: Any) -> None:
    usual = exact > SMALLEST
    assert usual.any()
    found = np.asarray(getattr(d, quantity)(theta, times))
    assert_near(found[usual], exact[usual], 1e-10)


@pytest.mark.parametrize(
    ("graph", "theta"),
    [
        pytest.param(models.kingman(6), [1.3], id="kingman-6"),
        pytest.param(_cycle(12), None, id="cycle-12"),
        pytest.param(models.kingman(12), [0.7], id="kingman-12", marks=pytest.mark.extended),
        pytest.param(
            models.two_islands(8), [1.0, 0.4, 0.2, 0.9], id="islands-8", marks=pytest.mark.extended
        ),
        pytest.param(_cycle(100), None, id="cycle-100", marks=pytest.mark.extended),
    ],
)
def test_both_tails_against_balls(graph: dict[str, Any], theta: list[float] | None) -> None:
    distribution = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    longest = 2.0 ** np.round(np.log2(50 * float(distribution.expectation(theta))))
    times = longest / 2.0 ** np.array([0, 1, 3, 5, 6, 8, 12, 20, 26])
    for quantity in ("pdf", "cdf", "sf"):
        exact = oracle.evaluate(graph, theta or [], quantity, times=times)[0]
        _check(distribution, theta, quantity, times, exact)
    for quantity in ("logpdf", "logsf"):
        exact = oracle.evaluate(graph, theta or [], quantity, times=times)[0]
        found = np.asarray(getattr(distribution, quantity)(theta, times))
        assert_near(found, exact, 1.0, 1e-10 + 1e-14 * np.abs(exact))


def test_erlang_200() -> None:
    """Against the gamma distribution, in logarithms with 50 digits."""
    mpmath = pytest.importorskip("mpmath")
    d = phasic.PhaseType(phasic.Graph.from_serialized(models.erlang(200)))
    times = np.array([1e-6, 1e-3, 0.2, 0.7, 1.0, 2.0, 10.0, 50.0])
    with mpmath.workdps(50):
        x = [200 * mpmath.mpf(float(t)) for t in times]
        tail = [sum(y**j / mpmath.factorial(j) for j in range(200)) for y in x]
        logsf = np.array([float(mpmath.log(s) - y) for s, y in zip(tail, x, strict=True)])
        logpdf = np.array(
            [
                float(mpmath.log(200) + 199 * mpmath.log(y) - y - mpmath.loggamma(200))
                for y in x
            ]
        )
    for quantity, exact in (("logpdf", logpdf), ("logsf", logsf)):
        found = np.asarray(getattr(d, quantity)([200.0], times))
        assert_near(found, exact, 1.0, 1e-10 + 1e-14 * np.abs(exact))


@pytest.mark.extended
def test_lattice_against_extended_precision() -> None:
    """32 x 32 states: a plain sweep of 64-bit mantissas, rate x time up to 4000."""
    side, precise = 32, np.longdouble
    graph = _lattice(side)
    n = side * side
    rates = np.zeros((n + 2, n + 2), precise)
    for u, v, weight in graph["edges"]:
        rates[int(u), int(v)] = precise(weight)
    sources, targets = np.nonzero(rates[: n + 1, : n + 1])
    weights, exits = rates[sources, targets], rates[:, n + 1]
    leave = rates.sum(axis=1)
    q = leave.max() * precise(1.25)
    times = float(4000 / q) * np.array([1.0, 0.5, 0.1, 0.02, 1e-3, 1e-6])
    n_steps = 6000
    v = np.zeros(n + 2, precise)
    v[1] = 1.0
    flux, mass = np.zeros(n_steps, precise), np.zeros(n_steps, precise)
    for k in range(n_steps):
        flux[k], mass[k] = (v * exits).sum(), v[: n + 1].sum()
        moved = np.zeros_like(v)
        np.add.at(moved, targets, v[sources] * weights)
        v = v - v * (leave / q) + moved / q
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    steps = np.arange(n_steps).astype(precise)
    log_factorial = np.cumsum(np.log(np.maximum(steps, precise(1))))
    for quantity, series in (("pdf", flux), ("sf", mass)):
        exact = []
        for t in times:
            x = q * precise(t)
            weight = np.exp(steps * np.log(x) - x - log_factorial)
            exact.append(float((weight * series).sum()))
        _check(d, None, quantity, times, np.array(exact))


@pytest.mark.parametrize("quantity", ["pdf", "cdf", "sf"])
def test_times_of_a_model_in_which_nothing_moves(quantity: str) -> None:
    graph = models.serialized([(1,), (2,)], {1: 1.0}, {(1, 2): (2.0,)}, param_length=1)
    trace = record_elimination_trace(phasic.Graph.from_serialized(graph))
    rate, units = np.zeros((1, 1)), np.ones((1, 1))
    for t, status in ((1e99, 0), (1e200, OUT_OF_RANGE)):
        times = np.array([[t]])
        value, _, of_value = _core.evaluate(trace, quantity, rate, None, times)
        _, slope, of_slope = _core.evaluate(
            trace, quantity, rate, None, times, gradient=0, value=False, cotangent=units
        )
        assert (of_value[0], of_slope[0]) == (status, status)
        if status == 0:
            exact = {"pdf": (0.0, 2.0), "cdf": (0.0, 2 * t), "sf": (1.0, -2 * t)}[quantity]
            np.testing.assert_allclose((value[0, 0], slope[0, 0]), exact, rtol=1e-13)

"""The hazard pdf / sf, its derivatives, and its limit beyond the range of doubles."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import models
import phasic
from conformance import CASES, CONTINUOUS, assert_near, native, program, truth


@pytest.mark.parametrize("name", CONTINUOUS[::3])
def test_hazard_is_the_quotient(name: str) -> None:
    case = CASES[name]
    (pdf,), (sf,) = (truth(case, q, times=case.times) for q in ("pdf", "sf"))
    found = native(program(name), case, "hazard", times=case.times)
    assert_near(found, pdf / sf, 1e-9, np.maximum(pdf / sf, 1e-300))


@pytest.mark.parametrize("name", ["cyclic-continuous-0", "blocks-continuous-1"])
def test_derivatives_of_the_hazard(name: str) -> None:
    case = CASES[name]
    pdf, sf = (truth(case, q, 1, times=case.times) for q in ("pdf", "sf"))
    exact = (pdf[1] - (pdf[0] / sf[0])[..., None] * sf[1]) / sf[0][..., None]
    found = native(program(name), case, "hazard", ("theta",), times=case.times)
    assert_near(found, exact, 1e-9, np.abs(exact).max(axis=2, keepdims=True))
    (slope,) = truth(case, "pdf", times=case.times, slope=1)
    exact = slope / sf[0] + (pdf[0] / sf[0]) ** 2
    found = native(program(name), case, "hazard", ("times",), times=case.times)
    diagonal = np.arange(len(case.times))
    assert_near(found[:, diagonal, diagonal], exact, 1e-9, (pdf[0] / sf[0]) ** 2)


def _erlang(k: int, rate: float, t: float) -> mpmath.mpf:
    with mpmath.workdps(60):
        x = mpmath.mpf(rate) * mpmath.mpf(t)
        terms = sum(x**j / mpmath.factorial(j) for j in range(k))
        return mpmath.mpf(rate) * x ** (k - 1) / mpmath.factorial(k - 1) / terms


@pytest.mark.parametrize("k", [1, 5, 60])
def test_hazard_beyond_the_range_of_a_double(k: int) -> None:
    d = phasic.PhaseType(phasic.Graph.from_serialized(models.erlang(k)))
    times = np.array([1e-6, 1e-2, 1.0, 40.0, 900.0, 4e3, 5e4])
    exact = np.array([float(_erlang(k, 1.25, t)) for t in times])
    assert float(d.sf([1.25], times[-1])) == 0.0
    assert_near(d.hazard([1.25], times), exact, 1e-10)
    rate = jnp.asarray([1.25])
    slope = jax.vmap(jax.grad(d.hazard, argnums=1), in_axes=(None, 0))(rate, jnp.asarray(times))
    step = 1e-20  # of a difference with 60 digits
    with mpmath.workdps(60):
        difference = [
            float((_erlang(k, 1.25, t * (1 + mpmath.mpf(step))) - _erlang(k, 1.25, t)) / (t * step))
            for t in times
        ]
    assert_near(slope, np.array(difference), 1e-9, np.maximum(np.abs(difference), exact / times))


def test_a_hazard_between_the_range_of_its_parts() -> None:
    """The density is below 1e-308 and the survival function is not: rates far below 1."""
    d = phasic.PhaseType(phasic.Graph.from_serialized(models.erlang(1)))
    rates = np.array([1e-60, 1e-50])
    for scale in (500.0, 600.0, 620.0, 650.0):
        found = [float(d.hazard([rate], scale / rate)) for rate in rates]
        assert_near(np.array(found), rates, 1e-11)
        gradient = jax.grad(lambda x, t: d.hazard(x, t))
        slopes = [float(gradient(jnp.asarray([rate]), scale / rate)[0]) for rate in rates]
        assert_near(np.array(slopes), np.ones(2), 1e-9)


def test_hazard_tends_to_the_decay_rate() -> None:
    edges = {(1, 2): 1.0, (2, 1): 0.9, (2, 3): 0.2, (3, 1): 0.5, (3, 4): 0.3}
    graph = models.serialized([(i,) for i in range(1, 5)], {1: 1.0}, edges)
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    s = [[-1.0, 1.0, 0.0], [0.9, -1.1, 0.2], [0.5, 0.0, -0.8]]
    with mpmath.workdps(40):
        decay = -max(mpmath.eig(mpmath.matrix(s), left=False, right=False), key=mpmath.re)
    assert float(d.hazard(None, 5e4)) == pytest.approx(float(mpmath.re(decay)), rel=1e-11)

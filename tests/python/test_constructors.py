"""The named distributions against their closed forms, with rates and with parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

import phasic

T = np.array([0.05, 0.7, 3.0, 20.0])
RATES = [3.0, 0.5, 2.0]

FAMILIES: dict[str, tuple[Callable[[], phasic.Graph], Callable[[], phasic.Graph], list[float]]] = {
    "exponential": (lambda: phasic.exponential(3.0), phasic.exponential, [3.0]),
    "erlang": (lambda: phasic.erlang(4, 3.0), lambda: phasic.erlang(4), [3.0]),
    "hypoexponential": (
        lambda: phasic.hypoexponential(RATES),
        lambda: phasic.hypoexponential(3),
        RATES,
    ),
    "hyperexponential": (
        lambda: phasic.hyperexponential([0.2, 0.5, 0.1], RATES),
        lambda: phasic.hyperexponential([0.2, 0.5, 0.1]),
        RATES,
    ),
    "coxian": (
        lambda: phasic.coxian([1.5, 0.7], [0.5, 0.0, 2.0]),
        lambda: phasic.coxian(3),
        [1.5, 0.7, 0.5, 0.0, 2.0],
    ),
    "geometric": (lambda: phasic.geometric(0.3), phasic.geometric, [0.3]),
    "negative binomial": (
        lambda: phasic.negative_binomial(3, 0.3),
        lambda: phasic.negative_binomial(3),
        [0.3],
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_numbers_of_the_one_are_the_theta_of_the_other(name: str) -> None:
    concrete, parameterised, theta = FAMILIES[name]
    given, free = concrete(), parameterised()
    assert (given.param_length(), free.param_length()) == (0, len(theta))
    assert given.states().tolist() == free.states().tolist()
    free.update_weights(theta)
    np.testing.assert_array_equal(free.moments(3), given.moments(3))


def test_erlang() -> None:
    graph = phasic.erlang(4, 3.0)
    with mpmath.workdps(30):
        survival = [float(mpmath.gammainc(4, 3 * mpmath.mpf(t), regularized=True)) for t in T]
    np.testing.assert_allclose(graph.sf(T), survival, rtol=1e-13)
    raw = [math.prod(range(4, 4 + k)) / 3.0**k for k in (1, 2, 3)]
    np.testing.assert_allclose(graph.moments(3), raw, rtol=1e-14)
    assert graph.states().ravel().tolist() == [0, 4, 3, 2, 1, 0]
    assert phasic.erlang(100_000, 2.0).expectation() == pytest.approx(50_000, rel=1e-13)


def test_hypoexponential_and_hyperexponential() -> None:
    graph = phasic.hypoexponential(RATES)
    assert graph.expectation() == pytest.approx(sum(1 / r for r in RATES), rel=1e-15)
    assert graph.variance() == pytest.approx(sum(1 / r**2 for r in RATES), rel=1e-14)
    mixed = phasic.hyperexponential([0.2, 0.5, 0.1], RATES)
    survival = sum(p * np.exp(-r * T) for p, r in zip([0.2, 0.5, 0.1], RATES, strict=True))
    np.testing.assert_allclose(mixed.sf(T), survival, rtol=1e-13)
    assert mixed.cdf(0.0) == pytest.approx(0.2, rel=1e-15)


def test_coxian_mean() -> None:
    graph = phasic.coxian([1.5, 0.7], [0.5, 0.0, 2.0])
    assert graph.expectation() == pytest.approx(1 / 2 + 0.75 * (1 / 0.7 + 1 / 2), rel=1e-15)
    assert phasic.coxian([], [4.0]).expectation() == 0.25


def test_geometric_and_negative_binomial() -> None:
    steps = np.arange(1, 30)
    one = phasic.geometric(0.3)
    np.testing.assert_allclose(one.pdf(steps), 0.3 * 0.7 ** (steps - 1), rtol=1e-13)
    three = phasic.negative_binomial(3, 0.3)
    expected = [math.comb(k - 1, 2) * 0.3**3 * 0.7 ** (k - 3) if k >= 3 else 0.0 for k in steps]
    np.testing.assert_allclose(three.pdf(steps), expected, rtol=1e-13)
    assert three.expectation() == pytest.approx(10, rel=1e-15)
    assert three.variance() == pytest.approx(3 * 0.7 / 0.09, rel=1e-13)
    certain = phasic.geometric(1.0)
    assert (certain.pdf(1), certain.variance()) == (1.0, 0.0)


def test_constructor_errors() -> None:
    for call, text in [
        (lambda: phasic.erlang(0), r"n is 0, expected a whole number >= 1"),
        (lambda: phasic.erlang(2.5), r"n is 2.5"),
        (lambda: phasic.erlang(2, -1.0), r"rate is -1.0, expected a finite number > 0"),
        (lambda: phasic.exponential("fast"), r"rate is 'fast'"),
        (lambda: phasic.hypoexponential([1.0, 0.0]), r"rates\[1\] is 0.0"),
        (lambda: phasic.hypoexponential([]), r"rates has shape \(0,\)"),
        (lambda: phasic.hyperexponential([0.5, 0.5], [1.0]), r"rates has 1 entries"),
        (lambda: phasic.hyperexponential([0.7, 0.7], [1.0, 2.0]), r"start weights sum to 1.4"),
        (lambda: phasic.coxian([1.0], [1.0]), r"onward has 1 entries and exits has 1"),
        (lambda: phasic.coxian([1.0], [1.0, 0.0]), r"the last exit > 0"),
        (lambda: phasic.geometric(1.5), r"p is 1.5, expected a probability > 0"),
        (lambda: phasic.geometric(math.nan), r"p is nan"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()

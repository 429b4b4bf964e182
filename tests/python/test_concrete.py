"""The methods of `Graph` that need no JAX agree with closed forms and with `PhaseType`."""

from __future__ import annotations

import math

import numpy as np
import pytest

import phasic


def two_stage(discrete: bool = False) -> phasic.Graph:
    """Start -> a -> b -> done, with rates theta_0 and theta_1."""
    graph = phasic.Graph(1, discrete=discrete)
    a, b, done = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, [1.0, 0.0])
    b.add_edge(done, [0.0, 1.0])
    return graph


def test_hypoexponential_closed_forms() -> None:
    graph = two_stage()
    graph.update_weights([2.0, 5.0])
    assert graph.expectation() == pytest.approx(1 / 2 + 1 / 5, rel=1e-15)
    assert graph.variance() == pytest.approx(1 / 4 + 1 / 25, rel=1e-14)
    third = 6 * (1 / 8 + 1 / 20 + 1 / 50 + 1 / 125)
    np.testing.assert_allclose(graph.moments(3)[2], third, rtol=1e-14)
    np.testing.assert_allclose(graph.expected_sojourn(), [0, 1 / 2, 1 / 5, 0], rtol=1e-15)
    t = np.array([[0.0, 0.3], [1.0, 4.0]])
    density = 10 / 3 * (np.exp(-2 * t) - np.exp(-5 * t))
    np.testing.assert_allclose(graph.pdf(t), density, rtol=1e-13, atol=1e-300)
    survival = (5 * np.exp(-2 * t) - 2 * np.exp(-5 * t)) / 3
    np.testing.assert_allclose(graph.sf(t), survival, rtol=1e-13)
    np.testing.assert_allclose(graph.cdf(t), 1 - survival, rtol=1e-12, atol=1e-15)
    assert isinstance(graph.pdf(1.0), float)
    assert graph.pdf(np.zeros(0)).shape == (0,)


def test_rewards_and_covariance() -> None:
    graph = two_stage()
    graph.update_weights([2.0, 5.0])
    assert graph.expectation([9.0, 1.0, 3.0, 9.0]) == pytest.approx(1 / 2 + 3 / 5, rel=1e-15)
    same = [0.0, 1.0, 0.0, 0.0]
    assert graph.covariance(same, same) == pytest.approx(1 / 4, rel=1e-14)
    assert graph.covariance(same, [0.0, 0.0, 1.0, 0.0]) == pytest.approx(0, abs=1e-15)


def test_discrete_negative_binomial() -> None:
    graph = two_stage(discrete=True)
    graph.update_weights([0.25, 0.25])
    assert graph.expectation() == pytest.approx(8, rel=1e-15)
    assert graph.variance() == pytest.approx(2 * 0.75 / 0.25**2, rel=1e-14)
    n = np.arange(2, 12)
    np.testing.assert_allclose(
        graph.pdf(n), [(k - 1) * 0.25**2 * 0.75 ** (k - 2) for k in n], rtol=1e-13
    )


def test_agrees_with_the_distribution_and_follows_changes() -> None:
    graph = two_stage()
    theta = np.array([0.7, 1.3])
    graph.update_weights(theta)
    assert graph.expectation() == pytest.approx(
        float(phasic.PhaseType(graph).expectation(theta)), rel=1e-15
    )
    graph.vertices()[1].add_edge(graph.vertices()[3], [1.0, 0.0])
    assert graph.expectation() == pytest.approx(1 / 1.4 + 0.5 / 1.3, rel=1e-15)


def test_errors_say_what_to_do() -> None:
    graph = two_stage()
    with pytest.raises(ValueError, match=r"2 parameters; give their values with update_weights"):
        graph.expectation()
    with pytest.raises(ValueError, match=r"theta has 3 entries but the model has 2 parameters"):
        graph.update_weights([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"theta has dtype"):
        graph.update_weights(["a", "b"])
    graph.update_weights([1.0, 0.0])
    with pytest.raises(ValueError, match=r"cannot reach absorption"):
        graph.expectation()
    assert math.isinf(graph.expected_sojourn()[2])
    graph.update_weights([1.0, -2.0])
    with pytest.raises(ValueError, match=r"weight"):
        graph.expectation()
    graph.update_weights([1.0, 2.0])
    with pytest.raises(ValueError, match=r"rewards has 3 entries but the graph has 4 vertices"):
        graph.expectation([1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"k is 0, expected a whole number >= 1"):
        graph.moments(0)
    with pytest.raises(ValueError, match=r"t\[0\] is -1"):
        graph.pdf(-1.0)
    assert graph.expectation() == pytest.approx(1.5, rel=1e-15)

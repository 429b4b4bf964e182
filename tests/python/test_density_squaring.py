"""Densities by squaring: stiff models, far times, derivatives, the choice of the method.

Tolerances are shares of the largest entry over the times unless a test says otherwise; rounding
is a few units times the number of states and of squarings, whatever rate times t is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats

import models
import oracle
import phasic
from conformance import (
    CASES,
    CONTINUOUS,
    assert_derivatives_in_time,
    assert_near,
    derivative_scale,
    largest,
    native,
    occupancy_truth,
    program,
    record,
    truth,
)
from model_cases import Case

SQUARING = {"density": "squaring"}
SOME = sorted({*list(CASES)[::7], *(name for name in CASES if "stiff" in name)})
STIFF = [name for name in CONTINUOUS if "stiff" in name]
FAR = [name for name in STIFF if name[-1] in "024"]


def later(case: Case, doublings: int) -> Case:
    return replace(case, times=case.times * 2.0**doublings)


@pytest.mark.parametrize("name", SOME)
def test_values(name: str) -> None:
    case = CASES[name]
    for quantity in ("pdf", "cdf", "sf"):
        (exact,) = truth(case, quantity, times=case.times)
        found = native(program(name), case, quantity, times=case.times, **SQUARING)
        scale = largest(exact, 1)
        if quantity == "cdf":  # start weights sum to 1 up to rounding: 2^-53, and it counts as none
            scale = np.maximum(scale, 2.0**-53 / 1e-13)
        assert_near(found, exact, 1e-13, scale)
    (exact,) = truth(case, "state_probability", times=case.times)
    found = native(program(name), case, "state_probability", times=case.times, **SQUARING)
    assert_near(found.reshape(exact.shape), exact, 1e-13, np.ones(1))
    exact = occupancy_truth(case)
    found = native(program(name), case, "accumulated_occupancy", times=case.times, **SQUARING)
    assert_near(found.reshape(exact.shape), exact, 1e-13, case.times[:, None])


@pytest.mark.parametrize("name", FAR)
def test_rate_times_time_of_1e16_entry_by_entry(name: str) -> None:
    """Relative to every single value: exp(-x) has the condition x, here up to 700."""
    case = later(CASES[name], 40)
    for quantity in ("pdf", "sf"):
        (exact,) = truth(case, quantity, times=case.times)
        found = native(program(name), case, quantity, times=case.times, **SQUARING)
        normal = exact > 1e-290
        assert_near(found[normal], exact[normal], 1e-11)
        assert (found[~normal] < 1e-289).all()


def test_tails_below_the_range_of_a_double() -> None:
    graph, theta, times = models.erlang(5), [1.0], np.array([1024.0, 2048.0, 4096.0])
    d = squared(graph)
    for quantity in ("logpdf", "logsf"):
        exact = oracle.evaluate(graph, theta, quantity, times=times)[0]
        assert exact[-1] < -4000
        assert_near(getattr(d, quantity)(theta, times), exact, 1e-12)


@pytest.mark.parametrize("name", [name for name in STIFF if CASES[name].thetas.shape[1]][::2])
def test_gradients_and_hessians_in_theta(name: str) -> None:
    case = later(CASES[name], 20)
    for quantity in ("pdf", "sf", "cdf"):
        exact = truth(case, quantity, 2, times=case.times)
        if np.abs(exact[0]).max() < 1e-200:
            continue
        for order in (1, 2):
            wrt = ("theta",) * order
            found = native(program(name), case, quantity, wrt, times=case.times, **SQUARING)
            scale = derivative_scale(case, exact[: order + 1], order + 1)
            assert_near(found, exact[order], 1e-10, scale)


@pytest.mark.parametrize("name", STIFF[::2])
def test_derivatives_in_time(name: str) -> None:
    assert_derivatives_in_time(name, 1e-11, **SQUARING)


@pytest.mark.parametrize("name", [*STIFF[::4], "cyclic-continuous-1"])
def test_an_occupancy_grows_by_the_state_probability(name: str) -> None:
    case = CASES[name]
    (exact,) = truth(case, "state_probability", times=case.times)
    absorbing = phasic.Graph.from_serialized(case.graph)._frozen().is_absorbing()
    found = native(
        program(name), case, "accumulated_occupancy", ("times",), times=case.times, **SQUARING
    )
    found = found.reshape(*exact.shape, 4)
    diagonal = np.arange(4)
    assert_near(
        found[:, diagonal, :, diagonal].swapaxes(0, 1),
        np.where(absorbing, 0.0, exact),
        1e-13,
        np.ones(1),
    )


@pytest.mark.parametrize("wrt", [("times", "times"), ("theta", "times"), ("times", "theta")])
def test_second_derivatives_of_occupancies_agree_with_uniformization(wrt: tuple[str, str]) -> None:
    name, quantity = "cyclic-continuous-1", "accumulated_occupancy"
    case = CASES[name]
    case = replace(case, times=np.array([0.0, *case.times[1:]]))
    found, exact = (
        native(program(name), case, quantity, wrt, times=case.times, density=density)
        for density in ("squaring", "uniformization")
    )
    assert_near(found, exact, 1e-11, largest(exact, exact.ndim - 1))


def test_mixed_derivatives_and_the_slope_at_zero() -> None:
    case = CASES["cyclic-continuous-1"]
    case = replace(case, times=np.array([0.0, *case.times[1:]]))
    exact = truth(case, "pdf", 1, times=case.times, slope=1)[1]
    for wrt in (("theta", "times"), ("times", "theta")):
        found = native(record(case), case, "pdf", wrt, times=case.times, **SQUARING)
        axes = (slice(None), *[np.arange(4)] * 2)
        found = found[axes] if wrt[0] == "times" else found.swapaxes(2, 3)[axes]
        assert_near(found, exact, 1e-12, largest(exact, 2))


# --- models that are hard for other methods


def squared(graph: dict[str, object]) -> phasic.PhaseType:
    options = phasic.EvaluationOptions(density="squaring")
    return phasic.PhaseType(phasic.Graph.from_serialized(graph), options=options)


def test_an_erlang_chain_of_200() -> None:
    d, times = squared(models.erlang(200)), np.linspace(0.02, 2.0, 100)
    for quantity in ("pdf", "cdf", "sf"):
        exact = getattr(scipy.stats.gamma, quantity)(times, 200, scale=1 / 200)
        assert_near(getattr(d, quantity)([200.0], times), exact, 1e-12, largest(exact, 1))


def test_a_directed_cycle_agrees_with_uniformization() -> None:
    n = 100
    edges = {(i, i % n + 1): 1.0 for i in range(1, n + 1)} | {(n, n + 1): 0.25}
    graph = models.serialized([(i,) for i in range(1, n + 2)], {1: 1.0}, edges)
    options = phasic.EvaluationOptions(density="uniformization")
    reference = phasic.PhaseType(phasic.Graph.from_serialized(graph), options=options)
    times = np.linspace(5.0, 500.0, 100)
    for quantity in ("pdf", "sf"):
        exact = np.asarray(getattr(reference, quantity)(None, times))
        assert_near(getattr(squared(graph), quantity)(None, times), exact, 1e-12)


def test_a_discrete_model_after_2_to_the_40_steps() -> None:
    p = 2.0**-40
    graph = models.serialized([(1,), (2,)], {1: 1.0}, {(1, 2): p}, discrete=True)
    steps = 2.0**40 * np.array([0.25, 0.5, 1.0])
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    assert d.density_plan(None, steps).method == "squaring"
    assert_near(d.sf(None, steps), np.exp(steps * np.log1p(-p)), 1e-14)
    assert_near(d.pmf(None, steps), p * np.exp((steps - 1) * np.log1p(-p)), 1e-14)


# --- how it is used


def stiff_pair() -> tuple[dict[str, object], np.ndarray]:
    """Two states that exchange at theta0 and leave at theta1; rows of very different stiffness."""
    edges = {(1, 2): [1.0, 0.0], (2, 1): [2.0, 0.0], (2, 3): [0.0, 1.0]}
    graph = models.serialized([(1,), (2,), (3,)], {1: 1.0}, edges, param_length=2)
    return graph, np.array([[1.0, 1.0], [1e12, 1e-3], [0.5, 2.0], [1e6, 1.0]])


def test_rows_are_planned_one_by_one() -> None:
    graph, thetas = stiff_pair()
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    times = np.array([0.5, 1.0, 2.0])
    methods = [d.density_plan(theta, times).method for theta in thetas]
    assert set(methods) == {"uniformization", "squaring"}
    options = phasic.EvaluationOptions(threads=1)
    single = phasic.PhaseType(phasic.Graph.from_serialized(graph), options=options)

    def functions(model: phasic.PhaseType) -> list[Any]:
        def total(x: Any, t: Any) -> Any:
            return model.pdf(x, t).sum()

        slopes = [jax.vmap(jax.grad(total, argnums=i), (0, None)) for i in (0, 1)]
        return [model.pdf, model.logsf, *slopes]

    many = np.tile(thetas, (9, 1))  # blocks that mix the methods, and one that is not full
    for function, on_one_thread in zip(functions(d), functions(single), strict=True):
        together = np.asarray(function(many, times))
        assert (together == np.asarray(on_one_thread(many, times))).all()
        for i, theta in enumerate(many):
            assert (np.asarray(function(theta[None], times))[0] == together[i]).all()


def test_squaring_is_the_choice_only_where_it_pays() -> None:
    edges = {(i, i % 100 + 1): 1.0 for i in range(1, 101)} | {(100, 101): 0.25}
    cycle = models.serialized([(i,) for i in range(1, 102)], {1: 1.0}, edges)
    d = phasic.PhaseType(phasic.Graph.from_serialized(cycle))
    assert d.density_plan(None, np.linspace(5.0, 500.0, 100)).method == "uniformization"
    assert d.density_plan(None, 1e12).method == "squaring"
    assert d.density_plan(None, 1e12).within_budget


def test_what_squaring_does_not_give_is_an_error() -> None:
    graph, thetas = stiff_pair()
    d = squared(graph)
    for function in (d.hazard, jax.jit(d.hazard)):
        with pytest.raises(ValueError, match="hazard cannot be computed"):
            function(thetas[0], 1.0)
    coin = models.serialized([(1,), (2,)], {1: 1.0}, {(1, 2): 0.5}, discrete=True)
    with pytest.raises(ValueError, match="logpmf cannot be computed"):
        squared(coin).logpmf(None, 1.0)


def test_logarithms_of_densities_are_squared_only_beyond_the_budget() -> None:
    """Their range by squaring is limited; a fast exchange before a slow chain leaves it."""
    edges = {(1, 2): 1e4, (2, 1): 1e4} | {(i, i + 1): 1e-4 for i in range(2, 41)}
    graph = models.serialized([(i,) for i in range(1, 42)], {1: 1.0}, edges)
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    times = [1.0]
    assert d.density_plan(None, times).method == "squaring"
    assert d.density_plan(None, times, "logpdf").method == "uniformization"
    exact = oracle.evaluate(graph, [], "logpdf", times=times)[0]
    assert exact[0] < -400
    assert_near(np.asarray(d.logpdf(None, times)), exact, 1e-12)


def test_transformations() -> None:
    graph, thetas = stiff_pair()
    d, times = squared(graph), np.array([0.25, 0.5, 1.0])
    theta = thetas[1]
    value, gradient, hessian = oracle.evaluate(graph, theta, "pdf", times=times, order=2)
    pdf = jax.jit(lambda x: d.pdf(x, times))
    size = value[:, None] / theta  # derivatives of the logarithms are compared
    assert_near(jax.jacrev(pdf)(theta), gradient, 1e-12, size)
    assert_near(jax.jacfwd(pdf)(theta), gradient, 1e-12, size)
    assert_near(jax.hessian(pdf)(theta), hessian, 1e-12, size[:, :, None] / theta)
    slope = oracle.evaluate(graph, theta, "pdf", times=times, slope=1)[0]
    found = jax.vmap(jax.grad(lambda t: d.pdf(theta, t)))(times)
    assert_near(found, slope, 1e-12, value / times)


@pytest.mark.parametrize("kernel", ["reference", "baseline"])
def test_kernels_agree(kernel: str) -> None:
    case = CASES["single-continuous-0"]
    for wrt in ((), ("theta",), ("theta", "theta")):
        a, b = (
            native(program(case.name), case, "pdf", wrt, times=case.times, kernel=k, **SQUARING)
            for k in ("auto", kernel)
        )
        assert_near(a, b, 1e-12, np.abs(b).max())


def test_a_logarithm_below_the_range_of_squaring_in_doubles() -> None:
    edges = {(i, i + 1): 1e-8 for i in range(1, 61)}
    slow = models.serialized([(i,) for i in range(1, 62)], {1: 1.0}, edges)
    assert float(squared(slow).pdf(None, 1.0)) == 0.0  # 1e-560 rounds to 0
    exact = oracle.evaluate(slow, [], "logpdf", times=[1.0])[0]
    for d in (squared(slow), phasic.PhaseType(phasic.Graph.from_serialized(slow))):
        assert_near(np.asarray(d.logpdf(None, 1.0)).reshape(1), exact, 1e-13)


def test_logarithms_where_every_rate_is_tiny() -> None:
    edges = {(1, 2): 1e-20, (2, 1): 1e-20} | {(i, i + 1): 1e-50 for i in range(2, 11)}
    graph = models.serialized([(i,) for i in range(1, 12)], {1: 1.0}, edges)
    times = 2.0 ** np.array([66.0, 55.0, 54.0, 50.0])
    exact = oracle.evaluate(graph, [], "logpdf", times=times)[0]
    assert exact[0] > -708 > exact[2]  # below it doubles are subnormal
    assert_near(np.asarray(squared(graph).logpdf(None, times)), exact, 1e-13)


def test_a_budget_names_the_method() -> None:
    graph, thetas = stiff_pair()
    for method in ("uniformization", "squaring"):
        options = phasic.EvaluationOptions(density=method, max_operations=100.0)
        d = phasic.PhaseType(phasic.Graph.from_serialized(graph), options=options)
        assert not d.density_plan(thetas[1], 1.0).within_budget
        with pytest.raises(phasic.BudgetError, match=f"by {method}, exceeds max_operations = 100"):
            d.pdf(thetas[1], 1.0)
        assert np.isnan(jax.jit(d.pdf)(thetas[1], 1.0))


def test_steps_that_doubles_cannot_count_are_over_budget() -> None:
    """Derivatives at time 0 take steps of 2^-60 / rate: there were infinitely many to t = 1e5."""
    graph = models.serialized([(1,), (2,)], {1: 1.0}, {(1, 2): 1e285})
    d = squared(graph)
    assert not d.density_plan(None, [0.0, 1e5]).within_budget
    slope = jax.jit(jax.grad(lambda t: d.cdf(None, t).sum()))
    assert np.isnan(slope(np.array([0.0, 1e5]))).all()
    with pytest.raises(phasic.BudgetError, match="by squaring, exceeds max_operations"):
        d.cdf(None, np.array([0.0, 1e5]))


def test_bad_requests_of_a_plan() -> None:
    graph, thetas = stiff_pair()
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    with pytest.raises(ValueError, match="quantity is 'mean'"):
        d.density_plan(thetas[0], 1.0, "mean")
    with pytest.raises(ValueError, match=r"theta has shape \(4, 2\), expected \(2,\)"):
        d.density_plan(thetas, 1.0)
    with pytest.raises(ValueError, match="times >= 0"):
        d.density_plan(thetas[0], [-1.0])
    with pytest.raises(ValueError, match="density is 'fast', expected one of auto, unif"):
        phasic.EvaluationOptions(density="fast")

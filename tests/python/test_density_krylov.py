"""Densities by rational Krylov spaces: accuracy, derivatives, what is refused, how it is chosen.

The stated error is 1e-10 of the largest value over the times of a row, 1e-8 for derivatives. Rows
that do not reach it say so; those that do are held to far less than that.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats

import models
import oracle
import phasic
from conformance import CASES, CONTINUOUS, assert_near, derivative_scale, largest, program, truth
from model_cases import Case
from phasic import _core

SOME = sorted({*CONTINUOUS[::5], *(name for name in CONTINUOUS if "stiff" in name)})
PARAMETERISED = [name for name in SOME if CASES[name].thetas.shape[1]]
NOT_CONVERGED = 9
THETA, TIMES = 0, 2


def forced(graph: Any, **options: Any) -> phasic.PhaseType:
    if isinstance(graph, dict):
        graph = phasic.Graph.from_serialized(graph)
    return phasic.PhaseType(graph, options=phasic.EvaluationOptions(density="krylov", **options))


def rows(case: Case, quantity: str, **request: Any) -> tuple[np.ndarray, np.ndarray]:
    """Results (batch, n_times) along given tangents, and which rows reached their error."""
    found, _, status = _core.evaluate(
        program(case.name), quantity, case.thetas, None, np.atleast_2d(case.times),
        density="krylov", **request,
    )  # fmt: skip
    assert found is not None and set(status) <= {0, NOT_CONVERGED}
    return found, status == 0


@pytest.mark.parametrize("name", SOME)
def test_values(name: str) -> None:
    case = CASES[name]
    for quantity in ("pdf", "cdf", "sf"):
        (exact,) = truth(case, quantity, times=case.times)
        found, reached = rows(case, quantity)
        scale = np.broadcast_to(largest(exact, 1), exact.shape)
        assert_near(found[reached], exact[reached], 5e-12, scale[reached])
        assert np.isnan(found[~reached]).all()


def test_most_generated_models_reach_the_error() -> None:
    reached = [rows(CASES[name], "sf")[1] for name in SOME]
    assert np.concatenate(reached).mean() > 0.9


@pytest.mark.parametrize("name", PARAMETERISED[::2])
def test_derivatives(name: str) -> None:
    case = CASES[name]
    n = case.thetas.shape[1]
    for quantity in ("pdf", "sf"):
        exact = truth(case, quantity, 2, times=case.times)
        unit = np.eye(n)
        for i in range(n):
            found, reached = rows(case, quantity, levels=(THETA,), tangents=(unit[i : i + 1],))
            scale = np.broadcast_to(derivative_scale(case, exact[:2], 2), exact[1].shape)[..., i]
            assert_near(found[reached], exact[1][reached, :, i], 1e-9, scale[reached])
            pair = (unit[i : i + 1], unit[-1:])
            found, reached = rows(case, quantity, levels=(THETA, THETA), tangents=pair)
            scale = np.broadcast_to(derivative_scale(case, exact, 3), exact[2].shape)[..., i, -1]
            assert_near(found[reached], exact[2][reached, :, i, -1], 1e-8, scale[reached])
        for order in (1, 2):
            (slope,) = truth(case, quantity, times=case.times, slope=order)
            ones = (np.ones((1, 4)),) * order
            found, reached = rows(case, quantity, levels=(TIMES,) * order, tangents=ones)
            scale = np.broadcast_to(largest(slope, 1), slope.shape)
            assert_near(found[reached], slope[reached], 1e-9, scale[reached])


# --- models that are hard for other methods


def test_an_erlang_chain_of_200() -> None:
    d = forced(models.erlang(200))
    for last in (1.0, 3.0, 50.0):
        times = np.linspace(last / 100, last, 100)
        for quantity in ("pdf", "cdf", "sf"):
            exact = getattr(scipy.stats.gamma, quantity)(times, 200, scale=1 / 200)
            found = getattr(d, quantity)(np.array([200.0]), times)
            assert_near(found, exact, 1e-11, largest(exact, 1))


def test_a_directed_cycle_of_100() -> None:
    """Its modes turn; rational approximations that count on real ones are wrong here."""
    n = 100
    edges = {(i, i % n + 1): 1.0 for i in range(1, n + 1)} | {(n, n + 1): 0.25}
    graph = models.serialized([(i,) for i in range(1, n + 2)], {1: 1.0}, edges)
    reference = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    for last in (500.0, 25000.0):
        times = np.linspace(last / 100, last, 100)
        assert reference.density_plan(None, times).method == "uniformization"
        for quantity in ("pdf", "sf"):
            exact = np.asarray(getattr(reference, quantity)(None, times))
            assert_near(getattr(forced(graph), quantity)(None, times), exact, 1e-11, exact.max())


def island_blocks(n: int) -> phasic.Graph:
    """Two islands with n lineages on the first: blocks of every size on each; theta = (merge here,
    merge there, move)."""

    def step(state: Any) -> list[tuple[list[int], list[float]]]:
        found = []
        if state.sum() > 1:
            for island in (0, 1):
                here = n * island + np.flatnonzero(state[n * island : n * (island + 1)])
                for i in here:
                    for j in here[here >= i]:
                        pairs = state[i] * (state[i] - 1) / 2 if i == j else state[i] * state[j]
                        if pairs:
                            child = state.copy()
                            child[[i, j]] -= 1 if i != j else 2
                            child[i + j - n * island + 1] += 1
                            merge = [0.0, 0.0, 0.0]
                            merge[island] = float(pairs)
                            found.append((child.tolist(), merge))
                    child = state.copy()
                    child[i] -= 1
                    child[(i + n) % (2 * n)] += 1
                    found.append((child.tolist(), [0.0, 0.0, float(state[i])]))
        return found

    return phasic.Graph(step, ipv=[([n] + [0] * (2 * n - 1), 1.0)])


def test_a_stiff_spectrum_against_balls() -> None:
    graph, theta = island_blocks(5), np.array([1.0, 1.0, 1e9])
    times = 8.0 / 2.0 ** np.arange(6)
    for quantity in ("pdf", "cdf", "sf"):
        exact = oracle.evaluate(graph.serialize(), theta, quantity, times=times)[0]
        assert_near(getattr(forced(graph), quantity)(theta, times), exact, 1e-12, exact.max())


# --- automatic choice


def automatic(graph: Any, **options: Any) -> phasic.PhaseType:
    return phasic.PhaseType(graph, options=phasic.EvaluationOptions(**options))


STIFF = np.array([1.0, 1.0, 1e5])
BUDGET = 2.2e7  # squaring and a sweep over these times take more
LATE = np.linspace(1.0, 11.0, 100)


def test_what_is_over_budget_otherwise_is_by_krylov_spaces() -> None:
    """What no exact method can do within the budget is right to 1e-8 of each value."""
    graph = island_blocks(8)
    d, exact = automatic(graph, max_operations=BUDGET), automatic(graph, density="exact")
    for name in ("pdf", "cdf", "sf"):
        plan = d.density_plan(STIFF, LATE, name)
        assert plan.method == "krylov" and plan.within_budget and plan.exact_times == 0
        assert 16 <= plan.dimension <= 96 and 0 < plan.error <= 1e-11
        assert exact.density_plan(STIFF, LATE, name).method == "squaring"
        assert_near(getattr(d, name)(STIFF, LATE), getattr(exact, name)(STIFF, LATE), 1e-9)
    assert d.density_plan(STIFF, LATE, "logpdf").method != "krylov"
    d = automatic(graph, max_operations=1e8)
    stiff, times = STIFF * [1, 1, 1e4], LATE[::33]
    plan = d.density_plan(stiff, times, gradient=True)
    assert plan.method == "krylov" and plan.exact_times == 0
    slope = jax.jacrev(lambda x: d.pdf(x, times))(stiff)
    expected = jax.jacrev(lambda x: exact.pdf(x, times))(stiff)
    scale = np.asarray(exact.pdf(stiff, times))[:, None] / stiff
    assert_near(slope, np.asarray(expected), 1e-9, scale)


def test_early_times_have_spaces_of_their_own() -> None:
    """Densities far below the largest one have all their digits; so has their gradient."""
    graph, theta = island_blocks(9), np.array([1.0, 1.0, 2e3])
    times = np.concatenate([[0.0, 1e-4, 1e-3, 1e-2], np.linspace(1.0, 11.0, 9)])
    d = automatic(graph, max_operations=2.5e7)
    exact = automatic(graph, density="uniformization")
    plan = d.density_plan(theta, times)
    assert plan.method == "krylov" and plan.within_budget and plan.exact_times == 1  # 0
    found, expected = (np.asarray(x.pdf(theta, times)) for x in (d, exact))
    assert expected[3] < 1e-11 * expected.max() and expected[1] > 0
    assert found[0] == expected[0]
    assert_near(found, expected, 1e-9)
    together = np.asarray(d.pdf(np.stack([theta, 2 * theta, theta]), times))
    assert (together[0] == together[2]).all()
    assert_near(together[0], found, 1e-13)
    weight = 1 / np.maximum(expected, expected[1])
    d = automatic(graph, max_operations=2e8)
    plan = d.density_plan(theta, times, gradient=True)
    assert plan.method == "krylov" and plan.exact_times == 1

    def total(model: phasic.PhaseType) -> Any:
        return jax.grad(lambda x, t: weight @ model.pdf(x, t), argnums=(0, 1))

    for a, b in zip(total(d)(theta, times), total(exact)(theta, times), strict=True):
        assert_near(a, np.asarray(b), 1e-8)


def test_a_tail_is_exact_or_an_error() -> None:
    graph, t = island_blocks(8), np.array([900.0])
    with pytest.raises(ValueError, match=r"estimated error of .* expected at most 1e-10"):
        forced(graph).pdf(STIFF, t)
    assert np.isnan(jax.jit(forced(graph).pdf)(STIFF, t)).all()
    d = automatic(graph)
    assert d.density_plan(STIFF, t).method == "squaring"
    assert_near(d.pdf(STIFF, t), np.exp(np.asarray(d.logpdf(STIFF, t))), 1e-11)
    with pytest.raises(phasic.BudgetError, match="by squaring, exceeds max_operations"):
        automatic(graph, max_operations=BUDGET).pdf(STIFF, t)
    graph, stiff, times = island_blocks(9), np.array([1.0, 1.0, 2e4]), np.array([0.05, 5.0])
    with pytest.raises(phasic.BudgetError, match="at the 1 times whose results are too far below"):
        automatic(graph, max_operations=1e7).cdf(stiff, times)
    value = np.asarray(forced(graph).cdf(stiff, times))
    assert 0 <= value[0] < 1e-6 * value[1]


def test_far_tails_have_their_digits() -> None:
    """Far below 1e-10 of the largest value too, which is all that spaces promise."""
    graph = island_blocks(8)
    d, exact = automatic(graph, max_operations=BUDGET), automatic(graph, density="exact")
    times = np.linspace(5.0, 150.0, 100)
    for name in ("pdf", "sf"):
        plan = d.density_plan(STIFF, times, name)
        assert plan.method == "krylov" and plan.exact_times == 0
        expected = np.asarray(getattr(exact, name)(STIFF, times))
        assert 0 < expected[-1] < 1e-30 * expected[0]
        assert_near(getattr(d, name)(STIFF, times), expected, 1e-9)


def test_small_models_and_quantiles_never_take_them() -> None:
    d = automatic(island_blocks(5))
    for last in (1.0, 1e3, 1e9):
        for name in ("pdf", "cdf", "sf"):
            assert d.density_plan(STIFF, np.array([last]), name).method != "krylov"
    few = automatic(island_blocks(8), max_operations=BUDGET)
    with pytest.raises(phasic.BudgetError):
        few.quantile(STIFF, 0.5)


@pytest.mark.extended
def test_spectrum_of_12_and_a_lattice_of_32() -> None:
    options = phasic.EvaluationOptions(density="uniformization", max_operations=1e12)
    corner = {(32, 32): [(33, 33)]}
    moves = ((1, 0), (-1, 0), (0, 1), (0, -1))

    def walk(state: Any) -> list[tuple[list[int], float]]:
        x, y = (int(i) for i in state)
        near = [(x + a, y + b) for a, b in moves]
        inside = [s for s in near if min(s) >= 1 and max(s) <= 32] + corner.get((x, y), [])
        return [(list(s), 1.0) for s in inside] if x <= 32 else []

    lattice = phasic.Graph(walk, ipv=[([1, 1], 1.0)])
    for graph, theta, last in (
        (island_blocks(12), np.array([1.0, 1.0, 2e3]), 11.0),
        (lattice, None, 1e4),
    ):
        times = np.linspace(last / 100, last, 100)
        exact = np.asarray(phasic.PhaseType(graph, options=options).pdf(theta, times))
        assert_near(forced(graph).pdf(theta, times), exact, 1e-11, exact.max())


@pytest.mark.extended
def test_derivatives_of_the_spectrum_of_10() -> None:
    """482 states at rate times t of 2e5, by squaring too: gradient, second derivative, slopes."""
    graph, theta, times = island_blocks(10), np.array([1.0, 1.0, 2e3]), np.linspace(0.5, 8.0, 4)
    exact = automatic(graph, density="squaring", max_operations=1e12)

    def along(d: phasic.PhaseType, name: str) -> Any:
        ones = np.ones(4)
        value = partial(getattr(d, name), theta)
        pdf = partial(d.pdf, t=times)
        twice = jax.jvp(lambda x: jax.jvp(pdf, (x,), (theta,))[1], (theta,), (theta,))[1]
        slope = jax.jvp(value, (times,), (ones,))[1]
        return jax.jacrev(lambda x: getattr(d, name)(x, times))(theta) * theta, slope, twice

    for name in ("pdf", "sf"):
        for found, expected in zip(along(forced(graph), name), along(exact, name), strict=True):
            scale = np.broadcast_to(np.abs(expected).max(), np.shape(expected))
            assert_near(found, np.asarray(expected), 1e-9, scale)


# --- edges of what there is


def test_time_zero_and_times_of_many_scales() -> None:
    d, theta = forced(models.mm1k(20)), np.array([1.0, 1.5])
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 9)])
    reference = phasic.PhaseType(phasic.Graph.from_serialized(models.mm1k(20)))
    for quantity in ("pdf", "cdf", "sf"):
        exact = np.asarray(getattr(reference, quantity)(theta, times))
        assert_near(getattr(d, quantity)(theta, times), exact, 1e-11, exact.max())
        slope = jax.vmap(jax.grad(getattr(reference, quantity), argnums=1), (None, 0))(theta, times)
        found = jax.vmap(jax.grad(getattr(d, quantity), argnums=1), (None, 0))(theta, times[:1])
        assert_near(np.asarray(found), np.asarray(slope)[:1], 1e-9, np.abs(slope).max())


def test_traps_defects_and_nothing_to_absorb() -> None:
    edges = {(1, 2): 3.0, (1, 3): 1.0, (2, 1): 1.0, (2, 4): 1.0}  # 3 is a trap
    graph = models.serialized([(i,) for i in range(1, 5)], {1: 0.5, 4: 0.25}, edges)
    reference = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    times = np.array([0.0, 0.5, 2.0, 8.0])
    for quantity in ("pdf", "cdf", "sf"):
        exact = np.asarray(getattr(reference, quantity)(None, times))
        assert_near(getattr(forced(graph), quantity)(None, times), exact, 1e-12, exact.max())


def test_what_krylov_spaces_do_not_give_is_an_error() -> None:
    d = forced(models.mm1k(3))
    theta = np.array([1.0, 1.0])
    for name in ("logpdf", "logsf", "hazard", "state_probability", "accumulated_occupancy"):
        with pytest.raises(ValueError, match=f'{name} cannot be computed with density="krylov"'):
            getattr(d, name)(theta, 1.0)
    coin = models.serialized([(1,), (2,)], {1: 1.0}, {(1, 2): 0.5}, discrete=True)
    with pytest.raises(ValueError, match='pmf cannot be computed with density="krylov"'):
        forced(coin).pmf(None, 1.0)
    with pytest.raises(ValueError, match="up to order 2"):
        _core.evaluate(
            program("cyclic-continuous-1"), "pdf", np.ones((1, 2)), None, np.ones((1, 1)),
            levels=(THETA, THETA), tangents=(np.ones((1, 2)),) * 2, gradient=THETA, value=False,
            cotangent=np.ones((1, 1)), density="krylov",
        )  # fmt: skip


def test_transformations_batches_and_threads() -> None:
    graph, times = island_blocks(5), np.array([0.5, 1.0, 4.0])
    thetas = np.array([[1.0, 1.0, 1e5], [2.0, 0.5, 1e3], [1.0, 3.0, 1.0]])
    d, single = forced(graph), forced(graph, threads=1)
    theta = thetas[0]
    exact = oracle.evaluate(graph.serialize(), theta, "pdf", times=times, order=2)
    value, gradient, hessian = exact
    pdf = jax.jit(lambda x: d.pdf(x, times))
    size = value.max() / theta
    assert_near(jax.jacrev(pdf)(theta), gradient, 1e-9, size)
    assert_near(jax.jacfwd(pdf)(theta), gradient, 1e-9, size)
    assert_near(jax.hessian(pdf)(theta), hessian, 1e-8, size[:, None] / theta)
    many = np.tile(thetas, (9, 1))

    def slopes(model: phasic.PhaseType) -> Any:
        return jax.vmap(jax.grad(lambda x: model.sf(x, times).sum()))

    for a, b in (
        (lambda x: d.pdf(x, times), lambda x: single.pdf(x, times)),
        (slopes(d), slopes(single)),
    ):
        together = np.asarray(a(many))
        assert (together == np.asarray(b(many))).all()
        for i in range(3):
            assert (np.asarray(a(thetas[i : i + 1]))[0] == together[i]).all()


@pytest.mark.parametrize("kernel", ["reference", "baseline"])
def test_kernels_agree(kernel: str) -> None:
    case = CASES["cyclic-continuous-1"]
    a, b = (rows(case, "pdf", kernel=k)[0] for k in ("auto", kernel))
    assert_near(a, b, 1e-12, np.nanmax(np.abs(b)))

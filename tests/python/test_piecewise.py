"""Epochs against block matrix exponentials in certified balls, closed forms and simulations."""

from __future__ import annotations

import itertools
import pickle
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import model_cases
import phasic
from models import erlang, negative_binomial, two_islands
from piecewise_oracle import Piecewise, compute, gradient

CASES = {case.name: case for case in model_cases.cases(2) if not case.discrete}
DEFAULT = ("stiff-theta-continuous-0", "start-parameterised-continuous-1")
N_EPOCHS = 3


def marked(names: Any) -> list[Any]:
    """All names; those that are not run every time carry the mark."""
    return [
        name if name in DEFAULT else pytest.param(name, marks=pytest.mark.extended)
        for name in names
    ]


def arguments(name: str) -> tuple[phasic.PiecewisePhaseType, np.ndarray, np.ndarray, np.ndarray]:
    """The model in three epochs, theta, starts, and times that include the starts."""
    case = CASES[name]
    theta = case.thetas[np.arange(N_EPOCHS) % len(case.thetas)]
    starts = np.array([0.0, 0.4 * case.times[1], 0.9 * case.times[2]])
    model = phasic.PiecewisePhaseType(phasic.Graph.from_serialized(case.graph), starts)
    return model, theta, starts, np.concatenate([starts, case.times])


def everything(
    model: phasic.PiecewisePhaseType, rewards: Any, theta: Any, starts: Any, times: Any
) -> Any:
    """What the oracle's `truth` lists, as one array."""
    in_time = [
        getattr(model, q)(theta, times, starts=starts).reshape(-1) for q in ("pdf", "cdf", "sf")
    ]
    table = model.state_probability(theta, times, starts=starts)
    return jnp.concatenate(
        [*in_time, table.reshape(-1), model.expectation(theta, rewards, starts=starts)]
    )


def truth(graph: Any, rewards: np.ndarray, theta: Any, starts: Any, times: Any) -> list[Any]:
    exact = Piecewise(graph, theta, starts)
    in_time = [exact.in_time(q, times) for q in ("pdf", "cdf", "sf", "state_probability")]
    return [*itertools.chain(*in_time), *(exact.moments([r]) for r in rewards)]


@pytest.mark.parametrize("name", marked(CASES))
def test_distribution_and_expectation_of_generated_models(name: str) -> None:
    model, theta, starts, times = arguments(name)
    rewards = CASES[name].rewards
    exact = compute(partial(truth, CASES[name].graph, rewards), theta, starts, times)
    found = jax.jit(partial(everything, model, rewards))(theta, starts, times)
    # rtol: Poisson sums are cut at 1e-14 and qt reaches 1e4. atol: sums of start weights round.
    np.testing.assert_allclose(found, exact, rtol=2e-12, atol=4e-16)


def assert_derivatives(found: Any, exact: np.ndarray, value: Any, at: np.ndarray) -> None:
    """Rows (n_outputs, *at.shape) to 1e-9 of each entry or 1e-11 of the largest of its row.

    Where the terms of a derivative cancel, their rounding is left: shares of ``value / at``.
    """
    axes = tuple(range(1, exact.ndim))
    value = np.abs(np.asarray(value)).reshape(-1, *(1,) * at.ndim)
    allowed = 1e-9 * np.abs(exact) + 1e-11 * np.abs(exact).max(axes, keepdims=True)
    allowed = allowed + 3e-13 * value / np.where(at > 0, at, 1.0)
    excess = np.abs(found - exact) / np.where(allowed > 0, allowed, 1e-300)
    assert excess.max(initial=0.0) <= 1, (np.unravel_index(excess.argmax(), excess.shape), excess)


@pytest.mark.parametrize("name", marked(CASES))
def test_derivatives_in_theta_and_starts(name: str) -> None:
    model, theta, starts, _ = arguments(name)
    graph, rewards = CASES[name].graph, CASES[name].rewards
    times = np.array([0.7 * starts[1], 0.5 * (starts[1] + starts[2]), 2 * starts[2]])
    theta = np.where(theta == 0, 0.01, theta)  # where a weight is 0 some have no derivative
    compute_all = partial(everything, model, rewards)
    found = jax.jit(jax.jacrev(compute_all, (0, 1)))(theta, starts, times)
    value = compute_all(theta, starts, times)
    for of, at in enumerate((theta, starts)):
        if at.size:
            exact = gradient(partial(truth, graph, rewards), of, theta, starts, times)
            if of == 1:
                exact[:, 0] = 0.0  # the first start is 0 and stays there
            assert_derivatives(found[of], exact, value, at)


def test_one_rate_that_changes_in_closed_form() -> None:
    model = phasic.PiecewisePhaseType(phasic.Graph.from_serialized(erlang(1)), [0.0, 1.0, 3.0])
    a, b, c = rates = np.array([0.7, 0.1, 4.0])
    times = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 600.0])
    rate = np.array([a, a, b, b, c, c, c])
    logsf = -np.array([0, a / 2, a, a + b, a + 2 * b, a + 2 * b + 2 * c, a + 2 * b + 597 * c])
    theta = rates[:, None]
    np.testing.assert_allclose(model.logsf(theta, times), logsf, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(model.logpdf(theta, times), np.log(rate) + logsf, rtol=1e-13)
    np.testing.assert_allclose(model.hazard(theta, times[:-1]), rate[:-1], rtol=1e-13)
    np.testing.assert_allclose(model.cdf(theta, times), -np.expm1(logsf), rtol=1e-13)
    before, between = -np.expm1(-a) / a, np.exp(-a) * -np.expm1(-2 * b) / b
    mean = before + between + np.exp(-a - 2 * b) / c
    np.testing.assert_allclose(model.expectation(theta), mean, rtol=1e-14)

    def later(s: Any, t: Any) -> Any:
        return model.logpdf(theta, t, starts=s)

    times = times[np.array([1, 3, 5])]
    slopes = [[0, 0, 0], [0, b - a, 0], [0, b - a, c - b]]
    starts = jnp.array([0.0, 1.0, 3.0])
    np.testing.assert_allclose(jax.jacrev(later)(starts, times), slopes, atol=1e-13)
    in_time = jax.jacfwd(later, 1)(starts, jnp.asarray(times))
    np.testing.assert_allclose(in_time, np.diag([-a, -b, -c]), atol=1e-13)


@pytest.mark.extended
def test_equal_epochs_are_one_epoch() -> None:
    graph = phasic.Graph.from_serialized(two_islands(3))
    whole = phasic.PhaseType(graph)
    model = phasic.PiecewisePhaseType(graph, [0.0, 0.3, 0.3, 2.0])
    theta = np.array([0.8, 1.4, 0.3, 0.6])
    times = np.linspace(0.0, 5.0, 11)
    rewards = np.random.default_rng(3).uniform(0, 2, (2, whole.n_vertices))
    epochs = np.tile(theta, (4, 1))
    for name in ("hazard", "logpdf", "state_probability", "accumulated_occupancy"):
        expected = getattr(whole, name)(theta, times)
        np.testing.assert_allclose(getattr(model, name)(epochs, times), expected, rtol=1e-12)
    np.testing.assert_allclose(
        model.expectation(epochs, rewards), whole.expectation(theta, rewards), rtol=1e-13
    )
    for name in ("absorption_probability", "expected_sojourn"):
        np.testing.assert_allclose(getattr(model, name)(epochs), getattr(whole, name)(theta))


@phasic.callback(ipv=[([3, 3], 1.0)])
def two_demes(state: np.ndarray) -> list[Any]:
    """Lineages in two demes: theta = (1 / size of A, 1 / size of B, migration rate)."""
    a, b = (int(x) for x in state)
    if a + b == 1:
        return []
    moves = [([a - 1, b + 1], [0, 0, a]), ([a + 1, b - 1], [0, 0, b])]
    merges = [([a - 1, b], [a * (a - 1) / 2, 0, 0]), ([a, b - 1], [0, b * (b - 1) / 2, 0])]
    return [(to, c) for to, c in moves + merges if min(to) >= 0 and any(c)]


DEMES = np.array([[1.0, 2.0, 0.3], [4.0, 2.0, 0.3], [0.5, 1.0, 0.0]])
DEME_STARTS = np.array([0.0, 0.4, 1.0])


def joined_demes(relabel: Any = None) -> phasic.PiecewisePhaseType:
    """Sizes change at 0.4; at 1.0 the demes join, going back in time."""
    if relabel is None:
        relabel = lambda state: [state[0] + state[1], 0]  # noqa: E731
    return phasic.PiecewisePhaseType(phasic.Graph(two_demes), DEME_STARTS, relabel={2: relabel})


def join_matrix(graph: phasic.Graph) -> np.ndarray:
    states = [tuple(s) for s in graph.states().tolist()]
    matrix = np.zeros((len(states), len(states)))
    for v, (a, b) in enumerate(states[1:], start=1):
        matrix[v, states.index((a + b, 0))] = 1.0
    return matrix


def test_size_changes_and_a_split_agree_with_simulated_trees() -> None:
    # docs/piecewise.md has the msprime 1.4 program: 200000 trees of 3 + 3 lineages, seed 1
    model = joined_demes()
    lineages = phasic.Graph(two_demes).states().sum(1)
    mean = model.expectation(DEMES, np.stack([np.ones(len(lineages)), lineages]))
    error = np.array([0.00464796, 0.00988655])
    assert (np.abs(mean - np.array([2.94863223, 7.61216076])) < 4 * error).all()
    found = model.cdf(DEMES, np.array([0.2, 0.7, 1.5, 4.0]))
    error = np.array([1.0e-5, 3.85e-4, 9.82e-4, 9.38e-4])
    assert (np.abs(found - np.array([2e-5, 0.030595, 0.260575, 0.77225])) < 4 * error).all()


def test_relabelling_by_function_map_and_matrix() -> None:
    graph = phasic.Graph(two_demes)
    serialized = graph.serialize()
    matrix = join_matrix(graph)
    times = np.array([0.2, 0.9, 1.0, 2.5])
    exact = compute(
        lambda th, s, t: Piecewise(serialized, th, s, {2: matrix}).in_time("state_probability", t),
        DEMES,
        DEME_STARTS,
        times,
    )
    for relabel in (None, matrix.argmax(1), matrix):
        found = joined_demes(relabel).state_probability(DEMES, times)
        np.testing.assert_allclose(np.ravel(found), exact, rtol=1e-12, atol=1e-16)


def test_a_relabelling_may_spread_a_state() -> None:
    graph = phasic.Graph(two_demes)
    serialized = graph.serialize()
    matrix = 0.25 * join_matrix(graph) + 0.75 * np.eye(graph.vertices_length())
    model = phasic.PiecewisePhaseType(graph, [0.0, 0.5], relabel={1: matrix})
    ones = np.ones(graph.vertices_length())
    exact = compute(
        lambda th, s: [Piecewise(serialized, th, s, {1: matrix}).moments([ones])],
        DEMES[:2],
        np.array([0.0, 0.5]),
    )
    np.testing.assert_allclose(model.expectation(DEMES[:2]), exact[0], rtol=1e-13)


@pytest.mark.extended
def test_transformations_agree_with_loops() -> None:
    model = joined_demes()
    thetas = DEMES * np.array([0.5, 1.0, 1.5])[:, None, None]
    t = np.array([0.3, 1.2])
    one = np.stack([model.pdf(theta, t) for theta in thetas])
    np.testing.assert_allclose(model.pdf(thetas, t), one, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(jax.vmap(model.pdf, (0, None)))(thetas, t), one, rtol=1e-13)
    starts = DEME_STARTS * np.array([0.5, 1.0, 1.5])[:, None]
    both = np.stack([model.sf(th, t, starts=s) for th, s in zip(thetas, starts, strict=True)])
    np.testing.assert_allclose(model.sf(thetas, t, starts=starts), both, rtol=1e-13)
    assert model.sf(DEMES, 1.2).shape == ()
    assert model.state_probability(DEMES, 1.2).shape == (model.n_vertices,)
    assert model.expectation(thetas, np.ones((2, model.n_vertices))).shape == (3, 2)
    copy = pickle.loads(pickle.dumps(model))
    assert (np.asarray(copy.pdf(DEMES, t)) == np.asarray(model.pdf(DEMES, t))).all()


@pytest.mark.extended
def test_hessians_agree_with_products() -> None:
    model = joined_demes()
    moving = np.maximum(DEMES, 0.2)  # without migration the expectation has no derivative there
    hessian = jax.jit(jax.hessian(model.expectation))(moving)
    slopes = jax.vmap(
        lambda v: jax.jvp(jax.grad(model.expectation), (jnp.asarray(moving),), (v,))[1]
    )(jnp.eye(9).reshape(9, 3, 3))
    np.testing.assert_allclose(hessian.reshape(9, 9), slopes.reshape(9, 9), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(hessian.reshape(9, 9), hessian.reshape(9, 9).T, atol=1e-12)


def test_what_is_wrong_is_said() -> None:
    graph = phasic.Graph(two_demes)
    model = joined_demes()
    raises = pytest.raises
    with raises(ValueError, match=r"starts is \[1.0, 2.0\], expected finite times that begin"):
        phasic.PiecewisePhaseType(graph, [1.0, 2.0])
    with raises(ValueError, match="do not decrease"):
        model.sf(DEMES, 1.0, starts=np.array([0.0, 2.0, 1.0]))
    with raises(ValueError, match=r"starts has shape \(2,\), expected \(..., 3\)"):
        model.sf(DEMES, 1.0, starts=np.array([0.0, 2.0]))
    with raises(ValueError, match=r"theta has shape \(2, 3\), expected \(..., 3, 3\)"):
        model.sf(DEMES[:2], 1.0)
    with raises(ValueError, match=r"t is missing"):
        model.sf(DEMES, None)
    with raises(ValueError, match=r"epoch 1: theta gives the edge .* the weight -"):
        model.sf(DEMES * np.array([[1], [-1], [1]]), 1.0)
    with raises(ValueError, match=r"epoch 2: the expectation is infinite"):
        model.expectation(DEMES * np.array([[1], [1], [0]]))
    assert np.isposinf(jax.jit(model.expectation)(DEMES * np.array([[1], [1], [0]])))
    with raises(ValueError, match=r"epoch 0: t\[0\] is -1, expected a number >= 0"):
        model.sf(DEMES, -1.0)
    with raises(ValueError, match="leading .batch. axes do not broadcast"):
        model.sf(np.stack([DEMES] * 3), np.ones((2, 1)))
    with raises(ValueError, match=r"relabel has the key 0, expected numbers of epochs from 1 to 1"):
        phasic.PiecewisePhaseType(graph, [0.0, 1.0], relabel={0: lambda state: state})
    with raises(ValueError, match=r"takes state \(3, 3\) to \(7, 3\), which is no state"):
        joined_demes(lambda state: [state[0] + 4, state[1]])
    with raises(ValueError, match=r"which is (absorbing|transient), to a vertex that is"):
        joined_demes(lambda state: [1, 0])
    with raises(ValueError, match=r"relabel\[2\]\[1\] is 99, expected a vertex from 1 to"):
        joined_demes(np.full(graph.vertices_length(), 99))
    with raises(ValueError, match=r"row 1 of relabel\[2\] is no distribution"):
        joined_demes(np.full((graph.vertices_length(),) * 2, 0.3))
    with raises(ValueError, match=r"relabel\[2\] has shape \(2,\)"):
        joined_demes(np.ones(2))
    with raises(ValueError, match="the graph starts in absorbing states only"):
        at_once = phasic.Graph(1)
        at_once.starting_vertex().add_edge(at_once.find_or_create_vertex([1]), 0.7)
        phasic.PiecewisePhaseType(at_once, [0.0, 1.0])
    with raises(ValueError, match="graph is discrete"):
        phasic.PiecewisePhaseType(phasic.Graph.from_serialized(negative_binomial(1)), [0.0])

"""The distribution of an accumulated reward, on `Graph` and on `PhaseType`, with derivatives.

Values and slopes in theta are compared with `reward_oracle`; moments and all their derivatives with
the moments of rewards, which the engine computes without any transformation.
"""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phasic
import reward_oracle
from conformance import CASES, assert_near
from model_cases import Case

jax.config.update("jax_enable_x64", True)

NAMES = [name for name in CASES if name.endswith("-2")]
SLOPES = [n for n in NAMES if not CASES[n].family.zeros and CASES[n].thetas.shape[1]]
MOMENTS = [n for n in SLOPES if not CASES[n].family.decades]


def a_few(names: list[str], every: int) -> list[object]:
    """Some of the models in every run, the others in extended ones."""
    return [
        pytest.param(name, marks=[] if i % every == 0 else pytest.mark.extended)
        for i, name in enumerate(names)
    ]


def rewards_of(case: Case) -> np.ndarray:
    """A third of the rewards are 0; whole numbers up to 3 in discrete time."""
    rng = np.random.default_rng(len(case.name))
    n = case.graph["n_vertices"]
    size = rng.integers(1, 4, n) if case.discrete else rng.uniform(0.1, 2.0, n)
    return size * (rng.random(n) < 0.65)


def times_of(case: Case) -> np.ndarray:
    return np.array([0.0, 1.0, 3.0, 9.0]) if case.discrete else np.append(0.0, case.times)


@pytest.mark.parametrize("name", a_few(NAMES, 3))
def test_survival_of_the_reward(name: str) -> None:
    case, rewards = CASES[name], rewards_of(CASES[name])
    times = times_of(case)
    exact = np.stack(
        [reward_oracle.survival(case.graph, theta, rewards, times) for theta in case.thetas]
    )
    graph = phasic.Graph.from_serialized(case.graph)
    for theta, expected in zip(case.thetas, exact, strict=True):
        graph.update_weights(theta)
        of_reward = graph.reward_transform(rewards)
        assert_near(of_reward.sf(times), expected, 1e-12)
        assert of_reward.defect() == pytest.approx(1 - expected[0], abs=1e-14)
        assert of_reward.is_discrete == case.discrete
    if not case.family.zeros:  # there, some theta traps the process in vertices without reward
        model = phasic.PhaseType(graph).reward_transform(rewards)
        assert model.param_length == graph.param_length()
        assert_near(model.sf(case.thetas, times), exact, 1e-12)


@pytest.mark.parametrize("name", a_few(SLOPES, 8))
def test_slopes_of_the_survival(name: str) -> None:
    case, rewards, times = CASES[name], rewards_of(CASES[name]), times_of(CASES[name])
    model = phasic.PhaseType(phasic.Graph.from_serialized(case.graph)).reward_transform(rewards)
    theta = case.thetas[0]
    direction = theta * np.random.default_rng(3).uniform(-1, 1, len(theta))
    exact = reward_oracle.survival_slope(case.graph, theta, direction, rewards, times)
    _, slope = jax.jvp(lambda x: model.sf(x, times), (theta,), (direction,))
    scale = np.maximum(np.abs(exact).max(), 1e-6)  # all 0 where every path earns
    assert_near(np.asarray(slope), exact, 1e-9, scale)
    gradient = jax.jacrev(lambda x: model.sf(x, times))(theta)
    assert_near(np.asarray(gradient @ direction), exact, 1e-9, scale)


@pytest.mark.parametrize("name", a_few(MOMENTS, 13))
def test_moments_and_their_derivatives_are_those_of_rewards(name: str) -> None:
    case, rewards = CASES[name], rewards_of(CASES[name])
    model = phasic.PhaseType(phasic.Graph.from_serialized(case.graph))
    of_reward = model.reward_transform(rewards)
    for function in (
        lambda m, *r: jax.jit(lambda x: m.moments(x, 3, *r))(case.thetas),
        lambda m, *r: jax.vmap(jax.jacrev(lambda x: m.moments(x, 2, *r)))(case.thetas),
        lambda m, *r: jax.hessian(lambda x: m.expectation(x, *r))(case.thetas[0]),
    ):
        found, exact = np.asarray(function(of_reward)), np.asarray(function(model, rewards))
        least = max(
            1e-3 * np.abs(exact).max(), 1e-6
        )  # 0 by cancellation, or where nothing is earned
        assert_near(found, exact, 1e-9, np.maximum(np.abs(exact), least))


def tandem() -> phasic.Graph:
    """1 -> 2 -> 3 -> done, and 2 -> 1; rates theta."""
    graph = phasic.Graph(1)
    a, b, c, done = (graph.find_or_create_vertex([i]) for i in (1, 2, 3, 4))
    graph.starting_vertex().add_edge(a, 0.75)
    a.add_edge(b, [1.0, 0.0, 0.0])
    b.add_edge(c, [0.0, 1.0, 0.0])
    b.add_edge(a, [0.0, 0.0, 1.0])
    c.add_edge(done, [1.0, 1.0, 0.0])
    return graph


def test_time_in_one_state_is_geometric_many_visits_of_exponential_length() -> None:
    theta = np.array([2.0, 3.0, 1.0])
    of_first = phasic.PhaseType(tandem()).reward_transform([0.0, 1.0, 0.0, 0.0, 0.0])
    times = np.array([0.0, 0.3, 2.0])
    survival = 0.75 * np.exp(-2.0 * 0.75 * times)  # left for good with probability 3 / 4
    np.testing.assert_allclose(of_first.sf(theta, times), survival, rtol=1e-14)
    np.testing.assert_allclose(of_first.pdf(theta, times), 1.5 * survival, rtol=1e-13)
    assert of_first.graph.states().tolist() == [[0], [1], [4]]
    again = pickle.loads(pickle.dumps(of_first))
    np.testing.assert_array_equal(again.sf(theta, times), of_first.sf(theta, times))


def test_methods_of_every_kind_take_the_parameters_of_the_model() -> None:
    model, rewards = phasic.PhaseType(tandem()), np.array([0.0, 1.0, 0.0, 3.0, 0.0])
    theta, s = jnp.array([2.0, 3.0, 1.0]), jnp.array([0.0, 0.7, 5.0])
    of_reward = model.reward_transform(rewards)
    inner = phasic.PhaseType.from_trace(of_reward.trace)
    weights = jnp.asarray(of_reward._weights(theta))
    others: dict[str, Any] = {
        "q": 0.3,
        "s": -s,
        "t": s,
        "rewards": np.outer([1.0, 2.0], np.arange(of_reward.n_vertices)),
        "powers": (2, 1),
        "key": jax.random.key(2),
    }
    for name in set(dir(phasic.PhaseType)) - {"pmf", "logpmf", "pgf"}:  # of discrete models
        method = getattr(phasic.PhaseType, name)
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        names = inspect.signature(method).parameters
        if "theta" in names:
            given = {key: value for key, value in others.items() if key in names}
            given |= {"s": s, "rewards": None} if name == "laplace" else {}
            for found, expected in zip(
                jax.tree.leaves(method(of_reward, theta=theta, **given)),
                jax.tree.leaves(method(inner, theta=weights, **given)),
                strict=True,
            ):
                assert np.array_equal(found, expected), name
    np.testing.assert_allclose(
        of_reward.laplace(theta, s), model.laplace(theta, s, rewards), rtol=1e-13
    )
    draws = of_reward.sample(jax.random.key(1), theta, 20_000)
    error = np.sqrt(float(of_reward.variance(theta)) / draws.size)
    assert abs(float(draws.mean()) - float(model.expectation(theta, rewards))) < 4 * error
    both = model.moments(np.stack([theta, 2 * theta]), 2, rewards)
    np.testing.assert_allclose(of_reward.moments(np.stack([theta, 2 * theta]), 2), both, rtol=1e-13)
    assert "3 parameters" in repr(of_reward)


def test_positive_rewards_keep_the_parameters_of_the_graph() -> None:
    rewards = [0.0, 2.0, 0.5, 4.0, 0.0]
    model = phasic.PhaseType(tandem()).reward_transform(rewards)
    assert model.graph.param_length() == 3
    theta = np.array([2.0, 3.0, 1.0])
    exact = reward_oracle.survival(tandem().serialize(), theta, rewards, [0.5, 2.0])
    np.testing.assert_allclose(model.sf(theta, np.array([0.5, 2.0])), exact, rtol=1e-13)


def test_transformations_compose() -> None:
    theta = np.array([2.0, 3.0, 1.0])
    once = phasic.PhaseType(tandem()).reward_transform([0.0, 1.0, 0.0, 3.0, 0.0])
    assert once.n_vertices == 4
    twice = once.reward_transform([0.0, 0.0, 0.5, 0.0])
    direct = phasic.PhaseType(tandem()).reward_transform([0.0, 0.0, 0.0, 1.5, 0.0])
    for function in (lambda m: m.sf(theta, 0.7), lambda m: jax.grad(m.expectation)(theta)):
        np.testing.assert_allclose(function(twice), function(direct), rtol=1e-13, atol=1e-15)


def test_nothing_earned_is_all_defect() -> None:
    graph = tandem()
    graph.update_weights([2.0, 3.0, 1.0])
    nothing = graph.reward_transform(np.zeros(5))
    assert (nothing.cdf(0.0), nothing.expectation(), nothing.defect()) == (1.0, 0.0, 1.0)
    model = phasic.PhaseType(graph).reward_transform(np.zeros(5))
    assert float(model.cdf(jnp.array([2.0, 3.0, 1.0]), 0.0)) == 1.0


def test_a_trap_without_reward_is_kept() -> None:
    graph = phasic.Graph(1)
    a, b, c, done = (graph.find_or_create_vertex([i]) for i in (1, 2, 3, 4))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, [1.0, 0.0])
    a.add_edge(done, 1.0)
    b.add_edge(c, 1.0)
    c.add_edge(b, 1.0)
    c.add_edge(done, [0.0, 1.0])  # the only way out
    rewards = [0.0, 1.0, 0.0, 0.0, 0.0]
    caught, free = np.array([3.0, 0.0]), np.array([3.0, 1.0])
    model = phasic.PhaseType(graph).reward_transform(rewards)
    assert float(model.sf(free, 0.5)) == pytest.approx(np.exp(-2.0), rel=1e-14)
    with pytest.raises(
        ValueError, match=r"traps the process in vertices without reward.*\[\[2\]\]"
    ):
        model.sf(caught, 0.5)
    both = jax.jit(model.sf)(np.stack([free, caught]), 0.5)
    assert not np.isnan(both[0])
    assert np.isnan(both[1])
    graph.update_weights(caught)
    of_reward = graph.reward_transform(rewards)
    assert of_reward.sf(1000.0) == pytest.approx(0.75, rel=1e-14)  # never absorbed
    assert of_reward.sf(0.5) == pytest.approx(0.75 + np.exp(-2.0) / 4, rel=1e-14)


def test_back_to_itself_only_is_a_trap_as_well() -> None:
    graph = phasic.Graph(1)
    a, b, done = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 0.5)
    graph.starting_vertex().add_edge(done, 0.5)
    a.add_edge(b, 1.0)
    b.add_edge(a, 1.0)
    trapped = graph.reward_transform([0.0, 1.0, 0.0, 0.0])
    assert trapped.sf(50.0) == pytest.approx(0.5, rel=1e-15)
    lonely = phasic.Graph(1)
    a, b = (lonely.find_or_create_vertex([i]) for i in (1, 2))
    lonely.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, 1.0)
    b.add_edge(a, 1.0)
    forever = lonely.reward_transform([0.0, 1.0, 0.0])
    assert forever.sf(50.0) == pytest.approx(1.0, rel=1e-15)


def test_trials_with_several_rewards() -> None:
    """Three steps a visit, that many times until success."""
    graph = phasic.geometric(0.25)
    steps = graph.reward_transform([0, 3, 0])
    k = np.arange(1, 20)
    expected = np.where(k % 3 == 0, 0.25 * 0.75 ** (k / 3 - 1), 0.0)
    np.testing.assert_allclose(steps.pmf(k), expected, rtol=1e-13, atol=1e-300)
    model = phasic.PhaseType(phasic.geometric()).reward_transform([0, 3, 0])
    np.testing.assert_allclose(
        model.pmf(np.array([0.25]), k.astype(float)), expected, rtol=1e-13, atol=1e-300
    )
    certain = phasic.PhaseType(phasic.geometric()).reward_transform([0, 2, 0])
    assert jax.grad(lambda p: certain.expectation(p))(jnp.array([1.0])) == pytest.approx(-2.0)


def test_bad_arguments() -> None:
    graph = tandem()
    graph.update_weights([2.0, 3.0, 1.0])
    model, discrete = phasic.PhaseType(graph), phasic.geometric(0.5)
    for call, text in [
        (lambda: graph.reward_transform([1.0]), r"rewards has 1 entries but the graph has 5"),
        (lambda: model.reward_transform([1.0]), r"rewards has shape \(1,\), expected \(5,\)"),
        (
            lambda: graph.reward_transform([0, -1.0, 0, 0, 0]),
            r"rewards\[1\], of state \(1\), is -1",
        ),
        (lambda: model.reward_transform([0, np.inf, 0, 0, 0]), r"rewards\[1\].* is inf"),
        (lambda: model.reward_transform([0, np.nan, 0, 0, 0]), r"rewards\[1\].* is nan"),
        (lambda: discrete.reward_transform([0, 0.5, 0]), r"is 0.5, expected a finite whole number"),
        (lambda: discrete.reward_transform([0, 1e12, 0]), r"expected at most 1e8 vertices"),
        (lambda: tandem().reward_transform(np.ones(5)), r"update_weights"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match=r"rewards is traced"):
        jax.jit(lambda r: model.reward_transform(r).sf(np.ones(3), 1.0))(jnp.ones(5))
    of_reward = model.reward_transform([0, 1, 0, 0, 0])
    with pytest.raises(ValueError, match=r"theta has 2 entries but the model has 3 parameters"):
        of_reward.sf(np.ones(2), 1.0)
    with pytest.raises(ValueError, match=r"theta gives the edge from .* weight -1"):
        of_reward.sf(np.array([-1.0, 1.0, 1.0]), 1.0)
    assert np.isnan(jax.jit(of_reward.sf)(np.array([-1.0, 1.0, 1.0]), 1.0))
    graph.reward_transform([-1.0, 1, 0, 0, -1.0])  # of start and absorbing: ignored

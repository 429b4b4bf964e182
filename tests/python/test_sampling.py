"""Draws follow the distribution that the kernel computes: moments, laws, endings, paths.

Comparisons are at 4 to 5 standard errors with fixed seeds, so that they cannot fail by chance.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats

import phasic
from model_cases import Case, cases, trapped_graphs
from models import Edges, erlang, mm1k, serialized

N = 20_000
CASES = [case for case in cases(1) if case.family.decades == 0]


def graph_of(case: Case) -> phasic.Graph:
    graph = phasic.Graph.from_serialized(case.graph)
    graph.update_weights(case.thetas[0])
    return graph


def assert_moments(draws: np.ndarray, moments: np.ndarray) -> None:
    """Compare the first two moments with the draws', given the exact first four."""
    for k in (1, 2):
        spread = math.sqrt(max(moments[2 * k - 1] - moments[k - 1] ** 2, 0.0) / len(draws))
        error = abs((draws**k).mean() - moments[k - 1])
        assert error <= 4 * spread + 1e-12 * moments[k - 1], f"moment {k}"


def assert_shares(count: np.ndarray, n: int, probability: np.ndarray) -> None:
    spread = np.sqrt(n * probability * np.clip(1 - probability, 0, 1))
    assert (np.abs(count - n * probability) <= 4.5 * spread + 1e-9 * n).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_moments_and_law_of_generated_models(case: Case) -> None:
    graph = graph_of(case)
    draws = graph.sample(N, seed=11)
    assert_moments(draws, graph.moments(4))
    times = np.unique(draws[:8])
    assert_shares((draws[:, None] <= times).sum(0), N, graph.cdf(times))
    rewards = graph.sample(N, seed=11, rewards=case.rewards)
    for row, earned in zip(case.rewards, rewards.T, strict=True):
        assert_moments(earned, graph.moments(4, row))
    covariance = graph.covariance(*case.rewards)
    products = (rewards - rewards.mean(0)).prod(1)
    assert abs(products.mean() - covariance) <= 5 * products.std() / math.sqrt(N)


def test_kolmogorov_smirnov_against_closed_forms() -> None:
    graph = phasic.erlang(5, 2.0)
    found = scipy.stats.kstest(graph.sample(100_000, seed=1), scipy.stats.gamma(5, scale=0.5).cdf)
    assert found.pvalue > 1e-3
    graph = phasic.hyperexponential([0.3, 0.7], [0.01, 10.0])
    found = scipy.stats.kstest(graph.sample(100_000, seed=2), graph.cdf)
    assert found.pvalue > 1e-3


def test_chi_square_of_a_negative_binomial() -> None:
    draws = phasic.negative_binomial(3, 0.3).sample(100_000, seed=3)
    exact = scipy.stats.nbinom(3, 0.3)
    count = np.bincount(draws.astype(int), minlength=60)[3:43]
    expected = 100_000 * exact.pmf(np.arange(40))
    assert scipy.stats.chisquare(count, expected * count.sum() / expected.sum()).pvalue > 1e-3


def test_a_step_of_probability_one_or_almost_none() -> None:
    graph = phasic.Graph(1, discrete=True)
    a, b, end = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, 1.0)
    b.add_edge(end, 1e-12)
    draws = graph.sample(N, seed=4)
    assert (draws == np.floor(draws)).all()
    assert draws.min() >= 2
    assert scipy.stats.kstest((draws - 1) * 1e-12, scipy.stats.expon.cdf).pvalue > 1e-3


def test_sums_of_rare_paths_reach_the_tail() -> None:
    """One path in 1e4 takes a million times as long; the mean is almost all theirs."""
    graph = phasic.hyperexponential([1 - 1e-4, 1e-4], [1.0, 1e-6])
    draws = graph.sample(2_000_000, seed=5)
    assert_moments(draws, graph.moments(4))


def test_rates_over_24_decades() -> None:
    graph = phasic.hypoexponential(10.0 ** np.linspace(12, -12, 9))
    draws = graph.sample(N, seed=6, rewards=np.eye(11)[1:10])
    mean = 10.0 ** np.linspace(-12, 12, 9)
    assert (np.abs(draws.mean(0) / mean - 1) <= 4 / math.sqrt(N)).all()
    assert_moments(graph.sample(N, seed=6), graph.moments(4))


class TestEndings:
    """Where paths end, and what is conditioned on it."""

    @staticmethod
    def model() -> phasic.PhaseType:
        """a <-> b; a -> left, b -> right and b -> trap ring; a tenth is absorbed at once."""
        states = [(i,) for i in range(1, 7)]
        edges: Edges = {
            **{(1, 2): 1.0, (2, 1): 2.0, (1, 3): 0.5, (5, 6): 1.0, (6, 5): 1.0},
            **{(2, 4): [1.0, 0.0], (2, 5): [0.0, 1.0]},
        }
        graph = serialized(states, {1: 0.6, 4: 0.3}, edges, param_length=2)
        return phasic.PhaseType(phasic.Graph.from_serialized(graph))

    def test_absorbing_vertices_are_met_with_their_probabilities(self) -> None:
        model, theta = self.model(), np.array([0.7, 0.0])
        found = model.sample_with_state(jax.random.key(0), theta, 50_000)
        count = np.bincount(np.asarray(found.vertex) + 1, minlength=8)
        assert_shares(count[1:], 50_000, np.asarray(model.absorption_probability(theta)))
        assert count[0] == (np.asarray(found.value)[np.asarray(found.vertex) == -1] == 0).sum()
        same = model.sample(jax.random.key(0), theta, 50_000)
        np.testing.assert_array_equal(found.value, same)

    @pytest.mark.parametrize("given", [3, 4, (3, 4)])
    def test_conditional_draws_are_those_that_end_there(self, given: Any) -> None:
        model, theta = self.model(), np.array([0.7, 0.0])
        every = model.sample_with_state(jax.random.key(1), theta, 200_000)
        kept = np.asarray(every.value)[np.isin(every.vertex, given)]
        drawn = model.sample_with_state(jax.random.key(2), theta, 100_000, given=given)
        assert set(np.unique(drawn.vertex)) == set(np.atleast_1d(given))
        assert scipy.stats.ks_2samp(kept, drawn.value).pvalue > 1e-3

    def test_a_condition_avoids_traps(self) -> None:
        model, theta = self.model(), np.array([0.7, 0.4])
        with pytest.raises(ValueError, match=r"may never end.*\(5\).*\(6\)"):
            model.sample(jax.random.key(0), theta)
        every = jax.jit(lambda key: model.sample_with_state(key, theta, 200_000))(jax.random.key(1))
        ended = np.asarray(every.vertex) > 0
        trapped = np.isinf(every.value)
        assert_shares(
            np.array([trapped.sum(), ended.sum()]),
            200_000,
            np.array([0.9, 0.0]) + np.array([-1, 1]) * model.absorption_probability(theta).sum(),
        )
        drawn = model.sample(jax.random.key(3), theta, 100_000, given=(3, 4))
        assert scipy.stats.ks_2samp(np.asarray(every.value)[ended], drawn).pvalue > 1e-3

    def test_a_rare_ending(self) -> None:
        """Once in 1e15 paths: no rejection could find it, and its law is known."""
        graph = phasic.Graph(1)
        a, b, common, rare = (graph.find_or_create_vertex([i]) for i in range(1, 5))
        graph.starting_vertex().add_edge(a, 1.0)
        a.add_edge(common, 1.0)
        a.add_edge(b, 1e-15)
        b.add_edge(rare, 2.0)
        model = phasic.PhaseType(graph)
        draws = np.asarray(model.sample(jax.random.key(4), None, N, given=4))
        assert abs(draws.mean() - 1.5) < 4 * math.sqrt(1.25 / N)
        law = scipy.stats.kstest(draws, lambda t: 1 - 2 * np.exp(-t) + np.exp(-2 * t))
        assert law.pvalue > 1e-3

    def test_no_path_ends_there(self) -> None:
        model = self.model()
        with pytest.raises(ValueError, match="given is 2, expected rows of absorbing states"):
            model.sample(jax.random.key(0), np.ones(2), given=2)
        graph = phasic.Graph(1)
        a, b, c = (graph.find_or_create_vertex([i]) for i in range(1, 4))
        graph.starting_vertex().add_edge(a, 1.0)
        a.add_edge(b, 1.0)
        a.add_edge(c, [1.0])
        model = phasic.PhaseType(graph)
        with pytest.raises(ValueError, match=r"no path ends in given = \(3\)"):
            model.sample(jax.random.key(0), np.zeros(1), given=3)
        assert np.isnan(jax.jit(lambda t: model.sample(jax.random.key(0), t, given=3))(np.zeros(1)))


class TestHorizon:
    """Draws that stop at a time, and go on from there."""

    def test_states_at_the_horizon(self) -> None:
        model = TestEndings.model()
        theta, n = np.array([0.7, 0.4]), 50_000
        found = model.sample_with_state(jax.random.key(5), theta, n, horizon=0.8)
        count = np.bincount(np.asarray(found.vertex) + 1, minlength=8)[1:]
        assert_shares(count, n, np.asarray(model.state_probability(theta, 0.8)))
        assert found.value.max() == 0.8
        early = np.asarray(found.value) < 0.8
        np.testing.assert_array_equal(early, np.isin(found.vertex, (-1, 3, 4)))

    def test_rewards_up_to_the_horizon_are_the_occupancy(self) -> None:
        model = TestEndings.model()
        theta, n = np.array([0.7, 0.4]), 50_000
        found = model.sample_with_state(jax.random.key(6), theta, n, np.eye(7), horizon=2.0)
        mean, spread = found.value.mean(0), found.value.std(0) / math.sqrt(n)
        exact = model.accumulated_occupancy(theta, 2.0)
        assert (np.abs(mean - exact) <= 4 * spread + 1e-15).all()

    def test_two_legs_make_one_path(self) -> None:
        model = phasic.PhaseType(phasic.Graph.from_serialized(mm1k(4)))
        theta, n = np.array([0.8, 1.0]), 50_000
        first = model.sample_with_state(jax.random.key(7), theta, n, horizon=1.0)
        second = model.sample_with_state(jax.random.key(8), theta, n, start=first.vertex)
        assert_moments(np.asarray(first.value + second.value), np.asarray(model.moments(theta, 4)))

    def test_discrete_steps(self) -> None:
        model = phasic.PhaseType(phasic.negative_binomial(2, 0.3))
        found = model.sample_with_state(jax.random.key(9), None, N, horizon=4)
        count = np.bincount(np.asarray(found.vertex), minlength=model.n_vertices)
        assert_shares(count, N, np.asarray(model.state_probability(None, 4)))
        with pytest.raises(ValueError, match=r"horizon is 4.5, expected a finite whole number"):
            model.sample_with_state(jax.random.key(9), None, N, horizon=4.5)

    @pytest.mark.parametrize("horizon", [-1.0, math.inf, math.nan])
    def test_bad_horizons(self, horizon: float) -> None:
        model = phasic.PhaseType(phasic.exponential(1.0))
        with pytest.raises(ValueError, match=r"horizon is .*, expected a finite number >= 0"):
            model.sample_with_state(jax.random.key(0), None, horizon=horizon)
        assert model.sample_with_state(jax.random.key(0), None, horizon=0.0).value == 0

    @pytest.mark.parametrize("start", [0, -1, 99])
    def test_bad_starts(self, start: int) -> None:
        model = phasic.PhaseType(phasic.exponential(1.0))
        with pytest.raises(ValueError, match=rf"start\[0\] is {start}, expected the row"):
            model.sample_with_state(jax.random.key(0), None, start=start)


class TestPaths:
    """Whole paths, padded and ragged."""

    def test_paths_are_those_of_the_draws(self) -> None:
        graph = phasic.Graph.from_serialized(mm1k(3))
        model, theta = phasic.PhaseType(graph), np.array([0.8, 1.0])
        draws = model.sample_with_state(jax.random.key(1), theta, (3, 40))
        paths = model.sample_paths(jax.random.key(1), theta, (3, 40))
        assert paths.vertex.shape == (3, 40, paths.length.max())
        last = (np.asarray(paths.length) - 1)[..., None]
        for whole, end in ((paths.time, draws.value), (paths.vertex, draws.vertex)):
            found = np.take_along_axis(np.asarray(whole), last, -1)[..., 0]
            np.testing.assert_array_equal(found, end)
        behind = np.arange(paths.vertex.shape[-1]) > last
        assert (np.asarray(paths.vertex)[behind] == -1).all()
        assert np.isinf(np.asarray(paths.time)[behind]).all()
        later, earlier = paths.time[..., 1:], paths.time[..., :-1]
        assert (np.asarray(later > earlier) | behind[..., 1:]).all()
        cut = model.sample_paths(jax.random.key(1), theta, (3, 40), 2)
        np.testing.assert_array_equal(cut.time, paths.time[..., :2])
        np.testing.assert_array_equal(cut.length, paths.length)

    def test_jumps_follow_edges_in_proportion(self) -> None:
        graph = phasic.Graph.from_serialized(mm1k(3))
        graph.update_weights([0.8, 1.0])
        paths = graph.sample_paths(5000, seed=2)
        steps = np.concatenate([np.stack([v[:-1], v[1:]], -1) for v, _ in paths])
        stays = np.concatenate([np.diff(t) for _, t in paths])
        states = graph.states()[:, 0]
        inside = states[steps[:, 0]] < 4  # one customer fewer: below capacity
        up = states[steps[:, 1]] > states[steps[:, 0]]
        assert_shares(np.array([up[inside].sum()]), int(inside.sum()), np.array([0.8 / 1.8]))
        assert scipy.stats.kstest(stays[inside] * 1.8, scipy.stats.expon.cdf).pvalue > 1e-3

    def test_ragged_form_of_graph(self) -> None:
        graph = phasic.Graph.from_serialized(mm1k(3))
        graph.update_weights([0.8, 1.0])
        rng = np.random.default_rng(3)
        paths = graph.sample_paths(50, seed=rng)
        assert all(graph.states()[v[-1], 0] == 1 for v, _ in paths)
        assert all(t[0] == 0 and len(t) == len(v) for v, t in paths)
        same = graph.sample_paths(50, seed=4, max_length=2)
        assert [len(v) for v, _ in same] == [2] * 50
        np.testing.assert_array_equal(
            [t[-1] for _, t in graph.sample_paths(50, seed=4)], graph.sample(50, seed=4)
        )

    def test_max_length_under_a_transformation(self) -> None:
        model = phasic.PhaseType(phasic.exponential(1.0))
        with pytest.raises(ValueError, match="max_length is None, expected an int"):
            jax.jit(lambda key: model.sample_paths(key, None))(jax.random.key(0))
        with pytest.raises(ValueError, match="max_length is 0"):
            model.sample_paths(jax.random.key(0), None, 3, 0)
        paths = jax.jit(lambda key: model.sample_paths(key, None, 5, 3))(jax.random.key(0))
        assert paths.time.shape == (5, 3)


TRAPPED = {name: rest for name, *rest in trapped_graphs()}


@pytest.mark.parametrize("name", TRAPPED)
def test_traps(name: str) -> None:
    graph, theta, trapped = TRAPPED[name]
    model = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    with pytest.raises(ValueError, match="a path may never end") as error:
        model.sample(jax.random.key(0), theta, 10)
    assert all(f"(vertex {v})" in str(error.value) for v in trapped)
    draws = jax.jit(lambda key, t: model.sample_with_state(key, t, 1000))(jax.random.key(0), theta)
    never = np.isinf(draws.value)
    probability = float(model.absorption_probability(theta).sum())
    assert_shares(np.array([never.sum()]), 1000, np.array([1 - probability]))
    assert (np.asarray(draws.vertex)[never] == -1).all()


def test_too_many_jumps_are_refused_before_the_first() -> None:
    graph = phasic.Graph(1)
    a, b, end = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, 1.0)
    b.add_edge(a, 1.0)
    b.add_edge(end, [1.0])
    model = phasic.PhaseType(graph)
    message = r"a draw takes 2e\+12 jumps on average at this theta, and 3 of them more than"
    with pytest.raises(phasic.BudgetError, match=message):
        model.sample(jax.random.key(0), np.array([1e-12]), 3)
    rows = np.array([[1.0], [1e-12]])
    with pytest.raises(phasic.BudgetError, match=r"\(row 1 of the batch\)"):
        model.sample(jax.random.key(0), rows, 3)
    found = jax.jit(model.sample)(jax.random.key(0), rows)
    np.testing.assert_array_equal(np.isnan(found), [False, True])
    stopped = model.sample_with_state(jax.random.key(0), np.array([1e-12]), 3, horizon=5.0)
    np.testing.assert_array_equal(stopped.value, 5.0)


class TestGraphArguments:
    """`Graph.sample` without JAX."""

    def test_seeds(self) -> None:
        graph = phasic.exponential(1.0)
        np.testing.assert_array_equal(graph.sample(5, seed=1), graph.sample(9, seed=1)[:5])
        assert (graph.sample(5, seed=1) != graph.sample(5, seed=2)).all()
        assert (graph.sample(5) != graph.sample(5)).all()
        rng = np.random.default_rng(1)
        assert (graph.sample(5, seed=rng) != graph.sample(5, seed=rng)).all()
        assert graph.sample(0).shape == (0,)
        assert graph.sample(2**16, seed=2**100)[0] == graph.sample(1, seed=2**100)[0]

    @pytest.mark.parametrize("n", [-1, 1.5, True, "3"])
    def test_bad_numbers(self, n: Any) -> None:
        with pytest.raises(ValueError, match=r"n is .*, expected a whole number"):
            phasic.exponential(1.0).sample(n)

    @pytest.mark.parametrize("seed", [-1, 1.5, True, "3"])
    def test_bad_seeds(self, seed: Any) -> None:
        with pytest.raises(ValueError, match=r"seed is .*, expected None, an int"):
            phasic.exponential(1.0).sample(1, seed=seed)

    def test_rewards_and_parameters(self) -> None:
        graph = phasic.Graph.from_serialized(erlang(2))
        with pytest.raises(ValueError, match="update_weights"):
            graph.sample(1)
        graph.update_weights([1.0])
        assert graph.sample(3, rewards=np.ones(4)).shape == (3,)
        assert graph.sample(3, rewards=np.ones((2, 4))).shape == (3, 2)
        for bad in (np.ones(3), np.ones((2, 3)), np.ones((0, 4))):
            with pytest.raises(ValueError, match="rewards has"):
                graph.sample(1, rewards=bad)
        with pytest.raises(ValueError, match=r"rewards\[0\] is inf"):
            graph.sample(1, rewards=np.full(4, np.inf))
        graph.update_weights([-1.0])
        with pytest.raises(ValueError, match="the weight -1"):
            graph.sample(1)


def test_a_trap_that_the_given_states_do_not_lead_to_is_no_fault() -> None:
    graph = phasic.Graph(1)
    a, b, end = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    for vertex in (a, b):
        graph.starting_vertex().add_edge(vertex, 0.5)
        vertex.add_edge(end, [1.0, 0.0] if vertex is a else [0.0, 1.0])
    model, theta, key = phasic.PhaseType(graph), np.array([2.0, 0.0]), jax.random.key(3)
    found = model.sample_with_state(key, theta, 4000, start=a.index())
    assert (np.asarray(found.vertex) == end.index()).all()
    assert (
        scipy.stats.kstest(np.asarray(found.value), scipy.stats.expon(scale=0.5).cdf).pvalue > 1e-3
    )
    with pytest.raises(ValueError, match="a path may never end"):
        model.sample_with_state(key, theta, 2, start=np.array([a.index(), b.index()]))

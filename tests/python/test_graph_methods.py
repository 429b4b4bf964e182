"""What users do with a graph by hand: look up, change, transform, draw."""

from __future__ import annotations

import pickle
import sys
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
import phasic
from conformance import CASES, assert_near
from model_cases import Case

jax.config.update("jax_enable_x64", True)

NAMES = [name for name in CASES if name.endswith("-3")]


def concrete(case: Case) -> phasic.Graph:
    graph = phasic.Graph.from_serialized(case.graph)
    graph.update_weights(case.thetas[-1])
    return graph


def two_stage() -> phasic.Graph:
    """Start -> 1 <-> 2 -> 3; rates theta, 1 and 3."""
    graph = phasic.Graph(1)
    a, b, done = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 0.6)
    graph.starting_vertex().add_edge(b, 0.3)
    a.add_edge(b, [2.0])
    b.add_edge(a, 1.0)
    b.add_edge(done, 3.0)
    return graph


def test_looking_up_vertices() -> None:
    graph = two_stage()
    assert graph.find_vertex([2]).index() == 2
    assert graph.vertex_at(2) == graph.find_vertex([2])
    assert (graph.vertex_exists([2]), graph.vertex_exists([9])) == (True, False)
    assert (graph.edges_length(), graph.vertex_at(2).edges_length()) == (5, 2)
    twin = graph.create_vertex([2])
    assert (twin.index(), graph.find_vertex([2]).index()) == (4, 2)
    with pytest.raises(ValueError, match=r"no vertex has the state \[9\]"):
        graph.find_vertex([9])
    with pytest.raises(ValueError, match=r"index is 7, expected 0 to 4"):
        graph.vertex_at(7)


def test_weights_follow_the_parameters_in_force() -> None:
    graph = two_stage()
    (edge,) = graph.vertex_at(1).edges()
    assert (edge.weight(), edge.weight([4.0])) == (0.0, 8.0)
    graph.update_weights([3.0])
    assert (edge.weight(), edge.weight([4.0])) == (6.0, 8.0)
    assert (graph.vertex_at(1).rate(), graph.vertex_at(1).rate([4.0])) == (6.0, 8.0)
    with pytest.raises(ValueError, match=r"theta has 2 entries but the model has 1"):
        edge.weight([1.0, 2.0])
    other = graph.copy()
    assert other.expectation() == graph.expectation()
    graph.vertex_at(1).add_edge(graph.vertex_at(3), 1.0)
    assert other.edges_length() == 5


@pytest.mark.parametrize("name", NAMES)
def test_numbers_at_one_theta_agree_with_the_oracle(name: str) -> None:
    case = CASES[name]
    graph = concrete(case)
    theta = case.thetas[-1]

    def exact(quantity: str, **options: object) -> np.ndarray:
        return np.asarray(oracle.evaluate(case.graph, theta, quantity, **options)[0])

    assert_near(graph.absorption_probability(), exact("absorption"), 1e-12)
    found = graph.state_probability(case.times)
    probability = exact("state_probability", times=case.times).reshape(found.shape)
    assert_near(found, probability, 1e-11, np.maximum(probability, 1e-4))
    assert graph.expected_waiting_time()[0] == pytest.approx(graph.expectation(), rel=1e-13)
    assert graph.expected_waiting_time(case.rewards[0])[0] == pytest.approx(
        graph.expectation(case.rewards[0]), rel=1e-13
    )
    assert graph.defect() == pytest.approx(float(exact("cdf", times=np.zeros(1))[0]), abs=1e-15)
    last = np.nonzero(graph.absorption_probability())[0]
    for vertex in last:
        to_it = graph.backward_probabilities([vertex])
        assert to_it[0] == pytest.approx(graph.absorption_probability()[vertex], rel=1e-13)
    fixed = graph.instantiate()
    assert fixed.param_length() == 0
    np.testing.assert_allclose(fixed.moments(2), graph.moments(2), rtol=1e-13)


def test_waiting_times_from_each_vertex() -> None:
    graph = two_stage()
    graph.update_weights([1.0])
    np.testing.assert_allclose(graph.expected_waiting_time(), [0.75, 1.0, 0.5, 0.0], rtol=1e-15)
    np.testing.assert_allclose(graph.backward_probabilities([1]), [0.675, 1, 0.25, 0], rtol=1e-15)
    np.testing.assert_array_equal(graph.expected_sojourn_time(), graph.expected_sojourn())
    graph.update_weights([0.0])  # the first state traps
    assert graph.expected_waiting_time().tolist() == [np.inf, np.inf, np.inf, 0.0]
    np.testing.assert_allclose(graph.expected_waiting_time([0, 0, 8, 0])[2], 2.0, rtol=1e-15)
    np.testing.assert_allclose(graph.backward_probabilities([3]), [0.225, 0, 0.75, 1], rtol=1e-15)
    unreached = phasic.Graph.from_ctmc([[-1.0, 0, 1], [2, -4.0, 2], [0, 0, 0]], 0)
    np.testing.assert_allclose(unreached.expected_waiting_time(), [1, 1, 0.75, 0], rtol=1e-15)
    for call, text in [
        (lambda: graph.expected_waiting_time([0, -1.0, 0, 0]), r"rewards\[1\] is -1.0"),
        (lambda: graph.backward_probabilities([0]), r"rows of states from 1 to 3"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()


def test_occupancy_and_steps() -> None:
    graph = two_stage()
    graph.update_weights([1.0])
    np.testing.assert_allclose(graph.accumulated_occupancy(1e3), graph.expected_sojourn())
    assert graph.accumulated_occupancy([[0.0, 1.0]]).shape == (1, 2, 4)
    assert graph.state_probability([]).shape == (0, 4)
    assert phasic.geometric(0.5).pmf(2) == 0.25
    with pytest.raises(ValueError, match=r"use pdf"):
        graph.pmf(1.0)


def test_normalize_makes_the_jump_chain() -> None:
    graph = two_stage()
    with pytest.raises(ValueError, match=r"1 parameters.*instantiate"):
        graph.normalize()
    graph.update_weights([1.0])
    jumps = graph.instantiate()
    np.testing.assert_allclose(jumps.normalize(), [1 / 0.9, 0.5, 0.25, 1.0], rtol=1e-15)
    np.testing.assert_allclose(jumps.as_matrices().sim, [[-1, 1], [0.25, -1]], rtol=1e-15)
    assert jumps.expectation([0, 0.5, 0.25, 0]) == pytest.approx(0.75 / 0.9, rel=1e-14)


def test_a_new_start_distribution() -> None:
    graph = two_stage()
    graph.update_ipv([0.0, 0.5])
    graph.update_weights([1.0])
    assert graph.expectation() == pytest.approx(0.25, rel=1e-15)
    with pytest.raises(ValueError, match=r"ipv has shape \(1,\), expected \(2,\)"):
        graph.update_ipv([1.0])
    with pytest.raises(ValueError, match=r"start weights sum to 1.5"):
        graph.update_ipv([1.0, 0.5])
    assert (two_stage().is_acyclic(), phasic.erlang(3).is_acyclic()) == (False, True)


def test_events_along_the_way() -> None:
    """Poisson events at rate 3 in an exponential time of rate 2 are geometric from 0."""
    events = phasic.exponential(2.0).discretize(3.0)
    assert events.rewards.tolist() == [0, 0, 0, 1]
    assert events.clone().rewards.tolist() == [0, 0, 0, 1]
    count = events.reward_transform(events.rewards)
    k = np.arange(1, 12)
    np.testing.assert_allclose(count.pmf(k), 0.4 * 0.6**k, rtol=1e-13)
    assert count.defect() == pytest.approx(0.4, rel=1e-15)  # no event
    graph = two_stage()
    graph.update_weights([1.0])
    rates = [0.0, 0.5, 2.0, 0.0]
    by_state = graph.discretize(lambda state, high: high if state[0] == 2 else 0.5, high=2.0)
    assert by_state.to_json() == graph.discretize(rates).to_json()
    assert by_state.expectation(by_state.rewards) == pytest.approx(
        graph.expectation(rates), rel=1e-14
    )
    assert graph.discretize(0.0).rewards.sum() == 0
    for call, text in [
        (lambda: events.discretize(1.0), r"does not apply to a discrete graph"),
        (lambda: graph.discretize([1.0, 2.0]), r"rate has shape \(2,\)"),
        (lambda: graph.discretize(-1.0), r"event rate of state \[1\] is -1.0"),
        (lambda: two_stage().discretize(1.0), r"update_weights"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()


def test_events_whose_rate_is_a_parameter() -> None:
    """Mutations at rate theta_2 / 2 a lineage, on a genealogy of rate theta_1."""

    @phasic.callback(ipv=[([4], 1.0)])
    def lineages(state: np.ndarray) -> list[tuple[list[int], list[float]]]:
        (k,) = state
        return [([k - 1], [k * (k - 1) / 2, 0.0])] if k > 1 else []

    graph = phasic.Graph(lineages)
    model, theta = phasic.PhaseType(graph), jnp.array([1.3, 0.7])
    events = model.discretize(lambda state: [0.0, state[0] / 2])
    assert events.is_discrete
    sites = events.reward_transform(events.rewards)
    # Independent sums over k: geometric numbers of mutations while there are k lineages.
    counts = np.eye(60)[0]
    for k in (2, 3, 4):
        stop = (k - 1) * 1.3 / ((k - 1) * 1.3 + 0.7)
        counts = np.convolve(counts, stop * (1 - stop) ** np.arange(60))[:60]
    found = np.append(sites.cdf(theta, 0.0), sites.pmf(theta, np.arange(1.0, 60.0)))
    np.testing.assert_allclose(found, counts, rtol=1e-12)
    rewards = graph.states()[:, 0] / 2
    for function in (jax.grad, lambda f: f):
        np.testing.assert_allclose(
            function(sites.expectation)(theta),
            function(lambda x: x[1] * model.expectation(x, rewards))(theta),
            rtol=1e-13,
        )
    for number in (0.5, np.full(5, 0.5)):
        fixed = model.discretize(number)
        graph.update_weights(theta)
        exact = graph.discretize(number)
        np.testing.assert_array_equal(fixed.rewards, exact.rewards)
        np.testing.assert_allclose(fixed.moments(theta, 2), exact.moments(2), rtol=1e-13)
    again = pickle.loads(pickle.dumps(sites))
    np.testing.assert_array_equal(again.sf(theta, 3.0), sites.sf(theta, 3.0))
    assert np.isnan(jax.jit(sites.sf)(jnp.array([1.0, -0.1]), 3.0))
    for call, text in [
        (lambda: sites.sf(jnp.array([1.0, -0.1]), 3.0), r"theta gives an event a negative rate"),
        (lambda: events.discretize(1.0), r"does not apply to a discrete model"),
        (lambda: model.discretize(np.ones(3)), r"rate has shape \(3,\)"),
        (lambda: model.discretize(-1.0), r"expected finite numbers >= 0"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()


def test_functions_of_theta() -> None:
    graph, theta, times = phasic.hypoexponential(2), jnp.array([2.0, 5.0]), jnp.array([0.3, 1.0])
    model = phasic.PhaseType(graph)
    density = phasic.Graph.pmf_from_graph(graph)
    np.testing.assert_array_equal(density(theta, times), model.pdf(theta, times))
    fixed = phasic.Graph.pmf_from_graph(phasic.geometric(0.5), discrete=True)
    np.testing.assert_array_equal(fixed(jnp.array([1.0, 2.0])), [0.5, 0.25])
    moments = phasic.Graph.moments_from_graph(graph, 3)
    np.testing.assert_array_equal(moments(theta), model.moments(theta, 3))
    both = phasic.Graph.pmf_and_moments_from_graph(graph)
    np.testing.assert_array_equal(both(theta, times)[1], model.moments(theta, 2))
    first = both(theta, times, rewards=[0.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(first[0], 2 * np.exp(-2 * times), rtol=1e-13)
    np.testing.assert_allclose(first[1], [0.5, 0.5], rtol=1e-14)
    with pytest.raises(ValueError, match=r"discrete is True, but the graph is continuous"):
        phasic.Graph.pmf_from_graph(graph, discrete=True)


def coalescent(n: int) -> tuple[phasic.Graph, np.ndarray]:
    """Kingman's n-coalescent with block sizes, and branch length rewards of each size."""

    @phasic.callback(ipv=[([n] + [0] * (n - 1), 1.0)])
    def model(state: np.ndarray) -> list[tuple[np.ndarray, list[float]]]:
        moves = []
        for i in range(n):
            for j in range(i, n):
                pairs = state[i] * (state[i] - 1) / 2 if i == j else state[i] * state[j]
                if pairs > 0 and i + j + 1 < n:
                    merged = state.copy()
                    merged[[i, j]] -= 1 if i != j else 0
                    if i == j:
                        merged[i] -= 2
                    merged[i + j + 1] += 1
                    moves.append((merged, [float(pairs)]))
        return moves

    graph = phasic.Graph(model)
    return graph, graph.states().T[: n - 1].astype(float)


def fu_covariance(n: int) -> np.ndarray:
    """Fu (1995), equations 2 to 4: covariance of branch lengths in units where E = 2 / i."""
    a = [Fraction(0)]  # a[k] = sum 1/i, i <= k
    for i in range(1, n + 1):
        a.append(a[-1] + Fraction(1, i))

    def beta(i: int) -> Fraction:
        return Fraction(2 * n, (n - i + 1) * (n - i)) * (a[n] - a[i - 1]) - Fraction(2, n - i)

    def entry(i: int, j: int) -> Fraction:  # i >= j
        if i == j and 2 * i < n:
            return beta(i + 1)
        if i == j and 2 * i == n:
            return 2 * (a[n - 1] - a[i - 1]) / (n - i) - Fraction(1, i**2)
        if i == j:
            return beta(i) - Fraction(1, i**2)
        if i + j < n:
            return (beta(i + 1) - beta(i)) / 2
        if i + j == n:
            tails = (a[n - 1] - a[i - 1]) / (n - i) + (a[n - 1] - a[j - 1]) / (n - j)
            return tails - (beta(i) + beta(j + 1)) / 2 - Fraction(1, i * j)
        return (beta(j) - beta(j + 1)) / 2 - Fraction(1, i * j)

    sizes = range(1, n)
    sigma = [[float(4 * entry(max(i, j), min(i, j))) for j in sizes] for i in sizes]
    return np.array(sigma)  # of lengths with mean 2 / i, where theta = 2


@pytest.mark.parametrize(
    "n", [*range(4, 11), *(pytest.param(n, marks=pytest.mark.extended) for n in range(11, 21))]
)
def test_covariance_of_the_site_frequency_spectrum(n: int) -> None:
    graph, rewards = coalescent(n)
    model = phasic.PhaseType(graph)
    exact = fu_covariance(n)
    found = np.asarray(model.covariance(jnp.array([1.0]), rewards))
    np.testing.assert_allclose(
        model.expectation(jnp.array([1.0]), rewards), 2 / np.arange(1, n), rtol=1e-13
    )
    assert np.abs(found - exact).max() <= 1e-12 * np.abs(exact).max()
    graph.update_weights([1.0])
    assert graph.covariance(rewards[0], rewards[1]) == pytest.approx(found[0, 1], abs=1e-14)


def test_pictures_by_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    graph = two_stage()
    graph.vertex_at(1).add_edge(graph.vertex_at(1), 0.5)
    file = tmp_path / "graph.png"
    ax = graph.plot(str(file), backend="matplotlib")
    texts = {text.get_text() for text in ax.texts}
    assert {"start", "1", "2", "3", "2 θ1", "0.6"} <= texts
    assert file.stat().st_size > 1000
    graph.update_weights([4.0])
    assert "8" in {text.get_text() for text in graph.plot(rankdir="TB", ax=ax).texts}
    for call, text in [
        (lambda: graph.plot(backend="crayon"), r"backend is 'crayon'"),
        (lambda: graph.plot(max_nodes=3), r"the graph has 4 vertices, expected at most 3"),
        (lambda: graph.plot(backend="graphviz", ax=ax), r"does not draw on axes"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match=r"graphviz is not installed: pip install graphviz"):
        graph.plot(backend="graphviz")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib is not installed"):
        graph.plot(backend="matplotlib")


class _Digraph:
    """Stands in for graphviz.Digraph: keeps what it is told."""

    def __init__(self, graph_attr: dict[str, str]) -> None:
        self.attributes, self.nodes, self.edges, self.files = graph_attr, [], [], []

    def node(self, name: str, label: str, **_: str) -> None:
        self.nodes.append((name, label))

    def edge(self, source: str, target: str, label: str) -> None:
        self.edges.append((source, target, label))

    def render(self, outfile: str, format: str, cleanup: bool) -> None:
        self.files.append((outfile, format))


def test_pictures_by_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = type(sys)("graphviz")
    stand_in.Digraph = _Digraph
    monkeypatch.setitem(sys.modules, "graphviz", stand_in)
    drawn = two_stage().plot("out.svg", backend="graphviz")
    assert drawn.nodes == [("0", "start"), ("1", "1"), ("2", "2"), ("3", "3")]
    assert ("1", "2", "2 θ1") in drawn.edges
    assert (drawn.files, drawn.attributes) == ([("out.svg", "svg")], {"rankdir": "LR"})

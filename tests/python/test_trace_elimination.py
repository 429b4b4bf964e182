"""The trace of a whole graph: evaluated, instantiated, turned into a likelihood."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
import phasic
from jax_cases import model
from phasic import trace_elimination as te
from phasic.hierarchical_trace_cache import collect_missing_traces_batch, compute_trace_work_unit

THETA = np.array([1.3, 0.7])


@pytest.fixture(scope="module")
def trace() -> phasic.Trace:
    return model().trace


def geometric() -> phasic.Graph:
    graph = phasic.Graph(1, discrete=True)
    a, end = (graph.find_or_create_vertex([i]) for i in (1, 2))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(end, [1.0])
    return graph


def test_recording_leaves_the_cache_alone(empty_cache_dir: Path) -> None:
    graph = phasic.Graph.from_serialized(models.two_islands(4))
    trace = te.record_elimination_trace(graph)
    assert (trace.kind, trace.n_vertices) == ("program", graph.vertices_length())
    assert not empty_cache_dir.exists()
    te.record_elimination_trace(graph, graph.param_length())
    with pytest.raises(ValueError, match="param_length is 7, but the graph has"):
        te.record_elimination_trace(graph, 7)


def test_the_eliminated_graph_gives_the_expectation_by_substitution(trace: phasic.Trace) -> None:
    found = te.evaluate_trace(trace, THETA)
    x = np.full(trace.n_vertices, np.nan)

    def expected(vertex: int) -> float:
        if np.isnan(x[vertex]):
            row = slice(found.indptr[vertex], found.indptr[vertex + 1])
            own = 1 / found.rates[vertex] if found.rates[vertex] else 0.0
            x[vertex] = own + sum(
                p * expected(v)
                for v, p in zip(found.targets[row], found.probabilities[row], strict=True)
            )
        return x[vertex]

    np.testing.assert_allclose(expected(0), model().expectation(THETA), rtol=1e-14)
    starts = np.add.reduceat(found.probabilities, found.indptr[:-1][np.diff(found.indptr) > 0])
    np.testing.assert_allclose(starts, 1, rtol=1e-14)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.rates = THETA  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        found.rates[0] = 1.0


def test_evaluation_under_jax(trace: phasic.Trace) -> None:
    found = te.evaluate_trace_jax(trace, THETA)
    assert found.expectation == model().expectation(THETA)
    np.testing.assert_array_equal(found.sojourn, model().expected_sojourn(THETA))
    np.testing.assert_array_equal(found.absorption, model().absorption_probability(THETA))
    thetas = jnp.stack([THETA, 2 * THETA])
    batch = jax.jit(jax.vmap(lambda th: te.evaluate_trace_jax(trace, th)))(thetas)
    np.testing.assert_array_equal(batch.sojourn[0], found.sojourn)
    slope = jax.grad(lambda th: te.evaluate_trace_jax(trace, th).expectation)(thetas[0])
    np.testing.assert_array_equal(slope, jax.grad(model().expectation)(thetas[0]))


def test_an_instance_is_the_model_at_its_parameters(trace: phasic.Trace) -> None:
    graph = te.instantiate_from_trace(trace, THETA)
    assert graph.param_length() == 0
    np.testing.assert_array_equal(graph.states(), model().graph.states())
    fixed = phasic.PhaseType(graph)
    np.testing.assert_allclose(fixed.moments(None, 3), model().moments(THETA, 3), rtol=1e-14)
    times = np.array([0.1, 1.0, 5.0])
    np.testing.assert_allclose(fixed.pdf(None, times), model().pdf(THETA, times), rtol=1e-12)


def test_an_instance_adds_both_parts_of_an_edge_and_keeps_zero_weights() -> None:
    graph = phasic.Graph(1)
    a, b, end = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 0.5)
    graph.starting_vertex().add_edge(b, [0.0, 0.25])
    a.add_edge(b, 2.0)
    a.add_edge(b, [1.0, 0.0])
    a.add_edge(end, [1.0, -1.0])
    b.add_edge(end, 1.0)
    trace = te.record_elimination_trace(graph)
    fields = te.instantiate_from_trace(trace, [3.0, 1.0]).serialize()
    assert fields["param_length"] == 0
    assert sorted(map(tuple, fields["start_edges"].tolist())) == [(1.0, 0.5), (2.0, 0.25)]
    edges = {(int(u), int(v)): w for u, v, w in fields["edges"].tolist()}
    assert edges == {(1, 2): 5.0, (1, 3): 2.0, (2, 3): 1.0}
    closed = te.instantiate_from_trace(trace, [1.0, 1.0]).serialize()
    assert [1.0, 3.0, 0.0] in closed["edges"].tolist()
    with pytest.raises(ValueError, match=r"from state \(1\) .* to state \(3\) .* the weight -1"):
        te.instantiate_from_trace(trace, [1.0, 2.0])


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        ([1.0], ValueError, r"params has 1 entries but the model has 2 parameters \(shape \(1,\)"),
        (None, ValueError, "params has 0 entries but the model has 2 parameters"),
        ([[1.0, 2.0]], ValueError, r"shape \(1, 2\), expected \(2,\)"),
        ([np.nan, 1.0], ValueError, r"theta\[0\] is nan, expected a finite number"),
        ([-1.0, 1.0], ValueError, "the weight -1, expected a finite weight >= 0"),
        (["a", "b"], TypeError, "params has dtype"),
    ],
)
def test_bad_parameters(
    trace: phasic.Trace, params: object, error: type[Exception], text: str
) -> None:
    for function in (te.evaluate_trace, te.instantiate_from_trace):
        with pytest.raises(error, match=text):
            function(trace, params)  # type: ignore[operator]


def test_a_component_trace_is_refused(empty_cache_dir: Path) -> None:
    units, _, _ = collect_missing_traces_batch(model().graph, min_size=1)
    _, component = compute_trace_work_unit(next(iter(units.items())))
    for function in (te.evaluate_trace, te.evaluate_trace_jax, te.instantiate_from_trace):
        with pytest.raises(ValueError, match=f"trace {component.digest} is that of one component"):
            function(component, THETA)
    with pytest.raises(ValueError, match="that of one component"):
        te.trace_to_log_likelihood(component, [1.0])
    with pytest.raises(TypeError, match=r"trace is of type str, expected phasic\.Trace"):
        te.evaluate_trace("trace", THETA)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------- likelihood


def test_the_log_likelihood_is_the_sum_over_the_data(trace: phasic.Trace) -> None:
    times = np.array([0.5, 2.0, 0.5, 1.0, 4.0])
    late = np.array([False, True, False, False, True])
    many = np.array([1.0, 2.0, 3.0, 0.0, 0.5])
    found = te.trace_to_log_likelihood(trace, times, censored=late, weights=many)

    def plain(theta: jax.Array) -> jax.Array:
        logs = jnp.where(late, model().logsf(theta, times), model().logpdf(theta, times))
        return (logs * many).sum()

    theta = jnp.asarray(THETA)
    np.testing.assert_allclose(found(theta), plain(theta), rtol=1e-14)
    np.testing.assert_allclose(jax.grad(found)(theta), jax.grad(plain)(theta), rtol=1e-12)
    exact = jax.hessian(plain)(theta)
    np.testing.assert_allclose(jax.jit(jax.hessian(found))(theta), exact, rtol=1e-11)
    thetas = jnp.stack([theta, 1.5 * theta])
    rows = [found(th) for th in thetas]
    np.testing.assert_allclose(jax.vmap(found)(thetas), rows, rtol=1e-14)
    np.testing.assert_allclose(found(thetas), rows, rtol=1e-14)


def test_a_geometric_likelihood_in_closed_form() -> None:
    trace = te.record_elimination_trace(geometric())
    steps = [1, 1, 3, 7]
    found = te.trace_to_log_likelihood(trace, steps, censored=[False, False, False, True])
    p = 0.3
    exact = 2 * np.log(p) + np.log(p * (1 - p) ** 2) + 7 * np.log(1 - p)
    np.testing.assert_allclose(found(jnp.array([p])), exact, rtol=1e-12)
    slope = jax.grad(found)(jnp.array([p]))
    np.testing.assert_allclose(slope, [3 / p - 9 / (1 - p)], rtol=1e-11)


@pytest.mark.parametrize(
    ("data", "options", "error", "text"),
    [
        ([], {}, ValueError, r"observed_data has shape \(0,\), expected \(n,\)"),
        ([[1.0]], {}, ValueError, r"observed_data has shape \(1, 1\)"),
        ([1.0, -2.0], {}, ValueError, r"observed_data\[1\] is -2.0, expected a finite number >= 0"),
        ([1.0, np.inf], {}, ValueError, r"observed_data\[1\] is inf"),
        (["x"], {}, TypeError, "observed_data has dtype"),
        ([1.0], {"weights": [1.0, 1.0]}, ValueError, r"weights has shape \(2,\), expected \(1,\)"),
        ([1.0], {"weights": [-1.0]}, ValueError, r"weights\[0\] is -1.0"),
        ([1.0], {"weights": [0.0]}, ValueError, "weights are all 0"),
        ([1.0], {"censored": [0]}, ValueError, "censored has dtype int64"),
        ([1.0], {"censored": [True, False]}, ValueError, r"expected bool \(1,\)"),
        ([1.0], {"discrete": True}, ValueError, "discrete is True, but the graph is continuous"),
    ],
)
def test_bad_data(
    trace: phasic.Trace, data: object, options: dict, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        te.trace_to_log_likelihood(trace, data, **options)


def test_fractions_are_no_steps() -> None:
    trace = te.record_elimination_trace(geometric())
    with pytest.raises(ValueError, match="observed_data has fractions"):
        te.trace_to_log_likelihood(trace, [1.5])

"""The trace of a whole graph: record it, evaluate it, turn it back into a graph or a likelihood.

A trace is the recorded arithmetic of eliminating a graph's vertices; it holds for every parameter
vector. Recording here is done in this process and does not touch the cache, unlike
`phasic.hierarchical_trace_cache`. JAX is imported by the functions that return JAX results only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._graphs import check_program, native_graph
from phasic._jax_runtime import require_jax
from phasic._options import EvaluationOptions
from phasic.graph import Graph

if TYPE_CHECKING:
    import jax

    from phasic.phase_type import PhaseType

Trace = _core.Trace
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EliminatedGraph:
    """The acyclic graph that elimination leaves at one parameter vector.

    Row u lists where vertex u leads once the vertices eliminated before it are gone. The expected
    absorption time solves ``x[u] = 1 / rates[u] + sum(probabilities[u, v] * x[v])``.

    Parameters
    ----------
    rates : array, shape (n_vertices,)
        Rate out of each vertex; 0 for starting, absorbing and unreachable ones.
    indptr : array, shape (n_vertices + 1,)
        Row u is entries ``indptr[u]`` to ``indptr[u + 1]``.
    targets : array, shape (n_jumps,)
        The vertex that each jump leads to.
    probabilities : array, shape (n_jumps,)
        Probability of each jump; a row sums to 1, row 0 to the start weights' sum.
    """

    rates: Floats
    indptr: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    probabilities: Floats


class TraceQuantities(NamedTuple):
    """What `evaluate_trace_jax` returns; a JAX pytree.

    ``expectation`` (...) is the expected absorption time, ``sojourn`` (..., n_vertices) the
    expected time in each vertex, ``absorption`` (..., n_vertices) the probability of ending there.
    """

    expectation: jax.Array
    sojourn: jax.Array
    absorption: jax.Array


def _one_theta(trace: Trace, params: npt.ArrayLike | None) -> Floats:
    """Return one parameter vector, float64, shape (param_length,)."""
    theta = np.asarray([] if params is None else params)
    if theta.dtype.kind not in "fiu" and theta.size:
        raise TypeError(f"params has dtype {theta.dtype}, expected real numbers")
    if theta.shape != (trace.param_length,):
        raise ValueError(
            f"params has {theta.size} entries but the model has {trace.param_length} parameters "
            f"(shape {theta.shape}, expected ({trace.param_length},))"
        )
    return theta.astype(np.float64)


def record_elimination_trace(graph: Graph, param_length: int | None = None) -> Trace:
    """Return the trace of a graph, recorded here and now without the cache.

    Parameters
    ----------
    graph : Graph
        The model.
    param_length : int, optional
        Must equal the graph's own number of parameters.

    Raises
    ------
    ValueError
        If ``param_length`` differs, or the graph breaks a rule of the format.
    """
    native = native_graph(graph, param_length)
    return _core.link(_core.decompose(native), {}, native.n_vertices + 1)


def evaluate_trace(trace: Trace, params: npt.ArrayLike | None = None) -> EliminatedGraph:
    """Return the eliminated acyclic graph at one parameter vector, computed without JAX.

    Parameters
    ----------
    trace : Trace
        The trace of a whole graph.
    params : array_like, shape (param_length,), optional
        Absent when the model has no parameters.

    Raises
    ------
    ValueError
        If it is a component's trace, or ``params`` has a wrong length or value.
    """
    theta = _one_theta(check_program(trace), params)
    rates, indptr, targets, probabilities = _core.eliminated_graph(trace, theta)
    found = EliminatedGraph(rates, indptr, targets, probabilities)
    for array in (found.rates, found.indptr, found.targets, found.probabilities):
        array.flags.writeable = False
    return found


def evaluate_trace_jax(trace: Trace, params: Any = None) -> TraceQuantities:
    """Return what the elimination yields at ``params``, as JAX arrays that JAX may transform.

    Parameters
    ----------
    trace : Trace
        The trace of a whole graph.
    params : array_like, shape (..., param_length), optional
        Leading axes are batch.

    Returns
    -------
    TraceQuantities
        Expected absorption time, expected time in each vertex, absorption probabilities. (The
        entries of the eliminated graph itself are in `evaluate_trace`.)

    Raises
    ------
    ValueError
        As in `evaluate_trace`, and if a reachable state traps the process (+inf when traced).
    """
    distribution = _distribution(check_program(trace))
    return TraceQuantities(
        distribution.expectation(params),
        distribution.expected_sojourn(params),
        distribution.absorption_probability(params),
    )


@lru_cache(maxsize=16)
def _distribution(trace: Trace) -> PhaseType:
    """Return the distribution of a trace, kept so that repeated calls are compiled once."""
    require_jax("evaluate_trace_jax")
    from phasic.phase_type import PhaseType

    return PhaseType.from_trace(trace)


def instantiate_from_trace(trace: Trace, params: npt.ArrayLike | None = None) -> Graph:
    """Return the graph of a trace with constant weights: those it has at ``params``.

    Vertices, their order and the edges are those of the recorded graph, so every quantity is equal.

    Parameters
    ----------
    trace : Trace
        The trace of a whole graph.
    params : array_like, shape (param_length,), optional
        Absent when the model has no parameters.

    Raises
    ------
    ValueError
        If it is a component's trace, ``params`` has a wrong length, or a weight comes out negative.
    """
    theta = _one_theta(check_program(trace), params)
    _, _, status = _core.evaluate(trace, "absorption", theta[None, :])
    if status[0]:
        raise ValueError(_core.explain(trace, "absorption", int(status[0]), theta))
    fields = trace.graph().to_arrays()
    for name, n_ends in (("edges", 2), ("start_edges", 1)):
        parameterised = fields[f"param_{name}" if n_ends == 2 else "start_param_edges"]
        if theta.size:
            ends, coefficients = parameterised[:, :n_ends], parameterised[:, n_ends:]
            weights = np.column_stack([ends, coefficients @ theta])
            fields[name] = _merge(np.concatenate([fields[name], weights]), n_ends)
    fields["param_length"] = 0
    fields["param_edges"] = fields["start_param_edges"] = np.zeros((0, 0))
    return Graph.from_serialized(fields)


def _merge(edges: Floats, n_ends: int) -> Floats:
    """Add the weights of equal edges; rows are [ends.., weight]."""
    ends, row = np.unique(edges[:, :n_ends], axis=0, return_inverse=True)
    weights = np.bincount(row.reshape(-1), edges[:, n_ends], len(ends))
    return np.column_stack([ends, weights])


def trace_to_log_likelihood(
    trace: Trace,
    observed_data: npt.ArrayLike,
    *,
    censored: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    discrete: bool | None = None,
    options: EvaluationOptions | None = None,
) -> Callable[[Any], jax.Array]:
    """Return the log-likelihood of observed absorption times, a function of theta.

    Parameters
    ----------
    trace : Trace
        The trace of a whole graph.
    observed_data : array_like, shape (n,)
        Times (discrete: steps), at least 0.
    censored : array_like of bool, shape (n,), optional
        True where absorption came after the time given: such an entry counts ``log sf``, the
        others ``log pdf`` (discrete: ``log pmf``).
    weights : array_like, shape (n,), optional
        How often each entry counts, at least 0.
    discrete : bool, optional
        Must equal the trace's own flag.
    options : EvaluationOptions, optional
        Threads, truncation error, work budget and kernel.

    Returns
    -------
    callable
        theta (..., param_length) -> (...), which ``jit``, ``vmap`` and ``grad`` may transform.
        Equal times are evaluated once.

    Raises
    ------
    ValueError
        If it is a component's trace, or the data have a wrong shape or value.
    """
    require_jax("trace_to_log_likelihood")
    from phasic.phase_type import PhaseType

    distribution = PhaseType.from_trace(check_program(trace), discrete=discrete, options=options)
    times = _observations("observed_data", observed_data, None)
    if distribution.is_discrete and (times != np.floor(times)).any():
        raise ValueError("observed_data has fractions, but the model is discrete (steps)")
    counts = np.ones_like(times) if weights is None else _observations("weights", weights, times)
    late = np.zeros(times.shape, bool) if censored is None else np.asarray(censored)
    if late.dtype != bool or late.shape != times.shape:
        raise ValueError(
            f"censored has dtype {late.dtype} and shape {late.shape}, expected bool {times.shape}"
        )
    log_density = distribution.logpmf if distribution.is_discrete else distribution.logpdf
    counted = counts > 0
    terms = [
        (function, *_ties(times[chosen], counts[chosen]))
        for function, chosen in (
            (log_density, ~late & counted),
            (distribution.logsf, late & counted),
        )
        if chosen.any()
    ]
    if not terms:
        raise ValueError("weights are all 0, expected at least one entry that counts")

    def log_likelihood(theta: Any = None) -> jax.Array:
        logs = [(function(theta, at), many) for function, at, many in terms]
        sums = [(values * many.astype(values.dtype)).sum(-1) for values, many in logs]
        return sum(sums[1:], sums[0])

    return log_likelihood


def _observations(name: str, values: npt.ArrayLike, like: Floats | None) -> Floats:
    """Return finite numbers >= 0, shape (n,), n >= 1."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    if array.ndim != 1 or not array.size or (like is not None and array.shape != like.shape):
        expected = "(n,) with n >= 1" if like is None else like.shape
        raise ValueError(f"{name} has shape {array.shape}, expected {expected}")
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{name}[{row}] is {array[row]}, expected a finite number >= 0")
    return array.astype(np.float64)


def _ties(times: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return the distinct times and how much each counts."""
    distinct, place = np.unique(times, return_inverse=True)
    return distinct, np.bincount(place, counts, len(distinct)).astype(np.float64)


__all__ = [
    "EliminatedGraph",
    "Trace",
    "TraceQuantities",
    "evaluate_trace",
    "evaluate_trace_jax",
    "instantiate_from_trace",
    "record_elimination_trace",
    "trace_to_log_likelihood",
]

"""The weights of a reward's graph as JAX functions of the model's parameters.

1. The native side lists which terms each weight is the sum of (see ``phasic/transform.h``).
2. The edge weights of the model are linear in theta; the probabilities of leaving the vertices
   without reward are native absorption probabilities, one row of a batch for each entry.
3. Sums of products of the two are the parameters of the new graph's trace. Everything is made of
   functions that JAX differentiates, batches and compiles.
4. `of_weights` makes a distribution all whose methods take theta to these parameters first.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._arguments import prepare
from phasic._concrete import link
from phasic._edge_table import EdgeTable
from phasic._evaluator import Evaluator
from phasic._options import EvaluationOptions
from phasic._primitive import Program, Quantity, Request, evaluate
from phasic._reward_weights import RewardTerms, reward_graph

_Plan = dict[str, Any]


class RewardWeights:
    """Parameters of the reward's graph out of those of the model.

    Parameters
    ----------
    trace
        Trace of the model.
    plan
        What ``_core.reward_graph`` returned for it.
    options
        How to evaluate.
    inner
        What makes the parameters of the model's trace, if it is a reward's graph itself.
    """

    def __init__(
        self,
        trace: _core.Trace,
        plan: _Plan,
        options: EvaluationOptions,
        inner: RewardWeights | None = None,
    ) -> None:
        self._given = (trace, plan, options, inner)
        self._inner = inner
        self._model = Evaluator(trace, options)
        self._terms = RewardTerms.of(plan)
        self._forms = _core.linear_forms(trace.graph())
        self._entry: npt.NDArray[np.int64] = plan["entry"]
        zero = plan["zero_graph"]
        self._zero = None if zero is None else Program(link(zero), options)
        self._compiled = jax.jit(self._weights)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given

    @property
    def param_length(self) -> int:
        """Number of parameters that the caller gives."""
        if self._inner is not None:
            return self._inner.param_length
        return self._model.program.trace.param_length

    def __call__(self, theta: Any) -> jax.Array:
        """Return the parameters of the new trace, (..., n_weights).

        Raises
        ------
        ValueError
            If theta is concrete and has a fault.
        """
        trace = self._model.program.trace
        if self._inner is not None:
            theta = self._inner(theta)
        arguments = prepare(
            theta, None, None, param_length=trace.param_length, n_vertices=trace.n_vertices
        )
        (values,) = arguments.operands
        if not arguments.is_traced:
            if jax.default_backend() != "cpu":
                values = jax.device_put(values, jax.local_devices(backend="cpu")[0])
            self._model("absorption_probability", values)  # raises for a bad theta
        weights: jax.Array = self._compiled(values)
        if not isinstance(weights, jax.core.Tracer) and bool(jnp.isnan(weights).any()):
            states = self._model.program.trace.graph().states()[self._entry]
            raise ValueError(
                "theta traps the process in vertices without reward, which it enters at one of the "
                f"states {states[:5].tolist()}; their rewards never end, so they cannot be 0"
            )
        return weights

    def _weights(self, theta: jax.Array) -> jax.Array:
        terms, batch = self._terms, theta.shape[:-1]
        model = self._edge_weights(theta)
        weights = jnp.zeros((*batch, len(terms.scale)), theta.dtype)
        weights = weights.at[..., terms.direct_weight].add(model[..., terms.direct_edge])
        if self._zero is not None:
            part = self._through(theta, model)
            weights = weights.at[..., terms.through_weight].add(part)
        weights = weights * terms.scale.astype(theta.dtype)
        if terms.rest_weight.size:
            moved = jnp.zeros_like(weights).at[..., terms.rest_weight]
            rest = np.unique(terms.rest_weight)
            lack = 1 - moved.add(weights[..., terms.rest_of])[..., rest]
            lack = lack - jax.lax.stop_gradient(jnp.minimum(lack, 0))  # 0 but for rounding
            weights = weights.at[..., rest].set(lack)
        probe = Request(self._model.program, Quantity.ABSORPTION)
        fine = ~jnp.isnan(evaluate(probe, jax.lax.stop_gradient(theta))).any(-1, keepdims=True)
        return jnp.where(fine, weights, jnp.nan)

    def _edge_weights(self, theta: jax.Array) -> jax.Array:
        """Return the weights of the model's edges, (..., n_edges)."""
        constant, edge, param, coefficient = self._forms
        base = jnp.broadcast_to(constant.astype(theta.dtype), (*theta.shape[:-1], len(constant)))
        return base.at[..., edge].add(coefficient.astype(theta.dtype) * theta[..., param])

    def _through(self, theta: jax.Array, model: jax.Array) -> jax.Array:
        """Return the terms that lead through vertices without reward, (..., n_terms)."""
        assert self._zero is not None
        terms, n = self._terms, len(self._entry)
        shape = (*theta.shape[:-1], n)
        started = jnp.concatenate(
            [
                jnp.broadcast_to(theta[..., None, :], (*shape, theta.shape[-1])),
                jnp.broadcast_to(jnp.eye(n, dtype=theta.dtype), (*shape, n)),
            ],
            axis=-1,
        )
        leaving = evaluate(Request(self._zero, Quantity.ABSORPTION), started)
        time = evaluate(Request(self._zero, Quantity.MOMENTS), jax.lax.stop_gradient(started))
        caught = jnp.isinf(time[..., 0])[..., terms.through_entry]
        into = model[..., terms.through_edge]
        share = leaving[..., terms.through_entry, terms.through_vertex]
        return into * jnp.where(caught & (into > 0), jnp.nan, share)


def transformed(
    trace: _core.Trace,
    inner: RewardWeights | None,
    rewards: npt.ArrayLike,
    options: EvaluationOptions,
) -> tuple[_core.Trace, RewardWeights | None]:
    """Return the trace of a reward's graph, and what makes its parameters unless they are theta."""
    values = _as_rewards(rewards, trace.n_vertices)
    graph = trace.graph()
    if graph.param_length == 0:
        return link(reward_graph(graph, values)), inner
    plan = _core.reward_graph(graph, values)
    if plan["zero_graph"] is None and not plan["rest_weight"].size:
        return link(_divided(graph, values)), inner
    return link(plan["graph"]), RewardWeights(trace, plan, options, inner)


def of_weights(kind: Any, inner: Any, weights: RewardWeights) -> Any:
    """Return a distribution of class ``kind`` whose theta are the arguments of ``weights``.

    Every method of ``inner`` that has a parameter ``theta`` is there, with ``weights(theta)``.
    """
    made: Any = object.__new__(_class_of_weights(kind))
    made._set_up(inner.trace, None, inner._options)
    made._recording.update(inner._recording)
    made._inner, made._weights, made._kind = inner, weights, kind
    return made


@functools.cache
def _class_of_weights(kind: Any) -> type[Any]:
    members: dict[str, Any] = {
        "__reduce__": lambda self: (of_weights, (self._kind, self._inner, self._weights)),
        "__doc__": f"A `{kind.__name__}` whose weights are functions of theta that are not linear.",
        "param_length": property(
            lambda self: self._weights.param_length, doc=kind.param_length.__doc__
        ),
    }
    for name in dir(kind):
        method = getattr(kind, name)
        if not name.startswith("_") and inspect.isfunction(method):
            signature = inspect.signature(method)
            if "theta" in signature.parameters:
                members[name] = _of_weights(method, signature)
    return type(f"{kind.__name__}OfReward", (kind,), members)


def _of_weights(method: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self._inner, *args, **kwargs)
        given.arguments["theta"] = self._weights(given.arguments.get("theta"))
        return method(*given.args, **given.kwargs)

    return call


def _divided(graph: _core.Graph, rewards: npt.NDArray[np.float64]) -> _core.Graph:
    """Return the graph with the rates out of each vertex divided by its reward."""
    table = EdgeTable.of(graph)
    divisor = np.where(table.is_absorbing | (rewards == 0) | table.discrete, 1.0, rewards)
    divisor[0] = 1.0
    return replace(table, weight=table.weight / divisor[table.source][:, None]).build()


def _as_rewards(rewards: npt.ArrayLike, n_vertices: int) -> npt.NDArray[np.float64]:
    if isinstance(rewards, jax.core.Tracer):
        raise TypeError(
            "rewards is traced, but which vertices are left depends on it; pass numbers, or close "
            "over them"
        )
    values = np.asarray(rewards)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"rewards has dtype {values.dtype}, expected real numbers")
    if values.shape != (n_vertices,):
        raise ValueError(f"rewards has shape {values.shape}, expected ({n_vertices},)")
    return values.astype(np.float64)


__all__ = ["RewardWeights", "of_weights", "transformed"]

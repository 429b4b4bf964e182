"""Parameters of derived graphs, whose weights are functions of theta that are not linear.

A graph derived from a model has one parameter for each of its weights. `DerivedWeights` makes these
parameters out of those of the model, with functions that JAX differentiates, batches and compiles;
a distribution takes theta through it as through `phasic._weights.Weights`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phasic import _core
from phasic._arguments import prepare
from phasic._evaluator import Evaluator
from phasic._options import EvaluationOptions
from phasic._primitive import evaluate
from phasic._request import Quantity, Request
from phasic._weights import Weights


class DerivedWeights:
    """Parameters of a derived graph out of those of the model.

    Parameters
    ----------
    trace
        Trace of the model.
    options
        How to evaluate.
    inner
        What makes the parameters of the model's trace, if the model is derived itself.
    """

    def __init__(
        self,
        trace: _core.Trace,
        options: EvaluationOptions,
        inner: DerivedWeights | Weights | None,
    ) -> None:
        self._inner = inner
        self._model = Evaluator(trace, options)
        self._forms = _core.linear_forms(trace.graph())
        self._compiled = jax.jit(self._checked_weights)

    def _weights(self, theta: jax.Array) -> jax.Array:
        """Return the new parameters, (..., n_weights)."""
        raise NotImplementedError

    def _fault(self) -> str:
        """Return what is wrong with a theta that the model takes, but whose weights are NaN."""
        raise NotImplementedError

    @property
    def param_length(self) -> int:
        """Number of parameters that the caller gives."""
        if self._inner is not None:
            return self._inner.param_length
        return self._model.program.trace.param_length

    def __call__(self, theta: Any) -> jax.Array:
        """Return the parameters of the derived trace, (..., n_weights).

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
            raise ValueError(self._fault())
        return weights

    def _checked_weights(self, theta: jax.Array) -> jax.Array:
        """Return NaN where the model itself refuses theta."""
        probe = Request(self._model.program, Quantity.ABSORPTION)
        fine = ~jnp.isnan(evaluate(probe, jax.lax.stop_gradient(theta))).any(-1, keepdims=True)
        return jnp.where(fine, self._weights(theta), jnp.nan)

    def _edge_weights(self, theta: jax.Array) -> jax.Array:
        """Return the weights of the model's edges, (..., n_edges)."""
        _, _, constant, edge, param, coefficient = self._forms
        base = jnp.broadcast_to(constant.astype(theta.dtype), (*theta.shape[:-1], len(constant)))
        return base.at[..., edge].add(coefficient.astype(theta.dtype) * theta[..., param])


__all__ = ["DerivedWeights"]

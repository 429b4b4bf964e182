"""Weights that are no linear function of theta: products of powers, or any JAX function.

1. A function of theta gives the parameter vector of the graph, of any length; the program is that
   of the graph, so derivatives are the program's chained with those of the function.
2. Products of powers are such a function: edges with equal exponents and factor share one
   parameter of a graph made for them, so there are as many parameters as distinct weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._arguments import as_numbers
from phasic._derived import CONSTANT, Terms

WeightFunction = Callable[[jax.Array], jax.Array]
MODES = ("linear", "log")


@dataclass(frozen=True)
class Weights:
    """From theta (..., n) to parameters of a graph (..., n_parameters).

    Parameters
    ----------
    function : callable
        From one theta (n,) to the parameters of the graph (n_parameters,), in JAX.
    n_parameters : int
        What the graph expects.
    """

    function: WeightFunction
    n_parameters: int

    @property
    def param_length(self) -> int:
        """Entries of theta; of what the function returns if it does not say."""
        if isinstance(self.function, Powers):
            return int(self.function.exponents.shape[1])
        return self.n_parameters

    def __call__(self, theta: Any) -> jax.Array:
        """Return the parameters of the graph for each theta of a batch."""
        if theta is None:
            raise ValueError("theta is missing but the weights are a function of it")
        theta = as_numbers("theta", theta)
        if theta.ndim == 0:
            raise ValueError("theta has shape (), expected (..., number of parameters)")
        wide = jax.dtypes.canonicalize_dtype(np.float64)
        theta = jnp.asarray(theta, np.float32 if theta.dtype == np.float32 else wide)
        found: jax.Array = self._compiled(theta)
        if found.shape[-1] != self.n_parameters:
            raise ValueError(
                f"weights returns {found.shape[-1]} numbers for theta of shape {theta.shape}, but "
                f"the graph has {self.n_parameters} parameters"
            )
        if not isinstance(found, jax.core.Tracer) and found.is_fully_addressable:
            self._check_finite(np.asarray(found))
        return found

    def _check_finite(self, found: npt.NDArray[Any]) -> None:
        bad = ~np.isfinite(found)
        if bad.any():
            place = np.unravel_index(np.argmax(bad), bad.shape)
            text = f"theta gives parameter {place[-1]} of the graph the value {found[place]}"
            if place[:-1]:
                text += f" (row {', '.join(map(str, place[:-1]))} of the batch)"
            raise ValueError(f"{text}, expected a finite number")

    @cached_property
    def _compiled(self) -> Callable[[jax.Array], jax.Array]:
        compiled: Callable[[jax.Array], jax.Array] = jax.jit(
            jnp.vectorize(self.function, signature="(n)->(m)")
        )
        return compiled

    def __reduce__(self) -> tuple[Any, ...]:
        return Weights, (self.function, self.n_parameters)


@dataclass(frozen=True, eq=False)
class Powers:
    """Products of powers, ``factor * prod_k theta_k ** exponent_k``.

    Parameters
    ----------
    factors : array, shape (n_weights,)
        Factors, at least 0.
    exponents : array, shape (n_weights, param_length)
        Exponents of theta.
    """

    factors: npt.NDArray[np.float64]
    exponents: npt.NDArray[np.float64]

    def __call__(self, theta: jax.Array) -> jax.Array:
        """Return the weights (n_weights,) at theta (param_length,)."""
        size = self.exponents.shape[1]
        if theta.shape != (size,):
            raise ValueError(
                f"theta has {theta.shape[0]} entries but the model has {size} parameters (expected "
                f"shape (..., {size}))"
            )
        exponents = self.exponents.astype(theta.dtype)
        bases = jnp.where(exponents == 0, 1.0, theta)  # 0 ** 0 has no derivative for JAX
        return jnp.prod(bases**exponents, axis=1) * self.factors.astype(theta.dtype)


def weighted(
    graph: _core.Graph, mode: str, function: WeightFunction | None
) -> tuple[_core.Graph, Weights | None]:
    """Return the graph to record and the function to its parameters, None if that is theta.

    Raises
    ------
    ValueError
        If the mode is unknown, or is not linear beside a function.
    """
    if mode not in MODES:
        raise ValueError(f"weight_mode is {mode!r}, expected one of {', '.join(MODES)}")
    if function is not None:
        if mode != "linear":
            raise ValueError(
                f"weight_mode is {mode!r} and weights is given, expected one of them: the function "
                "says all about the weights"
            )
        return graph, Weights(function, graph.param_length)
    if mode == "linear" or graph.param_length == 0:
        return graph, None
    return _powers(Terms.of(graph))


def _powers(terms: Terms) -> tuple[_core.Graph, Weights]:
    keys, edge = np.unique(terms.source * terms.n_vertices + terms.target, return_inverse=True)
    constant = terms.parameter == CONSTANT
    factor = np.zeros(len(keys))
    np.add.at(factor, edge[constant], terms.value[constant])
    exponents = np.zeros((len(keys), terms.param_length))
    np.add.at(exponents, (edge[~constant], terms.parameter[~constant]), terms.value[~constant])
    has_constant = np.isin(np.arange(len(keys)), edge[constant])
    varies = np.isin(np.arange(len(keys)), edge[~constant])
    rows = np.column_stack([np.where(has_constant, factor, 1.0), exponents])[varies]
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    fixed = replace(terms.where(~varies[edge]), param_length=0)
    source, target = np.divmod(keys[varies], terms.n_vertices)
    made = fixed.with_edges(source, target, which.reshape(-1))
    powers = Powers(distinct[:, 0], distinct[:, 1:])
    return made.graph(), Weights(powers, made.param_length)


__all__ = ["Powers", "WeightFunction", "Weights", "weighted"]

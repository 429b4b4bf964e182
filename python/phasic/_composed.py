"""Quantities composed of others: compiled as one function, with the errors of concrete calls.

1. A composed quantity is a function of arrays that calls methods of distributions; it is compiled
   once for each key. Inside a transformation it is applied as it is.
2. Outside, if the result is not regular, the same function runs step by step: the first method
   that meets a bad row raises and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp

# A start is scaled to this sum, so that rounding, of float32 too, cannot take it above 1.
_START_MASS = 0.5


class Composed:
    """The compiled functions of one object."""

    def __init__(self) -> None:
        self._compiled: dict[Hashable, Callable[..., Any]] = {}

    def __call__(
        self,
        key: Hashable,
        function: Callable[..., Any],
        *operands: Any,
        may_be_infinite: bool = False,
    ) -> jax.Array:
        """Return ``function(*operands)``; equal keys must come with equal functions.

        An operand may be None. With ``may_be_infinite`` infinite results are regular.
        """
        result: jax.Array = self.several(key, function, *operands, may_be_infinite=may_be_infinite)
        return result

    def several(
        self,
        key: Hashable,
        function: Callable[..., Any],
        *operands: Any,
        may_be_infinite: bool = False,
    ) -> Any:
        """Return the same where the function returns a tree of arrays."""
        compiled = self._compiled.get(key)
        if compiled is None:

            def run(*given: Any) -> Any:
                return function(*given)

            name = key[0] if isinstance(key, tuple) else key
            run.__name__ = f"phasic_{name}"
            compiled = self._compiled.setdefault(key, jax.jit(run))
        result = compiled(*operands)
        arrays = jax.tree.leaves(result)
        if any(isinstance(x, jax.core.Tracer) for x in (*operands, *arrays)):
            return result
        test = (lambda x: ~jnp.isnan(x)) if may_be_infinite else jnp.isfinite
        if any(x.is_fully_addressable and not test(x).all() for x in arrays):
            result = function(*operands)
        return result


def joined(*parts: Any) -> Any:
    """Return parts of a parameter vector behind each other, their batch axes broadcast."""
    batch = jnp.broadcast_shapes(*(x.shape[:-1] for x in parts))
    return jnp.concatenate([jnp.broadcast_to(x, (*batch, x.shape[-1])) for x in parts], axis=-1)


def normalised(weights: Any) -> tuple[Any, Any]:
    """Return non-negative weights (..., n) scaled to a sum below 1, and the scale (...).

    The scale is a constant to derivatives. Where all weights are 0 it is 0.
    """
    mass = jax.lax.stop_gradient(weights.sum(-1)) / _START_MASS
    return weights / jnp.where(mass > 0, mass, 1.0)[..., None], mass


__all__ = ["Composed", "joined", "normalised"]

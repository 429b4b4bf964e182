"""JAX alone: ``jnp.linalg.solve`` of the dense matrix, under ``vmap`` and ``jit``."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from linear_system import explore

from models import Model

LARGEST_SYSTEM = 1500
"""A larger dense system takes seconds for each theta."""

BATCH_BYTES = 2**30
"""What the matrices of a batch may take."""


class Contender:
    """The derivative is the one of JAX, which solves with the transposed factor."""

    def __init__(self, model: Model) -> None:
        self._system = explore(model)
        self.facts: dict[str, int] = {}

    def record(self) -> float:
        """Return nothing recorded."""
        return float("nan")

    def largest(self, task: str) -> int:
        """Return the batch that fits into memory, 0 if the system is too large."""
        if task == "density" or self._system.size > LARGEST_SYSTEM:
            return 0
        return max(1, BATCH_BYTES // (8 * self._system.size**2))

    def call(self, task: str, thetas: np.ndarray, times: np.ndarray) -> Callable[[], object]:
        """Return a function that evaluates a task and returns its numbers."""
        system = self._system
        coefficients = jnp.asarray(system.coefficients)

        def expectation(theta: jax.Array) -> jax.Array:
            empty = jnp.zeros((system.size, system.size))
            matrix = empty.at[system.rows, system.columns].set(coefficients @ theta)
            return jnp.linalg.solve(matrix, jnp.ones(system.size))[0]

        function = expectation if task == "value" else jax.value_and_grad(expectation)
        compiled, batch = jax.jit(jax.vmap(function)), jnp.asarray(thetas)
        return lambda: jax.block_until_ready(compiled(batch))

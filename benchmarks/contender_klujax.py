"""klujax: KLU (Davis and Palamadai Natarajan, ACM Algorithm 907) as a batched XLA call.

Its fastest route: analysis and first factor once, then ``refactor_and_solve`` with the same pivots;
the gradient by a transposed solve with that factor.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import klujax
import numpy as np
from linear_system import explore

from models import Model

BATCH_BYTES = 2**30
"""What the entries and factors of a batch may take."""


class Contender:
    """Record is the symbolic analysis."""

    def __init__(self, model: Model) -> None:
        self._system = explore(model)
        self._rows, self._columns = map(jnp.asarray, (self._system.rows, self._system.columns))
        self.record()
        self.facts: dict[str, int] = {}

    def record(self) -> float:
        """Return the CPU seconds of the analysis of the pattern."""
        began = time.process_time()
        self._symbolic = klujax.analyze(self._rows, self._columns, self._system.size)
        return time.process_time() - began

    def largest(self, task: str) -> int:
        """Return the batch that fits into memory, or 0 for what it has not."""
        factor_bytes = 16 * 10 * len(self._system.rows)  # ten times the entries, value and index
        return 0 if task == "density" else max(1, BATCH_BYTES // factor_bytes)

    def call(self, task: str, thetas: np.ndarray, times: np.ndarray) -> Callable[[], object]:
        """Return a function that evaluates a task and returns its numbers."""
        place = (self._rows, self._columns)
        coefficients = jnp.asarray(self._system.coefficients)
        ones = jnp.ones((len(thetas), self._system.size))
        start = jnp.zeros_like(ones).at[:, 0].set(1.0)
        batch, symbolic = jnp.asarray(thetas), self._symbolic
        # At other parameters than those to evaluate, so that the check sees a stale factor.
        numeric = klujax.factor(*place, 1.5 * batch @ coefficients.T, symbolic)

        def value(theta: jax.Array) -> jax.Array:
            entries = theta @ coefficients.T
            return klujax.refactor_and_solve(*place, entries, ones, numeric, symbolic)[0][:, 0]

        def gradient(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
            entries = theta @ coefficients.T
            mean, _ = klujax.refactor_and_solve(*place, entries, ones, numeric, symbolic)
            after = start + 0.0 * mean  # the factor is changed in place: wait for it
            visits = klujax.tsolve_with_numeric(numeric, after, symbolic)
            products = visits[:, self._system.rows] * mean[:, self._system.columns]
            return mean[:, 0], -(products @ coefficients)

        compiled = jax.jit({"value": value, "gradient": gradient}[task])
        return lambda: jax.block_until_ready(compiled(batch))

"""The quantities of a distribution as JAX functions of (theta, rewards, times).

Each function takes a `Call`, which evaluates native quantities for one set of operands, and
combines what it gets. Results have the batch axes in front.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phasic._arguments import Form
from phasic._primitive import evaluate
from phasic._request import Program, Quantity, Request


class Call:
    """One set of operands, with a note of which native quantities were evaluated for it."""

    def __init__(self, program: Program, form: Form, operands: tuple[Any, ...]) -> None:
        self.program = program
        self.form = form
        self.operands = operands
        self.used: list[Request] = []
        self.values: list[jax.Array] = []

    def _evaluate(self, quantity: Quantity, order: int = 1) -> jax.Array:
        """Return a native quantity, flat on the last axis."""
        form = self.form
        request = Request(self.program, quantity, order, form.n_rewards, form.n_times)
        value = evaluate(request, *self.operands)
        self.used.append(request)
        self.values.append(value)
        return value

    def moments(self, order: int) -> jax.Array:
        """Return raw moments 1..order: (..., [n_rewards], order)."""
        flat = self._evaluate(Quantity.MOMENTS, order)
        axis = (self.form.n_rewards,) if self.form.reward_axis else ()
        return flat.reshape(*flat.shape[:-1], *axis, order)

    def cross_moments(self) -> jax.Array:
        """Return E[Yi Yj]: (..., n_rewards, n_rewards)."""
        flat = self._evaluate(Quantity.CROSS_MOMENTS)
        return flat.reshape(*flat.shape[:-1], self.form.n_rewards, self.form.n_rewards)

    def per_vertex(self, quantity: Quantity) -> jax.Array:
        """Return a quantity with one entry a vertex: (..., n_vertices)."""
        return self._evaluate(quantity)

    def per_time(self, quantity: Quantity) -> jax.Array:
        """Return a quantity with one entry a time: (..., [n_times])."""
        form = self.form
        if form.n_times == 0:
            return self._empty(0)
        flat = self._evaluate(quantity)
        return flat if form.time_axis else flat[..., 0]

    def per_time_and_vertex(self, quantity: Quantity) -> jax.Array:
        """Return a quantity with one entry a time and vertex: (..., [n_times], n_vertices)."""
        form, n_vertices = self.form, self.program.trace.n_vertices
        if form.n_times == 0:
            return self._empty(0, n_vertices)
        flat = self._evaluate(quantity)
        axis = (form.n_times,) if form.time_axis else ()
        return flat.reshape(*flat.shape[:-1], *axis, n_vertices)

    def _empty(self, *shape: int) -> jax.Array:
        batch = jnp.broadcast_shapes(*(x.shape[:-1] for x in self.operands))
        return jnp.zeros((*batch, *shape), self.operands[0].dtype)


def _variance(call: Call) -> jax.Array:
    moments = call.moments(2)
    return moments[..., 1] - moments[..., 0] ** 2


def _covariance(call: Call) -> jax.Array:
    if not call.form.reward_axis:
        raise ValueError(
            "covariance needs rewards of shape (..., n_rewards, n_vertices), found "
            + ("none" if call.form.n_rewards < 0 else "one reward vector")
            + "; the variance of one accumulated reward is variance(theta, rewards)"
        )
    mean = call.moments(1)[..., 0]
    return call.cross_moments() - mean[..., :, None] * mean[..., None, :]


def _per_time(quantity: Quantity) -> Callable[[Call], jax.Array]:
    return lambda call: call.per_time(quantity)


QUANTITIES: dict[str, Callable[[Call], jax.Array]] = {
    "expectation": lambda call: call.moments(1)[..., 0],
    "variance": _variance,
    "covariance": _covariance,
    "cross_moments": lambda call: call.cross_moments(),
    "expected_sojourn": lambda call: call.per_vertex(Quantity.SOJOURN),
    "absorption_probability": lambda call: call.per_vertex(Quantity.ABSORPTION),
    "pdf": _per_time(Quantity.PDF),
    "cdf": _per_time(Quantity.CDF),
    "sf": _per_time(Quantity.SF),
    "logpdf": _per_time(Quantity.LOGPDF),
    "logsf": _per_time(Quantity.LOGSF),
    "hazard": _per_time(Quantity.HAZARD),
    "state_probability": lambda call: call.per_time_and_vertex(Quantity.STATE_PROBABILITY),
    "accumulated_occupancy": lambda call: call.per_time_and_vertex(Quantity.ACCUMULATED_OCCUPANCY),
}


def quantity_function(name: str, order: int) -> Callable[[Call], jax.Array]:
    """Return the function of a quantity; ``order`` matters for ``moments`` only."""
    return (lambda call: call.moments(order)) if name == "moments" else QUANTITIES[name]


__all__ = ["QUANTITIES", "Call", "quantity_function"]

"""The quantities of a piecewise homogeneous model as functions of (theta, starts, t, rewards).

1. Over the whole time: sums over the epochs, finite ones up to their end, the last one for ever.
2. At times: every epoch is evaluated at the times that are in it, counted from its start, and at 0
   for the others; then each time takes the value of its epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from phasic._epoch_moments import cross_moments, moments
from phasic._epochs import Epoch, EpochModels

IN_TIME = (
    "pdf",
    "logpdf",
    "cdf",
    "sf",
    "logsf",
    "hazard",
    "state_probability",
    "conditional_state_probability",
    "accumulated_occupancy",
)
LOGARITHMS = ("logpdf", "logsf")


def _durations(starts: Any) -> list[Any]:
    return [starts[..., k + 1] - starts[..., k] for k in range(starts.shape[-1] - 1)]


# --- over the whole time


def _expected_sojourn(
    models: EpochModels, theta: Any, starts: Any, _times: Any, _rewards: Any
) -> Any:
    *finite, last = models.flow(theta, starts)
    total = last.scale[..., None] * last.ask("expected_sojourn")[..., : models.n_vertices]
    for epoch, duration in zip(finite, _durations(starts), strict=True):
        total += epoch.scale[..., None] * epoch.at_end("accumulated_occupancy", duration)
    return total


def _expectation(models: EpochModels, theta: Any, starts: Any, _times: Any, rewards: Any) -> Any:
    *finite, last = models.flow(theta, starts)
    axis = rewards is not None and rewards.ndim > 1
    value = jnp.ones(models.n_vertices, theta.dtype) if rewards is None else rewards

    def widened(x: Any) -> Any:
        return x[..., None] if axis else x

    total = widened(last.scale) * last.ask("expectation", rewards)
    for epoch, duration in zip(finite, _durations(starts), strict=True):
        occupancy = epoch.at_end("accumulated_occupancy", duration)
        earned = jnp.einsum("...v,...rv->...r" if axis else "...v,v->...", occupancy, value)
        total += widened(epoch.scale) * earned
    return total


def _several(models: EpochModels, theta: Any, rewards: Any) -> Any:
    """Return rewards with an axis of rewards, ones if there are none."""
    if rewards is None:
        return jnp.ones((1, models.n_vertices), theta.dtype)
    return rewards if rewards.ndim > 1 else rewards[None]


def raw_moments(order: int) -> Callable[..., Any]:
    """Return the function of raw moments 1..order, on the last axis."""

    def quantity(models: EpochModels, theta: Any, starts: Any, times: Any, rewards: Any) -> Any:
        first = _expectation(models, theta, starts, times, rewards)  # out of JIT it names faults
        if order == 1:
            return first[..., None]
        found = moments(models, order, theta, starts, _several(models, theta, rewards))
        return found if rewards is not None and rewards.ndim > 1 else found[..., 0, :]

    return quantity


def _variance(models: EpochModels, theta: Any, starts: Any, times: Any, rewards: Any) -> Any:
    found = raw_moments(2)(models, theta, starts, times, rewards)
    return found[..., 1] - found[..., 0] ** 2


def _covariance(models: EpochModels, theta: Any, starts: Any, times: Any, rewards: Any) -> Any:
    mean = _expectation(models, theta, starts, times, rewards)
    both = cross_moments(models, theta, starts, rewards)
    return both - mean[..., :, None] * mean[..., None, :]


def _absorption_probability(
    models: EpochModels, theta: Any, starts: Any, _times: Any, _rewards: Any
) -> Any:
    last = models.flow(theta, starts)[-1]
    return last.absorbed + last.scale[..., None] * last.ask("absorption_probability")


# --- at times


def select(
    epochs: list[Epoch],
    starts: Any,
    times: Any,
    value: Callable[[Epoch, Any], Any],
    axes: int = 0,
) -> Any:
    """Return ``value(epoch, time since its start)`` of the epoch that each t is in.

    A value is (..., n_t) with so many ``axes`` behind.
    """
    t = times if times.ndim else times[None]
    found: Any = None
    for epoch in epochs:
        begins = starts[..., epoch.index, None] if epoch.index else 0.0
        since = t - begins
        inside = jnp.ones_like(since, bool) if epoch.index == 0 else t >= begins
        over = jnp.zeros_like(inside)
        if epoch.index + 1 < len(epochs):
            over = t >= starts[..., epoch.index + 1, None]
        here = value(epoch, jnp.where(inside & ~over, since, 0.0))
        mask = inside.reshape(*inside.shape, *(1,) * axes)
        found = here if found is None else jnp.where(mask, here, found)
    return found if times.ndim else jnp.squeeze(found, -1 - axes)


def _scaled(name: str) -> Callable[..., Any]:
    def quantity(models: EpochModels, theta: Any, starts: Any, times: Any, _rewards: Any) -> Any:
        def value(epoch: Epoch, t: Any) -> Any:
            return epoch.scale[..., None] * epoch.ask(name, t)

        return select(models.flow(theta, starts), starts, times, value)

    return quantity


def _logarithm(name: str) -> Callable[..., Any]:
    def quantity(models: EpochModels, theta: Any, starts: Any, times: Any, _rewards: Any) -> Any:
        def value(epoch: Epoch, t: Any) -> Any:
            return epoch.log_scale[..., None] + epoch.ask(name, t)

        return select(models.flow(theta, starts), starts, times, value)

    return quantity


def _hazard(models: EpochModels, theta: Any, starts: Any, times: Any, _rewards: Any) -> Any:
    return select(
        models.flow(theta, starts), starts, times, lambda epoch, t: epoch.ask("hazard", t)
    )


def settled_at(models: EpochModels, epoch: Epoch, t: Any) -> Any:
    """Return the cdf at times t (..., n_t) since the start of an epoch."""
    if epoch.index == 0:
        return epoch.ask("cdf", t)
    ends = jnp.where(models.is_absorbing, epoch.ask("state_probability", t), 0.0)
    return epoch.settled[..., None] + epoch.scale[..., None] * ends.sum(-1)


def _cdf(models: EpochModels, theta: Any, starts: Any, times: Any, _rewards: Any) -> Any:
    def value(epoch: Epoch, t: Any) -> Any:
        return settled_at(models, epoch, t)

    return select(models.flow(theta, starts), starts, times, value)


def _state_probability(
    models: EpochModels, theta: Any, starts: Any, times: Any, _rewards: Any
) -> Any:
    def value(epoch: Epoch, t: Any) -> Any:
        here = epoch.scale[..., None, None] * epoch.ask("state_probability", t)
        return epoch.absorbed[..., None, :] + here

    return select(models.flow(theta, starts), starts, times, value, axes=1)


def _conditional_state_probability(
    models: EpochModels, theta: Any, starts: Any, times: Any, _rewards: Any
) -> Any:
    def value(epoch: Epoch, t: Any) -> Any:
        inside = jnp.where(models.is_absorbing, 0.0, epoch.ask("state_probability", t))
        return inside / inside.sum(-1, keepdims=True)

    return select(models.flow(theta, starts), starts, times, value, axes=1)


def _accumulated_occupancy(
    models: EpochModels, theta: Any, starts: Any, times: Any, _rewards: Any
) -> Any:
    t = times if times.ndim else times[None]
    total: Any = 0.0
    for epoch in models.flow(theta, starts):
        k = epoch.index
        spent = t if k == 0 else jnp.maximum(t - starts[..., k, None], 0.0)
        if k + 1 < models.n_epochs:
            spent = jnp.minimum(spent, (starts[..., k + 1] - starts[..., k])[..., None])
        total += epoch.scale[..., None, None] * epoch.ask("accumulated_occupancy", spent)
    return total if times.ndim else jnp.squeeze(total, -2)


QUANTITIES: dict[str, Callable[..., Any]] = {
    "expectation": _expectation,
    "variance": _variance,
    "covariance": _covariance,
    "expected_sojourn": _expected_sojourn,
    "absorption_probability": _absorption_probability,
    "pdf": _scaled("pdf"),
    "sf": _scaled("sf"),
    "logpdf": _logarithm("logpdf"),
    "logsf": _logarithm("logsf"),
    "hazard": _hazard,
    "cdf": _cdf,
    "state_probability": _state_probability,
    "conditional_state_probability": _conditional_state_probability,
    "accumulated_occupancy": _accumulated_occupancy,
}

__all__ = ["IN_TIME", "LOGARITHMS", "QUANTITIES", "raw_moments", "select", "settled_at"]

"""Higher moments and covariances of rewards over epochs.

Each finite epoch is one sweep of a ladder (see `phasic._ladders`), started from the masses by level
at its start; the last epoch adds moments of the model started from those masses:

    E[Y^k / k!] = absorbed_k + sum_l mass_l . E[Y'^(k - l) / (k - l)!],   Y' earned from then on.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phasic._composed import joined, normalised
from phasic._epochs import EpochModels
from phasic._ladders import pair_ladder, power_ladder
from phasic.phase_type import PhaseType


def moments(models: EpochModels, order: int, theta: Any, starts: Any, rewards: Any) -> Any:
    """Return raw moments 1..order, (..., n_rewards, order), of (..., n_rewards, n_vertices)."""
    ladder, model = models.ladder(power_ladder, order)
    inside, levels = models.transient, np.arange(order + 1)
    reward = rewards[..., inside]
    mass = models.started(theta)[..., None, None, :]  # (..., n_rewards, level, n_inside)
    batch = jnp.broadcast_shapes(mass.shape[:-2], reward.shape[:-1])
    mass = (
        jnp.zeros((*batch, order + 1, len(inside)), theta.dtype).at[..., 0, :].add(mass[..., 0, :])
    )
    absorbed = jnp.zeros((*batch, order + 1), theta.dtype)
    for k in range(models.n_epochs - 1):
        duration = (starts[..., k + 1] - starts[..., k])[..., None]
        c, unit = _scales(duration, reward.max(-1, initial=0.0), 1)
        steps = reward * unit[..., None]
        powers = unit[..., None] ** levels
        start, scale = normalised(_flat(mass * powers[..., None]))
        extended = joined(
            theta[..., k, :][..., None, :], start, steps, c[..., None] - steps, c[..., None]
        )
        ends = _at(model, extended, duration) * (scale * jnp.exp(c * duration))[..., None]
        mass = ends[..., ladder.levels] / powers[..., None]
        absorbed = absorbed + ends[..., ladder.collectors] / powers
        mass = models.moved(k + 1, mass)
    start, scale = normalised(mass)
    extended = joined(theta[..., -1, :][..., None, None, :], start)
    later = _last(models, "moments", extended, rewards[..., None, None, :], k=order)[..., 0, :]
    later = jnp.concatenate([mass.sum(-1)[..., None], scale[..., None] * later], axis=-1)
    factorial = np.array([math.factorial(k) for k in levels], np.float64)
    later = later / factorial
    found = [
        absorbed[..., k] + sum(later[..., i, k - i] for i in range(k + 1))
        for k in range(1, order + 1)
    ]
    return jnp.stack(found, axis=-1) * factorial[1:]


def cross_moments(models: EpochModels, theta: Any, starts: Any, rewards: Any) -> Any:
    """Return E[Yi Yj], (..., n_rewards, n_rewards), of rewards (..., n_rewards, n_vertices)."""
    n_rewards = rewards.shape[-2]
    ladder, model = models.ladder(pair_ladder, n_rewards)
    inside = models.transient
    reward = rewards[..., inside]
    lower = models.started(theta)  # (..., n_inside); the upper level has a row for each reward
    batch = jnp.broadcast_shapes(lower.shape[:-1], reward.shape[:-2])
    upper = jnp.zeros((*batch, n_rewards, len(inside)), theta.dtype)
    half = jnp.zeros((*batch, n_rewards, n_rewards), theta.dtype)
    for k in range(models.n_epochs - 1):
        duration = (starts[..., k + 1] - starts[..., k])[..., None]
        c, unit = _scales(duration, reward.max((-2, -1), initial=0.0)[..., None], 1)
        _, unit_later = _scales(duration, reward.sum(-2).max(-1, initial=0.0)[..., None], n_rewards)
        steps, later = reward * unit[..., None], reward * unit_later[..., None]
        rest = c[..., None] - later.sum(-2, keepdims=True)
        both = joined(
            jnp.broadcast_to(lower[..., None, :], (*batch, n_rewards, len(inside))),
            upper * unit[..., None],
        )
        start, scale = normalised(both)
        extended = joined(
            theta[..., k, :][..., None, :],
            start,
            steps,
            c[..., None] - steps,
            later.reshape(*later.shape[:-2], 1, -1),
            rest,
            c[..., None],
        )
        ends = _at(model, extended, duration) * (scale * jnp.exp(c * duration))[..., None]
        half = half + ends[..., ladder.collectors] / (unit * unit_later)[..., None]
        lower = models.moved(k + 1, ends[..., 0, ladder.levels[0]])
        upper = models.moved(k + 1, ends[..., ladder.levels[1]] / unit[..., None])
    last = theta[..., -1, :]
    start, scale = normalised(upper)
    mixed = _last(
        models, "expectation", joined(last[..., None, :], start), rewards[..., None, :, :]
    )
    half = half + scale[..., None] * mixed
    start, scale = normalised(lower)
    both = _last(models, "cross_moments", joined(last, start), rewards)
    return half + jnp.swapaxes(half, -1, -2) + scale[..., None, None] * both


def _scales(duration: Any, largest: Any, n_summed: int) -> tuple[Any, Any]:
    """Return the rate c = 1 / duration and the factor from rewards to rates that are at most c."""
    c = jax.lax.stop_gradient(1.0 / jnp.where(duration > 0, duration, 1.0))
    largest = jax.lax.stop_gradient(jnp.where(largest > 0, largest, 1.0))
    rounding = 1.0 + 8.0 * n_summed * float(np.finfo(c.dtype).eps)
    c, largest = jnp.broadcast_arrays(c, largest)
    return c, c / (largest * rounding)


def _flat(x: Any) -> Any:
    return x.reshape(*x.shape[:-2], -1)


def _at(model: PhaseType, theta: Any, duration: Any) -> Any:
    """Return state probabilities at one time a row, (..., n_vertices)."""
    return model.state_probability(theta, duration[..., None])[..., 0, :]


def _last(models: EpochModels, quantity: str, theta: Any, rewards: Any, **options: Any) -> Any:
    """Return a quantity of the last epoch; errors name it."""
    epoch = models.epoch(models.n_epochs - 1, models.later, theta)
    return epoch.ask(quantity, rewards=rewards, **options)


__all__ = ["cross_moments", "moments"]

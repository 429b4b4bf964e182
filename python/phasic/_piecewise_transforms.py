"""Laplace transforms of piecewise homogeneous models.

The process is killed at rate s r(v) in every epoch, by a program with the start and the killing
rates as parameters behind theta. What is absorbed before it is killed adds up over the epochs, so
sums are of non-negative numbers only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phasic._arguments import as_numbers, check_range
from phasic._composed import Composed, joined, normalised
from phasic._epochs import EpochModels


class PiecewiseTransforms:
    """Mixed into `PiecewisePhaseType`."""

    _models: EpochModels
    _composed: Composed
    _prepared: Callable[..., tuple[Any, ...]]
    _non_negative: Callable[[Any], Any]

    def laplace(self, theta: Any, s: Any, rewards: Any = None, *, starts: Any = None) -> jax.Array:
        """Return the Laplace transform ``E[exp(-s T)]``, or that of accumulated rewards.

        Parameters
        ----------
        theta : array_like, shape (..., n_epochs, param_length)
            Parameters of each epoch.
        s : array_like, scalar or shape (..., n_s)
            Arguments, at least 0. With several rewards, (..., n_rewards): one for each of them.
        rewards : array_like, shape (n_vertices,) or (..., n_rewards, n_vertices), optional
            Reward per unit of time in each vertex, at least 0, the same in all epochs; all ones if
            absent.
        starts : array_like, shape (..., n_epochs), optional
            Start times of the epochs instead of those that the object was made with.

        Returns
        -------
        array, shape (...) or (..., n_s)
            As of `PhaseType.laplace`: mass absorbed at time 0 counts 1, paths that are never
            absorbed count 0.

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value (NaN under a transformation).
        TypeError
            If an argument is not float32, float64 or integers.

        Examples
        --------
        >>> import phasic
        >>> model = phasic.PiecewisePhaseType(phasic.exponential(), [0.0, 1.0])
        >>> print(f"{model.laplace([[2.0], [2.0]], 3.0):.6f}")
        0.400000
        """
        theta, starts, _, rewards = self._prepared(theta, starts, None, self._non_negative(rewards))
        s = as_numbers("s", s)
        check_range("s", s, 0.0, np.inf)
        several = rewards is not None and rewards.ndim > 1
        if several and (s.ndim < 1 or s.shape[-1] != rewards.shape[-2]):
            raise ValueError(
                f"s has shape {s.shape}, expected (..., {rewards.shape[-2]}): one argument for "
                "each reward"
            )
        s = jnp.asarray(s, theta.dtype)
        find = partial(_laplace, self._models)
        return self._composed("laplace", find, theta, starts, s, rewards)


def _laplace(models: EpochModels, theta: Any, starts: Any, s: Any, rewards: Any) -> Any:
    several = rewards is not None and rewards.ndim > 1
    if several:
        rate = jnp.einsum("...r,...rv->...v", s, rewards)[..., None, :]
    else:
        value = jnp.ones(models.n_vertices, s.dtype) if rewards is None else rewards
        rate = jnp.atleast_1d(s)[..., None] * value
    rate = jnp.where(rate >= 0, rate, jnp.nan)[..., models.transient]
    model, ends_in = models.killed, np.flatnonzero(models.is_absorbing)
    mass = models.started(theta)[..., None, :]
    total = models.first.cdf(theta[..., 0, :], jnp.zeros(1, theta.dtype))
    for k in range(models.n_epochs):
        start, scale = normalised(mass)
        epoch = models.epoch(k, model, joined(theta[..., k, :][..., None, :], start, rate))
        if k + 1 == models.n_epochs:
            ended = epoch.ask("absorption_probability")
        else:
            duration = (starts[..., k + 1] - starts[..., k])[..., None]
            ended = epoch.at_end("state_probability", duration)
            mass = models.moved(k + 1, scale[..., None] * ended[..., models.transient])
        total = total + scale * ended[..., ends_in].sum(-1)
    return total if s.ndim and not several else total[..., 0]


__all__ = ["PiecewiseTransforms"]

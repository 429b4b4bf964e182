"""Random draws of a piecewise homogeneous model.

1. Every epoch is drawn by the native sampler, up to its end, from the states that the draws are in,
   with a key of its own. Times and rewards add up.
2. At the start of an epoch a draw goes where the relabelling takes its state; of several places it
   takes one by a binary search of the cumulated probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phasic._arguments import as_numbers, check_range
from phasic._composed import Composed, joined
from phasic._epochs import EpochModels
from phasic._sampling import Sample, checked_key, checked_shape


class PiecewiseSampling:
    """Mixed into `PiecewisePhaseType`."""

    _models: EpochModels
    _composed: Composed
    _prepared: Callable[..., tuple[Any, ...]]
    _call: Callable[..., jax.Array]

    def sample(
        self,
        key: jax.Array,
        theta: Any,
        shape: int | Sequence[int] = (),
        rewards: Any = None,
        *,
        starts: Any = None,
    ) -> jax.Array:
        """Return random draws of the absorption time or of accumulated rewards.

        Parameters
        ----------
        key : JAX key
            One key, typed or legacy. Equal keys give equal draws.
        theta : array_like, shape (..., n_epochs, param_length)
            Parameters of each epoch.
        shape : int or sequence of int
            Shape of the draws from each parameter vector.
        rewards : array_like, shape (n_vertices,) or (..., n_rewards, n_vertices), optional
            Reward per unit of time in each vertex, of either sign, the same in all epochs; several
            reward vectors are earned along the same path.
        starts : array_like, shape (..., n_epochs), optional
            Start times of the epochs instead of those that the object was made with.

        Returns
        -------
        array, shape (..., *shape) or (..., *shape, n_rewards)
            A draw of a defective start is 0 where it is absorbed at once.

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value, if a draw never ends (+inf under a
            transformation), or if the expected number of jumps in an epoch exceeds
            ``options.max_operations`` (`BudgetError`; NaN under a transformation).
        TypeError
            If ``key`` is no JAX key, or a derivative is asked for.

        Notes
        -----
        Costs the same as `PhaseType.sample` in every epoch. Which of several states a relabelling
        leads to is resolved to 2^-52 (2^-23 without JAX's 64-bit mode).

        Examples
        --------
        >>> import jax, phasic
        >>> model = phasic.PiecewisePhaseType(phasic.exponential(), [0.0, 1.0])
        >>> draws = model.sample(jax.random.key(0), [[0.1], [9.0]], shape=100_000)
        >>> draws.shape, abs(float((draws < 1.0).mean()) - 0.0952) < 0.004
        ((100000,), True)
        """
        return self.sample_with_state(key, theta, shape, rewards, starts=starts).value

    def sample_with_state(
        self,
        key: jax.Array,
        theta: Any,
        shape: int | Sequence[int] = (),
        rewards: Any = None,
        *,
        horizon: Any = None,
        starts: Any = None,
    ) -> Sample:
        """Return draws as `sample` does, together with the vertex in which each ended.

        Parameters
        ----------
        key, theta, shape, rewards, starts
            As in `sample`.
        horizon : array_like, shape (...), optional
            Finite time >= 0 at which every draw stops, so that the value is ``min(absorption time,
            horizon)``, or the rewards up to then, and the vertex is the one that is occupied then.
            A draw that would never end is no error here.

        Returns
        -------
        Sample
            ``value`` as from `sample`, ``vertex`` of shape (..., *shape), with labels as they are
            at the end of the draw.
        """
        theta, starts, _, rewards = self._prepared(theta, starts, None, rewards)
        if horizon is not None:
            horizon = as_numbers("horizon", horizon)
            check_range("horizon", horizon, 0.0, np.inf)
            horizon = jnp.asarray(horizon, theta.dtype)
        axes = checked_shape(shape)
        found: Sample = self._composed.several(
            ("sample", axes),
            partial(_draw, self._models, axes),
            _typed(checked_key(key)),
            theta,
            starts,
            rewards,
            horizon,
            may_be_infinite=True,
        )
        concrete = not isinstance(found.value, jax.core.Tracer) and found.value.is_fully_addressable
        if concrete and horizon is None and jnp.isinf(found.value).any():
            self._call("expectation", theta, starts)  # says which epoch never ends
        return found


def _typed(key: Any) -> jax.Array:
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return jnp.asarray(key)
    kind = "threefry2x32" if key.shape == (2,) else "rbg"
    typed: jax.Array = jax.random.wrap_key_data(jnp.asarray(key), impl=kind)
    return typed


def _draw(
    models: EpochModels,
    shape: tuple[int, ...],
    key: jax.Array,
    theta: Any,
    starts: Any,
    rewards: Any,
    horizon: Any,
) -> Sample:
    batch = jnp.broadcast_shapes(
        theta.shape[:-2],
        starts.shape[:-1],
        () if rewards is None else rewards.shape[:-2],
        () if horizon is None else horizon.shape,
    )
    theta = jnp.broadcast_to(theta, (*batch, *theta.shape[-2:]))
    starts = jnp.broadcast_to(starts, (*batch, models.n_epochs))

    def widened(x: Any) -> Any:
        return x.reshape(*x.shape, *(1,) * len(shape))

    total: Any = 0.0
    vertex: Any = None
    for k in range(models.n_epochs):
        begin, own = starts[..., k], key if k == 0 else jax.random.fold_in(key, k)
        until = starts[..., k + 1] - begin if k + 1 < models.n_epochs else None
        if horizon is not None:
            left = horizon - begin if k == 0 else jnp.maximum(horizon - begin, 0.0)
            until = left if until is None else jnp.minimum(left, until)
        if k:
            moved = _relabelled(models, k, jax.random.fold_in(own, 0), vertex)
            arrives = True if horizon is None else widened(horizon >= begin)
            vertex = jnp.where((vertex >= 0) & arrives, moved, vertex)
        value, vertex = _within(models, k, own, theta[..., k, :], shape, rewards, until, vertex)
        total = total + value
    return Sample(total, vertex)


def _within(
    models: EpochModels,
    k: int,
    key: jax.Array,
    theta: Any,
    shape: tuple[int, ...],
    rewards: Any,
    until: Any,
    vertex: Any,
) -> tuple[Any, Any]:
    """Return what is earned in epoch k from the given vertices, and the vertices then."""
    if k == 0:
        epoch, nowhere = models.epoch(0, models.first, theta), None
    else:
        # Every transient state must be one that the start leads to; the weights do not matter.
        weights = np.full(len(models.transient), 0.5 / max(len(models.transient), 1))
        epoch = models.epoch(k, models.later, joined(theta, jnp.asarray(weights, theta.dtype)))
        nowhere = vertex < 0
        ends = np.flatnonzero(models.is_absorbing)
        vertex = jnp.where(nowhere, int(ends[0] if ends.size else models.transient[0]), vertex)
    draw = epoch.drawn(key, shape, rewards, horizon=until, start=vertex)
    if nowhere is None:
        return draw.value, draw.vertex
    several = draw.value.ndim > nowhere.ndim
    unearned = (nowhere[..., None] if several else nowhere) & ~jnp.isnan(draw.value)
    return jnp.where(unearned, 0.0, draw.value), jnp.where(nowhere, -1, draw.vertex)


def _relabelled(models: EpochModels, k: int, key: jax.Array, vertex: Any) -> Any:
    """Return vertices (of any shape) as they are at the start of epoch k."""
    if k not in models.maps:
        return vertex
    relabelling = models.maps[k]
    if relabelling.ndim == 1:
        return jnp.asarray(relabelling, vertex.dtype)[vertex]
    n = models.n_vertices
    share = np.cumsum(relabelling, axis=1)
    last = n - 1 - np.argmax(relabelling[:, ::-1] > 0, axis=1)  # the one that rounding cannot pass
    wide = jax.dtypes.canonicalize_dtype(np.float64)
    point = jax.random.uniform(key, vertex.shape, wide)
    table = jnp.asarray(share, wide)
    low, high = jnp.zeros_like(vertex), jnp.full_like(vertex, n)
    for _ in range(n.bit_length()):
        middle = (low + high) // 2
        passed = (low < high) & (table[vertex, middle] <= point)
        low, high = jnp.where(passed, middle + 1, low), jnp.where(passed, high, middle)
    return jnp.minimum(low, jnp.asarray(last, vertex.dtype)[vertex])


__all__ = ["PiecewiseSampling"]

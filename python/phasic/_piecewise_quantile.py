"""Quantiles of a piecewise homogeneous model.

1. The cdf and the survival function at the starts tell the epoch that a quantile is in.
2. In the first one the native search finds it. In a later one the native search, started from what
   is left there, comes close to it: its levels count the mass that is gone, so they resolve the
   cdf to about 1e-16 rather than to its last digit.
3. Newton's steps on the logarithm of the cdf (upper half: of the survival function) of the whole
   model make it exact. They are kept in a bracket, which is halved when one leads out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phasic._arguments import as_numbers, check_range
from phasic._composed import Composed
from phasic._epochs import Epoch, EpochModels
from phasic._piecewise_quantities import QUANTITIES, select, settled_at
from phasic._quantile import root_of_cdf

_MAX_STEPS = 200  # halvings from the largest double to the smallest within a bracket take fewer
_LEAST = 1e-9  # level of a first guess above what is settled at the start of its epoch


class PiecewiseQuantiles:
    """Mixed into `PiecewisePhaseType`."""

    _models: EpochModels
    _composed: Composed
    _prepared: Callable[..., tuple[Any, ...]]

    def quantile(self, theta: Any, q: Any, *, starts: Any = None) -> jax.Array:
        """Return the time by which the process is absorbed with probability q.

        Parameters
        ----------
        theta : array_like, shape (..., n_epochs, param_length)
            Parameters of each epoch.
        q : array_like, scalar or shape (..., n_q)
            Probabilities in [0, 1].
        starts : array_like, shape (..., n_epochs), optional
            Start times of the epochs instead of those that the object was made with.

        Returns
        -------
        array, shape (...) or (..., n_q)
            The t with ``cdf(t) = q``, to rounding of the cdf (in the upper half: of the survival
            function). 0 where the defect reaches q, and +inf where the cdf never does: at q = 1,
            and beyond the probability of absorption.

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value (NaN under a transformation), or a step of the
            search exceeds ``options.max_operations`` (`BudgetError`).
        TypeError
            If an argument is not float32, float64 or integers.

        Notes
        -----
        A search takes about as many evaluations as one of `PhaseType` in every epoch. Derivatives
        in theta, q and the starts are exact; they are 0 where the quantile is 0, and NaN where it
        is infinite. At the start of an epoch, where the density jumps, they are those from the
        right.

        Examples
        --------
        >>> import phasic
        >>> model = phasic.PiecewisePhaseType(phasic.exponential(), [0.0, 1.0])
        >>> print(model.quantile([[0.1], [9.0]], [0.05, 0.5]).round(6))
        [0.512933 1.065905]
        """
        if q is None:
            raise ValueError("q is missing (expected a scalar or shape (..., n_q))")
        check_range("q", as_numbers("q", q), 0.0, 1.0)
        theta, starts, q, _ = self._prepared(theta, starts, q, None, times_name="q")
        find = partial(_quantile, self._models)
        return self._composed("quantile", find, theta, starts, q, may_be_infinite=True)


def _quantile(models: EpochModels, theta: Any, starts: Any, q: Any) -> Any:
    def of_density(name: str, given: tuple[Any, Any], t: Any) -> Any:
        return QUANTITIES[name](models, *given, t, None)

    def search(given: tuple[Any, Any], levels: Any) -> Any:
        return _search(models, given[0], given[1], levels)

    root = root_of_cdf(search, of_density)
    found = root((theta, starts), q if q.ndim else q[None])
    return found if q.ndim else found[..., 0]


def _search(models: EpochModels, theta: Any, starts: Any, q: Any) -> Any:
    """Return quantiles of levels (..., n_q)."""
    epochs = models.flow(theta, starts)
    batch = (epoch.theta.shape[:-1] for epoch in epochs)
    shape = jnp.broadcast_shapes(*((*axes, 1) for axes in batch), q.shape)
    q = jnp.broadcast_to(q, shape)
    inside = jnp.zeros(shape, jnp.int32)
    for k, epoch in enumerate(epochs[1:], start=1):
        left = (epoch.scale * epoch.ask("sf", jnp.zeros(1, theta.dtype))[..., 0])[..., None]
        reached = jnp.where(q > 0.5, left >= 1 - q, epoch.settled[..., None] <= q)
        inside = jnp.where(reached, k, inside)
    ends = jnp.concatenate([starts[..., 1:], jnp.full_like(starts[..., :1], jnp.inf)], axis=-1)
    low, high = (_chosen(x, inside) for x in (starts, ends))
    guess = epochs[0].ask("quantile", jnp.where(inside == 0, q, 0.0))
    for k, epoch in enumerate(epochs[1:], start=1):
        scale = epoch.scale[..., None]
        left = (1 - q) / jnp.where(scale > 0, scale, 1.0)
        level = jnp.clip(1 - left, 0.5 + _LEAST, 1.0)
        found = epoch.ask("quantile", jnp.where(inside == k, level, 0.0))
        guess = jnp.where(inside == k, low + found, guess)
    guess = jnp.clip(guess, low, high)
    search = partial(_improved, models, epochs, starts, q)
    exact = jnp.where(inside == 0, guess, search(_Bracket(guess, low, high, inside == 0)))
    return jnp.where((q >= 0) & (q <= 1), exact, jnp.nan)


def _chosen(table: Any, which: Any) -> Any:
    """Return the entries of a table (..., n_epochs) that ``which`` (..., n_q) says."""
    wide = jnp.broadcast_to(table, (*which.shape[:-1], table.shape[-1]))
    return jnp.take_along_axis(wide, which, axis=-1)


class _Bracket(NamedTuple):
    t: Any
    low: Any
    high: Any
    done: Any


def _improved(models: EpochModels, epochs: list[Epoch], starts: Any, q: Any, at: _Bracket) -> Any:
    """Return the roots, found from guesses; those that are infinite stay so."""
    upper = q > 0.5
    close = 16 * float(np.finfo(q.dtype).eps)

    def value(epoch: Epoch, since: Any) -> Any:
        settled = settled_at(models, epoch, since)
        left, density = (epoch.scale[..., None] * epoch.ask(x, since) for x in ("sf", "pdf"))
        return jnp.stack(jnp.broadcast_arrays(settled, left, density), axis=-1)

    def step(state: tuple[Any, _Bracket]) -> tuple[Any, _Bracket]:
        count, at = state
        here = jnp.where(at.done, 0.0, at.t)
        settled, left, density = jnp.moveaxis(select(epochs, starts, here, value, axes=1), -1, 0)
        miss = jnp.where(upper, jnp.log(left / (1 - q)), jnp.log(q / settled))
        low = jnp.where(miss > 0, at.t, at.low)
        high = jnp.where(miss > 0, at.high, at.t)
        newton = at.t + miss * jnp.where(upper, left, settled) / density
        middle = jnp.where(high < jnp.inf, low + (high - low) / 2, 2 * low)
        moved = jnp.where((newton > low) & (newton < high) & (count % 8 < 7), newton, middle)
        still = (moved == at.t) | (high - low <= close * high)
        done = at.done | (abs(miss) <= close) | still | jnp.isnan(miss)
        t = jnp.where(at.done | (abs(miss) <= close), at.t, moved)
        t = jnp.where(~at.done & jnp.isnan(miss), jnp.nan, t)
        return count + 1, _Bracket(t, low, high, done)

    def goes_on(state: tuple[Any, _Bracket]) -> Any:
        count, at = state
        return (count < _MAX_STEPS) & ~at.done.all()

    at = at._replace(done=at.done | jnp.isinf(at.t) | jnp.isnan(at.t))
    first = step((jnp.array(0), at))  # outside of the loop, where faults have names
    return jax.lax.while_loop(goes_on, step, first)[1].t


__all__ = ["PiecewiseQuantiles"]

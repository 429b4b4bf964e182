"""Transforms of a distribution: Laplace, generating functions; and states given survival.

1. ``E[exp(-s T)]`` is the probability of absorption before the process is killed at rate s: a
   program with one killing rate a vertex beside theta, so sums are of non-negative numbers only and
   the derivatives are those of absorption probabilities.
2. In discrete time a factor z at every step is the killing rate (1 - z) / z of the same program
   read as a continuous one: h = z (P h + stay h) is (lambda + (1 - z) / z) h = W h.
3. ``E[exp(s T)]`` with s > 0 lowers the rates instead. That leaves the class of subtraction-free
   problems, so it is a dense system, checked: it is finite where the solution is positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phasic import _core
from phasic._arguments import as_numbers, check_range, prepare
from phasic._composed import Composed, joined
from phasic._derived import CONSTANT, Terms, transient_vertices, with_killing
from phasic._errors import BudgetError

# Rates must stay below 1e290; in discrete time exp(_LARGEST) is one.
_LARGEST = 650.0
# Below it E[z^T] is the sum of its first four terms, to the last digit.
_SMALLEST_Z = 1e-70
_MAX_DENSE = 4000  # vertices of a dense system


class Transforms:
    """Mixed into `PhaseType`."""

    _trace: _core.Trace
    _composed: Composed
    _weigh: Callable[[Any], Any]
    _derive: Callable[[str, Callable[[Terms], Terms | None]], Any]
    cdf: Callable[..., jax.Array]
    pmf: Callable[..., jax.Array]
    expected_sojourn: Callable[..., jax.Array]
    state_probability: Callable[..., jax.Array]

    def laplace(self, theta: Any, s: Any, rewards: Any = None) -> jax.Array:
        """Return the Laplace transform ``E[exp(-s T)]``, or that of accumulated rewards.

        Parameters
        ----------
        theta : array_like, shape (..., param_length)
            Parameters; None when the model has none.
        s : array_like, scalar or shape (..., n_s)
            Arguments, at least 0. With several rewards, (..., n_rewards): one for each of them.
        rewards : array_like, shape (n_vertices,) or (..., n_rewards, n_vertices), optional
            Reward per unit of time (or visit) in each vertex, at least 0; all ones if absent.
            Entries of starting and absorbing vertices are ignored.

        Returns
        -------
        array, shape (...) or (..., n_s)
            ``E[exp(-s Y)]``; with several rewards ``E[exp(-s_1 Y_1 - s_2 Y_2 - ..)]``, shape (...).
            Mass absorbed at time 0 counts 1, paths that are never absorbed count 0.

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value (NaN under a transformation).
        TypeError
            If an argument is not float32, float64 or integers.

        Notes
        -----
        Right to nearly full relative precision, like an expectation, which is also what it costs.
        In discrete time factors exp(-s r) below 1e-282 are rounded up to that.
        """
        theta, s, rewards = self._operands(theta, s, rewards)
        return self._composed("laplace", self._laplace, theta, s, rewards)

    def pgf(self, theta: Any, z: Any) -> jax.Array:
        """Return the probability generating function ``E[z^T]`` of a discrete model.

        Parameters
        ----------
        theta : array_like, shape (..., param_length)
            Parameters; None when the model has none.
        z : array_like, scalar or shape (..., n_z)
            Arguments from 0 to 1.

        Returns
        -------
        array, shape (...) or (..., n_z)

        Raises
        ------
        ValueError
            If the model is continuous, or as in `laplace`.
        """
        if not self._trace.is_discrete:
            raise ValueError("pgf does not apply to a continuous model; use laplace")
        theta, z, _ = self._operands(theta, z, None, name="z", upper=1.0)
        return self._composed("pgf", self._pgf, theta, z)

    def mgf(self, theta: Any, s: Any) -> jax.Array:
        """Return the moment generating function ``E[exp(s T)]``.

        Parameters
        ----------
        theta : array_like, shape (..., param_length)
            Parameters; None when the model has none.
        s : array_like, scalar or shape (..., n_s)
            Arguments of either sign.

        Returns
        -------
        array, shape (...) or (..., n_s)
            +inf from where the expectation is infinite: at the smallest rate of decay of the
            transient states that are reached, in discrete time at the logarithm of its inverse.
            Derivatives are NaN there. If a reachable state traps the process, +inf for any s > 0.

        Raises
        ------
        ValueError
            As in `laplace`, or if the model has more than 4000 vertices (`BudgetError`).

        Notes
        -----
        For s > 0 it solves a dense system in floating point; whether its solution is positive tells
        on which side of the pole s is. Relative errors grow towards the pole and with the spread of
        the rates: 1e-12 / (1 - s / pole) bounds them on generated models of ordinary rates.
        For s <= 0 it is `laplace`, to nearly full precision and faster.
        """
        n = self._trace.n_vertices
        if n > _MAX_DENSE:
            raise BudgetError(
                f"mgf solves a dense system and the model has {n} vertices, more than {_MAX_DENSE};"
                " laplace has no such limit"
            )
        theta, s, _ = self._operands(theta, s, None, lower=-np.inf)
        return self._composed("mgf", self._mgf, theta, s, may_be_infinite=True)

    def conditional_state_probability(self, theta: Any, t: Any) -> jax.Array:
        """Return the probability of each vertex at time t, given that absorption comes later.

        Arguments, shapes and errors are those of `state_probability`.

        Returns
        -------
        array, shape (..., n_vertices) or (..., n_t, n_vertices)
            Sums to 1; 0 for absorbing vertices. NaN where the probability of survival is 0, or too
            small for a double; a `PiecewisePhaseType` with equal parameters in every epoch goes on
            from there, since it rescales what is left at each start.
        """
        probabilities = self.state_probability(theta, t)
        inside = jnp.where(self._is_absorbing(), 0.0, probabilities)
        return inside / inside.sum(-1, keepdims=True)

    # --- how

    def _is_absorbing(self) -> Any:
        return self._trace.graph().is_absorbing()

    def _operands(
        self,
        theta: Any,
        s: Any,
        rewards: Any,
        *,
        name: str = "s",
        lower: float = 0.0,
        upper: float = np.inf,
    ) -> tuple[Any, Any, Any]:
        """Return (theta, s, rewards) of one dtype, checked."""
        trace = self._trace
        checked = prepare(
            self._weigh(theta),
            rewards,
            None,
            param_length=trace.param_length,
            n_vertices=trace.n_vertices,
        )
        dtype = checked.operands[0].dtype
        theta = jnp.zeros(0, dtype) if theta is None else jnp.asarray(theta, dtype)
        s = jnp.asarray(as_numbers(name, s), dtype)
        if rewards is not None:
            rewards = jnp.asarray(rewards, dtype)
            inside = np.isin(np.arange(trace.n_vertices), transient_vertices(trace.graph()))
            check_range("rewards", jnp.where(inside, rewards, 0.0), 0.0, np.inf)
            if rewards.ndim > 1 and (s.ndim < 1 or s.shape[-1] != rewards.shape[-2]):
                raise ValueError(
                    f"{name} has shape {s.shape}, expected (..., {rewards.shape[-2]}): one "
                    "argument for each reward"
                )
        check_range(name, s, lower, upper)
        return theta, s, rewards

    def _laplace(self, theta: Any, s: Any, rewards: Any) -> Any:
        several = rewards is not None and rewards.ndim > 1
        if several:
            rate = jnp.einsum("...r,...rv->...v", s, rewards)[..., None, :]
        else:
            value = 1.0 if rewards is None else rewards
            rate = jnp.atleast_1d(s)[..., None] * value * jnp.ones(self._trace.n_vertices, s.dtype)
        rate = jnp.where(rate >= 0, rate, jnp.nan)
        if self._trace.is_discrete:
            rate = jnp.expm1(jnp.minimum(rate, _LARGEST))
        found = self._killed(theta, rate)
        return found if s.ndim and not several else found[..., 0]

    def _pgf(self, theta: Any, z: Any) -> Any:
        at = jnp.atleast_1d(z)
        inside = (at >= _SMALLEST_Z) & (at <= 1.0)
        safe = jnp.where(inside, at, 0.5)
        rate = ((1.0 - safe) / safe)[..., None] * jnp.ones(self._trace.n_vertices, at.dtype)
        first = self.pmf(theta, jnp.arange(4.0, dtype=at.dtype))
        near_zero = jnp.einsum("...k,...zk->...z", first, at[..., None] ** np.arange(4))
        found = jnp.where(inside, self._killed(theta, rate), near_zero)
        found = jnp.where((at >= 0) & (at <= 1), found, jnp.nan)
        return found if z.ndim else found[..., 0]

    def _killed(self, theta: Any, rate: Any) -> Any:
        """Return the probability of absorption before killing at rates (..., n_s, n_vertices)."""
        atom = self.cdf(theta, jnp.zeros(1, theta.dtype))
        killed = self._derive("killed", _killed_terms)
        if killed is None:
            return atom + 0.0 * rate[..., 0]
        rates = rate[..., transient_vertices(self._trace.graph())]
        ends = killed.absorption_probability(joined(self._weigh(theta)[..., None, :], rates))
        return atom + ends[..., : self._trace.n_vertices].sum(-1)

    def _mgf(self, theta: Any, s: Any) -> Any:
        at = jnp.atleast_1d(s)
        raising = at > 0
        below = self._laplace(theta, jnp.where(raising, 0.0, -at), None)
        above = self._raised(theta, jnp.where(raising, at, -1.0))
        found = jnp.where(raising, above, below)
        return found if s.ndim else found[..., 0]

    def _raised(self, theta: Any, s: Any) -> Any:
        """Return E[exp(s T)] at s of shape (..., n_s), +inf unless the dense solution is positive.

        The row of a transient vertex is (lambda - s) h - W h = exits, in discrete time with
        1 - exp(-s) in the place of s. A vertex that is not reached gets h = 1.
        """
        terms = Terms.of(self._trace.graph())
        inside = transient_vertices(self._trace.graph())
        table = _dense_weights(terms, self._weigh(theta))
        start, weights = table[..., 0, inside], table[..., inside[:, None], inside]
        outside = np.flatnonzero(self._is_absorbing())
        ends = table[..., inside[:, None], outside].sum(-1)
        visits = self.expected_sojourn(theta)
        reached = (visits[..., inside] > 0)[..., None, :]
        lowered = -jnp.expm1(-s) if self._trace.is_discrete else s
        identity = jnp.eye(len(inside), dtype=weights.dtype)
        weights = jnp.where(identity > 0, 0.0, weights)
        diagonal = (weights.sum(-1) + ends)[..., None, :] - lowered[..., None]
        system = diagonal[..., None] * identity - weights[..., None, :, :]
        system = jnp.where(reached[..., None], system, identity)
        right = jnp.where(reached, ends[..., None, :], 1.0)
        solution = jnp.linalg.solve(system, right[..., None])[..., 0]
        finite = (solution > 0).all(-1)
        value = (start[..., None, :] * solution).sum(-1)
        atom = self.cdf(theta, jnp.zeros(1, theta.dtype))
        where = jnp.where(finite, 0.0, s + theta.sum(-1)[..., None])
        infinite = jnp.inf * (1.0 + 0.0 * where)  # its derivatives are NaN
        return atom + jnp.where(finite, value, infinite)


def _killed_terms(terms: Terms) -> Terms | None:
    """Return the model with killing, as a continuous one, started in transient vertices only."""
    terms = replace(terms, is_discrete=False)
    inside = transient_vertices(terms.graph())
    keep = (terms.source != 0) | np.isin(terms.target, inside)
    if not (terms.source[keep] == 0).any():
        return None
    return with_killing(terms.where(keep), inside)


def _dense_weights(terms: Terms, theta: Any) -> Any:
    """Return the weights at theta as matrices (..., n_vertices, n_vertices)."""
    constant = terms.parameter == CONSTANT
    one = jnp.ones((*theta.shape[:-1], 1), theta.dtype)
    factors = jnp.concatenate([theta, one], axis=-1)
    each = terms.value * factors[..., np.where(constant, -1, terms.parameter)]
    n = terms.n_vertices
    return (
        jnp.zeros((*theta.shape[:-1], n, n), theta.dtype)
        .at[..., terms.source, terms.target]
        .add(each)
    )


__all__ = ["Transforms"]

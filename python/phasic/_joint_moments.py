"""Joint moments of several rewards, of any order, and their correlation.

With z = alpha U the expected sojourn, ``E[Y^a] / a!`` is the sum over all orders in which the
rewards can be earned. In continuous time, with a row y_d of numbers by vertex for every d <= a,

    y_0 = z,   y_d = (sum_i r_i y_(d - e_i)) U,   E[Y^a] / a! = sum_i <y_(a - e_i), r_i>.

In discrete time one visit can earn any power: the sums run over 0 < c <= d with r^c / c!, and U - 1
takes the place of U. Each row is the expected sojourn of the model started from another row, which
is a parameter of a derived program; so every derivative that a sojourn has, a moment has.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phasic import _core
from phasic._composed import Composed, joined, normalised
from phasic._derived import Indices, Terms, reachable_vertices, transient_vertices, with_free_start

_Index = tuple[int, ...]
_MAX_ROWS = 1000


class JointMoments:
    """Mixed into `PhaseType`."""

    _trace: _core.Trace
    _composed: Composed
    _weigh: Callable[[Any], Any]
    _derive: Callable[[str, Callable[[Terms], Terms | None]], Any]
    _evaluate: Callable[..., jax.Array]
    covariance: Callable[..., jax.Array]
    expectation: Callable[..., jax.Array]
    expected_sojourn: Callable[..., jax.Array]

    def cross_moments(self, theta: Any, rewards: Any) -> jax.Array:
        """Return ``E[Y_i Y_j]`` of several accumulated rewards, (..., n_rewards, n_rewards).

        Arguments and errors are those of `covariance`. Nothing is subtracted in continuous time.
        """
        if np.ndim(rewards) < 2:
            raise ValueError(
                f"rewards has shape {np.shape(rewards)}, expected (..., n_rewards, n_vertices)"
            )
        return self._evaluate("cross_moments", theta, rewards)

    def correlation(self, theta: Any, rewards: Any) -> jax.Array:
        """Return the correlation matrix of several accumulated rewards.

        Arguments, shapes and errors are those of `covariance`. NaN for a reward that does not vary.
        """
        return correlation_of(self.covariance(theta, rewards))

    def joint_moment(self, theta: Any, rewards: Any, powers: Sequence[int]) -> jax.Array:
        """Return a joint raw moment ``E[Y_1^k_1 Y_2^k_2 ..]`` of accumulated rewards.

        Parameters
        ----------
        theta : array_like, shape (..., param_length)
            Parameters; None when the model has none.
        rewards : array_like, shape (..., n_rewards, n_vertices)
            One reward vector a row, of either sign.
        powers : sequence of int, length n_rewards
            Exponents, at least 0.

        Returns
        -------
        array, shape (...)

        Raises
        ------
        ValueError
            As in `expectation`, if powers does not fit rewards, or if the product of all
            ``powers + 1`` exceeds 1000.
        TypeError
            As in `expectation`, or if a power is no int.

        Notes
        -----
        Costs about as many expectations as the product of all ``powers + 1``, those of one total
        order being rows of one batch; powers of one reward alone, and of two rewards once each,
        take one elimination. With rewards >= 0 nothing is subtracted in continuous time.

        Examples
        --------
        Of an exponential time T with rate 2, E[T^2 (3 T)] = 3 * 3! / 2^3:

        >>> import phasic
        >>> graph = phasic.Graph(1)
        >>> a, b = (graph.find_or_create_vertex([i]) for i in (1, 2))
        >>> graph.starting_vertex().add_edge(a, 1.0)
        >>> a.add_edge(b, 2.0)
        >>> model = phasic.PhaseType(graph)
        >>> print(f"{model.joint_moment(None, [[0, 1, 0], [0, 3, 0]], (2, 1)):.4f}")
        2.2500
        """
        mean = self.expectation(theta, rewards)  # names what is wrong with the arguments
        shape = np.shape(rewards)
        if len(shape) < 2:
            raise ValueError(f"rewards has shape {shape}, expected (..., n_rewards, n_vertices)")
        index = _checked_powers(powers, shape[-2])
        kept = [i for i, power in enumerate(index) if power]
        index = tuple(index[i] for i in kept)
        if not kept:
            return jnp.ones_like(mean[..., 0])
        rewards = jnp.asarray(rewards)[..., kept, :]
        if len(kept) == 1:
            found = self._evaluate(
                "moments", theta, rewards[..., 0, :][..., None, :], order=index[0]
            )
            return found[..., 0, -1]
        if index == (1, 1):
            return self.cross_moments(theta, rewards)[..., 0, 1]
        theta = jnp.zeros(0, mean.dtype) if theta is None else jnp.asarray(theta, mean.dtype)
        return self._composed(
            ("joint_moment", index),
            partial(self._joint_moment, index),
            theta,
            jnp.asarray(rewards, mean.dtype),
        )

    def _joint_moment(self, index: _Index, theta: Any, rewards: Any) -> Any:
        vertices = _started(Terms.of(self._trace.graph()))
        reward = [rewards[..., i, :][..., vertices] for i in range(len(index))]
        discrete = self._trace.is_discrete
        none = (0,) * len(index)
        rows: dict[_Index, Any] = {none: self.expected_sojourn(theta)[..., vertices]}
        for degree in range(1, sum(index)):
            level = [at for at in _up_to(index) if sum(at) == degree]
            each = [_earned(at, rows, reward, discrete) for at in level]
            earned = jnp.stack(each, axis=-2)
            passed = self._passed_on(theta, earned, vertices) - (earned if discrete else 0.0)
            rows |= {at: passed[..., i, :] for i, at in enumerate(level)}
        earned = _earned(index, rows, reward, discrete)
        return earned.sum(-1) * math.prod(math.factorial(k) for k in index)

    def _passed_on(self, theta: Any, rows: Any, vertices: Indices) -> Any:
        """Return rows U: expected sojourns from starts (..., n_rows, n_started) of either sign."""
        free = self._derive("free", _free_terms)
        both = jnp.stack([jnp.maximum(rows, 0.0), jnp.maximum(-rows, 0.0)], axis=-2)
        start, scale = normalised(both)
        sojourn = free.expected_sojourn(joined(self._weigh(theta)[..., None, None, :], start))
        signed = scale[..., None] * sojourn[..., vertices]
        return signed[..., 0, :] - signed[..., 1, :]


def correlation_of(covariance: jax.Array) -> jax.Array:
    """Return the correlation matrix of a covariance matrix (..., n, n)."""
    deviation = jnp.sqrt(jnp.diagonal(covariance, axis1=-2, axis2=-1))
    return covariance / (deviation[..., :, None] * deviation[..., None, :])


def _up_to(index: _Index) -> list[_Index]:
    """Return the multi-indices from 0 to ``index``."""
    return list(itertools.product(*(range(k + 1) for k in index)))


def _earned(at: _Index, rows: dict[_Index, Any], reward: list[Any], discrete: bool) -> Any:
    """Return the sum over steps c to ``at`` of r^c / c! times the row before."""
    total: Any = 0.0
    for before in rows:
        step = tuple(a - b for a, b in zip(at, before, strict=True))
        if min(step) < 0 or (not discrete and sum(step) != 1):
            continue
        term = rows[before]
        for r, c in zip(reward, step, strict=True):
            if c:
                term = term * (r**c / math.factorial(c))
        total = total + term
    return total


def _free_terms(terms: Terms) -> Terms:
    return with_free_start(terms, _started(terms))


def _started(terms: Terms) -> Indices:
    """Return the transient vertices that the start can reach."""
    seeds = terms.target[(terms.source == 0) & (terms.value != 0)]
    reached = reachable_vertices(terms, seeds)
    return np.intersect1d(reached, transient_vertices(terms.graph()))


def _checked_powers(powers: Sequence[int], n_rewards: int) -> _Index:
    try:
        index = tuple(operator.index(k) for k in powers)
    except TypeError as error:
        raise TypeError(f"powers is {powers!r}, expected a sequence of ints >= 0") from error
    if len(index) != n_rewards or min(index) < 0:
        raise ValueError(
            f"powers is {index}, expected {n_rewards} ints >= 0, one for each reward vector"
        )
    if math.prod(k + 1 for k in index) > _MAX_ROWS:
        raise ValueError(
            f"powers is {index}, which takes {math.prod(k + 1 for k in index)} eliminations, more "
            f"than {_MAX_ROWS}"
        )
    return index


__all__ = ["JointMoments", "correlation_of"]

"""Numbers of one graph at one parameter vector, without JAX: the everyday methods of `Graph`.

They run the native kernel that `PhaseType` runs and agree with it to rounding; use `PhaseType` for
batches, derivatives and everything compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._edge_table import EdgeTable
from phasic._errors import BudgetError

_EVERY_SIZE = 2**31  # components below this size, that is all, are recorded when linking
_OK, _TRAPPED, _OVER_BUDGET = 0, 5, 8

Numbers = npt.NDArray[np.float64]


class ConcreteQuantities:
    """Mixed into `Graph`; needs its ``_frozen``."""

    _theta: Numbers | None = None
    _linked: tuple[_core.Graph, _core.Trace] | None = None

    def _frozen(self) -> _core.Graph:
        raise NotImplementedError

    def update_weights(self, theta: npt.ArrayLike) -> None:
        """Set the parameter vector that the methods below use.

        Parameters
        ----------
        theta : array_like, shape (param_length,)
            Finite numbers for which every weight is >= 0.

        Raises
        ------
        ValueError
            If the length differs from the number of parameters, or an entry is not a number.
        """
        values = _as_vector("theta", theta)
        expected = self._frozen().param_length
        if values.shape != (expected,):
            raise ValueError(
                f"theta has {values.size} entries but the model has {expected} parameters "
                f"(shape {values.shape}, expected ({expected},))"
            )
        self._theta = values

    def expectation(self, rewards: npt.ArrayLike | None = None) -> float:
        """Return the expected absorption time, or the expected accumulated reward.

        Parameters
        ----------
        rewards : array_like, shape (vertices_length,), optional
            Reward per unit of time (visit, if discrete) in each vertex; all ones by default.

        Raises
        ------
        ValueError
            If the graph has parameters and `update_weights` was not called, if ``rewards`` has
            another length, or if the start reaches states that cannot reach absorption.
        """
        return float(self.moments(1, rewards)[0])

    def variance(self, rewards: npt.ArrayLike | None = None) -> float:
        """Return the variance of the absorption time or reward; see `expectation`."""
        first, second = self.moments(2, rewards)
        return float(second - first * first)

    def moments(self, k: int, rewards: npt.ArrayLike | None = None) -> Numbers:
        """Return the raw moments 1..k, shape ``(k,)``; see `expectation`."""
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"k is {k!r}, expected a whole number >= 1")
        return self._quantity("moments", rewards=self._rewards(rewards), order=int(k))

    def covariance(self, rewards1: npt.ArrayLike, rewards2: npt.ArrayLike) -> float:
        """Return the covariance of two accumulated rewards; see `expectation`."""
        both = np.stack([self._rewards(rewards1), self._rewards(rewards2)])
        cross = self._quantity("cross_moments", rewards=both).reshape(2, 2)
        means = self._quantity("moments", rewards=both)
        return float(cross[0, 1] - means[0] * means[1])

    def expected_sojourn(self) -> Numbers:
        """Return the expected time (visits, if discrete) in each vertex, ``(vertices_length,)``."""
        return self._quantity("sojourn")

    def pdf(self, t: npt.ArrayLike) -> Any:
        """Return the density (discrete: the probability) at t, of the shape of ``t``."""
        return self._at_times("pdf", t)

    def cdf(self, t: npt.ArrayLike) -> Any:
        """Return P(T <= t), of the shape of ``t``; the defect counts as absorbed at 0."""
        return self._at_times("cdf", t)

    def sf(self, t: npt.ArrayLike) -> Any:
        """Return P(T > t), of the shape of ``t``, without loss where it is small."""
        return self._at_times("sf", t)

    def _concrete_table(self) -> EdgeTable:
        """Return the edges of the graph as they are at the parameters in force."""
        graph = self._frozen()
        return EdgeTable.of(graph).at(self._parameters(graph.param_length))

    def _trace(self) -> _core.Trace:
        """Return the linked program of the graph as it is now."""
        graph = self._frozen()
        if self._linked is None or self._linked[0] is not graph:
            self._linked = graph, _core.link(_core.decompose(graph), {}, _EVERY_SIZE)
        return self._linked[1]

    def _parameters(self, n_params: int) -> Numbers:
        theta = np.zeros(0) if self._theta is None and n_params == 0 else self._theta
        if theta is None or theta.size != n_params:
            raise ValueError(
                f"the model has {n_params} parameters; give their values with "
                "update_weights(theta) first"
            )
        return theta

    def _rewards(self, rewards: npt.ArrayLike | None) -> Numbers:
        n_vertices = self._frozen().n_vertices
        if rewards is None:
            return np.ones(n_vertices)
        values = _as_vector("rewards", rewards)
        if values.shape != (n_vertices,):
            raise ValueError(
                f"rewards has {values.size} entries but the graph has {n_vertices} vertices "
                f"(shape {values.shape}, expected ({n_vertices},))"
            )
        return values

    def _at_times(self, quantity: str, t: npt.ArrayLike) -> Any:
        times = _as_vector("t", t)
        if times.size == 0:
            return np.zeros(times.shape)
        result = self._quantity(quantity, times=times.reshape(1, -1)).reshape(times.shape)
        return result if times.ndim else float(result)

    def _quantity(
        self,
        quantity: str,
        *,
        rewards: Numbers | None = None,
        times: Numbers | None = None,
        order: int = 1,
    ) -> Numbers:
        trace = self._trace()
        theta = self._parameters(trace.param_length)
        n_rewards = -1 if rewards is None else int(np.atleast_2d(rewards).shape[0])
        flat = None if rewards is None else rewards.reshape(1, -1)
        value, _, status = _core.evaluate(
            trace, quantity, theta.reshape(1, -1), flat, times, order=order, n_rewards=n_rewards
        )
        code = int(status[0])
        if code != _OK and not (quantity == "sojourn" and code == _TRAPPED):
            text = _core.explain(
                trace,
                quantity,
                code,
                theta,
                None if rewards is None else rewards.reshape(-1),
                None if times is None else times.reshape(-1),
            )
            raise (BudgetError if code == _OVER_BUDGET else ValueError)(text)
        assert value is not None
        row: Numbers = value[0]
        return row


def _as_vector(name: str, values: npt.ArrayLike) -> Numbers:
    """Return real numbers as float64; anything else is a ``ValueError`` naming the argument."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} has dtype {array.dtype}, expected real numbers")
    return array.astype(np.float64)

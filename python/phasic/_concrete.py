"""Numbers of one graph at one parameter vector, without JAX: the everyday methods of `Graph`.

They run the native kernel that `PhaseType` runs and agree with it to rounding; use `PhaseType` for
batches, derivatives and everything compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._edge_table import EdgeTable
from phasic._errors import BudgetError

_EVERY_SIZE = 2**31  # components below this size, that is all, are recorded when linking
_OK, _TRAPPED, _OVER_BUDGET = 0, 5, 8

Numbers = npt.NDArray[np.float64]


class ConcreteQuantities:
    """A base of `Graph`, which defines the methods that are not implemented here."""

    _theta: Numbers | None = None
    _linked: tuple[_core.Graph, _core.Trace] | None = None

    def _frozen(self) -> _core.Graph:
        raise NotImplementedError

    def _read(self) -> _core.Graph | _core.GraphBuilder:
        raise NotImplementedError

    def _become(self, graph: _core.Graph) -> None:
        raise NotImplementedError

    @classmethod
    def _from_core(cls, frozen: _core.Graph) -> Self:
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
        self._theta = self._theta_or(theta)

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

    def expected_sojourn_time(self) -> Numbers:
        """Return `expected_sojourn`, under the name that it has in other packages."""
        return self.expected_sojourn()

    def expected_waiting_time(self, rewards: npt.ArrayLike | None = None) -> Numbers:
        """Return the expected time to absorption from each vertex on, ``(vertices_length,)``.

        Parameters
        ----------
        rewards : array_like, shape (vertices_length,), optional
            Reward >= 0 per unit of time (visit, if discrete) in each vertex; all ones by default.
            The result is then the expected reward accumulated from each vertex on.

        Returns
        -------
        array
            Row 0 is `expectation`; absorbing vertices have 0; +inf where a trap that earns can be
            reached.

        Raises
        ------
        ValueError
            If an argument is malformed, or the parameters give a bad weight.
        """
        values = self._rewards(rewards)
        if not (np.isfinite(values) & (values >= 0)).all():
            first = int(np.argmin(np.isfinite(values) & (values >= 0)))
            raise ValueError(f"rewards[{first}] is {values[first]}, expected a finite number >= 0")
        table = EdgeTable.of(self._instantiated())
        return _core.expected_rewards(link(table.reached_from_start().build()), [], values)

    def backward_probabilities(self, target_vertices: Sequence[int]) -> Numbers:
        """Return the probability that the process ever visits a set, from each vertex on.

        Parameters
        ----------
        target_vertices : sequence of int
            Rows of `states`, the starting vertex excluded.

        Returns
        -------
        array, shape (vertices_length,)
            1 for the vertices of the set; row 0 is the probability from the start on.

        Raises
        ------
        ValueError
            If a row does not exist.
        """
        n = self._frozen().n_vertices
        targets = np.asarray(target_vertices)
        if (
            targets.dtype.kind not in "iu"
            or targets.ndim != 1
            or not ((targets > 0) & (targets < n)).all()
        ):
            raise ValueError(
                f"target_vertices is {target_vertices!r}, expected rows of states from 1 to {n - 1}"
            )
        table = EdgeTable.of(self._instantiated()).without_loops()
        hit = np.zeros(n, bool)
        hit[targets] = True
        table = table.chosen(~hit[table.source])  # vertices of the set absorb
        into = hit[table.target] & (table.source > 0)
        earned = np.bincount(table.source[into], table.weight[into, 0], n)
        found = _core.expected_rewards(link(table.reached_from_start().build()), [], earned)
        at_once = (table.source == 0) & hit[table.target]
        found[0] += table.weight[at_once, 0].sum()
        found[hit] = 1.0
        return found

    def absorption_probability(self) -> Numbers:
        """Return the probability of ending in each absorbing vertex, ``(vertices_length,)``."""
        return self._quantity("absorption")

    def defect(self) -> float:
        """Return the probability of being absorbed at time 0.

        It is what the start distribution lacks to 1, and what it gives to absorbing vertices.
        """
        return float(self.cdf(0.0))

    def pdf(self, t: npt.ArrayLike) -> Any:
        """Return the density (discrete: the probability) at t, of the shape of ``t``."""
        return self._at_times("pdf", t)

    def cdf(self, t: npt.ArrayLike) -> Any:
        """Return P(T <= t), of the shape of ``t``; the defect counts as absorbed at 0."""
        return self._at_times("cdf", t)

    def sf(self, t: npt.ArrayLike) -> Any:
        """Return P(T > t), of the shape of ``t``, without loss where it is small."""
        return self._at_times("sf", t)

    def pmf(self, t: npt.ArrayLike) -> Any:
        """Return P(T = t) of a discrete graph, of the shape of ``t``; the same as its `pdf`."""
        if not self._read().is_discrete:
            raise ValueError("pmf does not apply to a continuous model; use pdf")
        return self._at_times("pdf", t)

    def state_probability(self, t: npt.ArrayLike) -> Numbers:
        """Return the probability of being in each vertex at time t (discrete: after t steps).

        The shape is that of ``t`` followed by ``(vertices_length,)``.
        """
        return np.asarray(self._at_times("state_probability", t, self._frozen().n_vertices))

    def accumulated_occupancy(self, t: npt.ArrayLike) -> Numbers:
        """Return the expected time in each vertex up to time t (discrete: visits before step t).

        The shape is that of ``t`` followed by ``(vertices_length,)``. Absorbing vertices have 0.
        """
        return np.asarray(self._at_times("accumulated_occupancy", t, self._frozen().n_vertices))

    def _theta_or(self, theta: npt.ArrayLike | None) -> Numbers | None:
        """Return a parameter vector that was checked, by default the one in force, if any."""
        expected = self._read().param_length
        values = self._theta if theta is None else _as_vector("theta", theta)
        if values is not None and values.shape != (expected,):
            raise ValueError(
                f"theta has {values.size} entries but the model has {expected} parameters "
                f"(shape {values.shape}, expected ({expected},))"
            )
        return values

    def _instantiated(self) -> _core.Graph:
        """Return the graph at the parameters in force, its weights constant."""
        graph = self._frozen()
        return _core.instantiate(graph, self._parameters(graph.param_length))

    def quantile(self, q: npt.ArrayLike) -> Any:
        """Return the time by which the process is absorbed with probability q.

        Parameters
        ----------
        q : array_like
            Probabilities in [0, 1].

        Returns
        -------
        float or ndarray
            Of the shape of ``q``. Discrete models: the smallest whole number of steps whose cdf,
            rounded to double precision, is at least q. 0 where the defect reaches q, and +inf where
            the cdf never does.

        Raises
        ------
        ValueError
            If an entry is no probability, if the graph has parameters and `update_weights` was not
            called, or if the search needs too much work (`BudgetError`).
        """
        levels = _as_vector("q", q)
        if levels.size == 0:
            return np.zeros(levels.shape)
        trace = self._trace()
        theta, flat = self._parameters(trace.param_length), levels.reshape(-1)
        value, status = _core.quantile(trace, theta, flat)
        if status != _OK:
            text = _core.explain_quantile(trace, status, theta, flat)
            raise (BudgetError if status == _OVER_BUDGET else ValueError)(text)
        return value.reshape(levels.shape) if levels.ndim else float(value[0])

    def _concrete_table(self) -> EdgeTable:
        """Return the edges of the graph as they are at the parameters in force."""
        return EdgeTable.of(self._instantiated())

    def _trace(self) -> _core.Trace:
        """Return the linked program of the graph as it is now."""
        graph = self._frozen()
        if self._linked is None or self._linked[0] is not graph:
            self._linked = graph, link(graph)
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

    def _at_times(self, quantity: str, t: npt.ArrayLike, *per_time: int) -> Any:
        times = _as_vector("t", t)
        if times.size == 0:
            return np.zeros((*times.shape, *per_time))
        result = self._quantity(quantity, times=times.reshape(1, -1))
        result = result.reshape((*times.shape, *per_time))
        return result if result.ndim else float(result)

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


def link(graph: _core.Graph) -> _core.Trace:
    """Return the linked program of a finished graph, recorded in this process, without cache."""
    return _core.link(_core.decompose(graph), {}, _EVERY_SIZE)


def _as_vector(name: str, values: npt.ArrayLike) -> Numbers:
    """Return real numbers as float64; anything else is a ``ValueError`` naming the argument."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} has dtype {array.dtype}, expected real numbers")
    return array.astype(np.float64)

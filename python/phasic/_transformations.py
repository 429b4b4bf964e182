"""Graphs made from a graph at the parameters in force: the transforming methods of `Graph`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._concrete import ConcreteQuantities
from phasic._edge_table import EdgeTable
from phasic._reward_weights import reward_graph

Floats = npt.NDArray[np.float64]


class Transformations(ConcreteQuantities):
    """A base of `Graph`."""

    rewards: npt.NDArray[np.int64] | None = None
    """Of a graph made by `discretize`: 1 for the vertices that count events, 0 for all others."""

    def instantiate(self) -> Self:
        """Return the graph at the parameters in force: the same edges, their weights constant.

        Raises
        ------
        ValueError
            If the graph has parameters and `update_weights` was not called, or a weight comes out
            negative.

        Examples
        --------
        >>> import phasic
        >>> graph = phasic.erlang(2)
        >>> graph.update_weights([4.0])
        >>> graph.instantiate().param_length()
        0
        """
        return self._from_core(self._instantiated())

    def reward_transform(self, rewards: npt.ArrayLike) -> Self:
        """Return the graph whose absorption time is an accumulated reward.

        Parameters
        ----------
        rewards : array_like, shape (vertices_length,)
            Reward >= 0 per unit of time in each vertex; in discrete time whole numbers, per visit.
            Those of starting and absorbing vertices are ignored.

        Returns
        -------
        Graph
            Without parameters: those in force are put in. Vertices without reward are eliminated;
            in discrete time a vertex with reward k becomes k vertices of its state. The
            probability that no reward is accumulated at all is the `defect`: it is part of ``cdf``
            from 0 on, and left out of ``pdf``.

        Raises
        ------
        ValueError
            If ``rewards`` has another length or a negative, infinite, NaN or (discrete) fractional
            entry, or the parameters are missing or give a bad weight.

        Notes
        -----
        The elimination does not subtract, so the new rates have nearly full relative precision.
        Vertices without reward from which neither reward nor absorption can be reached stay: they
        trap. For a distribution that JAX differentiates in theta, see
        `PhaseType.reward_transform`.

        Examples
        --------
        >>> import phasic
        >>> graph = phasic.hypoexponential([2.0, 5.0])
        >>> graph.reward_transform([0, 0, 10, 0]).expectation()
        2.0
        """
        values = self._rewards(rewards)
        return self._from_core(reward_graph(self._instantiated(), values))

    def discretize(self, rate: float | npt.ArrayLike | Callable[..., float], **kwargs: Any) -> Self:
        """Return the discrete graph of a continuous one with events (mutations) along the way.

        A step is a transition of the process or an event, whichever comes first. Each transient
        vertex with a positive event rate gets one more vertex, visited once for each event and
        left back at the next step.

        Parameters
        ----------
        rate : float, array_like of shape (vertices_length,), or callable
            Event rate >= 0 in every vertex; or in each; or a function of the state and
            ``**kwargs`` that returns it.

        Returns
        -------
        Graph
            Discrete, without parameters: those in force are put in. The new vertices come last,
            in the order of those that they belong to, with states of zeros. Its attribute
            ``rewards`` is 1 there and 0 elsewhere, so that
            ``discrete.reward_transform(discrete.rewards)`` is the distribution of the number of
            events, and ``discrete.expectation(discrete.rewards)`` its mean.

        Raises
        ------
        ValueError
            If the graph is discrete, a rate is negative or not finite, or the parameters are
            missing or give a bad weight.

        Examples
        --------
        >>> import phasic
        >>> events = phasic.exponential(2.0).discretize(3.0)
        >>> round(events.expectation(events.rewards), 12)
        1.5
        """
        table = EdgeTable.of(self._instantiated()).without_loops()
        if table.discrete:
            raise ValueError("discretize does not apply to a discrete graph; its time is in steps")
        rates = _event_rates(rate, table, kwargs)
        n = table.n_vertices
        (marked,) = np.nonzero(rates)
        new = n + np.arange(len(marked))
        source = np.concatenate([table.source, marked])
        weight = np.concatenate([table.weight[:, 0], rates[marked]])
        total = np.bincount(source, weight, n)
        total[0] = 1.0
        scaled = np.divide(weight, total[source], out=np.zeros_like(weight), where=weight > 0)
        graph = self._from_core(
            replace(
                table,
                states=np.concatenate([table.states, np.zeros_like(table.states[marked])]),
                source=np.concatenate([source, new]),
                target=np.concatenate([table.target, new, marked]),
                weight=np.concatenate([scaled, np.ones(len(marked))])[:, None],
                discrete=True,
            ).build()
        )
        graph.rewards = np.repeat([0, 1], [n, len(marked)])
        return graph

    def normalize(self) -> Floats:
        """Scale the edges out of each vertex so that they sum to 1, in place.

        Returns
        -------
        array, shape (vertices_length,)
            The factors, 1 where there is nothing to scale. Out of a continuous graph this makes
            its jump chain with mean 1 between jumps; with the factors as rewards, the accumulated
            reward is what the absorption time was.

        Raises
        ------
        ValueError
            If the graph has parameters: scaled weights are not linear in theta (see
            `instantiate`).
        """
        table = EdgeTable.of(self._instantiated_only("normalize"))
        counted = (table.source != table.target) | table.discrete
        total = np.bincount(table.source[counted], table.weight[counted, 0], table.n_vertices)
        factors = np.divide(1.0, total, out=np.ones_like(total), where=total > 0)
        self._become(replace(table, weight=table.weight * factors[table.source][:, None]).build())
        return factors

    def update_ipv(self, ipv: npt.ArrayLike) -> None:
        """Set the start distribution, in place.

        Parameters
        ----------
        ipv : array_like, shape (n_start_edges,)
            New weights of the edges out of the starting vertex, in the order of
            ``starting_vertex().edges()``; >= 0, with a sum of at most 1. They take the place of
            constant and parameterised weights alike.

        Raises
        ------
        ValueError
            If the length differs, or the weights are not such.
        """
        table = EdgeTable.of(self._frozen())
        start = table.source == 0
        values = np.asarray(ipv, np.float64)
        if values.shape != (int(start.sum()),):
            raise ValueError(
                f"ipv has shape {values.shape}, expected ({int(start.sum())},), one weight for "
                "each edge out of the starting vertex"
            )
        weight = table.weight.copy()
        weight[start] = 0.0
        weight[start, 0] = values
        self._become(replace(table, weight=weight).build())

    def is_acyclic(self) -> bool:
        """Return whether no state can be visited again once it was left."""
        return bool((_core.decompose(self._frozen()).sizes <= 1).all())

    def _instantiated_only(self, method: str) -> _core.Graph:
        graph = self._frozen()
        if graph.param_length:
            raise ValueError(
                f"{method} does not apply to a graph with {graph.param_length} parameters, whose "
                "weights would no longer be linear in theta; use instantiate() first"
            )
        return graph


def _event_rates(rate: Any, table: EdgeTable, kwargs: dict[str, Any]) -> Floats:
    """Return the event rate of each vertex, 0 for starting and absorbing ones."""
    n = table.n_vertices
    transient = ~table.is_absorbing
    transient[0] = False
    if callable(rate):
        states = table.states.astype(np.int64)
        rates = np.zeros(n)
        for vertex in np.nonzero(transient)[0]:
            rates[vertex] = rate(states[vertex], **kwargs)
    else:
        rates = np.asarray(rate)
        if rates.dtype.kind not in "iuf" or rates.shape not in ((), (n,)) or kwargs:
            raise ValueError(
                f"rate has shape {rates.shape} and dtype {rates.dtype}, expected a number, shape "
                f"({n},), or a callable (which alone takes further arguments)"
            )
        rates = np.broadcast_to(rates, (n,)).astype(np.float64)
    bad = transient & ~(np.isfinite(rates) & (rates >= 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"the event rate of state {table.states[first].tolist()} is {rates[first]}, expected "
            "a finite number >= 0"
        )
    return np.where(transient, rates, 0.0)


__all__ = ["Transformations"]

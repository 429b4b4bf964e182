"""Rewards as time: the transforming methods of `PhaseType`.

1. The native side lists which terms each weight of a reward's graph is the sum of (see
   ``phasic/transform.h``).
2. The edge weights of the model are linear in theta; the probabilities of leaving the vertices
   without reward are native absorption probabilities (see `phasic._zero_parts`). Sums of products
   of the two are the parameters of the new graph's trace.
3. Events along the way make a discrete graph whose weights are those of the model divided by what
   leaves their vertex, events included.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._concrete import link
from phasic._derived import CONSTANT, Terms
from phasic._derived_weights import DerivedWeights
from phasic._edge_table import EdgeTable
from phasic._options import EvaluationOptions
from phasic._primitive import evaluate
from phasic._request import Program, Quantity, Request
from phasic._reward_weights import RewardTerms, reward_graph
from phasic._weights import Weights
from phasic._zero_parts import ZeroParts

_Plan = dict[str, Any]
_Floats = npt.NDArray[np.float64]


class RewardTransforms:
    """Mixed into `PhaseType`."""

    rewards: npt.NDArray[np.int64] | None = None
    """Of what `discretize` made: 1 for the vertices that count events, 0 for all others."""

    _trace: _core.Trace
    _options: EvaluationOptions
    _recording: dict[str, Any]
    _weights: DerivedWeights | Weights | None  # what theta goes through

    def _made(self, trace: _core.Trace, weights: DerivedWeights | Weights | None) -> Any:
        made: Any = object.__new__(type(self))
        made._set_up(trace, None, self._options, weights)
        made._recording.update(self._recording)
        return made

    def reward_transform(self, rewards: npt.ArrayLike) -> Any:
        """Return the distribution of an accumulated reward, as a function of the same theta.

        Parameters
        ----------
        rewards : array_like, shape (n_vertices,)
            Reward >= 0 per unit of time in each vertex, rows as in ``graph.states()``; in discrete
            time whole numbers, per visit. Numbers, not traced: they decide which vertices there
            are. Entries of starting and absorbing vertices are ignored.

        Returns
        -------
        PhaseType
            Its methods are differentiable in theta like those of any other. The probability that
            no reward is accumulated at all is absorbed at 0: it is part of ``cdf``, and left out
            of ``pdf`` and ``sf``. Its ``graph`` has the vertices with reward, in order; in
            discrete time one with reward k is there k times in a row.

        Raises
        ------
        ValueError
            If ``rewards`` has another length, a negative, infinite or NaN entry, or a fractional
            one in discrete time.
        TypeError
            If ``rewards`` is not real numbers, or traced.

        Notes
        -----
        Positive rewards divide the rates, which stay linear in theta. Vertices without reward are
        eliminated without subtraction, in one batched native call of as many rows as the largest
        connected part of them has entries; then the distribution is evaluated on what is left. With
        float32 the weights in between are rounded to float32. A theta with which vertices without
        reward trap the process raises ``ValueError``, and gives NaN where JAX traces.

        Examples
        --------
        >>> import phasic
        >>> model = phasic.PhaseType(phasic.hypoexponential(2))
        >>> print(model.reward_transform([0.0, 0.0, 2.0, 0.0]).expectation([7.0, 4.0]))
        0.5
        """
        values = _as_rewards(rewards, self._trace.n_vertices)
        graph = self._trace.graph()
        if graph.param_length == 0:
            return self._made(link(reward_graph(graph, values)), self._weights)
        plan = _core.reward_graph(graph, values)
        if plan["zero_graph"] is None and not plan["rest_weight"].size:
            return self._made(link(_divided(graph, values)), self._weights)
        weights = RewardWeights(self._trace, plan, self._options, self._weights)
        return self._made(link(plan["graph"]), weights)

    def discretize(self, rate: Any, **kwargs: Any) -> Any:
        """Return the discrete distribution of a continuous model with events along the way.

        A step is a transition of the process or an event (a mutation, say), whichever comes first;
        see `Graph.discretize`. Its methods take the same theta as those of the model.

        Parameters
        ----------
        rate : array_like or callable
            Event rates: a number >= 0 for all vertices, or one a vertex, (n_vertices,); or the
            coefficients of theta, (n_vertices, param_length), for rates that are linear in it like
            those of the model. Or a function of the state and ``**kwargs`` that returns a number,
            or coefficients.

        Returns
        -------
        PhaseType
            Its attribute ``rewards`` is 1 for the vertices that stand for events, and 0 for the
            others: ``d.reward_transform(d.rewards)`` is the distribution of the number of events,
            differentiable in theta.

        Raises
        ------
        ValueError
            If the model is discrete or a rate is not as above; on evaluation, if theta makes one
            negative (NaN under a transformation).

        Examples
        --------
        >>> import phasic
        >>> events = phasic.PhaseType(phasic.exponential()).discretize([[0.0], [3.0], [0.0]])
        >>> count = events.reward_transform(events.rewards)
        >>> print(count.expectation([2.0]))
        3.0
        """
        if self._trace.is_discrete:
            raise ValueError("discretize does not apply to a discrete model; its time is in steps")
        rates = _event_rates(rate, self._trace.graph(), kwargs)
        weights = EventWeights(self._trace, rates, self._options, self._weights)
        made = self._made(link(weights.graph()), weights)
        made.rewards = np.repeat([0, 1], [self._trace.n_vertices, len(weights.marked)])
        return made


class RewardWeights(DerivedWeights):
    """Parameters of a reward's graph; ``plan`` is what ``_core.reward_graph`` returned."""

    def __init__(
        self,
        trace: _core.Trace,
        plan: _Plan,
        options: EvaluationOptions,
        inner: DerivedWeights | Weights | None = None,
    ) -> None:
        super().__init__(trace, options, inner)
        self._given = (trace, plan, options, inner)
        self._terms = RewardTerms.of(plan)
        self._entry: npt.NDArray[np.int64] = plan["entry"]
        self._parts = None if plan["zero_graph"] is None else ZeroParts.of(plan)
        self._zero = None if self._parts is None else Program(link(self._parts.graph), options)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given

    def _fault(self) -> str:
        states = self._model.program.trace.graph().states()[self._entry]
        return (
            "theta traps the process in vertices without reward, which it enters at one of the "
            f"states {states[:5].tolist()}; their rewards never end, so they cannot be 0"
        )

    def _weights(self, theta: jax.Array) -> jax.Array:
        terms, batch = self._terms, theta.shape[:-1]
        model = self._edge_weights(theta)
        weights = jnp.zeros((*batch, len(terms.scale)), theta.dtype)
        weights = weights.at[..., terms.direct_weight].add(model[..., terms.direct_edge])
        if self._zero is not None:
            part = self._through(theta, model)
            weights = weights.at[..., terms.through_weight].add(part)
        weights = weights * terms.scale.astype(theta.dtype)
        if terms.rest_weight.size:
            moved = jnp.zeros_like(weights).at[..., terms.rest_weight]
            rest = np.unique(terms.rest_weight)
            lack = 1 - moved.add(weights[..., terms.rest_of])[..., rest]
            lack = lack - jax.lax.stop_gradient(jnp.minimum(lack, 0))  # 0 but for rounding
            weights = weights.at[..., rest].set(lack)
        return weights

    def _through(self, theta: jax.Array, model: jax.Array) -> jax.Array:
        """Return the terms that lead through vertices without reward, (..., n_terms)."""
        assert self._zero is not None
        assert self._parts is not None
        terms, parts = self._terms, self._parts
        starts = jnp.asarray(parts.starts, theta.dtype)
        shape = (*theta.shape[:-1], len(starts))
        started = jnp.concatenate(
            [
                jnp.broadcast_to(theta[..., None, :], (*shape, theta.shape[-1])),
                jnp.broadcast_to(starts, (*shape, starts.shape[-1])),
            ],
            axis=-1,
        )
        leaving = evaluate(Request(self._zero, Quantity.ABSORPTION), started)
        visits = evaluate(Request(self._zero, Quantity.SOJOURN), jax.lax.stop_gradient(started))
        endless = jnp.zeros((*shape, 1 + parts.part.max()), bool)
        endless = endless.at[..., parts.part[1:]].max(jnp.isinf(visits[..., 1:]))
        caught = endless[..., parts.row, parts.entry_part][..., terms.through_entry]
        into = model[..., terms.through_edge]
        row = parts.row[terms.through_entry]
        share = leaving[..., row, parts.end] / parts.weight.astype(theta.dtype)[row]
        return into * jnp.where(caught & (into > 0), jnp.nan, share)


class EventWeights(DerivedWeights):
    """Parameters of a discretized graph: those of transitions, then those of events.

    Parameters
    ----------
    trace, options, inner
        As in `DerivedWeights`.
    rates : array, shape (n_vertices, 1 + param_length)
        Event rates as linear forms; rows of zeros have no events.
    """

    def __init__(
        self,
        trace: _core.Trace,
        rates: _Floats,
        options: EvaluationOptions,
        inner: DerivedWeights | Weights | None = None,
    ) -> None:
        super().__init__(trace, options, inner)
        self._given = (trace, rates, options, inner)
        self.marked = np.flatnonzero(rates.any(axis=1))
        self._rates = rates[self.marked]
        source, target, *_ = self._forms
        self._kept = np.flatnonzero(source != target)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given

    def _fault(self) -> str:
        return "theta gives an event a negative rate, expected rates >= 0"

    def graph(self) -> _core.Graph:
        """Return the discretized graph, each weight but those of 1 a parameter."""
        model = self._model.program.trace.graph()
        source, target = (ends[self._kept] for ends in self._forms[:2])
        n, n_events, n_edges = model.n_vertices, len(self.marked), len(self._kept)
        new = n + np.arange(n_events)
        states = model.states()
        return Terms(
            np.concatenate([states, np.zeros((n_events, states.shape[1]), np.int32)]),
            np.concatenate([source, self.marked, new]),
            np.concatenate([target, new, self.marked]),
            np.concatenate([np.arange(n_edges + n_events), np.full(n_events, CONSTANT)]),
            np.ones(n_edges + 2 * n_events),
            n_edges + n_events,
            True,
        ).graph()

    def _weights(self, theta: jax.Array) -> jax.Array:
        source = self._forms[0][self._kept]
        model = self._edge_weights(theta)[..., self._kept]
        rates = self._rates.astype(theta.dtype)
        events: Any = rates[:, 0] + jnp.einsum("...p,vp->...v", theta, rates[:, 1:])
        events = jnp.where(events >= 0, events, jnp.nan)
        n_vertices = self._model.program.trace.n_vertices
        total: Any = jnp.zeros((*theta.shape[:-1], n_vertices), theta.dtype)
        total = total.at[..., source].add(model).at[..., self.marked].add(events)
        total = total.at[..., 0].set(1.0)  # start weights are probabilities as they are
        total = jnp.where(total == 0, 1.0, total)
        return jnp.concatenate(
            [model / total[..., source], events / total[..., self.marked]], axis=-1
        )


def _divided(graph: _core.Graph, rewards: npt.NDArray[np.float64]) -> _core.Graph:
    """Return the graph with the rates out of each vertex divided by its reward."""
    table = EdgeTable.of(graph)
    divisor = np.where(table.is_absorbing | (rewards == 0) | table.discrete, 1.0, rewards)
    divisor[0] = 1.0
    return replace(table, weight=table.weight / divisor[table.source][:, None]).build()


def _as_rewards(rewards: npt.ArrayLike, n_vertices: int) -> npt.NDArray[np.float64]:
    if isinstance(rewards, jax.core.Tracer):
        raise TypeError(
            "rewards is traced, but which vertices are left depends on it; pass numbers, or close "
            "over them"
        )
    values = np.asarray(rewards)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"rewards has dtype {values.dtype}, expected real numbers")
    if values.shape != (n_vertices,):
        raise ValueError(f"rewards has shape {values.shape}, expected ({n_vertices},)")
    return values.astype(np.float64)


def _event_rates(rate: Any, graph: _core.Graph, kwargs: dict[str, Any]) -> _Floats:
    """Return event rates as linear forms (n_vertices, 1 + param_length)."""
    n, n_params = graph.n_vertices, graph.param_length
    transient = np.flatnonzero(~graph.is_absorbing())[1:]
    forms = np.zeros((n, 1 + n_params))
    if callable(rate):
        states = graph.states().astype(np.int64)
        given = [np.asarray(rate(states[vertex], **kwargs)) for vertex in transient]
        found = np.zeros((n, *np.shape(given[0]))) if given else np.zeros(n)
        for vertex, value in zip(transient, given, strict=True):
            found[vertex] = value
    else:
        found = np.asarray(rate)
    if found.dtype.kind not in "iuf" or found.shape not in ((), (n,), (n, n_params)):
        raise ValueError(
            f"rate has shape {found.shape} and dtype {found.dtype}, expected a number, shape "
            f"({n},) or ({n}, {n_params}), or a function of a state that returns a number or "
            f"{n_params} coefficients"
        )
    wrong = ~np.isfinite(found) | ((found < 0) & (found.ndim < 2))
    if np.broadcast_to(wrong, found.shape if found.ndim else (n,))[transient].any():
        raise ValueError(f"rate is {rate!r}, expected finite numbers >= 0 (coefficients: finite)")
    if found.ndim < 2:
        forms[transient, 0] = np.broadcast_to(found, (n,))[transient]
    else:
        forms[transient, 1:] = found[transient]
    return forms


__all__ = ["EventWeights", "RewardTransforms", "RewardWeights"]

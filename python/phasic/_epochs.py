"""The flow of probability through epochs: each starts where the one before it ended.

1. `EpochModels` holds the model itself, for the first epoch, and the same model with its start
   distribution as parameters, for the later ones; their transient states are those that any
   epoch can reach.
2. `EpochModels.flow` goes from epoch to epoch: state probabilities at the end of one, relabelled,
   are the start of the next. What is still transient is divided by its sum, whose logarithm is
   carried beside it, so that long epochs do not underflow. The sum is a constant to derivatives:
   everything is linear in the start, so any constant gives the same value and derivative.
3. What is absorbed is carried apart, so sums are of non-negative numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from phasic._composed import joined, normalised
from phasic._derived import (
    Indices,
    Terms,
    reachable_vertices,
    with_free_start,
    with_killing,
)
from phasic._graphs import native_graph
from phasic._ladders import Ladder
from phasic._options import EvaluationOptions, exact_if_automatic
from phasic.graph import Graph
from phasic.phase_type import PhaseType

Relabelling = Callable[[npt.NDArray[np.int64]], Sequence[int]] | npt.ArrayLike


@dataclass(frozen=True)
class Epoch:
    """One epoch: a model, its parameters with those of the start, and what came before.

    Parameters
    ----------
    index : int
        Number of the epoch, from 0.
    model : PhaseType
        The model of the epoch.
    theta : array, shape (..., model.param_length)
        Its parameters.
    log_scale : array, shape (...)
        Logarithm of what its probabilities are to be multiplied with.
    absorbed : array, shape (..., n_vertices)
        Probability of having been absorbed in each vertex before.
    settled : array, shape (...)
        Probability of having been absorbed before, the defect included.
    """

    index: int
    model: PhaseType
    theta: Any
    log_scale: Any
    absorbed: Any
    settled: Any

    @property
    def scale(self) -> Any:
        """What the probabilities of `model` are to be multiplied with, shape (...)."""
        return jnp.exp(self.log_scale)

    def ask(self, quantity: str, *arguments: Any, **options: Any) -> Any:
        """Return a quantity of the model; its errors name the epoch."""
        return self._named(
            partial(getattr(self.model, quantity), self.theta, *arguments, **options)
        )

    def drawn(self, key: Any, *arguments: Any, **options: Any) -> Any:
        """Return draws of the model with their states; errors name the epoch."""
        draw = self.model.sample_with_state
        return self._named(partial(draw, key, self.theta, *arguments, **options))

    def _named(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ValueError as error:
            raise type(error)(f"epoch {self.index}: {error}") from error

    def at_end(self, quantity: str, duration: Any) -> Any:
        """Return a quantity by vertex at one time a row: (..., n_vertices)."""
        return self.ask(quantity, jnp.asarray(duration)[..., None])[..., 0, :]


class EpochModels:
    """The models of the epochs and the relabelling between them.

    Parameters
    ----------
    graph : Graph
        The model, continuous.
    n_epochs : int
        Number of epochs.
    relabel : mapping of int to Relabelling
        By number of the epoch at whose start states are relabelled.
    **options
        Of `PhaseType`.

    Raises
    ------
    ValueError
        If the graph is discrete or a relabelling does not fit it.
    """

    def __init__(
        self, graph: Graph, n_epochs: int, relabel: dict[int, Relabelling], **options: Any
    ) -> None:
        native = native_graph(graph)
        if native.is_discrete:
            raise ValueError("graph is discrete, but epochs are intervals of continuous time")
        terms = Terms.of(native)
        self.n_epochs = n_epochs
        self.n_vertices = native.n_vertices
        self.is_absorbing = native.is_absorbing()
        self.maps: dict[int, npt.NDArray[Any]] = {}
        seeds = terms.target[(terms.source == 0) & (terms.value != 0)]
        reached = reachable_vertices(terms, seeds)
        everyone = reached
        for k in range(1, n_epochs):
            if k in relabel:
                self.maps[k] = _relabelling(relabel[k], k, native.states(), reached)
                into = _targets(self.maps[k], reached)
                self._check_kinds(k, self.maps[k], reached)
                reached = reachable_vertices(terms, into)
            everyone = np.union1d(everyone, reached)
        self.transient: Indices = everyone[~self.is_absorbing[everyone]]
        if not self.transient.size:
            raise ValueError(
                "the graph starts in absorbing states only, so the absorption time is 0 whatever "
                "the epochs are; expected a start edge to a state that leads to others"
            )
        # Results of epochs are subtracted from 1 and searched for roots.
        exact = exact_if_automatic(options.get("options") or EvaluationOptions())
        self._terms, self._options = terms, {**options, "options": exact}
        self.first = PhaseType(graph, **self._options)
        self._ladders: dict[tuple[Any, int], tuple[Ladder, PhaseType]] = {}
        self.later = self._made(with_free_start(terms, self.transient))

    @cached_property
    def killed(self) -> PhaseType:
        """The model with its start and killing rates of `transient` as parameters behind theta."""
        free = with_free_start(self._terms, self.transient)
        return self._made(with_killing(free, self.transient))

    def _made(self, terms: Terms) -> PhaseType:
        return PhaseType(Graph._from_core(terms.graph()), **self._options)

    def ladder(self, make: Callable[..., Ladder], size: int) -> tuple[Ladder, PhaseType]:
        """Return a ladder over the transient vertices of all epochs, and its distribution."""
        key = make, size
        if key not in self._ladders:
            ladder = make(self._terms, self.transient, size)
            self._ladders[key] = ladder, self._made(ladder.terms)
        return self._ladders[key]

    def started(self, theta: Any) -> Any:
        """Return the start of the first epoch, (..., n_transient)."""
        begin = jnp.zeros(1, theta.dtype)
        return self.first.state_probability(theta[..., 0, :], begin)[..., 0, self.transient]

    def moved(self, k: int, masses: Any) -> Any:
        """Return masses (..., n_transient) as they are after relabelling for epoch k."""
        full = jnp.zeros((*masses.shape[:-1], self.n_vertices), masses.dtype)
        return self.relabelled(k, full.at[..., self.transient].set(masses))[..., self.transient]

    def _check_kinds(self, k: int, relabelling: npt.NDArray[Any], reached: Indices) -> None:
        kinds = self.is_absorbing
        if relabelling.ndim == 1:
            changes = kinds[relabelling[reached]] != kinds[reached]
        else:
            to_absorbing = relabelling[reached] @ kinds
            to_transient = relabelling[reached] @ ~kinds
            changes = np.where(kinds[reached], to_transient, to_absorbing) > 0
        if changes.any():
            vertex = reached[np.argmax(changes)]
            kind, other = ("absorbing", "transient")[:: 1 if kinds[vertex] else -1]
            raise ValueError(
                f"relabel[{k}] takes vertex {vertex}, which is {kind}, to a vertex that is {other};"
                " expected transient vertices to stay transient and absorbing ones absorbing"
            )

    def epoch(self, k: int, model: PhaseType, theta: Any) -> Epoch:
        """Return epoch k as if nothing came before; theta has the parameters of its start too."""
        zero = jnp.zeros((), theta.dtype)
        nothing = jnp.zeros(self.n_vertices, theta.dtype)
        return Epoch(k, model, theta, zero, nothing, zero)

    def flow(self, theta: Any, starts: Any) -> list[Epoch]:
        """Return the epochs.

        Parameters
        ----------
        theta : array, shape (..., n_epochs, param_length)
            Parameters of each epoch.
        starts : array, shape (..., n_epochs)
            Start times, the first one 0.
        """
        epochs = [self.epoch(0, self.first, theta[..., 0, :])]
        for k in range(1, self.n_epochs):
            last, duration = epochs[-1], starts[..., k] - starts[..., k - 1]
            ends = last.at_end("state_probability", duration)
            absorbed = jnp.where(self.is_absorbing, ends, 0.0)
            gained = (
                last.ask("cdf", duration[..., None])[..., 0]
                if k == 1
                else last.scale * absorbed.sum(-1)
            )
            settled = last.settled + gained
            total = last.absorbed + last.scale[..., None] * absorbed
            remaining = self.relabelled(k, jnp.where(self.is_absorbing, 0.0, ends))
            start, mass = normalised(remaining[..., self.transient])
            epochs.append(
                Epoch(
                    k,
                    self.later,
                    joined(theta[..., k, :], start),
                    last.log_scale + jnp.log(mass),
                    self.relabelled(k, total),
                    settled,
                )
            )
        return epochs

    def relabelled(self, k: int, probabilities: Any) -> Any:
        """Return probabilities (..., n_vertices) as they are after relabelling for epoch k."""
        if k not in self.maps:
            return probabilities
        relabelling = self.maps[k]
        if relabelling.ndim == 2:
            return probabilities @ relabelling.astype(probabilities.dtype)
        return jnp.zeros_like(probabilities).at[..., relabelling].add(probabilities)


# --- relabelling


def _targets(relabelling: npt.NDArray[Any], vertices: Indices) -> Indices:
    if relabelling.ndim == 1:
        return np.unique(relabelling[vertices])
    return np.flatnonzero((relabelling[vertices] > 0).any(axis=0))


def _relabelling(
    given: Relabelling, k: int, states: npt.NDArray[np.int32], reached: Indices
) -> npt.NDArray[Any]:
    """Return a map (n_vertices,) or a matrix (n_vertices, n_vertices), checked where it matters."""
    n = len(states)
    if callable(given):
        return _map_of_function(given, k, states, reached)
    table = np.asarray(given)
    if table.shape == (n,) and np.issubdtype(table.dtype, np.integer):
        wrong = reached[(table[reached] < 1) | (table[reached] >= n)]
        if wrong.size:
            raise ValueError(
                f"relabel[{k}][{wrong[0]}] is {table[wrong[0]]}, expected a vertex from 1 to "
                f"{n - 1}"
            )
        return np.where(np.isin(np.arange(n), reached), table, 0).astype(np.int64)
    if table.shape == (n, n) and table.dtype.kind in "iuf":
        rows = table[reached].astype(np.float64)
        good = np.isfinite(rows).all(1) & (rows >= 0).all(1) & (abs(rows.sum(1) - 1) <= 1e-12)
        if not good.all():
            row = reached[np.argmin(good)]
            raise ValueError(
                f"row {row} of relabel[{k}] is no distribution, expected numbers >= 0 that sum to 1"
            )
        full = np.zeros((n, n))
        full[reached] = rows
        return full
    raise ValueError(
        f"relabel[{k}] has shape {table.shape} and dtype {table.dtype}, expected a function of a "
        f"state, vertices of shape ({n},) or a stochastic matrix of shape ({n}, {n})"
    )


def _map_of_function(
    function: Callable[..., Any], k: int, states: npt.NDArray[np.int32], reached: Indices
) -> npt.NDArray[np.int64]:
    vertex_of: dict[tuple[int, ...], int] = {}
    for v in range(1, len(states)):
        vertex_of.setdefault(tuple(states[v].tolist()), v)
    table = np.zeros(len(states), np.int64)
    for v in reached:
        state = states[v].astype(np.int64)
        found = tuple(int(x) for x in function(state.copy()))
        if found not in vertex_of:
            raise ValueError(
                f"relabel[{k}] takes state {tuple(state.tolist())} to {found}, which is no state "
                "of the graph; expected a state of the graph for every state that is reached"
            )
        table[v] = vertex_of[found]
    return table


__all__ = ["Epoch", "EpochModels", "Relabelling"]

"""`PiecewisePhaseType`: absorption of a model whose parameters change at given times.

Shapes, everywhere: ``theta`` is (..., n_epochs, param_length); leading axes are batch axes and
broadcast with those of the other arguments. ``starts`` is (..., n_epochs). ``rewards`` and ``t``
are those of `phasic.PhaseType`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phasic import _piecewise_quantities as quantities
from phasic._arguments import as_numbers, check_range, checked_order, prepare
from phasic._cache import CacheLike
from phasic._composed import Composed
from phasic._epochs import EpochModels, Relabelling
from phasic._graphs import native_graph
from phasic._joint_moments import correlation_of
from phasic._options import EvaluationOptions
from phasic._piecewise_quantile import PiecewiseQuantiles
from phasic._piecewise_sampling import PiecewiseSampling
from phasic._piecewise_transforms import PiecewiseTransforms
from phasic._weights import WeightFunction, weighted
from phasic.graph import Graph


class PiecewisePhaseType(PiecewiseQuantiles, PiecewiseSampling, PiecewiseTransforms):
    """The absorption time of a model whose parameters are constant within epochs.

    Epoch k lasts from ``starts[k]`` to ``starts[k + 1]``, the last one for ever. In each the
    process moves by the rates at that epoch's parameters; between two of them its state stays, or
    changes as ``relabel`` says. Every method can be transformed by JAX, like those of
    `phasic.PhaseType`, and is differentiable in theta, in the starts, in t and in rewards.

    Parameters
    ----------
    graph : Graph
        The model, continuous.
    starts : array_like, shape (n_epochs,)
        Start times of the epochs, the first one 0, none before the one in front of it. The methods
        take others of the same number.
    relabel : mapping, optional
        Number of an epoch (1 to n_epochs - 1) to what happens to the states at its start: a
        function from a state to a state of the graph, an integer array (n_vertices,) of vertices,
        or a stochastic matrix (n_vertices, n_vertices). Rows of states that are not reached are
        ignored. Transient states go to transient states and absorbing ones to absorbing ones.
    min_size, strategy, cache_dir, threads, options, weight_mode, weights
        As of `phasic.PhaseType`.

    Raises
    ------
    ValueError
        If the graph is discrete, or starts or a relabelling are not of that form.

    Notes
    -----
    Results are exact to rounding: state probabilities at the end of an epoch are the start of the
    next one. A method costs about as much as the same method of `PhaseType` in every epoch.

    Examples
    --------
    Two lineages in a population that was half as large before time 1:

    >>> import jax, jax.numpy as jnp, phasic
    >>> graph = phasic.Graph(1)
    >>> two, one = (graph.find_or_create_vertex([i]) for i in (2, 1))
    >>> graph.starting_vertex().add_edge(two, 1.0)
    >>> two.add_edge(one, [1.0])
    >>> model = PiecewisePhaseType(graph, [0.0, 1.0])
    >>> rates = jnp.array([[1.0], [2.0]])
    >>> print(f"{model.expectation(rates):.6f}")
    0.816060
    >>> print(jax.grad(model.expectation)(rates).round(6).tolist())
    [[-0.448181], [-0.09197]]
    """

    def __init__(
        self,
        graph: Graph,
        starts: Any,
        *,
        relabel: Mapping[int, Relabelling] | None = None,
        min_size: int = 50,
        strategy: str = "auto",
        cache_dir: CacheLike = None,
        threads: int | None = None,
        options: EvaluationOptions | None = None,
        weight_mode: str = "linear",
        weights: WeightFunction | None = None,
    ) -> None:
        self._starts = np.asarray(as_numbers("starts", starts), np.float64)
        if self._starts.ndim != 1 or self._starts.size == 0:
            raise ValueError(f"starts has shape {self._starts.shape}, expected (n_epochs,)")
        _check_starts(self._starts)
        relabel = dict(relabel or {})
        native, self._weights = weighted(native_graph(graph), weight_mode, weights)
        self._graph = graph.clone()
        for k in relabel:
            if isinstance(k, bool) or k not in range(1, self.n_epochs):
                raise ValueError(
                    f"relabel has the key {k!r}, expected numbers of epochs from 1 to "
                    f"{self.n_epochs - 1}"
                )
        self._models = EpochModels(
            Graph._from_core(native),
            self.n_epochs,
            relabel,
            min_size=min_size,
            strategy=strategy,
            cache_dir=cache_dir,
            threads=threads,
            options=options,
        )
        self._options = options, threads, weight_mode, weights
        self._composed = Composed()

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = self._graph, self._starts, self._models.maps, *self._options
        return _restore, (type(self), *arguments)

    def __repr__(self) -> str:
        return (
            f"<PiecewisePhaseType {self.n_epochs} epochs, {self.n_vertices} vertices, "
            f"{self.param_length} parameters an epoch>"
        )

    @property
    def n_epochs(self) -> int:
        """Number of epochs, the second last axis of theta and the last one of starts."""
        return int(self._starts.size)

    @property
    def n_vertices(self) -> int:
        """Number of vertices, the starting and absorbing ones included."""
        return self._models.first.n_vertices

    @property
    def param_length(self) -> int:
        """Number of parameters of an epoch, as of `PhaseType.param_length`."""
        first = self._models.first
        return first.param_length if self._weights is None else self._weights.param_length

    # --- moments

    def expectation(self, theta: Any, rewards: Any = None, *, starts: Any = None) -> jax.Array:
        """Return the expected accumulated reward, by default the expected absorption time.

        Parameters
        ----------
        theta : array_like, shape (..., n_epochs, param_length)
            Parameters of each epoch.
        rewards : array_like, shape (n_vertices,) or (..., n_rewards, n_vertices), optional
            Reward per unit of time in each vertex, the same in all epochs; all ones if absent.
        starts : array_like, shape (..., n_epochs), optional
            Start times of the epochs instead of those that the object was made with.

        Returns
        -------
        array, shape (...) or (..., n_rewards)

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value, or a state that the last epoch reaches cannot
            reach absorption (+inf under a transformation).
        TypeError
            If an argument is not float32, float64 or integers.
        """
        return self._call("expectation", theta, starts, rewards=rewards)

    def variance(self, theta: Any, rewards: Any = None, *, starts: Any = None) -> jax.Array:
        """Return the variance of the accumulated reward; see `moments`."""
        return self._call("variance", theta, starts, rewards=self._non_negative(rewards))

    def moments(self, theta: Any, k: int, rewards: Any = None, *, starts: Any = None) -> jax.Array:
        """Return the raw moments 1 to k of the accumulated reward on the last axis.

        Parameters
        ----------
        theta, rewards, starts : array_like
            As in `expectation`; rewards of transient vertices must be at least 0.
        k : int
            Highest order, at least 1.

        Returns
        -------
        array, shape (..., k) or (..., n_rewards, k)

        Raises
        ------
        ValueError
            As in `expectation`, if k < 1, or if a reward is negative (NaN under a transformation).

        Notes
        -----
        A finite epoch costs a sweep over k + 1 copies of the model for each reward. Sums are of
        non-negative numbers only.
        """
        order = checked_order(k)
        return self._call(
            "moments", theta, starts, rewards=self._non_negative(rewards), order=order
        )

    def covariance(self, theta: Any, rewards: Any, *, starts: Any = None) -> jax.Array:
        """Return the covariance matrix of several accumulated rewards.

        Parameters
        ----------
        theta, starts : array_like
            As in `expectation`.
        rewards : array_like, shape (..., n_rewards, n_vertices)
            One reward vector a row, at least 0 for transient vertices.

        Returns
        -------
        array, shape (..., n_rewards, n_rewards)

        Raises
        ------
        ValueError
            As in `moments`, or if rewards is a single vector.

        Notes
        -----
        A finite epoch costs a sweep over two copies of the model for each reward.
        """
        if np.ndim(rewards) < 2:
            raise ValueError(
                f"rewards has shape {np.shape(rewards)}, expected (..., n_rewards, n_vertices); "
                "the variance of one accumulated reward is variance(theta, rewards)"
            )
        return self._call("covariance", theta, starts, rewards=self._non_negative(rewards))

    def correlation(self, theta: Any, rewards: Any, *, starts: Any = None) -> jax.Array:
        """Return the correlation matrix of several accumulated rewards.

        Arguments, shapes and errors are those of `covariance`. NaN for a reward that does not vary.
        """
        return correlation_of(self.covariance(theta, rewards, starts=starts))

    def expected_sojourn(self, theta: Any, *, starts: Any = None) -> jax.Array:
        """Return the expected time in each vertex before absorption, shape (..., n_vertices)."""
        return self._call("expected_sojourn", theta, starts)

    def absorption_probability(self, theta: Any, *, starts: Any = None) -> jax.Array:
        """Return the probability of ending in each absorbing vertex, shape (..., n_vertices)."""
        return self._call("absorption_probability", theta, starts)

    # --- the distribution in time

    def pdf(self, theta: Any, t: Any, *, starts: Any = None) -> jax.Array:
        """Return the density of the absorption time, without the atom at 0.

        At the start of an epoch it is the density of that epoch (from the right).

        Parameters
        ----------
        theta : array_like, shape (..., n_epochs, param_length)
            Parameters of each epoch.
        t : array_like, scalar or shape (..., n_t)
            Times, at least 0.
        starts : array_like, shape (..., n_epochs), optional
            As in `expectation`.

        Returns
        -------
        array, shape (...) or (..., n_t)

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value, or the predicted work exceeds
            ``options.max_operations`` (`BudgetError`).
        TypeError
            If an argument is not float32, float64 or integers.
        """
        return self._call("pdf", theta, starts, t=t)

    def logpdf(self, theta: Any, t: Any, *, starts: Any = None) -> jax.Array:
        """Return the logarithm of `pdf`; -inf where that is 0."""
        return self._call("logpdf", theta, starts, t=t)

    def cdf(self, theta: Any, t: Any, *, starts: Any = None) -> jax.Array:
        """Return the probability of absorption up to t, the mass absorbed at time 0 included.

        Arguments, shapes and errors are those of `pdf`.
        """
        return self._call("cdf", theta, starts, t=t)

    def sf(self, theta: Any, t: Any, *, starts: Any = None) -> jax.Array:
        """Return the probability of no absorption up to t, without cancellation in the tail.

        Arguments, shapes and errors are those of `pdf`.
        """
        return self._call("sf", theta, starts, t=t)

    def logsf(self, theta: Any, t: Any, *, starts: Any = None) -> jax.Array:
        """Return the logarithm of `sf`; -inf where that is 0."""
        return self._call("logsf", theta, starts, t=t)

    def hazard(self, theta: Any, t: Any, *, starts: Any = None) -> jax.Array:
        """Return the absorption rate at t given survival; arguments are those of `pdf`."""
        return self._call("hazard", theta, starts, t=t)

    def state_probability(self, theta: Any, t: Any, *, starts: Any = None) -> jax.Array:
        """Return the probability of being in each vertex at time t.

        At the start of an epoch states have their new labels. Arguments and errors are those of
        `pdf`.

        Returns
        -------
        array, shape (..., n_vertices) or (..., n_t, n_vertices)
        """
        return self._call("state_probability", theta, starts, t=t)

    def conditional_state_probability(self, theta: Any, t: Any, *, starts: Any = None) -> jax.Array:
        """Return the probability of each vertex at time t, given that absorption comes later.

        Arguments, shapes and errors are those of `state_probability`. It sums to 1, and is 0 for
        absorbing vertices. What is left is rescaled at every start, so it is right where the
        probability of survival underflows as a whole, and NaN where that underflows in one epoch.
        """
        return self._call("conditional_state_probability", theta, starts, t=t)

    def accumulated_occupancy(self, theta: Any, t: Any, *, starts: Any = None) -> jax.Array:
        """Return the expected time spent in each vertex up to time t, 0 for absorbing ones.

        Arguments, shapes and errors are those of `state_probability`.
        """
        return self._call("accumulated_occupancy", theta, starts, t=t)

    # --- from arguments to quantities

    def _non_negative(self, rewards: Any) -> Any:
        """Return rewards, after a look at those of transient vertices if they are concrete."""
        if rewards is None or isinstance(rewards, jax.core.Tracer):
            return rewards
        values = np.asarray(as_numbers("rewards", rewards))
        if values.ndim and values.shape[-1] == self.n_vertices:
            moving = ~self._models.is_absorbing & (np.arange(self.n_vertices) > 0)
            check_range("rewards", np.where(moving, values, 0.0), 0.0, np.inf)
        return rewards

    def _call(
        self,
        name: str,
        theta: Any,
        starts: Any,
        *,
        t: Any = None,
        rewards: Any = None,
        order: int = 1,
    ) -> jax.Array:
        if t is None and name in quantities.IN_TIME:
            raise ValueError("t is missing (expected a scalar or shape (..., n_t))")
        operands = self._prepared(theta, starts, t, rewards)
        moments = name == "moments"
        compute = quantities.raw_moments(order) if moments else quantities.QUANTITIES[name]
        return self._composed(
            (name, order) if moments else name,
            partial(compute, self._models),
            *operands,
            may_be_infinite=name in quantities.LOGARITHMS,
        )

    def _prepared(
        self, theta: Any, starts: Any, t: Any, rewards: Any, times_name: str = "t"
    ) -> tuple[Any, ...]:
        n_epochs, size = self.n_epochs, self._models.first.param_length
        if self._weights is not None:
            theta = self._weights(theta)
        if theta is None and size == 0:
            theta = np.zeros((n_epochs, 0))
        theta = as_numbers("theta", theta)
        if theta.ndim < 2 or theta.shape[-2:] != (n_epochs, size):
            raise ValueError(
                f"theta has shape {theta.shape}, expected (..., {n_epochs}, {size}): one row of "
                f"{size} parameters for each of {n_epochs} epochs"
            )
        starts = as_numbers("starts", self._starts if starts is None else starts)
        if starts.ndim < 1 or starts.shape[-1] != n_epochs:
            raise ValueError(
                f"starts has shape {starts.shape}, expected (..., {n_epochs}): one start time for "
                "each epoch"
            )
        if not isinstance(starts, jax.core.Tracer):
            _check_starts(np.asarray(starts))
        checked = prepare(
            theta[..., 0, :],
            rewards,
            t,
            param_length=size,
            n_vertices=self.n_vertices,
            times_name=times_name,
        )
        dtype = checked.operands[0].dtype
        given = [None if x is None else as_numbers("", x) for x in (t, rewards)]
        batch = [theta.shape[:-2], starts.shape[:-1]]
        batch += [x.shape[:-1] for x in given[:1] if x is not None]
        try:
            jnp.broadcast_shapes(*batch)
        except ValueError as error:
            raise ValueError(f"leading (batch) axes do not broadcast: {batch}") from error
        begins = jnp.asarray(starts, dtype).at[..., 0].set(0.0)  # a constant, to derivatives too
        cast = [None if x is None else jnp.asarray(x, dtype) for x in given]
        return jnp.asarray(theta, dtype), begins, *cast


def _restore(
    kind: type[PiecewisePhaseType],
    graph: Graph,
    starts: Any,
    relabel: dict[int, Any],
    options: EvaluationOptions | None,
    threads: int | None,
    weight_mode: str,
    weights: WeightFunction | None,
) -> PiecewisePhaseType:
    """Unpickle; functions that relabel have become arrays."""
    return kind(
        graph,
        starts,
        relabel=relabel,
        options=options,
        threads=threads,
        weight_mode=weight_mode,
        weights=weights,
    )


def _check_starts(starts: np.ndarray[Any, np.dtype[Any]]) -> None:
    good = np.isfinite(starts).all() and (starts[..., 0] == 0).all()
    if not (good and (np.diff(starts, axis=-1) >= 0).all()):
        raise ValueError(
            f"starts is {starts.tolist()}, expected finite times that begin with 0 and do not "
            "decrease"
        )


__all__ = ["PiecewisePhaseType"]

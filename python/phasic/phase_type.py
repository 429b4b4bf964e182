"""`PhaseType`: the distribution of a model's absorption time, as JAX functions of its parameters.

Shapes, everywhere: ``theta`` is (..., param_length); leading axes are batch axes and broadcast with
those of the other arguments, and they come first in the result. ``rewards`` is (n_vertices,), or
(..., n_rewards, n_vertices), which adds an axis n_rewards to the result. ``t`` is a scalar, or
(..., n_t), which adds an axis n_t.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Self

import jax

from phasic import _core
from phasic._arguments import checked_order
from phasic._cache import CacheLike
from phasic._composed import Composed
from phasic._density_plan import DensityPlan, density_plan
from phasic._derived import Terms
from phasic._derived_weights import DerivedWeights
from phasic._evaluator import Evaluator
from phasic._graphs import check_program, native_graph
from phasic._joint_moments import JointMoments
from phasic._options import EvaluationOptions, exact_if_automatic
from phasic._quantile import Quantiles, QuantileSearch
from phasic._reward_transform import RewardTransforms
from phasic._sampling import Paths, Sample, Sampler, Sampling
from phasic._transforms import Transforms
from phasic._weights import WeightFunction, Weights, weighted
from phasic.graph import Graph
from phasic.hierarchical_trace_cache import get_trace_hierarchical


class PhaseType(JointMoments, Quantiles, Transforms, RewardTransforms, Sampling):
    """The phase-type distribution of a graph; every method can be transformed by JAX.

    Making one records the graph's trace, or loads it from the cache. After that a call runs
    compiled native code: ``jit``, ``vmap``, ``pmap``, ``shard_map``, ``grad``, ``jvp``, ``jacfwd``,
    ``jacrev`` and ``hessian`` apply in theta, rewards and t, nested in any way up to third
    derivatives of a value.

    Parameters
    ----------
    graph : Graph
        The model.
    discrete : bool, optional
        Must equal the graph's own flag, which is what None takes.
    min_size : int
        Components with fewer vertices are recorded anew rather than cached. No number depends on
        it.
    strategy : str
        How missing traces are recorded: ``auto``, ``vmap``, ``pmap`` or ``sequential``; see
        `phasic.hierarchical_trace_cache.compute_missing_traces_parallel`.
    cache_dir : path or TraceCache, optional
        The cache; without it ``PHASIC_CACHE_DIR``, else the user's cache folder.
    threads : int, optional
        Native threads of one evaluation; takes precedence over ``options.threads``.
    options : EvaluationOptions, optional
        Threads, truncation error, work budget, kernel and density method.
    executor : concurrent.futures.Executor, optional
        Records missing traces in the place of a strategy.
    weight_mode : str
        ``linear``: a coefficient vector c makes the weight ``sum_k c_k theta_k``, to which the
        constant part of an edge adds. ``log``: c are exponents and the constant part a factor,
        ``constant * prod_k theta_k ** c_k``, 1 where an edge has none; edges without coefficients
        are constant.
    weights : callable, optional
        A JAX function from theta, of any length, to the parameter vector of the graph. It is mapped
        over batches and differentiated.

    Raises
    ------
    ValueError
        If ``discrete`` contradicts the graph, or an option is out of range.

    Notes
    -----
    Computation is float64 inside; the result has the float dtype of theta. Concrete arguments are
    validated and give errors that name what is wrong. Under a transformation a bad row (negative
    weight, non-finite argument, ...) gives NaN, and an infinite expectation +inf. Only CPU devices
    evaluate.

    Examples
    --------
    An exponential distribution with rate theta:

    >>> import jax, jax.numpy as jnp, phasic
    >>> graph = phasic.Graph(1)
    >>> a, b = (graph.find_or_create_vertex([i]) for i in (1, 2))
    >>> graph.starting_vertex().add_edge(a, 1.0)
    >>> a.add_edge(b, [1.0])
    >>> model = PhaseType(graph)
    >>> print(model.expectation(jnp.array([4.0])))
    0.25
    >>> print(jax.grad(model.expectation)(jnp.array([4.0])))
    [-0.0625]
    """

    def __init__(
        self,
        graph: Graph,
        *,
        discrete: bool | None = None,
        min_size: int = 50,
        strategy: str = "auto",
        cache_dir: CacheLike = None,
        threads: int | None = None,
        options: EvaluationOptions | None = None,
        executor: Executor | None = None,
        weight_mode: str = "linear",
        weights: WeightFunction | None = None,
    ) -> None:
        native, weigh = weighted(native_graph(graph), weight_mode, weights)
        trace = get_trace_hierarchical(
            graph if native is graph._frozen() else Graph._from_core(native),
            min_size=min_size,
            strategy=strategy,
            cache_dir=cache_dir,
            executor=executor,
        )
        options = options or EvaluationOptions()
        options = options if threads is None else replace(options, threads=threads)
        self._set_up(trace, discrete, options, weigh)
        self._recording.update(min_size=min_size, strategy=strategy, cache_dir=cache_dir)

    @classmethod
    def from_trace(
        cls,
        trace: _core.Trace,
        *,
        discrete: bool | None = None,
        options: EvaluationOptions | None = None,
    ) -> Self:
        """Return the distribution of a whole graph's trace, without recording anything.

        Raises
        ------
        ValueError
            If it is the trace of one component only, or ``discrete`` contradicts it.
        """
        made = cls.__new__(cls)
        made._set_up(trace, discrete, options)
        return made

    def _set_up(
        self,
        trace: _core.Trace,
        discrete: bool | None,
        options: EvaluationOptions | None,
        weights: DerivedWeights | Weights | None = None,
    ) -> None:
        check_program(trace)
        if discrete is not None and discrete != trace.is_discrete:
            kind = "discrete" if trace.is_discrete else "continuous"
            raise ValueError(f"discrete is {discrete}, but the graph is {kind}")
        self._trace = trace
        self._options = options or EvaluationOptions()
        self._weights = weights
        self._evaluate = Evaluator(trace, self._options, weights)
        self._quantiles = QuantileSearch(Evaluator(trace, exact_if_automatic(self._options)))
        self._sampler = Sampler(self._evaluate.program, weights)
        self._recording: dict[str, Any] = {}  # how derived graphs are recorded
        self._composed = Composed()
        self._derived: dict[str, PhaseType | None] = {}

    def _weigh(self, theta: Any) -> Any:
        """Return the parameters of the graph."""
        return theta if self._weights is None else self._weights(theta)

    def _derive(self, name: str, make: Callable[[Terms], Terms | None]) -> PhaseType | None:
        """Return the distribution of a graph derived from this one; equal names, equal graphs."""
        if name not in self._derived:
            terms = make(Terms.of(self._trace.graph()))
            made = None
            if terms is not None:
                graph = Graph._from_core(terms.graph())
                made = PhaseType(graph, options=self._options, **self._recording)
            self._derived[name] = made
        return self._derived[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self._trace, self._options, self._weights)

    def __repr__(self) -> str:
        kind = "discrete" if self.is_discrete else "continuous"
        return (
            f"<PhaseType {kind}, {self.n_vertices} vertices, {self.param_length} parameters, "
            f"digest {self._trace.digest[:12]}>"
        )

    # --- the model

    @property
    def graph(self) -> Graph:
        """The model, rebuilt from the trace.

        After a `reward_transform` that eliminates vertices, each edge has a parameter of its own
        there, since its weight is not linear in theta; in ``log`` mode, each distinct weight.
        """
        return Graph._from_core(self._trace.graph())

    @property
    def trace(self) -> _core.Trace:
        """The trace of the whole graph."""
        return self._trace

    @property
    def n_vertices(self) -> int:
        """Number of vertices, the starting and absorbing ones included."""
        return self._trace.n_vertices

    @property
    def param_length(self) -> int:
        """Number of parameters, the last axis of theta; of the graph if weights are a function."""
        return self._trace.param_length if self._weights is None else self._weights.param_length

    @property
    def is_discrete(self) -> bool:
        """Whether time is counted in steps."""
        return self._trace.is_discrete

    # --- moments

    def expectation(self, theta: Any = None, rewards: Any = None) -> jax.Array:
        """Return the expected accumulated reward, by default the expected absorption time.

        Parameters
        ----------
        theta : array_like, shape (..., param_length)
            Parameters; None or absent when the model has none.
        rewards : array_like, shape (n_vertices,) or (..., n_rewards, n_vertices), optional
            Reward per unit of time (or visit) in each vertex, rows as in ``graph.states()``; all
            ones if absent. Entries of starting and absorbing vertices are ignored.

        Returns
        -------
        array, shape (...) or (..., n_rewards)

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value, or a reachable state cannot reach absorption
            (+inf under a transformation).
        TypeError
            If an argument is not float32, float64 or integers.
        """
        return self._evaluate("expectation", theta, rewards)

    def variance(self, theta: Any = None, rewards: Any = None) -> jax.Array:
        """Return the variance of the accumulated reward.

        Arguments, shapes and errors are those of `expectation`. It is the second moment minus the
        square of the first.
        """
        return self._evaluate("variance", theta, rewards)

    def moments(self, theta: Any = None, k: int = 1, rewards: Any = None) -> jax.Array:
        """Return the raw moments 1 to k of the accumulated reward on the last axis.

        Parameters
        ----------
        theta, rewards : array_like
            As in `expectation`.
        k : int
            Highest order, at least 1.

        Returns
        -------
        array, shape (..., k) or (..., n_rewards, k)

        Raises
        ------
        ValueError
            As in `expectation`, or if k < 1.
        """
        return self._evaluate("moments", theta, rewards, order=checked_order(k))

    def covariance(self, theta: Any, rewards: Any) -> jax.Array:
        """Return the covariance matrix of several accumulated rewards.

        Parameters
        ----------
        theta : array_like, shape (..., param_length)
            Parameters.
        rewards : array_like, shape (..., n_rewards, n_vertices)
            One reward vector a row.

        Returns
        -------
        array, shape (..., n_rewards, n_rewards)

        Raises
        ------
        ValueError
            As in `expectation`, or if rewards is a single vector.
        """
        return self._evaluate("covariance", theta, rewards)

    def expected_sojourn(self, theta: Any = None) -> jax.Array:
        """Return the expected time (discrete: visits) in each vertex before absorption.

        Returns
        -------
        array, shape (..., n_vertices)
            Zero for starting and absorbing vertices, +inf for states that trap the process.

        Raises
        ------
        ValueError
            If theta has a wrong shape or value.
        """
        return self._evaluate("expected_sojourn", theta)

    def absorption_probability(self, theta: Any = None) -> jax.Array:
        """Return the probability of ending in each absorbing vertex.

        Returns
        -------
        array, shape (..., n_vertices)
            Zero for vertices that do not absorb. It sums to less than 1 if the start has a defect
            or a reachable state traps the process.
        """
        return self._evaluate("absorption_probability", theta)

    # --- the distribution in time

    def pdf(self, theta: Any, t: Any) -> jax.Array:
        """Return the density of the absorption time, without the atom at 0 (continuous models).

        Parameters
        ----------
        theta : array_like, shape (..., param_length)
            Parameters; None when the model has none.
        t : array_like, scalar or shape (..., n_t)
            Times, at least 0.

        Returns
        -------
        array, shape (...) or (..., n_t)

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value, the model is discrete, or the predicted work
            exceeds ``options.max_operations`` (`BudgetError`).
        TypeError
            If an argument is not float32, float64 or integers.

        Notes
        -----
        Values are right relative to themselves, however small: to about 1e-13, and a unit of
        rounding for every step of uniformisation (rate times t). Where that and squaring are far
        dearer than Krylov spaces (`density_plan` tells), to 1e-10, unless ``options.density`` is
        ``"exact"``. With ``"krylov"`` they are right to 1e-10 of the largest value of the call.
        """
        self._require("pdf", discrete=False, instead="pmf")
        return self._at("pdf", theta, t)

    def logpdf(self, theta: Any, t: Any) -> jax.Array:
        """Return the logarithm of `pdf`; -inf where that is 0."""
        self._require("logpdf", discrete=False, instead="logpmf")
        return self._at("logpdf", theta, t)

    def pmf(self, theta: Any, t: Any) -> jax.Array:
        """Return the probability of absorption exactly at step t (discrete models).

        Arguments, shapes and errors are those of `pdf`; t holds whole numbers.
        """
        self._require("pmf", discrete=True, instead="pdf")
        return self._at("pdf", theta, t)

    def logpmf(self, theta: Any, t: Any) -> jax.Array:
        """Return the logarithm of `pmf`; -inf where that is 0."""
        self._require("logpmf", discrete=True, instead="logpdf")
        return self._at("logpdf", theta, t)

    def cdf(self, theta: Any, t: Any) -> jax.Array:
        """Return the probability of absorption up to t, the mass absorbed at time 0 included.

        Arguments, shapes, accuracy and errors are those of `pdf`; discrete models count steps.
        """
        return self._at("cdf", theta, t)

    def sf(self, theta: Any, t: Any) -> jax.Array:
        """Return the probability of no absorption up to t, without cancellation in the tail.

        Arguments, shapes, accuracy and errors are those of `pdf`; discrete models count steps.
        """
        return self._at("sf", theta, t)

    def logsf(self, theta: Any, t: Any) -> jax.Array:
        """Return the logarithm of `sf`; -inf where that is 0."""
        return self._at("logsf", theta, t)

    def hazard(self, theta: Any, t: Any) -> jax.Array:
        """Return the absorption rate at t given survival, ``pdf / sf``.

        Right also where both underflow: for large t it tends to the decay rate of the model.
        Arguments, shapes and errors are those of `pdf`; where nothing survives it is out of range.
        """
        self._require("hazard", discrete=False, instead="pmf and sf")
        return self._at("hazard", theta, t)

    def state_probability(self, theta: Any, t: Any) -> jax.Array:
        """Return the probability of being in each vertex at time t.

        Parameters
        ----------
        theta : array_like, shape (..., param_length)
            Parameters; None when the model has none.
        t : array_like, scalar or shape (..., n_t)
            Times, or steps of a discrete model, at least 0. Step 0 is the state that the starting
            vertex leads to.

        Returns
        -------
        array, shape (..., n_vertices) or (..., n_t, n_vertices)
        """
        return self._at("state_probability", theta, t)

    def accumulated_occupancy(self, theta: Any, t: Any) -> jax.Array:
        """Return the expected time spent in each vertex up to time t (discrete: before step t).

        Arguments and shapes are those of `state_probability`, whose integral (discrete: sum) it is
        in transient vertices. Absorbing ones hold 0, as in `expected_sojourn`, which is its limit.
        """
        return self._at("accumulated_occupancy", theta, t)

    def density_plan(
        self, theta: Any, t: Any, quantity: str = "pdf", *, gradient: bool = False
    ) -> DensityPlan:
        """Return how a density quantity is evaluated at one parameter vector, and its cost.

        Each row of a batch is planned like this, by itself; ``options.density`` overrides it.

        Parameters
        ----------
        theta : array_like, shape (param_length,)
            Parameters; None when the model has none.
        t : array_like, scalar or shape (n_t,)
            All times of the call.
        quantity : str
            Name of the method that will be called; for ``hazard`` those of pdf and sf apply.
        gradient : bool
            Whether the gradient in theta will be asked for as well.

        Raises
        ------
        ValueError
            If a shape, a time or the quantity is not as stated.
        """
        theta = self._weigh(theta)
        return density_plan(self._trace, self._options, theta, t, quantity, gradient=gradient)

    def _at(self, name: str, theta: Any, t: Any) -> jax.Array:
        if t is None:
            raise ValueError("t is missing (expected a scalar or shape (..., n_t))")
        return self._evaluate(name, theta, times=t)

    def _require(self, method: str, *, discrete: bool, instead: str) -> None:
        if self.is_discrete != discrete:
            kind = "discrete" if self.is_discrete else "continuous"
            raise ValueError(f"{method} does not apply to a {kind} model; use {instead}")


def _restore(
    kind: type[PhaseType],
    trace: _core.Trace,
    options: EvaluationOptions,
    weights: DerivedWeights | Weights | None,
) -> PhaseType:
    """Unpickle: a distribution is its trace, its options and its function to weights."""
    made = kind.__new__(kind)
    made._set_up(trace, None, options, weights)
    return made


__all__ = ["Paths", "PhaseType", "Sample"]

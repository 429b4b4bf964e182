"""Functions of theta made from a graph in one call, under the names that other packages use.

They are thin: each makes a `PhaseType` once and calls its methods. That module, and JAX with it, is
loaded when one of them is called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from phasic._concrete import ConcreteQuantities
from phasic._jax_runtime import require_jax


class JaxFunctions(ConcreteQuantities):
    """A base of `Graph`."""

    @staticmethod
    def pmf_from_graph(graph: Any, discrete: bool | None = None) -> Callable[..., Any]:
        """Return the density (discrete: the probabilities) of a graph as a JAX function.

        Parameters
        ----------
        graph : Graph
            The model.
        discrete : bool, optional
            Must equal the graph's own flag, which is what None takes.

        Returns
        -------
        callable
            ``f(theta, times)``, or ``f(times)`` if the graph has no parameters; see
            `PhaseType.pdf` for shapes. Made for ``jit``, ``grad``, ``vmap`` and all others.

        Raises
        ------
        ImportError
            If JAX is not installed.
        ValueError
            If ``discrete`` contradicts the graph.
        """
        model = _distribution("pmf_from_graph", graph, discrete)
        density = _density(model)
        if model.param_length:
            return density
        return lambda times: density(None, times)

    @staticmethod
    def moments_from_graph(graph: Any, nr_moments: int = 2) -> Callable[..., Any]:
        """Return the raw moments 1 to ``nr_moments`` as a JAX function of theta.

        The function is ``f(theta)`` (``f()`` if the graph has no parameters), with the moments on
        the last axis; see `PhaseType.moments`. Errors are those of `pmf_from_graph`.
        """
        model = _distribution("moments_from_graph", graph, None)
        return lambda theta=None: model.moments(theta, nr_moments)

    @staticmethod
    def pmf_and_moments_from_graph(
        graph: Any, nr_moments: int = 2, discrete: bool | None = None
    ) -> Callable[..., Any]:
        """Return density and moments together, of the time or of an accumulated reward.

        Parameters
        ----------
        graph, discrete
            As in `pmf_from_graph`.
        nr_moments : int
            Highest moment.

        Returns
        -------
        callable
            ``f(theta, times, rewards=None) -> (density, moments)``. With ``rewards``, numbers of
            shape ``(n_vertices,)``, both are those of the accumulated reward; see
            `PhaseType.reward_transform`, which is called once for each reward vector that is met.
        """
        model = _distribution("pmf_and_moments_from_graph", graph, discrete)
        known: dict[bytes, Any] = {}

        def both(theta: Any, times: Any, rewards: Any = None) -> tuple[Any, Any]:
            if rewards is None:
                return _density(model)(theta, times), model.moments(theta, nr_moments)
            key = np.asarray(rewards, np.float64).tobytes()
            if key not in known:
                known[key] = model.reward_transform(rewards)
            of_reward = known[key]
            return _density(of_reward)(theta, times), of_reward.moments(theta, nr_moments)

        return both


def _distribution(method: str, graph: Any, discrete: bool | None) -> Any:
    require_jax(f"Graph.{method}")
    return importlib.import_module("phasic.phase_type").PhaseType(graph, discrete=discrete)


def _density(model: Any) -> Callable[..., Any]:
    density: Callable[..., Any] = model.pmf if model.is_discrete else model.pdf
    return density


__all__ = ["JaxFunctions"]

"""How a density quantity will be evaluated at one parameter vector, before it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phasic import _core
from phasic._options import EvaluationOptions

_THETA = 0
_NATIVE = {"pmf": "pdf", "logpmf": "logpdf"}
_QUANTITIES = (
    "pdf",
    "pmf",
    "cdf",
    "sf",
    "logpdf",
    "logpmf",
    "logsf",
    "state_probability",
    "accumulated_occupancy",
)


@dataclass(frozen=True)
class DensityPlan:
    """The method that a density is evaluated by, and what that is predicted to cost.

    Parameters
    ----------
    method : str
        ``uniformization``, ``squaring`` or ``krylov``.
    steps : float
        Steps of the sweep, squarings, or Krylov spaces (one for each 512-fold range of times).
    operations : float
        Multiply-adds of one evaluation at this parameter vector.
    within_budget : bool
        Whether that is at most ``max_operations`` (and fits in memory).
    dimension : int
        Of the largest Krylov space; 0 for the other methods.
    error : float
        Estimated error of the value by Krylov spaces, as a share of the largest value over the
        times. Above 1e-10 the call is an error. 0 for the other methods.
    exact_times : int
        How many of the times uniformisation evaluates although the method is ``krylov``, because
        spaces do not resolve results so far below the largest one. 0 unless density is ``auto``.
    """

    method: str
    steps: float
    operations: float
    within_budget: bool
    dimension: int = 0
    error: float = 0.0
    exact_times: int = 0


def density_plan(
    trace: _core.Trace,
    options: EvaluationOptions,
    theta: Any,
    t: Any,
    quantity: str,
    *,
    gradient: bool,
) -> DensityPlan:
    """Return the plan of one row; see `phasic.PhaseType.density_plan`."""
    if quantity not in _QUANTITIES:
        raise ValueError(f"quantity is {quantity!r}, expected one of {', '.join(_QUANTITIES)}")
    values = np.zeros(0) if theta is None else np.asarray(theta, np.float64)
    if values.shape != (trace.param_length,):
        raise ValueError(
            f"theta has shape {values.shape}, expected ({trace.param_length},): "
            "a plan is for one parameter vector"
        )
    times = np.atleast_1d(np.asarray(t, np.float64))
    if times.ndim != 1 or times.size == 0 or not (times >= 0).all():
        raise ValueError(f"t has shape {times.shape}, expected a scalar or (n_t,) of times >= 0")
    (plan,) = _core.density_plans(
        trace,
        _NATIVE.get(quantity, quantity),
        values[None],
        times[None],
        gradient=_THETA if gradient else -1,
        max_operations=options.max_operations,
        density=options.density,
    )
    return DensityPlan(*plan)


__all__ = ["DensityPlan", "density_plan"]

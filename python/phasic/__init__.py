"""Phase-type distributions from state-space models, evaluated and differentiated in batches.

A model is a `Graph` of states whose edge weights are linear in parameters. Its elimination is
recorded once, as a trace; `PhaseType` evaluates the trace under JAX. What needs more than NumPy is
loaded when it is first used: importing the package imports neither JAX nor SciPy and changes
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from phasic._errors import BudgetError, CacheCorruptionError, InternalError
from phasic._jax_runtime import require_jax
from phasic._version import __version__
from phasic.algebra import convolution, maximum, minimum, mixture
from phasic.callback import callback
from phasic.constructors import (
    coxian,
    erlang,
    exponential,
    geometric,
    hyperexponential,
    hypoexponential,
    negative_binomial,
)
from phasic.graph import Edge, Graph, Vertex

if TYPE_CHECKING:
    from phasic import hierarchical_trace_cache, trace_elimination
    from phasic._cache import TraceCache
    from phasic._core import Trace
    from phasic._options import EvaluationOptions
    from phasic.phase_type import PhaseType
    from phasic.piecewise import PiecewisePhaseType

# Where each name that is loaded late is defined; a module stands for itself.
_HOMES = {
    "EvaluationOptions": "phasic._options",
    "PhaseType": "phasic.phase_type",
    "PiecewisePhaseType": "phasic.piecewise",
    "Trace": "phasic._core",
    "TraceCache": "phasic._cache",
}
_MODULES = ("hierarchical_trace_cache", "trace_elimination")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"phasic.{name}")
    if name in ("PhaseType", "PiecewisePhaseType"):
        require_jax(f"phasic.{name}")
    if name in _HOMES:
        found = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'phasic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})


__all__ = [
    "BudgetError",
    "CacheCorruptionError",
    "Edge",
    "EvaluationOptions",
    "Graph",
    "InternalError",
    "PhaseType",
    "PiecewisePhaseType",
    "Trace",
    "TraceCache",
    "Vertex",
    "__version__",
    "callback",
    "convolution",
    "coxian",
    "erlang",
    "exponential",
    "geometric",
    "hierarchical_trace_cache",
    "hyperexponential",
    "hypoexponential",
    "maximum",
    "minimum",
    "mixture",
    "negative_binomial",
    "trace_elimination",
]

"""Options that a user may set, with their defaults and their checks.

Threads come from the argument, else from ``PHASIC_NUM_THREADS`` (read at each use), else 0, which
means as many as the machine has.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

RECORD_MAX_OPERATIONS = 5e9
"""Multiply-adds of one component's elimination beyond which recording it is a ``BudgetError``."""

KERNELS = ("auto", "reference", "baseline", "avx2", "avx512")
"""Kernel names in the order of the native enumeration."""

DENSITY_METHODS = ("auto", "uniformization", "squaring", "krylov", "exact")
"""How densities are evaluated, in the order of the native enumeration."""

_THREADS_VARIABLE = "PHASIC_NUM_THREADS"


def thread_count(threads: int | None, name: str = "threads") -> int:
    """Return the number of native threads to use; 0 means as many as the machine has.

    Raises
    ------
    ValueError
        If the argument or ``PHASIC_NUM_THREADS`` is not an integer >= 0.
    """
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
            raise ValueError(f"{name} is {threads!r}, expected an integer >= 0 (0: all cores)")
        return threads
    text = os.environ.get(_THREADS_VARIABLE, "").strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(
            f"{_THREADS_VARIABLE} is {text!r}, expected an integer >= 0 (0: all cores)"
        )
    return int(text)


@dataclass(frozen=True)
class EvaluationOptions:
    """How a program is evaluated; no option changes what is computed beyond its stated error.

    Parameters
    ----------
    threads : int, optional
        Native threads of one call; None takes ``PHASIC_NUM_THREADS``, else all cores.
    truncation : float
        Truncation error of the Poisson sums of densities, relative, in (0, 1e-3].
    max_operations : float
        Predicted density work (multiply-adds) of one parameter vector beyond which a call fails
        with a ``BudgetError`` (NaN when traced).
    max_bytes : float
        Predicted memory of one native thread beyond which a moment, an occupancy or an absorption
        probability is a ``BudgetError`` when it is compiled: the slots of the elimination for as
        many parameter vectors as the kernel handles together, and vectors beside them. Operands
        and results are not counted, nor are densities.
    kernel : str
        One of ``auto``, ``reference``, ``baseline``, ``avx2``, ``avx512``.
    density : str
        ``uniformization``: one sweep, whose cost and rounding grow with rate times t.
        ``squaring``: transition matrices of doubled steps; cost n^3 times the logarithm of rate
        times t, accurate at any stiffness. ``krylov``: pdf, cdf and sf of continuous models from
        rational Krylov spaces, whose cost does not grow with rates; the error is at most 1e-10 of
        the largest value over the times of a call (derivatives, up to order 2 in theta: 1e-8 of
        the largest), so far smaller values may have no correct digit; an error where that is not
        reached. ``exact``: squaring where it is predicted to be cheaper than uniformisation, or
        where that alone exceeds ``max_operations``. ``auto``: the same, and Krylov spaces where
        both are predicted to take over 10 ms and 8 times as long, or exceed ``max_operations``;
        only results with an estimated error of 1e-10 of themselves are taken from them
        (derivatives: 1e-8 of the derivative or of value over parameter change), uniformisation or
        squaring gives the others. Each parameter vector is planned by itself;
        `PhaseType.density_plan` tells how.
        Logarithms, the hazard, quantiles and probabilities of states are never by Krylov spaces,
        nor are epoch models unless it is asked for; the hazard is by uniformisation.
    """

    threads: int | None = None
    truncation: float = 1e-14
    max_operations: float = 2e10
    max_bytes: float = 8e9
    kernel: str = "auto"
    density: str = "auto"

    def __post_init__(self) -> None:
        thread_count(self.threads)
        if not 0.0 < self.truncation <= 1e-3:
            raise ValueError(f"truncation is {self.truncation!r}, expected a number in (0, 1e-3]")
        if not self.max_operations > 0.0:
            raise ValueError(f"max_operations is {self.max_operations!r}, expected a number > 0")
        if not self.max_bytes > 0.0:
            raise ValueError(f"max_bytes is {self.max_bytes!r}, expected a number > 0")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel is {self.kernel!r}, expected one of {', '.join(KERNELS)}")
        if self.density not in DENSITY_METHODS:
            raise ValueError(
                f"density is {self.density!r}, expected one of {', '.join(DENSITY_METHODS)}"
            )


def exact_if_automatic(options: EvaluationOptions) -> EvaluationOptions:
    """Return the options with densities that are right relative to each value, unless forced."""
    return replace(options, density="exact") if options.density == "auto" else options


__all__ = [
    "DENSITY_METHODS",
    "KERNELS",
    "RECORD_MAX_OPERATIONS",
    "EvaluationOptions",
    "exact_if_automatic",
    "thread_count",
]

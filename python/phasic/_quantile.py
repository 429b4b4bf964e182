"""Quantiles as JAX functions of (theta, q).

1. The value is a native search over the density kernel: bracketed Newton steps on the cdf in the
   lower half and on the survival function in the upper one.
2. Its derivative is that of the implicit function: ``dt = (dq - dF) / f`` where dF is the change of
   the cdf at t when theta moves. F and f are differentiable functions of phasic, and so is t in
   turn, hence higher derivatives follow from the same rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phasic import _core
from phasic._arguments import prepare
from phasic._errors import BudgetError
from phasic._evaluator import Evaluator
from phasic._options import KERNELS
from phasic._primitive import NativeCall, call

_OVER_BUDGET = 8


class Quantiles:
    """Mixed into `PhaseType`; needs its ``_quantiles``."""

    _quantiles: QuantileSearch
    _weigh: Callable[[Any], Any]

    def quantile(self, theta: Any, q: Any) -> jax.Array:
        """Return the time by which the process is absorbed with probability q.

        Parameters
        ----------
        theta : array_like, shape (..., param_length)
            Parameters; None when the model has none.
        q : array_like, scalar or shape (..., n_q)
            Probabilities in [0, 1].

        Returns
        -------
        array, shape (...) or (..., n_q)
            Continuous models: the t with ``cdf(t) = q``, to rounding of the cdf (in the upper half:
            of the survival function). Discrete models: the smallest whole t whose cdf, rounded to
            double precision, is at least q. 0 where the defect reaches q, and +inf where the cdf
            never does: at q = 1, unless time is bounded, and beyond the probability of absorption.

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value (NaN under a transformation), or a step of the
            search exceeds ``options.max_operations`` (`BudgetError`).
        TypeError
            If an argument is not float32, float64 or integers, or a derivative of a discrete
            model's quantile is asked for.

        Notes
        -----
        A search takes about 5 to 20 evaluations of density and cdf. Derivatives of any order that
        `cdf` has are exact; they are 0 where the quantile is 0, and NaN where it is infinite.

        Examples
        --------
        >>> import phasic
        >>> model = phasic.PhaseType(phasic.exponential(2.0))
        >>> print(model.quantile(None, [0.0, 0.5, 1.0]))
        [0.         0.34657359        inf]
        """
        return self._quantiles(self._weigh(theta), q)


def root_of_cdf(
    search: Callable[[Any, Any], Any], of_density: Callable[[str, Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """Return ``search``, which finds t from (parameters, q), with derivatives.

    Parameters
    ----------
    search : callable
        From any tree of parameters and q, shape (..., n_q), to quantiles of that shape.
    of_density : callable
        From the name of a quantity (``pdf``, ``cdf``, ``sf``), the parameters and t, shape
        (..., n_q), to its values; differentiable.
    """
    root = jax.custom_jvp(search)

    @root.defjvp
    def _(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
        (given, q), (given_dot, q_dot) = primals, tangents
        found = root(given, q)
        inside = (found > 0) & (found < jnp.inf)
        t = jnp.where(inside, found, 1)

        def moved(name: str) -> Any:
            return jax.jvp(lambda x: of_density(name, x, t), (given,), (given_dot,))[1]

        # The cdf grows by -dsf; each is used where it does not cancel.
        growth = jnp.where(q > 0.5, -moved("sf"), moved("cdf"))
        density = jnp.where(inside, of_density("pdf", given, t), 1)
        pace = jnp.where(inside, 1 / density, jnp.where(found == 0, 0, jnp.nan))
        return found, ((q_dot - growth) * pace).astype(found.dtype)

    return root


class QuantileSearch:
    """The quantile function of one program."""

    def __init__(self, evaluate: Evaluator) -> None:
        self._program = evaluate.program

        def of_density(name: str, theta: Any, t: Any) -> Any:
            if self._program.trace.is_discrete:
                raise TypeError(
                    "the quantile of a discrete model cannot be differentiated: it is a step "
                    "function of q and theta"
                )
            return evaluate(name, theta, times=t)

        self._differentiable = jax.jit(root_of_cdf(lambda *x: self._search(*x)[0], of_density))
        self._checked = jax.jit(self._search)

    def __call__(self, theta: Any, q: Any) -> jax.Array:
        """Return the quantiles; see `PhaseType.quantile`."""
        if q is None:
            raise ValueError("q is missing (expected a scalar or shape (..., n_q))")
        trace = self._program.trace
        arguments = prepare(
            theta,
            None,
            q,
            param_length=trace.param_length,
            n_vertices=trace.n_vertices,
            times_name="q",
        )
        operands = arguments.operands
        axis = arguments.form.time_axis
        if arguments.form.n_times == 0:
            batch = jnp.broadcast_shapes(*(x.shape[:-1] for x in operands))
            return jnp.zeros((*batch, 0), operands[0].dtype)
        if arguments.is_traced:
            result: jax.Array = self._differentiable(*operands)
            return result if axis else result[..., 0]
        if jax.default_backend() != "cpu":
            operands = jax.device_put(operands, jax.local_devices(backend="cpu")[0])
        result, status = self._checked(*operands)
        if not isinstance(status, jax.core.Tracer) and status.is_fully_addressable:
            self._raise_for_bad_rows(operands, np.asarray(status))
        return result if axis else result[..., 0]

    def _search(self, theta: Any, q: Any) -> list[jax.Array]:
        options = self._program.options
        what = NativeCall(
            self._program,
            "phasic_quantile",
            ((q.shape[-1], theta.dtype), (1, np.int32)),
            (
                ("truncation", float(options.truncation)),
                ("max_operations", float(options.max_operations)),
                ("threads", self._program.threads),
                ("kernel", KERNELS.index(options.kernel)),
            ),
            "the native search has no derivative of its own",
        )
        return call(what, theta, q)

    def _raise_for_bad_rows(self, operands: tuple[Any, ...], status: Any) -> None:
        bad = status.reshape(-1) != 0
        if not bad.any():
            return
        batch = status.shape[:-1]
        row = int(np.argmax(bad))
        place = np.unravel_index(row, batch)
        code = int(status.reshape(-1)[row])
        theta, q = (np.broadcast_to(np.asarray(x), (*batch, x.shape[-1]))[place] for x in operands)
        text = _core.explain_quantile(
            self._program.trace,
            code,
            theta,
            q,
            max_operations=self._program.options.max_operations,
        )
        if batch:
            text += f" (row {', '.join(str(int(i)) for i in place)} of the batch)"
        raise (BudgetError if code == _OVER_BUDGET else ValueError)(text)


__all__ = ["QuantileSearch", "Quantiles", "root_of_cdf"]

"""From a method call of a distribution to native code and back, with the errors of concrete calls.

1. Each (quantity, form of the arguments) is compiled once and kept.
2. Inside a transformation the compiled function is applied as it is: bad rows hold NaN, infinite
   expectations +inf.
3. Outside, the function also tells whether all native values are regular. If not, the same rows
   are evaluated again without JAX, which gives their status, and the first bad one is explained in
   a ``ValueError``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._arguments import Arguments, Form, prepare
from phasic._errors import BudgetError
from phasic._options import EvaluationOptions
from phasic._quantities import Call, quantity_function
from phasic._request import Program, Quantity, Request

# Row statuses of the native enumeration that are treated apart.
_TRAPPED = 5
_OVER_BUDGET = 8

_BY_KRYLOV = ("pdf", "cdf", "sf")  # of continuous models
_NEVER_BY_KRYLOV = ("logpdf", "logsf", "hazard", "state_probability", "accumulated_occupancy")

# Infinite for good arguments: the time in trapped states, the logarithm of 0.
_MAY_BE_INFINITE = (Quantity.SOJOURN, Quantity.LOGPDF, Quantity.LOGSF)

_Key = tuple[str, Form, int, bool]


class Evaluator:
    """One program with the compiled functions of its quantities."""

    def __init__(
        self,
        trace: _core.Trace,
        options: EvaluationOptions,
        weights: Callable[[Any], jax.Array] | None = None,
    ) -> None:
        self.program = Program(trace, options)
        self._weights = weights
        self._compiled: dict[_Key, Callable[..., Any]] = {}

    def __call__(
        self, name: str, theta: Any, rewards: Any = None, times: Any = None, order: int = 1
    ) -> jax.Array:
        """Return a quantity by name; see `phasic.PhaseType` for shapes and errors."""
        trace = self.program.trace
        self._require_method(name)
        if self._weights is not None:
            theta = self._weights(theta)
        arguments = prepare(
            theta, rewards, times, param_length=trace.param_length, n_vertices=trace.n_vertices
        )
        if arguments.is_traced:
            result: jax.Array = self._function(name, arguments.form, order, False)(
                *arguments.operands
            )
            return result
        operands = arguments.operands
        if jax.default_backend() != "cpu":
            operands = jax.device_put(operands, jax.local_devices(backend="cpu")[0])
        result, regular = self._function(name, arguments.form, order, True)(*operands)
        concrete = not isinstance(regular, jax.core.Tracer) and regular.is_fully_addressable
        if concrete and not regular:
            self._raise_for_bad_rows(name, arguments, order)
        return result

    def _function(self, name: str, form: Form, order: int, checked: bool) -> Callable[..., Any]:
        """Return the compiled function of the operands, with the check of its native values."""
        key = (name, form, order, checked)
        found = self._compiled.get(key)
        if found is not None:
            return found
        program, of_call = self.program, quantity_function(name, order)

        def run(*operands: Any) -> Any:
            call = Call(program, form, operands)
            result = of_call(call)
            if not checked:
                return result
            checks = zip(call.used, call.values, strict=True)
            return result, jnp.array([_is_regular(*pair) for pair in checks]).all()

        run.__name__ = f"phasic_{name}"
        return self._compiled.setdefault(key, jax.jit(run))

    def _require_method(self, name: str) -> None:
        method, discrete = self.program.options.density, self.program.trace.is_discrete
        missing = False
        if method == "squaring":
            missing = name == "hazard" or (name == "logpdf" and discrete)
        elif method == "krylov":
            missing = name in _NEVER_BY_KRYLOV or (discrete and name in _BY_KRYLOV)
        if missing:
            found = {"pdf": "pmf", "logpdf": "logpmf"}.get(name, name) if discrete else name
            raise ValueError(
                f'{found} cannot be computed with density="{method}": '
                'use "auto" or "uniformization"'
            )

    def _raise_for_bad_rows(self, name: str, arguments: Arguments, order: int) -> None:
        """Raise for the first row with a fault; return if there is none (rounding to float32)."""
        call = Call(self.program, arguments.form, arguments.operands)
        jax.eval_shape(lambda: quantity_function(name, order)(call))
        batch = np.broadcast_shapes(*(x.shape[:-1] for x in arguments.operands))
        rows = [_rows(x, batch) for x in arguments.operands]
        for request in call.used:
            parts: dict[str, Any] = dict(
                zip((part.name.lower() for part in request.parts), rows, strict=True)
            )
            _, _, status = _core.evaluate(
                self.program.trace,
                request.quantity.name.lower(),
                **parts,
                order=request.order,
                n_rewards=request.n_rewards,
                **_native_options(self.program),
            )
            bad = status != 0
            if request.quantity == Quantity.SOJOURN:
                bad &= status != _TRAPPED
            if bad.any():
                row = int(np.argmax(bad))
                one = {part: x[row] for part, x in parts.items()}
                self._raise_for_row(request, int(status[row]), one, np.unravel_index(row, batch))

    def _raise_for_row(
        self, request: Request, status: int, parts: dict[str, Any], place: tuple[Any, ...]
    ) -> None:
        text = _core.explain(
            self.program.trace,
            request.quantity.name.lower(),
            status,
            **parts,
            max_operations=self.program.options.max_operations,
            density=self.program.options.density,
        )
        if place:
            text += f" (row {', '.join(str(int(i)) for i in place)} of the batch)"
        raise (BudgetError if status == _OVER_BUDGET else ValueError)(text)


def _is_regular(request: Request, value: jax.Array) -> jax.Array:
    """Tell whether a native value can come from good rows only."""
    if request.quantity in _MAY_BE_INFINITE:
        return ~jnp.isnan(value).any()
    return jnp.isfinite(value).all()


def _rows(array: Any, batch: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return an operand as (rows of the batch, size), float64."""
    values = np.asarray(array, np.float64)
    size = values.shape[-1]  # may be 0, so the number of rows is not left to reshape
    full = np.broadcast_to(values, (*batch, size))
    return np.ascontiguousarray(full.reshape(math.prod(batch), size))


def _native_options(program: Program) -> dict[str, Any]:
    options = program.options
    return {
        "truncation": options.truncation,
        "max_operations": options.max_operations,
        "threads": program.threads,
        "kernel": options.kernel,
        "density": options.density,
    }


__all__ = ["Evaluator"]

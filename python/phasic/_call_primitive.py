"""The JAX primitive of native calls that have no derivative: random draws.

``phasic_call`` batches and lowers as ``phasic_tower`` does (`phasic._primitive`): operands have the
same number of batch axes, each of size 1 or of the batch, and the custom call names the program by
its digest. Asking for a derivative is an error, never a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from phasic._primitive import Program, batch, lower_elsewhere, result_type, vary_together


@dataclass(frozen=True)
class NativeCall:
    """A custom call on one program; hashable, the parameter of its primitive.

    Parameters
    ----------
    program : Program
        The program whose digest the handler gets.
    target : str
        Name of the handler.
    results : tuple of (int, dtype)
        Size of the last axis, and dtype, of each result. The axes in front are the batch.
    attributes : tuple of (str, int or float or tuple of int)
        Further attributes of the handler.
    no_derivative : str
        What to say when a derivative is asked for.
    """

    program: Program
    target: str
    results: tuple[tuple[int, Any], ...]
    attributes: tuple[tuple[str, Any], ...]
    no_derivative: str


call_p = Primitive("phasic_call")
call_p.multiple_results = True


def call(what: NativeCall, *operands: Any) -> list[jax.Array]:
    """Return the results of a native call; operands are batched as those of `evaluate`."""
    outputs: list[jax.Array] = call_p.bind(*vary_together(list(operands)), what=what)
    return outputs


def _call_impl(*operands: Any, what: NativeCall) -> Any:
    jitted = what.program.jitted
    function = jitted.get(what)
    if function is None:
        function = jitted.setdefault(what, jax.jit(partial(call_p.bind, what=what)))
    with jax.disable_jit(False):
        return function(*operands)


def _call_abstract_eval(*operands: Any, what: NativeCall) -> list[Any]:
    axes = jnp.broadcast_shapes(*(x.shape[:-1] for x in operands))
    return [
        result_type(operands, (*axes, size)).update(dtype=np.dtype(dtype))
        for size, dtype in what.results
    ]


def _as_attribute(value: Any) -> Any:
    if isinstance(value, tuple):
        return np.array(value, np.int64)
    return np.float64(value) if isinstance(value, float) else np.int64(value)


def _lower_call(ctx: mlir.LoweringRuleContext, *operands: Any, what: NativeCall) -> Any:
    ctx.module_context.add_keepalive(what.program)
    attributes = {name: _as_attribute(value) for name, value in what.attributes}
    rule = jax.ffi.ffi_lowering(what.target)
    return rule(ctx, *operands, digest=what.program.trace.digest, **attributes)


def _call_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, what: NativeCall) -> Any:
    raise TypeError(what.no_derivative)


call_p.def_impl(_call_impl)
call_p.def_abstract_eval(_call_abstract_eval)
mlir.register_lowering(call_p, lower_elsewhere)
mlir.register_lowering(call_p, _lower_call, platform="cpu")
ad.primitive_jvps[call_p] = _call_jvp
batching.primitive_batchers[call_p] = partial(batch, call_p)

__all__ = ["NativeCall", "call"]

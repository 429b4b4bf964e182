"""The JAX primitives behind every quantity, and the rules that transform them.

One primitive, ``phasic_tower``, denotes the k-th derivative of one quantity f of one program:

1. Operands are the parts of x = (theta, rewards?, times?), then one tangent a level, then a
   cotangent if a gradient is asked for alone. ``levels`` says which part each tangent belongs to.
2. The value form is D^k f(x)[t1, .., tk]; the gradient form is the gradient of
   <c, D^k f(x)[t1, .., tk]> with respect to one part. When f is scalar and k = 0, both are bound
   at once (c is then 1), so that ``value_and_grad`` is one native call.
3. The family is closed. Differentiating in a part appends a level; a level and the cotangent are
   linear, so differentiating there replaces them. Because derivatives are symmetric tensors,
   transposing in a level of part p is a gradient with respect to p, and transposing in the
   cotangent is a value with one level more.
4. All operands have the same number of batch axes, each of size 1 or of the batch: batching only
   adds an axis in front, so nothing is copied.
5. The lowering is one XLA FFI custom call, which names the program by its digest. Whatever holds
   the equation or the executable also holds the `Program`, which keeps it in the native registry.

A second primitive, ``phasic_call``, is for native calls that have no rules of differentiation here
(random draws, quantiles). It batches and lowers in the same way; a derivative of it is an error.

Only this module may use ``jax.extend`` or ``jax.interpreters``.
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
from jax.sharding import NamedSharding, PartitionSpec

from phasic import _core
from phasic._errors import InternalError
from phasic._options import DENSITY_METHODS, KERNELS
from phasic._request import Part, Program, Request

MAX_LEVELS = 2

tower_p = Primitive("phasic_tower")
tower_p.multiple_results = True


def evaluate(request: Request, *parts: jax.Array) -> jax.Array:
    """Return f(x), flat on the last axis; JAX may transform it in any way.

    Parameters
    ----------
    request : Request
        What to compute.
    *parts : array
        The parts of x in operand order, of one float dtype: (..., size of the part). All have the
        same number of leading axes, each 1 or the batch size of that axis.
    """
    (value,) = _bind(request, parts)
    return value


def _bind(
    request: Request,
    operands: Sequence[jax.Array],
    levels: tuple[int, ...] = (),
    gradient: int = -1,
    value: bool = True,
) -> list[jax.Array]:
    """Bind the primitive with its levels in the one order that the native side sees."""
    if len(levels) > MAX_LEVELS:
        raise NotImplementedError(
            f"this is derivative number {len(levels) + (gradient >= 0)} of one quantity; phasic "
            f"has values with up to {MAX_LEVELS} directional derivatives, and their gradients "
            f"(order {MAX_LEVELS + 1})"
        )
    in_theta = levels.count(Part.THETA) + (gradient == Part.THETA)
    if request.program.options.density == "krylov" and request.n_times and in_theta > MAX_LEVELS:
        raise NotImplementedError(
            f'density="krylov" gives derivatives in theta up to order {MAX_LEVELS}, and this is '
            f'number {in_theta}: use "auto", "uniformization" or "squaring"'
        )
    n_parts = len(request.parts)
    by_part = sorted(range(len(levels)), key=levels.__getitem__)
    tangents = [operands[n_parts + i] for i in by_part]
    ordered = [*operands[:n_parts], *tangents, *operands[n_parts + len(levels) :]]
    outputs: list[jax.Array] = tower_p.bind(
        *vary_together(ordered),
        request=request,
        levels=tuple(levels[i] for i in by_part),
        gradient=int(gradient),
        value=value,
    )
    return outputs


def vary_together(operands: list[jax.Array]) -> list[jax.Array]:
    """Make all operands vary over the same mesh axes inside ``shard_map``.

    Standard operations do this by themselves, and their transposes then sum over the axes that were
    added. Adding the sum over an empty slice of every operand (0, whatever they hold) borrows that.
    """
    kinds = {_with_layout(jax.typeof(x), (), ()) for x in operands}
    if len(kinds) == 1:
        return operands
    anchor = sum((jnp.sum(jnp.reshape(x, (-1,))[:0]) for x in operands), jnp.zeros(()))
    return [x + anchor.astype(x.dtype) for x in operands]


# --- evaluation and types


def _impl(*operands: jax.Array, **params: Any) -> Any:
    """Run one equation outside every transformation, through compiled code that is kept."""
    jitted = params["request"].program.jitted
    key = tuple(sorted((name, item) for name, item in params.items() if name != "request"))
    key = (params["request"], *key)
    function = jitted.get(key)
    if function is None:
        function = jitted.setdefault(key, jax.jit(partial(tower_p.bind, **params)))
    with jax.disable_jit(False):
        return function(*operands)


def _abstract_eval(
    *operands: Any, request: Request, levels: tuple[int, ...], gradient: int, value: bool
) -> list[Any]:
    batch = jnp.broadcast_shapes(*(x.shape[:-1] for x in operands))
    sizes = [request.output_size] if value else []
    sizes += [request.part_size(gradient)] if gradient >= 0 else []
    return [result_type(operands, (*batch, size)) for size in sizes]


def result_type(operands: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Derive a type from the operands', so that it keeps their dtype and how they vary.

    On a mesh with explicit axes the result is laid out along a batch axis as the first operand that
    has it; the last axis is whole.
    """
    layout: list[Any] = [None] * len(shape)
    for operand in operands:
        for axis, name in enumerate(operand.sharding.spec[:-1]):
            if layout[axis] is None and operand.shape[axis] == shape[axis]:
                layout[axis] = name
    return _with_layout(operands[0], shape, layout)


def _with_layout(kind: Any, shape: tuple[int, ...], layout: Sequence[Any]) -> Any:
    """Return a type like ``kind`` with another shape and another layout on the same mesh."""
    sharding = NamedSharding(kind.sharding.mesh, PartitionSpec(*layout))
    return kind.update(shape=shape, sharding=sharding, weak_type=False)


def _lower_cpu(
    ctx: mlir.LoweringRuleContext,
    *operands: Any,
    request: Request,
    levels: tuple[int, ...],
    gradient: int,
    value: bool,
) -> Any:
    program = request.program
    _core.require_memory(
        program.trace,
        request.quantity.name.lower(),
        order=request.order,
        n_rewards=request.n_rewards,
        n_levels=len(levels),
        gradient=gradient >= 0,
        kernel=program.options.kernel,
        max_bytes=program.options.max_bytes,
    )
    ctx.module_context.add_keepalive(program)
    rule = jax.ffi.ffi_lowering("phasic_evaluate")
    return rule(
        ctx,
        *operands,
        digest=program.trace.digest,
        quantity=np.int64(request.quantity),
        order=np.int64(request.order),
        n_rewards=np.int64(request.n_rewards),
        levels="".join(str(int(part)) for part in levels),
        value=np.int64(value),
        gradient=np.int64(gradient),
        truncation=np.float64(program.options.truncation),
        max_operations=np.float64(program.options.max_operations),
        threads=np.int64(program.threads),
        kernel=np.int64(KERNELS.index(program.options.kernel)),
        density=np.int64(DENSITY_METHODS.index(program.options.density)),
    )


def lower_elsewhere(ctx: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
    raise NotImplementedError(
        "phasic evaluates on CPU devices only, and this computation is being compiled for "
        f"{', '.join(ctx.module_context.platforms)}; run it under "
        "jax.default_device(jax.devices('cpu')[0]) with arguments on that device"
    )


# --- differentiation


def _gradients(
    request: Request, primals: Sequence[Any], parts: Sequence[Part]
) -> tuple[jax.Array, dict[Part, jax.Array]]:
    """Return a scalar quantity with its gradient in each of ``parts``: one call for the first."""
    first, *others = parts
    value, slope = _bind(request, primals, gradient=first)
    slopes = {first: slope}
    for part in others:
        (slopes[part],) = _bind(
            request, [*primals, jnp.ones_like(value)], gradient=part, value=False
        )
    return value, slopes


def _jvp_scalar(
    request: Request, primals: Sequence[Any], tangents: Sequence[Any], gradient: int
) -> tuple[list[Any], list[Any]]:
    """Differentiate a scalar quantity, and its gradient if that was bound with it."""
    active = {
        part: tangent
        for part, tangent in zip(request.parts, tangents, strict=True)
        if not isinstance(tangent, ad.Zero)
    }
    wanted = [part for part in active if part != gradient]
    value, slopes = _gradients(
        request, primals, [Part(gradient), *wanted] if gradient >= 0 else wanted
    )
    change = sum(jnp.sum(slopes[p] * dx, axis=-1, keepdims=True) for p, dx in active.items())
    if gradient < 0:
        return [value], [change]
    bent = [
        _bind(request, [*primals, dx, jnp.ones_like(value)], (p,), gradient, value=False)[0]
        for p, dx in active.items()
    ]
    return [value, slopes[Part(gradient)]], [change, sum(bent[1:], bent[0])]


def _jvp(
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    request: Request,
    levels: tuple[int, ...],
    gradient: int,
    value: bool,
) -> tuple[list[Any], list[Any]]:
    if value and not levels and request.output_size == 1:
        return _jvp_scalar(request, primals, tangents, gradient)
    bind = partial(_bind, request, gradient=gradient, value=value)
    n_parts = len(request.parts)
    end_of_levels = n_parts + len(levels)
    terms = []
    for i, tangent in enumerate(tangents):
        if isinstance(tangent, ad.Zero):
            continue
        if i < n_parts:
            grown = [*primals[:end_of_levels], tangent, *primals[end_of_levels:]]
            terms += bind(grown, (*levels, request.parts[i]))
        else:
            terms += bind([*primals[:i], tangent, *primals[i + 1 :]], levels)
    return bind(primals, levels), [sum(terms[1:], terms[0])]


def _transpose(
    cotangents: Sequence[Any],
    *operands: Any,
    request: Request,
    levels: tuple[int, ...],
    gradient: int,
    value: bool,
) -> list[Any]:
    result: list[Any] = [None] * len(operands)
    (cotangent,) = cotangents
    if isinstance(cotangent, ad.Zero):
        return result
    linear = [i for i, x in enumerate(operands) if ad.is_undefined_primal(x)]
    n_parts = len(request.parts)
    if len(linear) != 1 or linear[0] < n_parts:
        raise InternalError(f"phasic_tower is linear in one level at a time, not in {linear}")
    i = linear[0]
    end_of_levels = n_parts + len(levels)
    before, after = list(operands[:i]), list(operands[i + 1 :])
    if i == end_of_levels:  # <u, gradient of <c, D^k f[..]>> is linear in c: D^(k+1) f[.., u]
        (full,) = _bind(request, [*before, cotangent], (*levels, gradient))
    elif value:
        rest = levels[: i - n_parts] + levels[i - n_parts + 1 :]
        (full,) = _bind(
            request, [*before, *after, cotangent], rest, levels[i - n_parts], value=False
        )
    else:
        swapped = (*levels[: i - n_parts], gradient, *levels[i - n_parts + 1 :])
        (full,) = _bind(
            request, [*before, cotangent, *after], swapped, levels[i - n_parts], value=False
        )
    result[i] = _sum_to(full, operands[i].aval.shape)
    return result


def _sum_to(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Sum over the axes along which an operand of ``shape`` was broadcast."""
    axes = tuple(d for d, size in enumerate(shape) if size == 1 and x.shape[d] != 1)
    return jnp.sum(x, axis=axes, keepdims=True) if axes else x


# --- batching


def batch(
    primitive: Primitive, args: Sequence[Any], dims: Sequence[Any], **params: Any
) -> tuple[Any, list[int]]:
    moved = [
        jnp.expand_dims(x, 0) if d is None else jnp.moveaxis(x, d, 0)
        for x, d in zip(args, dims, strict=True)
    ]
    outputs = primitive.bind(*moved, **params)
    return outputs, [0] * len(outputs)


tower_p.def_impl(_impl)
tower_p.def_abstract_eval(_abstract_eval)
mlir.register_lowering(tower_p, lower_elsewhere)
mlir.register_lowering(tower_p, _lower_cpu, platform="cpu")
ad.primitive_jvps[tower_p] = _jvp
ad.primitive_transposes[tower_p] = _transpose
batching.primitive_batchers[tower_p] = partial(batch, tower_p)


# --- calls without a derivative


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

__all__ = ["NativeCall", "call", "evaluate"]

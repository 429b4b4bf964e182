"""Every JAX transformation of the primitive against derivatives from mpmath."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import phasic
from jax_cases import CASES, N_POINTS, Case
from phasic._options import EvaluationOptions
from phasic._primitive import evaluate
from phasic._request import Program, Quantity, Request
from phasic.trace_elimination import record_elimination_trace

# Value and derivatives are exact to rounding; mpmath's own differences to 1e-13 or better.
TOLERANCE = 1e-10

Function = Callable[..., Any]
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
PARTS = [(case, part) for case in CASES.values() for part in range(len(case.parts))]
each_part = pytest.mark.parametrize(
    ("case", "part"), PARTS, ids=[f"{case.name}-{part}" for case, part in PARTS]
)


def assert_close(found: Any, exact: np.ndarray) -> None:
    found = np.asarray(found)
    assert found.shape == exact.shape
    np.testing.assert_allclose(found, exact, rtol=0, atol=TOLERANCE * max(np.abs(exact).max(), 1))


def at(case: Case, point: int) -> list[jax.Array]:
    """The parts at one point."""
    return [jnp.asarray(part[point]) for part in case.parts]


def batch(case: Case) -> list[jax.Array]:
    return [jnp.asarray(part) for part in case.parts]


def only(case: Case, part: int) -> tuple[list[jax.Array], tuple[int | None, ...]]:
    """Arguments and axes of a batch in one part; the others are at the first point."""
    args = [jnp.asarray(p if i == part else p[0]) for i, p in enumerate(case.parts)]
    return args, tuple(0 if i == part else None for i in range(len(args)))


def total(case: Case) -> Function:
    """A scalar function: the outputs weighted by 1, 2, .."""
    weights = jnp.arange(1.0, 1.0 + case.n_outputs)
    return lambda *parts: jnp.vdot(weights, case.function(*parts))


def exact_total(case: Case, order: int) -> np.ndarray:
    return np.einsum("m,pm...->p...", np.arange(1.0, 1.0 + case.n_outputs), case.derivative(order))


def every(case: Case) -> tuple[int, ...]:
    return tuple(range(len(case.parts)))


def joined(parts: Any) -> np.ndarray:
    """Derivatives in each part, concatenated on the last axis."""
    return np.concatenate([np.asarray(p) for p in parts], axis=-1)


# ---------------------------------------------------------------------------------- values


@each_case
def test_value(case: Case) -> None:
    exact = case.derivative(0)
    assert_close(case.function(*at(case, 0)), exact[0])
    assert_close(jax.jit(case.function)(*at(case, 1)), exact[1])
    with jax.disable_jit():
        assert_close(case.function(*at(case, 2)), exact[2])


@each_case
def test_vmap_nested_and_along_other_axes(case: Case) -> None:
    exact = case.derivative(0)
    assert_close(jax.vmap(case.function)(*batch(case)), exact)
    folded = [x.reshape(2, N_POINTS // 2, -1) for x in batch(case)]
    assert_close(jax.vmap(jax.vmap(case.function))(*folded), exact.reshape(2, N_POINTS // 2, -1))
    turned = [x.T for x in batch(case)]
    assert_close(jax.vmap(case.function, in_axes=1, out_axes=1)(*turned), exact.T)


@each_part
def test_vmap_of_one_part(case: Case, part: int) -> None:
    args, axes = only(case, part)
    loop = [case.function(*(a[p] if ax == 0 else a for a, ax in zip(args, axes, strict=True)))
            for p in range(N_POINTS)]  # fmt: skip
    assert_close(jax.vmap(case.function, in_axes=axes)(*args), np.stack(loop))


def test_vmap_of_each_part_over_an_axis_of_its_own() -> None:
    case = CASES["pdf"]
    theta, t = batch(case)
    inner = jax.vmap(case.function, in_axes=(None, 0))
    found = np.asarray(jax.vmap(inner, in_axes=(0, None))(theta, t))
    loop = [[case.function(th, ti) for ti in t] for th in theta]
    assert_close(found, np.array(loop))
    np.testing.assert_array_equal(found[range(4), range(4)], jax.vmap(case.function)(theta, t))


# ----------------------------------------------------------------------- first derivatives


@each_part
@pytest.mark.parametrize("rule", [jax.jacrev, jax.jacfwd])
def test_jacobians(case: Case, part: int, rule: Function) -> None:
    exact = case.derivative(1)[..., case.slice(part)]
    assert_close(rule(case.function, part)(*at(case, 0)), exact[0])
    assert_close(jax.jit(jax.vmap(rule(case.function, part)))(*batch(case)), exact)


@each_case
def test_grad_and_value_and_grad(case: Case) -> None:
    value, exact = exact_total(case, 0), exact_total(case, 1)
    assert_close(joined(jax.grad(total(case), every(case))(*at(case, 0))), exact[0])
    found = jax.jit(jax.vmap(jax.value_and_grad(total(case), every(case))))(*batch(case))
    assert_close(found[0], value)
    assert_close(joined(found[1]), exact)


@each_case
def test_jvp_vjp_linearize(case: Case) -> None:
    parts, exact = at(case, 0), case.derivative(1)[0]
    tangents = [jnp.cos(jnp.arange(1.0, 1 + x.size)) for x in parts]
    change = exact @ joined(tangents)
    assert_close(jax.jvp(case.function, parts, tangents)[1], change)
    value, linear = jax.linearize(case.function, *parts)
    assert_close(value, case.derivative(0)[0])
    assert_close(linear(*tangents), change)
    value, pull = jax.vjp(case.function, *parts)
    cotangent = jnp.sin(jnp.arange(1.0, 1 + case.n_outputs))
    assert_close(joined(pull(cotangent)), np.asarray(cotangent) @ exact)


@each_part
def test_gradient_of_what_a_batch_shares(case: Case, part: int) -> None:
    """The transposes sum over the axes along which an argument was broadcast."""
    args, axes = only(case, part)
    mapped = jax.vmap(total(case), in_axes=axes)
    found = jax.grad(lambda *parts: mapped(*parts).sum(), every(case))(*args)
    loop = [
        jax.grad(total(case), every(case))(
            *(a[p] if ax == 0 else a for a, ax in zip(args, axes, strict=True))
        )
        for p in range(N_POINTS)
    ]
    for i, got in enumerate(found):
        rows = np.stack([one[i] for one in loop])
        assert_close(got, rows if i == part else rows.sum(0))


# ----------------------------------------------------------------------- higher derivatives


@each_part
@pytest.mark.parametrize("outer", [jax.jacrev, jax.jacfwd])
@pytest.mark.parametrize("inner", [jax.jacrev, jax.jacfwd])
def test_second_derivatives(case: Case, part: int, outer: Function, inner: Function) -> None:
    for other in every(case):
        exact = case.derivative(2)[..., case.slice(part), case.slice(other)]
        found = jax.jit(jax.vmap(outer(inner(case.function, part), other)))(*batch(case))
        assert_close(found, exact)


@each_case
def test_hessian_and_its_vmap(case: Case) -> None:
    rule = jax.hessian(total(case), every(case))
    exact = exact_total(case, 2)

    def blocks(found: Any) -> np.ndarray:
        return np.concatenate([joined(row) for row in found], axis=-2)

    assert_close(blocks(rule(*at(case, 0))), exact[0])
    assert_close(blocks(jax.vmap(rule)(*batch(case))), exact)


@pytest.mark.parametrize("name", ["expectation", "pdf"])
def test_third_derivatives(name: str) -> None:
    case = CASES[name]
    theta = slice(0, 2)
    exact = case.derivative(3)[:, :, theta, theta, theta]
    hessian = jax.hessian(case.function)
    assert_close(jax.jit(jax.vmap(jax.jacfwd(hessian)))(*batch(case)), exact)
    assert_close(jax.jit(jax.vmap(jax.jacrev(hessian)))(*batch(case)), exact)
    jets = jax.jacfwd(jax.jacfwd(jax.jacrev(case.function)))
    assert_close(jax.jit(jax.vmap(jets))(*batch(case)), exact)


def test_fourth_derivatives_are_refused_by_name() -> None:
    case = CASES["expectation"]
    fourth = jax.jacfwd(jax.jacfwd(jax.hessian(case.function)))
    with pytest.raises(NotImplementedError, match="this is derivative number 4 of one quantity"):
        fourth(*at(case, 0))


# ------------------------------------------------------------------------------ control flow


@each_case
def test_scan_cond_checkpoint(case: Case) -> None:
    exact = exact_total(case, 1)

    def summed(*parts: jax.Array) -> jax.Array:
        scales = jnp.array([1.0, 1.1])

        def step(carry: jax.Array, scale: jax.Array) -> tuple[jax.Array, None]:
            return carry + total(case)(*(scale * x for x in parts)), None

        return jax.lax.scan(step, 0.0, scales)[0]

    found = joined(jax.jit(jax.grad(summed, every(case)))(*at(case, 0)))
    assert_close(found, exact[0] + 1.1 * exact[1])

    def chosen(*parts: jax.Array) -> jax.Array:
        return jax.lax.cond(parts[0][0] > 0, total(case), lambda *_: 0.0, *parts)

    assert_close(joined(jax.jit(jax.grad(chosen, every(case)))(*at(case, 0))), exact[0])
    again = jax.checkpoint(total(case))
    assert_close(joined(jax.jit(jax.grad(again, every(case)))(*at(case, 0))), exact[0])
    found = jax.jit(jax.hessian(again))(*at(case, 0))
    assert_close(found, exact_total(case, 2)[0, case.slice(0), case.slice(0)])


# ----------------------------------------------------------------------------------- devices


@each_case
def test_pmap(case: Case) -> None:
    two = [x[:2] for x in batch(case)]
    assert_close(jax.pmap(case.function)(*two), case.derivative(0)[:2])
    found = jax.pmap(jax.grad(total(case), every(case)))(*two)
    assert_close(joined(found), exact_total(case, 1)[:2])
    found = jax.pmap(jax.hessian(total(case)))(*two)
    assert_close(found, exact_total(case, 2)[:2, case.slice(0), case.slice(0)])


def sharded(function: Function, specs: Any, out: Any, check: bool = True) -> Function:
    mesh = Mesh(np.array(jax.devices()), ("d",))
    return jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out, check_vma=check)
    )


@each_part
@pytest.mark.parametrize("check", [True, False])
def test_shard_map_over_one_part(case: Case, part: int, check: bool) -> None:
    args, axes = only(case, part)
    rows, whole = PartitionSpec("d"), PartitionSpec()
    specs = tuple(rows if i == part else whole for i in every(case))
    mapped = jax.vmap(case.function, in_axes=axes)
    exact = np.asarray(mapped(*args))
    spread = sharded(mapped, specs, rows, check)
    assert_close(spread(*args), exact)

    def scalar(f: Function) -> Function:
        return lambda *parts: jnp.sum(jnp.sin(f(*parts)))

    expected = jax.grad(scalar(mapped), every(case))(*args)
    for got, want in zip(jax.grad(scalar(spread), every(case))(*args), expected, strict=True):
        assert_close(got, np.asarray(want))


@each_part
def test_derivatives_inside_shard_map(case: Case, part: int) -> None:
    args, axes = only(case, part)
    rows, whole = PartitionSpec("d"), PartitionSpec()
    specs = tuple(rows if i == part else whole for i in every(case))
    gradient = jax.vmap(jax.grad(total(case), part), in_axes=axes)
    assert_close(sharded(gradient, specs, rows)(*args), np.asarray(gradient(*args)))
    hessian = jax.vmap(jax.hessian(total(case), part), in_axes=axes)
    assert_close(sharded(hessian, specs, rows)(*args), np.asarray(hessian(*args)))


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_sharded_arrays_outside_shard_map(kind: str) -> None:
    """Right on every device; the native call itself is not split there."""
    mesh = jax.make_mesh((2,), ("d",), axis_types=(getattr(jax.sharding.AxisType, kind),))
    for name in ("moments", "pdf"):
        case = CASES[name]
        mapped = jax.vmap(total(case))
        plain = batch(case)
        spread = jax.device_put(plain, jax.NamedSharding(mesh, PartitionSpec("d")))
        for rule in (
            jax.vmap(case.function),
            jax.vmap(jax.grad(total(case), every(case))),
            jax.vmap(jax.hessian(total(case))),
            jax.grad(lambda *parts: mapped(*parts).sum()),  # noqa: B023 - used in this turn
        ):
            found, exact = jax.jit(rule)(*spread), rule(*plain)
            for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
                assert_close(got, np.asarray(want))


# ------------------------------------------------------------------------------------ dtypes


@each_case
def test_float32_goes_in_and_comes_out(case: Case) -> None:
    parts = [x.astype(jnp.float32) for x in at(case, 0)]
    value, slopes = jax.value_and_grad(total(case), every(case))(*parts)
    assert {x.dtype for x in (*slopes, case.function(*parts))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(value, exact_total(case, 0)[0], rtol=1e-5)
    np.testing.assert_allclose(joined(slopes), exact_total(case, 1)[0], rtol=1e-4, atol=1e-5)


def calls(function: Function, *args: Any) -> int:
    """How many native calls a compiled function has."""
    text = jax.jit(function).lower(*args).as_text()
    return text.count("@phasic_evaluate")


@pytest.mark.parametrize("name", ["expectation", "pdf"])
def test_value_and_grad_of_a_scalar_is_one_native_call(name: str) -> None:
    case = CASES[name]
    assert calls(case.function, *at(case, 0)) == 1
    assert calls(jax.value_and_grad(total(case)), *at(case, 0)) == 1
    assert calls(jax.vmap(jax.value_and_grad(total(case))), *batch(case)) == 1
    assert calls(jax.value_and_grad(total(case), every(case)), *at(case, 0)) == len(case.parts)


def test_a_gradient_of_many_outputs_is_one_call_besides_the_value() -> None:
    case = CASES["sf"]
    assert calls(jax.value_and_grad(total(case)), *at(case, 0)) == 2


# ------------------------------------------------------------------- what keeps programs alive


def exponential() -> phasic.Trace:
    graph = phasic.Graph(1)
    a, b = (graph.find_or_create_vertex([i]) for i in (1, 2))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, [0.71828182])
    return record_elimination_trace(graph)


def test_a_program_lives_as_long_as_compiled_code_that_calls_it() -> None:
    def compiled() -> tuple[Function, weakref.ref[Program]]:
        program = Program(exponential(), EvaluationOptions())
        request = Request(program, Quantity.MOMENTS)
        call = jax.jit(lambda theta: evaluate(request, theta))
        return call.lower(jnp.ones(1)).compile(), weakref.ref(program)

    call, program = compiled()
    jax.clear_caches()
    gc.collect()
    np.testing.assert_allclose(call(jnp.array([2.0])), [0.5 / 0.71828182], rtol=1e-15)
    assert program() is not None
    del call
    gc.collect()
    assert program() is None


def test_equal_programs_are_counted_apart_and_share_compiled_code() -> None:
    first, second = (Program(exponential(), EvaluationOptions()) for _ in range(2))
    assert first == second and hash(first) == hash(second)
    assert first != Program(exponential(), EvaluationOptions(threads=1))
    request = Request(second, Quantity.MOMENTS)
    del first
    gc.collect()
    np.testing.assert_allclose(evaluate(request, jnp.array([1.0])), [1 / 0.71828182], rtol=1e-15)


def test_other_platforms_are_refused_with_advice() -> None:
    case = CASES["expectation"]
    traced = jax.jit(case.function).trace(*at(case, 0))
    with pytest.raises(NotImplementedError, match=r"CPU devices only.*compiled for cuda"):
        traced.lower(lowering_platforms=("cuda",))

"""What JAX does with samples: keys, transformations, devices, dtypes; and the same bits always."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import phasic
from jax_cases import model
from phasic import _core
from phasic.trace_elimination import record_elimination_trace

THETA = np.array([1.3, 0.7])
THETAS = THETA * (1 + 0.1 * np.arange(6))[:, None]
KEY = jax.random.key(42)
GOLDEN = ["0x1.24825d4701341p+1", "0x1.8002b551f2027p+0", "0x1.54b09a35956aep+0"]
GOLDEN_STEPS = [216.0, 142.0, 163.0]


def test_the_same_numbers_on_every_machine() -> None:
    found = [float(x).hex() for x in model().sample(jax.random.key(0), THETA, 3)]
    assert found == GOLDEN
    discrete = phasic.PhaseType(phasic.negative_binomial(3, 0.01))
    assert discrete.sample(jax.random.key(0), None, 3).tolist() == GOLDEN_STEPS


def test_kinds_of_keys() -> None:
    legacy = model().sample(jax.random.PRNGKey(42), THETA, 4)
    np.testing.assert_array_equal(legacy, model().sample(KEY, THETA, 4))
    np.testing.assert_array_equal(
        legacy, model().sample(np.asarray(jax.random.key_data(KEY)), THETA, 4)
    )
    long = jax.random.key(42, impl="rbg")
    other = model().sample(long, THETA, 4)
    assert (other != legacy).all()
    np.testing.assert_array_equal(other, model().sample(jax.random.key_data(long), THETA, 4))


@pytest.mark.parametrize(
    "key, error, text",
    [
        (3, TypeError, "key is of type int, expected a JAX key"),
        (np.zeros(2), TypeError, "key has dtype float64, expected a JAX key"),
        (np.zeros(3, np.uint32), ValueError, r"key has shape \(3,\), expected one legacy key"),
        (jax.random.split(KEY, 2), ValueError, r"key has shape \(2,\), expected one key; use jax"),
    ],
)
def test_what_is_no_key(key: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        model().sample(key, THETA)


@pytest.mark.parametrize("shape", [-1, (2, -1), 1.5, "ab", (1.5,)])
def test_what_is_no_shape(shape: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="shape is"):
        model().sample(KEY, THETA, shape)


def test_shapes() -> None:
    assert model().sample(KEY, THETA).shape == ()
    assert model().sample(KEY, THETA, 3).shape == (3,)
    assert model().sample(KEY, THETAS, (3, 2)).shape == (6, 3, 2)
    assert model().sample(KEY, THETAS, (0, 2)).shape == (6, 0, 2)
    assert model().sample(KEY, THETAS[:0], 3).shape == (0, 3)
    rewards = np.ones((4, 5))
    assert model().sample(KEY, THETAS, (3, 2), rewards).shape == (6, 3, 2, 4)
    assert model().sample(KEY, THETAS[:, None], 3, np.ones((2, 4, 5))).shape == (6, 2, 3, 4)
    with pytest.raises(ValueError, match="do not broadcast"):
        model().sample_with_state(KEY, THETAS, horizon=np.ones(5))
    with pytest.raises(ValueError, match=r"theta has 3 entries but the model has 2 parameters"):
        model().sample(KEY, np.ones(3))


def test_rows_differ_and_more_draws_begin_with_the_same() -> None:
    rows = model().sample(KEY, np.stack([THETA] * 4), 5)
    assert np.unique(rows).size == rows.size
    np.testing.assert_array_equal(rows[0], model().sample(KEY, THETA, 5))
    many = model().sample(KEY, THETA, 20_000)
    np.testing.assert_array_equal(many[:5], rows[0])
    np.testing.assert_array_equal(many.reshape(100, 200), model().sample(KEY, THETA, (100, 200)))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads(threads: int) -> None:
    one = phasic.PhaseType.from_trace(
        model().trace, options=phasic.EvaluationOptions(threads=threads)
    )
    for shape in (50_000, 7):
        found = one.sample(KEY, THETAS, shape)
        np.testing.assert_array_equal(found, model().sample(KEY, THETAS, shape))


def test_jit_vmap_and_loops_agree() -> None:
    keys = jax.random.split(KEY, 6)
    loop = np.stack([model().sample(k, t, 3) for k, t in zip(keys, THETAS, strict=True)])
    both = jax.vmap(lambda k, t: model().sample(k, t, 3))
    np.testing.assert_array_equal(both(keys, THETAS), loop)
    np.testing.assert_array_equal(jax.jit(both)(keys, THETAS), loop)
    over_keys = jax.vmap(lambda k: model().sample(k, THETA, 3))(keys)
    np.testing.assert_array_equal(over_keys, [model().sample(k, THETA, 3) for k in keys])
    common = jax.vmap(lambda t: model().sample(KEY, t, 3))(THETAS)
    np.testing.assert_array_equal(common, [model().sample(KEY, t, 3) for t in THETAS])
    nested = jax.vmap(lambda k: jax.vmap(lambda t: model().sample(k, t, 3))(THETAS))(keys[:2])
    expected = [[model().sample(k, t, 3) for t in THETAS] for k in keys[:2]]
    np.testing.assert_array_equal(nested, expected)
    rewards = np.arange(10.0).reshape(2, 5)
    over_rewards = jax.vmap(lambda r: model().sample(KEY, THETA, 3, r))(rewards)
    np.testing.assert_array_equal(over_rewards, model().sample(KEY, THETA, 3, rewards).T)


def test_scan_gives_each_step_its_key() -> None:
    keys = jax.random.split(KEY, 3)
    _, found = jax.lax.scan(lambda c, k: (c, model().sample(k, THETA, 2)), 0, keys)
    np.testing.assert_array_equal(found, [model().sample(k, THETA, 2) for k in keys])


def test_pmap_and_shard_map() -> None:
    keys = jax.random.split(KEY, 4)
    expected = np.stack([model().sample(k, THETA, 3) for k in keys])
    draw = jax.vmap(lambda k: model().sample(k, THETA, 3))
    found = jax.pmap(draw)(keys.reshape(2, 2))
    np.testing.assert_array_equal(np.asarray(found).reshape(4, 3), expected)
    mesh = Mesh(np.array(jax.devices()[:2]), ("d",))
    spec = PartitionSpec("d")
    for thetas, theta_spec in ((np.stack([THETA] * 4), spec), (THETA, PartitionSpec())):
        axes = (0, 0 if thetas.ndim == 2 else None)
        both = jax.vmap(lambda k, t: model().sample(k, t, 3), in_axes=axes)
        mapped = jax.shard_map(both, mesh=mesh, in_specs=(spec, theta_spec), out_specs=spec)
        np.testing.assert_array_equal(jax.jit(mapped)(keys, thetas), expected)


@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd, jax.hessian])
def test_derivatives_are_an_error(transform: Any) -> None:
    with pytest.raises(TypeError, match="samples cannot be differentiated"):
        transform(lambda theta: model().sample(KEY, theta))(THETA)
    with pytest.raises(TypeError, match="samples cannot be differentiated"):
        transform(lambda r: jax.jit(model().sample)(KEY, THETA, rewards=r))(np.ones(5))


def test_a_sample_is_a_constant_for_other_derivatives() -> None:
    def scaled(x: Any) -> Any:
        draw = model().sample(KEY, jax.lax.stop_gradient(x) * THETA)
        return x * draw + x * model().sample(KEY, THETA)

    expected = 2 * model().sample(KEY, THETA)
    np.testing.assert_allclose(jax.grad(scaled)(1.0), expected, rtol=1e-15)


def test_dtypes() -> None:
    single = model().sample(KEY, THETA.astype(np.float32), 100)
    assert single.dtype == np.float32
    wide = model().sample(KEY, THETA.astype(np.float32).astype(np.float64), 100)
    np.testing.assert_array_equal(single, wide.astype(np.float32))
    assert model().sample(KEY, np.array([1, 2])).dtype == np.float64
    with pytest.raises(TypeError, match="theta has dtype complex128"):
        model().sample(KEY, THETA.astype(complex))


def test_without_64_bit() -> None:
    code = """
import jax, numpy as np, phasic, warnings
warnings.simplefilter("ignore")
model = phasic.PhaseType(phasic.erlang(2, 3.0))
x = model.sample_with_state(jax.random.key(0), None, 5)
print(x.value.dtype, x.vertex.dtype, [float(v).hex() for v in x.value])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    draws = phasic.PhaseType(phasic.erlang(2, 3.0)).sample(jax.random.key(0), None, 5)
    rounded = [float(x).hex() for x in np.asarray(draws, np.float32)]
    assert run.stdout.split(maxsplit=2) == ["float32", "int32", f"{rounded}\n"]


def test_bad_rows_are_nan_when_traced_and_named_when_not() -> None:
    thetas = np.array([THETA, [-1.0, 1.0], [np.nan, 1.0]])
    found = jax.jit(lambda t: model().sample_with_state(KEY, t, 2))(thetas)
    np.testing.assert_array_equal(np.isnan(found.value), [[False] * 2, [True] * 2, [True] * 2])
    np.testing.assert_array_equal(found.vertex[1:], -1)
    with pytest.raises(ValueError, match=r"the weight -1, expected .*\(row 1 of the batch\)"):
        model().sample(KEY, thetas, 2)
    with pytest.raises(ValueError, match=r"theta\[0\] is nan"):
        model().sample(KEY, thetas[2], 2)


def test_compiled_code_outlives_the_distribution() -> None:
    graph = phasic.erlang(3, 1.75)
    made = phasic.PhaseType(graph)
    compiled = jax.jit(made.sample).lower(KEY).compile()
    expected = made.sample(KEY)
    del made
    gc.collect()
    assert compiled(KEY) == expected


def test_native_arguments_are_checked() -> None:
    trace = record_elimination_trace(phasic.erlang(2, 1.0))
    seed = np.zeros(6, np.uint32)
    for bad in (
        {"seed": seed[:5]},
        {"theta": np.zeros(1)},
        {"rewards": np.zeros(3), "n_rewards": 1},
        {"starts": np.zeros(2, np.int32)},
        {"n_draws": -1},
        {"max_length": -1},
        {"max_length": 2, "horizon": 1.0},
        {"given": [1]},
    ):
        with pytest.raises(ValueError, match=r"expected|must be|no horizon"):
            _core.sample(trace, **{"seed": seed, "theta": np.zeros(0), **bad})


def test_results_are_pytrees() -> None:
    draws = jax.tree.map(jnp.shape, model().sample_with_state(KEY, THETA, 3))
    assert draws == phasic.phase_type.Sample((3,), (3,))

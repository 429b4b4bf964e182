"""What must hold without an oracle: scaling, renaming, batching, threads, traps, precisions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import model_cases
import models
import oracle
import phasic
from conformance import (
    CASES,
    CONTINUOUS,
    WITH_PARAMETERS,
    assert_near,
    distribution,
    largest,
    native,
    program,
    record,
)
from model_cases import Case
from phasic import _core

TRAPPED = {trapped[0]: trapped[1:] for trapped in model_cases.trapped_graphs()}


def _tables(trace: _core.Trace, case: Case) -> dict[str, np.ndarray]:
    """A bit of everything, natively: values, a gradient and a Hessian."""
    given = {"rewards": case.rewards, "k": 3}
    tables = {
        "moments": native(trace, case, "moments", **given),
        "cross": native(trace, case, "cross_moments", rewards=case.rewards),
        "sojourn": native(trace, case, "sojourn"),
        "absorption": native(trace, case, "absorption"),
        "pdf": native(trace, case, "pdf", times=case.times),
        "cdf": native(trace, case, "cdf", times=case.times),
        "occupancy": native(trace, case, "accumulated_occupancy", times=case.times),
        "reward gradient": native(trace, case, "moments", ("rewards",), **given),
    }
    if case.thetas.shape[1]:
        tables["gradient"] = native(trace, case, "moments", ("theta",), **given)
        tables["hessian"] = native(trace, case, "moments", ("theta", "theta"), **given)
        tables["pdf gradient"] = native(trace, case, "pdf", ("theta",), times=case.times)
    return tables


@pytest.mark.parametrize("factor", [1e-6, 3.7, 2.0**400, 2.0**-400])
@pytest.mark.parametrize("name", CONTINUOUS[::2])
def test_rates_times_c_divide_the_kth_moment_by_c_to_the_k(name: str, factor: float) -> None:
    case = CASES[name]
    faster = model_cases.scaled(case, factor)
    trace = record(faster)
    k = 4 if factor < 100 and factor > 1e-10 else 1
    moments = native(program(name), case, "moments", k=k)
    assert_near(
        native(trace, faster, "moments", k=k) * factor ** np.arange(1, k + 1), moments, 1e-12
    )
    pdf = native(program(name), case, "pdf", times=case.times)
    found = native(trace, faster, "pdf", times=faster.times) / factor
    assert_near(found, pdf, 1e-11, largest(pdf, 1))


@pytest.mark.parametrize("name", list(CASES)[::2])
def test_renaming_the_vertices_renames_the_results(name: str) -> None:
    case = CASES[name]
    other, place = model_cases.permuted(case, seed=7)
    tables, renamed = _tables(program(name), case), _tables(record(other), other)
    for quantity in ("sojourn", "absorption"):
        assert_near(renamed[quantity][:, place], tables[quantity], 1e-12)
    for quantity in ("moments", "cross"):
        assert_near(renamed[quantity], tables[quantity], 1e-12)
    for quantity in ("pdf", "cdf"):
        exact = tables[quantity]
        assert_near(renamed[quantity], exact, 1e-11, largest(exact, 1))


@pytest.mark.parametrize("name", WITH_PARAMETERS[::3])
def test_a_batch_is_a_loop(name: str) -> None:
    case = CASES[name]
    many = replace(case, thetas=np.concatenate([case.thetas] * 7))  # no multiple of the lanes
    tables = _tables(program(name), many)
    for b, theta in enumerate(case.thetas):
        for quantity, one in _tables(program(name), replace(case, thetas=theta[None])).items():
            for row in tables[quantity][b::3]:
                np.testing.assert_array_equal(row, one[0], quantity)


@pytest.mark.parametrize("name", WITH_PARAMETERS[1::6])
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    case = CASES[name]
    rng = np.random.default_rng(5)
    thetas = case.thetas[rng.integers(len(case.thetas), size=203)]
    for quantity, times in (("moments", None), ("pdf", case.times)):
        for wrt in ((), ("theta",), ("theta", "theta")):
            case = replace(case, thetas=thetas)
            found = [
                native(program(name), case, quantity, wrt, times=times, threads=threads)
                for threads in (1, 2, 5)
            ]
            np.testing.assert_array_equal(found[1], found[0])
            np.testing.assert_array_equal(found[2], found[0])


@pytest.mark.parametrize("name", ["blocks-continuous-1", "mixed-discrete-2"])
def test_vmap_is_a_loop_bit_for_bit(name: str) -> None:
    case, d = CASES[name], distribution(name)
    expectation = partial(d.expectation, rewards=case.rewards[0])
    thetas = jnp.asarray(np.concatenate([case.thetas] * 2))
    for function in (
        expectation,
        jax.grad(expectation),
        jax.hessian(expectation),
        partial(d.covariance, rewards=case.rewards),
        partial(d.pmf if case.discrete else d.pdf, t=case.times),
    ):
        single = jax.jit(function)
        loop = np.stack([np.asarray(single(theta)) for theta in thetas])
        np.testing.assert_array_equal(np.asarray(jax.vmap(function)(thetas)), loop)
        nested = np.asarray(jax.vmap(jax.vmap(function))(thetas.reshape(2, 3, -1)))
        np.testing.assert_array_equal(nested.reshape(loop.shape), loop)


@pytest.mark.parametrize("name", ["cyclic-continuous-1", "absorbing-continuous-2"])
def test_float32_parameters_give_the_float64_result_rounded(name: str) -> None:
    case = CASES[name]
    d, single = distribution(name), case.thetas.astype(np.float32)
    for function in (d.expectation, partial(d.pdf, t=case.times)):
        found = np.asarray(function(jnp.asarray(single)))
        assert found.dtype == np.float32
        exact = np.asarray(function(jnp.asarray(single.astype(np.float64))))
        np.testing.assert_array_equal(found, exact.astype(np.float32))


@pytest.mark.parametrize("kind", TRAPPED)
def test_a_reachable_trap(kind: str) -> None:
    graph, theta, trapped = TRAPPED[kind]
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    theta = theta if theta.size else None
    for function in (d.expectation, d.variance, partial(d.moments, k=2)):
        with pytest.raises(ValueError, match=rf"\b{graph['states'][trapped[0], 0]}\b"):
            function(theta)
    if theta is not None:
        assert np.isposinf(jax.jit(d.expectation)(theta))
        assert np.isposinf(jax.vmap(d.expectation)(theta[None])).all()
        assert np.isposinf(jax.jit(partial(d.moments, k=3))(theta)).all()
    sojourn = np.asarray(d.expected_sojourn(theta))
    (exact,) = oracle.evaluate(graph, [] if theta is None else theta, "sojourn")
    assert np.isposinf(sojourn[trapped]).all()
    assert_near(np.delete(sojourn, trapped), np.delete(exact, trapped), 1e-14)
    ends = np.asarray(d.absorption_probability(theta))
    (exact,) = oracle.evaluate(graph, [] if theta is None else theta, "absorption")
    assert_near(ends, exact, 1e-14)
    times = np.array([1.0, 1024.0])
    cdf = np.asarray(d.cdf(theta, times))
    (exact,) = oracle.evaluate(graph, [] if theta is None else theta, "cdf", times=times)
    assert_near(cdf, exact, 1e-12)
    assert cdf[-1] == pytest.approx(1 / 3, rel=1e-12)


def test_one_trapped_row_of_a_batch_leaves_the_others_alone() -> None:
    graph = TRAPPED["zero-theta-continuous"][0]
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    thetas = np.array([[0.25], [0.0], [0.5]])
    found = np.asarray(jax.jit(d.expectation)(thetas))
    assert np.isposinf(found[1])
    for b in (0, 2):
        (exact,) = oracle.evaluate(graph, thetas[b], "moments")
        assert_near(found[b : b + 1], exact[0], 1e-14)
    with pytest.raises(ValueError):
        d.expectation(thetas)


def test_only_the_parameter_that_opens_a_trap_has_no_derivative() -> None:
    edges = {(1, 2): [1.0, 0.0], (1, 4): [0.0, 1.0], (2, 3): 1.0, (3, 2): 1.0}
    graph = models.serialized([(1,), (2,), (3,), (4,)], {1: 1.0}, edges, param_length=2)
    d = phasic.PhaseType(phasic.Graph.from_serialized(graph))
    theta = jnp.array([0.0, 2.0])
    assert float(d.expectation(theta)) == 0.5
    gradient = np.asarray(jax.grad(d.expectation)(theta))
    assert not np.isfinite(gradient[0])
    assert gradient[1] == -0.25

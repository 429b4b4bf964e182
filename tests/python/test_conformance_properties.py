"""What must hold without an oracle: scaling, renaming, batching, threads, traps, precisions."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from phasic.trace_elimination import record_elimination_trace

import model_cases
import oracle
import phasic
from conformance import (
    CASES,
    CONTINUOUS,
    WITH_PARAMETERS,
    assert_near,
    distribution,
    evaluated,
    largest,
    make_distribution,
)
from phasic import _core

TRAPPED = {trapped[0]: trapped[1:] for trapped in model_cases.trapped_graphs()}
EVERY_SIXTH = WITH_PARAMETERS[::6]


@pytest.mark.parametrize("factor", [1e-6, 3.7, 2.0**20])
@pytest.mark.parametrize("name", CONTINUOUS[::5])
def test_rates_times_c_divide_the_kth_moment_by_c_to_the_k(name: str, factor: float) -> None:
    case = CASES[name]
    faster = model_cases.scaled(case, factor)
    moments = evaluated(lambda th: distribution(name).moments(th, 4, case.rewards), case)
    found = evaluated(lambda th: make_distribution(faster).moments(th, 4, case.rewards), case)
    assert_near(found, moments / factor ** np.arange(1, 5), 1e-12)
    pdf = evaluated(distribution(name).pdf, case, case.times)
    found = evaluated(make_distribution(faster).pdf, case, faster.times)
    assert_near(found, pdf * factor, 1e-11, largest(pdf * factor, 1))


@pytest.mark.parametrize("name", list(CASES)[::5])
def test_renaming_the_vertices_renames_the_results(name: str) -> None:
    case = CASES[name]
    other, place = model_cases.permuted(case, seed=7)
    renamed = make_distribution(other)
    moments = evaluated(lambda th: distribution(name).moments(th, 4, case.rewards), case)
    assert_near(evaluated(lambda th: renamed.moments(th, 4, other.rewards), other), moments, 1e-12)
    sojourn = evaluated(distribution(name).expected_sojourn, case)
    assert_near(evaluated(renamed.expected_sojourn, other)[:, place], sojourn, 1e-12)


def _methods(name: str) -> dict[str, partial]:
    case, d = CASES[name], distribution(name)
    density = d.pmf if case.discrete else d.pdf
    expectation = partial(d.expectation, rewards=case.rewards[0])
    return {
        "moments": partial(d.moments, k=3, rewards=case.rewards),
        "covariance": partial(d.covariance, rewards=case.rewards),
        "sojourn": d.expected_sojourn,
        "absorption": d.absorption_probability,
        "density": partial(density, t=case.times),
        "cdf": partial(d.cdf, t=case.times),
        "gradient": jax.grad(expectation),
        "hessian": jax.hessian(expectation),
    }


@pytest.mark.parametrize("name", EVERY_SIXTH)
def test_a_batch_is_a_loop_bit_for_bit(name: str) -> None:
    thetas = jnp.asarray(np.concatenate([CASES[name].thetas] * 7))  # 21: no multiple of the lanes
    for quantity, function in _methods(name).items():
        loop = np.stack([np.asarray(function(theta)) for theta in thetas[:3]])
        batch = np.asarray(jax.vmap(function)(thetas))
        np.testing.assert_array_equal(batch, np.concatenate([loop] * 7), quantity)
        if quantity not in ("gradient", "hessian"):
            np.testing.assert_array_equal(np.asarray(function(thetas)), batch, quantity)
            nested = np.asarray(jax.vmap(jax.vmap(function))(thetas.reshape(7, 3, -1)))
            np.testing.assert_array_equal(nested.reshape(batch.shape), batch, quantity)


@pytest.mark.parametrize("name", EVERY_SIXTH)
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    case = CASES[name]
    trace = record_elimination_trace(phasic.Graph.from_serialized(case.graph))
    rng = np.random.default_rng(5)
    thetas = case.thetas[rng.integers(len(case.thetas), size=203)]
    times = case.times[None, :]
    for quantity, rewards, at in (("moments", None, None), ("pdf", None, times)):
        results = [
            _core.evaluate(
                trace,
                quantity,
                thetas,
                rewards,
                at,
                gradient=gradient,
                value=value,
                cotangent=cotangent,
                threads=threads,
            )
            for threads in (1, 2, 5)
            for gradient, value, cotangent in (
                (-1, True, None),
                (0, False, np.ones((1, 1 if at is None else 4))),
            )
        ]
        for found, first in zip(results[2:], results[:2] * 2, strict=True):
            for a, b in zip(found, first, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", EVERY_SIXTH)
def test_float32_parameters_give_the_float64_result_rounded(name: str) -> None:
    case = CASES[name]
    if case.family.decades or case.discrete:
        pytest.skip("rounding the parameters would leave the model's range")
    d, single = distribution(name), case.thetas.astype(np.float32)
    for function in (d.expectation, partial(d.pdf, t=case.times)):
        found = np.asarray(function(jnp.asarray(single)))
        assert found.dtype == np.float32
        exact = np.asarray(function(jnp.asarray(single.astype(np.float64))))
        np.testing.assert_array_equal(found, exact.astype(np.float32))


@pytest.mark.parametrize(
    ("kind", "graph", "theta", "trapped"), TRAPPED, ids=[t[0] for t in TRAPPED]
)
def test_a_reachable_trap(kind: str, graph: dict, theta: np.ndarray, trapped: list[int]) -> None:
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

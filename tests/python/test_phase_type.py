"""The methods of PhaseType: shapes, dtypes, broadcasting, and what bad arguments say."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import phasic
from jax_cases import model
from phasic.trace_elimination import record_elimination_trace

N = 5  # vertices of the model
THETA = np.array([1.3, 0.7])
REWARDS = np.array([[0.0, 1.0, 2.0, 0.5, 0.0], [7.0, 0.3, 1.0, 1.0, 9.0], [1.0] * 5])
TIMES = np.array([0.5, 1.0, 2.0, 4.0])


def geometric() -> phasic.PhaseType:
    """Success with probability theta a step; discrete."""
    graph = phasic.Graph(1, discrete=True)
    a, end = (graph.find_or_create_vertex([i]) for i in (1, 2))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(end, [1.0])
    return phasic.PhaseType(graph)


def constant() -> phasic.PhaseType:
    """No parameters: exponential with rate 2, half of the mass absorbed at time 0."""
    graph = phasic.Graph(1)
    a, end = (graph.find_or_create_vertex([i]) for i in (1, 2))
    graph.starting_vertex().add_edge(a, 0.5)
    graph.starting_vertex().add_edge(end, 0.25)
    a.add_edge(end, 2.0)
    return phasic.PhaseType(graph)


def trap() -> phasic.PhaseType:
    """From a to absorption, or with rate theta_2 to b and c, which lead to each other only."""
    graph = phasic.Graph(1)
    a, b, c, end = (graph.find_or_create_vertex([i]) for i in (1, 2, 3, 4))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(end, [1.0, 0.0])
    a.add_edge(b, [0.0, 1.0])
    b.add_edge(c, 1.0)
    c.add_edge(b, 1.0)
    return phasic.PhaseType(graph)


# ------------------------------------------------------------------------------------- shapes

Method = Callable[..., Any]
OF_THETA: dict[str, tuple[Method, tuple[int, ...]]] = {
    "expectation": (lambda d, th: d.expectation(th), ()),
    "expectation of a reward": (lambda d, th: d.expectation(th, REWARDS[0]), ()),
    "expectation of rewards": (lambda d, th: d.expectation(th, REWARDS), (3,)),
    "variance": (lambda d, th: d.variance(th), ()),
    "variance of rewards": (lambda d, th: d.variance(th, REWARDS[:1]), (1,)),
    "moments": (lambda d, th: d.moments(th, 4), (4,)),
    "moments of rewards": (lambda d, th: d.moments(th, 2, REWARDS), (3, 2)),
    "covariance": (lambda d, th: d.covariance(th, REWARDS), (3, 3)),
    "expected_sojourn": (lambda d, th: d.expected_sojourn(th), (N,)),
    "absorption_probability": (lambda d, th: d.absorption_probability(th), (N,)),
}
DENSITIES = ("pdf", "logpdf", "cdf", "sf", "logsf", "hazard")
OCCUPANCIES = ("state_probability", "accumulated_occupancy")


@pytest.mark.parametrize("name", OF_THETA)
def test_leading_axes_of_theta_lead_the_result(name: str) -> None:
    method, shape = OF_THETA[name]
    scales = np.linspace(0.5, 2, 6).reshape(2, 3, 1)
    found = method(model(), scales * THETA)
    assert found.shape == (2, 3, *shape)
    np.testing.assert_array_equal(found[1, 2], method(model(), scales[1, 2] * THETA))
    assert method(model(), np.zeros((0, 2))).shape == (0, *shape)


@pytest.mark.parametrize("name", DENSITIES + OCCUPANCIES)
def test_times_and_their_batch(name: str) -> None:
    method = getattr(model(), name)
    last = (N,) if name in OCCUPANCIES else ()
    row = method(THETA, TIMES)
    assert row.shape == (4, *last)
    one = method(THETA, 2.0)
    assert one.shape == last
    np.testing.assert_allclose(one, row[2], rtol=1e-13)
    thetas = np.stack([THETA, 2 * THETA])
    found = method(thetas, TIMES)
    assert found.shape == (2, 4, *last)
    np.testing.assert_array_equal(found[0], row)
    each = method(thetas, np.stack([TIMES, TIMES / 2]))
    assert each.shape == (2, 4, *last)
    crossed = method(thetas[:, None], np.stack([TIMES] * 3))
    assert crossed.shape == (2, 3, 4, *last)
    np.testing.assert_array_equal(crossed[1, 2], found[1])
    assert method(THETA, np.zeros(0)).shape == (0, *last)
    assert method(thetas, np.zeros((2, 0))).shape == (2, 0, *last)


def test_rewards_have_batch_axes_too() -> None:
    many = np.stack([REWARDS, 2 * REWARDS])
    found = model().expectation(THETA, many)
    assert found.shape == (2, 3)
    np.testing.assert_array_equal(found[0], model().expectation(THETA, REWARDS))
    thetas = np.stack([THETA, 2 * THETA])[:, None]
    assert model().covariance(thetas, many).shape == (2, 2, 3, 3)


@pytest.mark.parametrize("discrete", [False, True])
def test_rewards_of_all_rows_and_of_each_row_give_the_same(discrete: bool) -> None:
    """Eleven reward vectors: more than are summed at a time."""
    rng = np.random.default_rng(0)
    graph = phasic.negative_binomial(12) if discrete else phasic.hypoexponential(12)
    d = phasic.PhaseType(graph)
    thetas = rng.uniform(0.2, 0.9, (20, d.param_length))
    rewards = rng.integers(0, 4, (11, d.n_vertices)).astype(float)
    each = np.broadcast_to(rewards, (20, *rewards.shape)).copy()

    for method in (d.expectation, d.covariance, partial(d.moments, k=3)):
        found = method(thetas, rewards=rewards)
        np.testing.assert_allclose(found, method(thetas, rewards=each), rtol=1e-14)
        alone = jnp.stack([method(t, rewards=rewards) for t in thetas[:3]])
        np.testing.assert_array_equal(found[:3], alone)

        def total(theta: jax.Array, r: Any, method: Any = method) -> jax.Array:
            return (method(theta, rewards=r) ** 2).sum()

        shared = jax.vmap(jax.grad(total), in_axes=(0, None))(thetas, rewards)
        by_row = jax.vmap(jax.grad(total))(thetas, each)
        np.testing.assert_allclose(shared, by_row, rtol=1e-12)
        by_reward = jax.grad(lambda r, f=total: jax.vmap(f, in_axes=(0, None))(thetas, r).sum())
        each_row = jax.vmap(jax.grad(total, argnums=1))(thetas, each)
        np.testing.assert_allclose(by_reward(rewards), each_row.sum(axis=0), rtol=1e-12)
    with pytest.raises(ValueError, match="rewards"):
        d.expectation(thetas, np.full_like(rewards, np.inf))


def test_rewards_of_starting_and_absorbing_vertices_do_not_count() -> None:
    zeroed = REWARDS * [0, 1, 1, 1, 0]
    for method in (model().expectation, model().variance, model().covariance):
        np.testing.assert_array_equal(method(THETA, REWARDS), method(THETA, zeroed))
    slope = jax.grad(lambda r: model().expectation(THETA, r))(jnp.ones(N))
    assert slope[0] == slope[4] == 0


def test_quantities_fit_together() -> None:
    d = model()
    raw = d.moments(THETA, 2, REWARDS)
    np.testing.assert_array_equal(d.expectation(THETA, REWARDS), raw[:, 0])
    variance = raw[:, 1] - raw[:, 0] ** 2
    np.testing.assert_allclose(d.variance(THETA, REWARDS), variance, rtol=1e-14)
    covariance = d.covariance(THETA, REWARDS)
    np.testing.assert_allclose(np.diag(covariance), d.variance(THETA, REWARDS), rtol=1e-13)
    sojourn = d.expected_sojourn(THETA)
    np.testing.assert_allclose(REWARDS @ sojourn, raw[:, 0], rtol=1e-14)
    sf, pdf = d.sf(THETA, TIMES), d.pdf(THETA, TIMES)
    np.testing.assert_allclose(d.cdf(THETA, TIMES) + sf, 1, rtol=1e-13)
    np.testing.assert_allclose(d.hazard(THETA, TIMES), pdf / sf, rtol=1e-13)
    np.testing.assert_allclose(jnp.exp(d.logpdf(THETA, TIMES)), pdf, rtol=1e-13)
    np.testing.assert_allclose(jnp.exp(d.logsf(THETA, TIMES)), sf, rtol=1e-13)
    np.testing.assert_allclose(d.state_probability(THETA, TIMES).sum(-1), 1, rtol=1e-13)
    np.testing.assert_allclose(d.state_probability(THETA, TIMES)[:, 4], 1 - sf, rtol=1e-12)
    occupied = d.accumulated_occupancy(THETA, 1e3)
    np.testing.assert_allclose(occupied[:4], sojourn[:4], rtol=1e-12)
    slope = jax.vmap(jax.grad(lambda t: d.cdf(THETA, t)))(TIMES)
    np.testing.assert_allclose(slope, pdf, rtol=1e-12)


def test_a_model_without_parameters() -> None:
    d = constant()
    assert (d.param_length, d.n_vertices, d.is_discrete) == (0, 3, False)
    np.testing.assert_allclose(d.expectation(), 0.25)
    np.testing.assert_allclose(d.expectation(None, [0, 3, 0]), 0.75)
    np.testing.assert_allclose(d.moments(k=2), [0.25, 0.25])
    np.testing.assert_allclose(d.cdf(None, [0.0, 1.0]), [0.5, 1 - np.exp(-2) / 2], rtol=1e-13)
    np.testing.assert_allclose(d.pdf(None, 1.0), np.exp(-2), rtol=1e-13)
    np.testing.assert_allclose(d.absorption_probability(), [0, 0, 0.75], rtol=1e-15)
    assert d.expectation(np.zeros((4, 0))).shape == (4,)
    with pytest.raises(ValueError, match=r"theta has 1 entries but the model has 0 parameters"):
        d.expectation([1.0])


def test_a_discrete_model() -> None:
    d = geometric()
    p, steps = np.array([0.3]), np.arange(1, 6)
    assert d.is_discrete
    np.testing.assert_allclose(d.expectation(p), 1 / 0.3, rtol=1e-14)
    np.testing.assert_allclose(d.variance(p), 0.7 / 0.09, rtol=1e-13)
    np.testing.assert_allclose(d.pmf(p, steps), 0.3 * 0.7 ** (steps - 1.0), rtol=1e-13)
    np.testing.assert_allclose(d.logpmf(p, 3), np.log(0.3 * 0.49), rtol=1e-13)
    np.testing.assert_allclose(d.cdf(p, steps), 1 - 0.7**steps, rtol=1e-13)
    np.testing.assert_allclose(d.sf(p, steps), 0.7**steps, rtol=1e-13)
    for method, instead in (("pdf", "pmf"), ("logpdf", "logpmf"), ("hazard", "pmf and sf")):
        text = f"{method} does not apply to a discrete model; use {instead}"
        with pytest.raises(ValueError, match=text):
            getattr(d, method)(p, steps)
    with pytest.raises(ValueError, match="pmf does not apply to a continuous model; use pdf"):
        model().pmf(THETA, 1)
    with pytest.raises(ValueError, match=r"t\[0\]|t .*1\.5"):
        d.pmf(p, [1.5])
    assert np.isnan(jax.jit(d.pmf)(p, 1.5))


# ------------------------------------------------------------------------------------- dtypes


def test_the_dtype_of_theta_is_the_dtype_of_the_result() -> None:
    for dtype, expected in (("float32", "float32"), ("float64", "float64"), ("int32", "float64")):
        theta = np.array([1, 2], dtype)
        for d in (theta, jnp.asarray(theta), theta.tolist()):
            wanted = "float64" if isinstance(d, list) else expected
            assert model().expectation(d).dtype == wanted
            assert model().pdf(d, TIMES).dtype == wanted
    single = THETA.astype("float32")
    assert model().moments(single, 2, REWARDS).dtype == "float32"
    assert model().pdf(single, 1).dtype == "float32"
    exact = model().expectation(single.astype("float64"))
    assert model().expectation(single) == np.float32(exact)


@pytest.mark.parametrize(
    "wrong",
    [np.float16, ml_dtypes.bfloat16, np.complex64, np.complex128, bool, str, object],
)
def test_other_dtypes_are_refused(wrong: Any) -> None:
    ones = np.ones(2).astype(wrong)
    text = "has dtype .*, expected float32, float64 or integers"
    with pytest.raises(TypeError, match=f"theta {text}"):
        model().expectation(ones)
    with pytest.raises(TypeError, match=f"rewards {text}"):
        model().expectation(THETA, np.ones(N).astype(wrong))
    with pytest.raises(TypeError, match=f"t {text}"):
        model().pdf(THETA, ones)


def test_bfloat16_tracers_are_refused() -> None:
    with pytest.raises(TypeError, match="theta has dtype bfloat16"):
        jax.jit(model().expectation)(jnp.ones(2, jnp.bfloat16))


SINGLE = """
    import warnings
    import jax, jax.numpy as jnp, numpy as np, phasic
    graph = phasic.Graph(1)
    a, end = (graph.find_or_create_vertex([i]) for i in (1, 2))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(end, [1.0])
    d = phasic.PhaseType(graph)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = [d.expectation(np.array([3.0])), d.expectation(jnp.array([3.0])),
                  d.pdf([3], 0.0), jax.jit(jax.grad(d.expectation))(jnp.array([3.0]))]
    assert [str(v.dtype) for v in values] == ["float32"] * 4, values
    assert values[0] == np.float32(1 / 3) and values[2] == 3
    (warning,) = [w for w in caught if "64-bit mode is off" in str(w.message)]
    assert issubclass(warning.category, RuntimeWarning)
    assert len(caught) == 1, [str(w.message) for w in caught]
    assert not jax.config.jax_enable_x64
    """


def test_without_64_bit_mode_results_are_float32_with_one_warning() -> None:
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SINGLE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr


# ------------------------------------------------------------------------------ bad arguments


@pytest.mark.parametrize(
    ("theta", "text"),
    [
        ([1, 2, 3], r"theta has 3 entries but the model has 2 parameters \(shape \(3,\), expected "
         r"\(\.\.\., 2\)\)"),
        (np.ones((4, 1)), r"theta has 1 entries .* \(shape \(4, 1\)"),
        (1.0, r"theta has no axis but the model has 2 parameters \(shape \(\)"),
        (None, r"theta is missing but the model has 2 parameters"),
        ([[1.0, 2.0], [3.0]], "theta is not an array of numbers"),
        ([np.nan, 1.0], r"theta\[0\] is nan, expected a finite number"),
        ([1.0, np.inf], r"theta\[1\] is inf"),
        ([-2.0, 1.0], r"from state \(1\) .* to state \(2\) .* the weight -2, expected a finite"),
        ([[1.0, 1.0], [1.0, 1.0], [1.0, -1.0]], r"the weight -1,.*\(row 2 of the batch\)"),
        (np.ones((2, 2, 2)) * [[[1, 1]], [[1, -1]]], r"\(row 1, 0 of the batch\)"),
    ],
)  # fmt: skip
def test_bad_theta(theta: Any, text: str) -> None:
    d = model()
    calls = (d.expectation, d.expected_sojourn, partial(d.pdf, t=TIMES), d.absorption_probability)
    for call in calls:
        with pytest.raises(ValueError, match=text):
            call(theta)


@pytest.mark.parametrize(
    ("rewards", "text"),
    [
        ([1.0, 2.0], r"rewards has 2 entries but the model has 5 vertices \(shape \(2,\)"),
        (3.0, r"rewards has no axis but the model has 5 vertices"),
        (np.zeros((0, 5)), r"rewards has no reward vector \(shape \(0, 5\)\)"),
        ([0.0, 1.0, np.nan, 1.0, 0.0], r"rewards\[2\] is nan"),
    ],
)
def test_bad_rewards(rewards: Any, text: str) -> None:
    for method in (model().expectation, model().variance, partial(model().moments, k=3)):
        with pytest.raises(ValueError, match=text):
            method(THETA, rewards=rewards)


def test_covariance_needs_reward_vectors() -> None:
    for rewards, found in ((REWARDS[0], "one reward vector"), (None, "none")):
        with pytest.raises(ValueError, match=rf"\(\.\.\., n_rewards, n_vertices\), found {found}"):
            model().covariance(THETA, rewards)


def test_bad_times() -> None:
    for t, text in (
        (-1.0, r"t\[0\] is -1"),
        ([1.0, np.nan], r"t\[1\] is nan"),
        (None, "t is m"),
    ):
        for name in DENSITIES + OCCUPANCIES:
            with pytest.raises(ValueError, match=text):
                getattr(model(), name)(THETA, t)


def test_batch_axes_must_broadcast() -> None:
    text = r"leading \(batch\) axes do not broadcast: theta \(3,\), t \(2,\)"
    with pytest.raises(ValueError, match=text):
        model().pdf(np.ones((3, 2)), np.ones((2, 4)))


@pytest.mark.parametrize(
    ("k", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)]
)
def test_bad_orders(k: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"k is .*, expected an int >= 1"):
        model().moments(THETA, k)


def test_a_budget_is_an_error_with_numbers() -> None:
    options = phasic.EvaluationOptions(max_operations=1e4, density="uniformization")
    d = phasic.PhaseType(model().graph, options=options)
    with pytest.raises(phasic.BudgetError, match="exceeds max_operations = 10000"):
        d.pdf(THETA, 1e9)
    assert np.isnan(jax.jit(d.pdf)(THETA, 1e9))
    assert np.isfinite(d.pdf(THETA, 1.0))


def test_a_budget_of_memory_is_an_error_before_it_is_taken() -> None:
    options = phasic.EvaluationOptions(max_bytes=3000.0, kernel="baseline")
    d = phasic.PhaseType(model().graph, options=options)
    assert np.isfinite(d.expectation(THETA))
    message = r"one thread needs \d+ bytes .*, \d+ numbers a slot, more than max_bytes = 3000;"
    with pytest.raises(phasic.BudgetError, match=message):
        jax.hessian(d.moments)(THETA, 2)
    assert np.isfinite(d.pdf(THETA, 1.0))


def test_traced_faults_are_nan_in_their_rows_only() -> None:
    thetas = jnp.array([THETA, [-1.0, 1.0], [np.nan, 1.0], 2 * THETA])
    for function in (
        model().expectation,
        model().variance,
        jax.grad(model().expectation),
        jax.hessian(model().expectation),
        partial(model().pdf, t=TIMES),
        model().expected_sojourn,
    ):
        found = np.asarray(jax.jit(jax.vmap(function))(thetas))
        assert np.isnan(found[1:3]).all()
        assert np.isfinite(found[[0, 3]]).all()
        np.testing.assert_array_equal(found[0], jax.jit(function)(thetas[0]))


def test_a_concrete_call_inside_a_traced_function_is_traced() -> None:
    assert np.isnan(jax.jit(lambda x: x + model().expectation([-1.0, 1.0]))(1.0))


def test_after_an_error_everything_still_works() -> None:
    with pytest.raises(ValueError, match="the weight"):
        model().expectation([-1.0, 1.0])
    assert np.isfinite(model().expectation(THETA))


# -------------------------------------------------------------------------------------- traps


def test_a_reachable_trap_makes_moments_infinite() -> None:
    d, theta = trap(), jnp.array([1.0, 3.0])
    for function in (d.expectation, d.variance, partial(d.moments, k=2)):
        with pytest.raises(ValueError, match=r"state \((2|3)\)"):
            function(theta)
    assert np.isposinf(jax.jit(d.expectation)(theta))
    assert np.isposinf(jax.vmap(partial(d.moments, k=3))(theta[None])).all()
    with pytest.raises(ValueError, match=r"\(row 1 of the batch\)"):
        d.expectation(jnp.array([[1.0, 0.0], [1.0, 3.0]]))
    sojourn = d.expected_sojourn(theta)
    np.testing.assert_array_equal(sojourn, [0, 0.25, np.inf, np.inf, 0])
    np.testing.assert_allclose(d.absorption_probability(theta), [0, 0, 0, 0, 0.25], rtol=1e-15)
    np.testing.assert_allclose(d.cdf(theta, 50.0), 0.25, rtol=1e-12)
    np.testing.assert_allclose(d.expectation(jnp.array([2.0, 0.0])), 0.5, rtol=1e-15)


def test_a_reachable_trap_without_parameters() -> None:
    graph = phasic.Graph(1)
    a, b, c, end = (graph.find_or_create_vertex([i]) for i in (1, 2, 3, 4))
    graph.starting_vertex().add_edge(a, 1.0)
    for source, target in ((a, b), (a, end), (b, c), (c, b)):
        source.add_edge(target, 1.0)
    d = phasic.PhaseType(graph)
    for theta in (None, [], np.zeros((2, 0))):
        with pytest.raises(ValueError, match=r"state \((2|3)\)"):
            d.expectation(theta)
    assert np.isposinf(d.expected_sojourn()[2])


# ------------------------------------------------------------------------------------- object


def test_the_discrete_flag_must_fit() -> None:
    graph = model().graph
    assert not phasic.PhaseType(graph, discrete=False).is_discrete
    with pytest.raises(ValueError, match="discrete is True, but the graph is continuous"):
        phasic.PhaseType(graph, discrete=True)
    with pytest.raises(ValueError, match="discrete is False, but the graph is discrete"):
        phasic.PhaseType(geometric().graph, discrete=False)


def test_made_from_a_trace_or_a_pickle_it_is_the_same() -> None:
    d = model()
    options = phasic.EvaluationOptions(threads=1, kernel="reference")
    for other in (
        pickle.loads(pickle.dumps(d)),
        phasic.PhaseType.from_trace(record_elimination_trace(d.graph)),
        phasic.PhaseType(d.graph, min_size=1, strategy="sequential", threads=1),
    ):
        assert other.trace.digest == d.trace.digest
        np.testing.assert_array_equal(other.moments(THETA, 3), d.moments(THETA, 3))
    slow = pickle.loads(pickle.dumps(phasic.PhaseType.from_trace(d.trace, options=options)))
    np.testing.assert_allclose(slow.moments(THETA, 3), d.moments(THETA, 3), rtol=1e-14)
    assert repr(d) == (
        f"<PhaseType continuous, 5 vertices, 2 parameters, digest {d.trace.digest[:12]}>"
    )
    with pytest.raises(TypeError, match="trace is of type NoneType"):
        phasic.PhaseType.from_trace(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"threads": -1}, "threads is -1, expected an integer >= 0"),
        ({"threads": 1.5}, r"threads is 1\.5"),
        ({"truncation": 0.0}, r"truncation is 0\.0, expected a number in \(0, 1e-3\]"),
        ({"truncation": float("nan")}, "truncation is nan"),
        ({"max_operations": 0.0}, r"max_operations is 0\.0, expected a number > 0"),
        ({"kernel": "gpu"}, "kernel is 'gpu', expected one of auto, reference"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        phasic.EvaluationOptions(**options)


def test_threads_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASIC_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="PHASIC_NUM_THREADS is 'many', expected an integer >= 0"):
        phasic.PhaseType(model().graph)
    monkeypatch.setenv("PHASIC_NUM_THREADS", "1")
    assert np.isfinite(phasic.PhaseType(model().graph).expectation(THETA))

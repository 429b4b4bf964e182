"""Sums, minima, maxima and mixtures against what independence says of the oracle's numbers."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
import phasic
from conformance import CASES, assert_near

jax.config.update("jax_enable_x64", True)

# Neighbours of a list of models with few vertices: cycles, defects, atoms, zero weights, traps.
SMALL = [n for n, c in CASES.items() if c.graph["n_vertices"] <= 12 and not c.family.decades]
PAIRS = [
    pair
    for discrete in (False, True)
    for pair in itertools.pairwise([n for n in SMALL if CASES[n].discrete == discrete])
]
FEW = [
    pytest.param(p, marks=[] if i % 6 == 0 else pytest.mark.extended) for i, p in enumerate(PAIRS)
]


def concrete(name: str) -> phasic.Graph:
    graph = phasic.Graph.from_serialized(CASES[name].graph)
    graph.update_weights(CASES[name].thetas[-1])
    return graph.instantiate()


def exact(name: str, quantity: str, **options: object) -> np.ndarray:
    case = CASES[name]
    return np.asarray(oracle.evaluate(case.graph, case.thetas[-1], quantity, **options)[0])


def times_of(name: str) -> np.ndarray:
    steps = np.arange(0.0, 12.0)
    return steps if CASES[name].discrete else np.append(0.0, CASES[name].times)


@pytest.mark.parametrize("pair", FEW, ids=lambda pair: "+".join(pair))
def test_pairs_of_models(pair: tuple[str, str]) -> None:
    a, b = map(concrete, pair)
    times = times_of(pair[0])
    first, second = (exact(name, "sf", times=times) for name in pair)
    below, under = (exact(name, "cdf", times=times) for name in pair)
    assert_near(phasic.minimum(a, b).sf(times), first * second, 1e-12)
    assert_near(phasic.maximum(a, b).cdf(times), below * under, 1e-11, below * under + 1e-4)
    mixed = phasic.mixture([a, b], [0.3, 0.6])
    assert_near(mixed.sf(times), 0.3 * first + 0.6 * second, 1e-12)
    together = phasic.convolution(a, b)
    mean, variance = (
        [float(exact(name, "moments", k=2).reshape(-1)[k]) for name in pair] for k in (0, 1)
    )
    assert together.expectation() == pytest.approx(sum(mean), rel=1e-12)
    second_moment = sum(variance) + 2 * math.prod(mean)
    np.testing.assert_allclose(together.moments(2)[1], second_moment, rtol=1e-12)
    if CASES[pair[0]].discrete:
        masses = [
            np.append(below[0], exact(n, "pdf", times=times[1:]))
            for n, below in zip(pair, (below, under), strict=True)
        ]
        expected = np.convolve(*masses)[: len(times)]
        assert_near(together.cdf(times), np.cumsum(expected), 1e-12, np.ones(len(times)))
        assert_near(together.pmf(times[1:]), expected[1:], 1e-12, np.full(11, expected.max()))
    else:
        s = jnp.array([0.0, 0.4, 3.0])
        transforms = [phasic.PhaseType(g).laplace(None, s) for g in (a, b, together)]
        assert_near(np.asarray(transforms[2]), np.asarray(transforms[0] * transforms[1]), 1e-12)


def test_closed_forms() -> None:
    slow, fast = phasic.exponential(1.0), phasic.exponential(3.0)
    assert phasic.minimum(slow, fast, slow).expectation() == pytest.approx(1 / 5, rel=1e-15)
    largest = phasic.maximum(*[slow] * 5)
    assert largest.expectation() == pytest.approx(sum(1 / k for k in range(1, 6)), rel=1e-14)
    assert phasic.convolution(*[slow] * 4).to_json() != phasic.erlang(4, 1.0).to_json()
    np.testing.assert_allclose(
        phasic.convolution(*[slow] * 4).moments(4), phasic.erlang(4, 1.0).moments(4), rtol=1e-14
    )
    dice = phasic.geometric(0.25)
    both = phasic.minimum(dice, dice)
    np.testing.assert_allclose(
        both.pmf([1, 2, 3]), phasic.geometric(1 - 0.75**2).pmf([1, 2, 3]), rtol=1e-14
    )
    assert phasic.convolution(phasic.geometric(1.0), phasic.geometric(1.0)).pmf(2) == 1.0


def test_states_tell_where_each_one_is() -> None:
    a, b = phasic.erlang(2, 1.0), phasic.coxian([1.0], [2.0, 3.0])
    race = phasic.minimum(a, b)
    assert race.states().tolist()[1:] == [
        [2, 1],
        [2, 2],
        [2, 0],
        [1, 1],
        [1, 2],
        [1, 0],
        [0, 1],
        [0, 2],
    ]
    ends = race.absorption_probability()
    assert ends[[3, 6, 7, 8]].sum() == pytest.approx(1.0, rel=1e-15)
    assert (ends[[1, 2, 4, 5]] == 0).all()
    assert phasic.convolution(a, b).states().tolist()[1:] == [
        [1, 2],
        [1, 1],
        [2, 1],
        [2, 2],
        [2, 0],
    ]


def test_times_that_may_be_zero() -> None:
    half = phasic.hyperexponential([0.5], [2.0])  # 0 with probability 1 / 2
    assert phasic.convolution(half, half).defect() == pytest.approx(0.25, rel=1e-15)
    assert phasic.maximum(half, half).defect() == pytest.approx(0.25, rel=1e-15)
    assert phasic.minimum(half, half).defect() == pytest.approx(0.75, rel=1e-15)
    assert phasic.mixture([half], [0.5]).defect() == pytest.approx(0.75, rel=1e-15)
    assert phasic.convolution(half, half).expectation() == pytest.approx(0.5, rel=1e-15)
    trap = phasic.Graph.from_matrices([0.5], [[0.0]])  # 0 or never, no absorbing edge
    assert phasic.maximum(trap, half).cdf(1e3) == pytest.approx(0.5, rel=1e-14)
    assert phasic.convolution(trap, half).cdf(1e3) == pytest.approx(0.5, rel=1e-14)


def test_parameters_behind_each_other_or_shared() -> None:
    one, two = phasic.exponential(), phasic.hypoexponential(2)
    theta = jnp.array([2.0, 3.0, 5.0])
    for make, mean in [
        (phasic.convolution, 1 / 2 + 1 / 3 + 1 / 5),
        (phasic.minimum, 1 / 5 + 3 / 5 * 1 / 7),
        (functools.partial(lambda *g: phasic.mixture(g, [0.5, 0.5])), 0.25 + 4 / 15),
    ]:
        graph = make(one, two)
        assert graph.param_length() == 3
        assert float(phasic.PhaseType(graph).expectation(theta)) == pytest.approx(mean, rel=1e-14)
    shared = phasic.PhaseType(phasic.convolution(one, phasic.erlang(3), shared=True))
    assert float(jax.grad(shared.expectation)(jnp.array([2.0]))[0]) == pytest.approx(-1.0)
    fixed = phasic.maximum(phasic.geometric(), phasic.geometric(0.5))
    fixed.update_weights([0.25])
    mean = 4 + 2 - 1 / (1 - 0.75 * 0.5)
    assert fixed.expectation() == pytest.approx(mean, rel=1e-14)


def test_what_does_not_go_together() -> None:
    free, fixed, steps = phasic.exponential(), phasic.exponential(1.0), phasic.geometric()
    uncertain = phasic.Graph(1)
    end = uncertain.find_or_create_vertex([1])
    middle = uncertain.find_or_create_vertex([2])
    uncertain.starting_vertex().add_edge(middle, [0.5])
    middle.add_edge(end, 1.0)
    for call, text in [
        (lambda: phasic.convolution(), r"expected at least one phasic.Graph"),
        (lambda: phasic.convolution(fixed, 3), r"expected at least one phasic.Graph"),
        (lambda: phasic.minimum(fixed, steps), r"graphs differ in is_discrete"),
        (lambda: phasic.minimum(free, phasic.hypoexponential(2), shared=True), r"\[1, 2\] param"),
        (lambda: phasic.maximum(steps, steps), r"not linear in theta.*instantiate"),
        (lambda: phasic.convolution(free, uncertain), r"not linear in theta"),
        (lambda: phasic.mixture([fixed], [0.5, 0.5]), r"expected 1 numbers >= 0"),
        (lambda: phasic.mixture([fixed, fixed], [0.5, -0.5]), r"expected 2 numbers >= 0"),
        (lambda: phasic.mixture([fixed, fixed], [0.7, 0.7]), r"start weights sum to 1.4"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    big = phasic.erlang(8000, 1.0)
    with pytest.raises(phasic.BudgetError, match=r"edges, expected at most 50000000"):
        phasic.minimum(big, big)
    assert phasic.convolution(fixed, uncertain).param_length() == 1

"""What the conformance tests share: the models, the truth over a batch, the comparison.

1. `CASES` are the generated models by name; `distribution` builds the object under test once.
2. `truth` stacks the oracle's value and derivatives over the parameter vectors of a case.
3. `assert_near` states the tolerance as a share of a scale, and shows the worst entry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import model_cases
import oracle
import phasic
from model_cases import Case

CASES = {case.name: case for case in model_cases.cases()}
WITH_PARAMETERS = [name for name, case in CASES.items() if case.thetas.shape[1]]
CONTINUOUS = [name for name, case in CASES.items() if not case.discrete]


@cache
def distribution(name: str) -> phasic.PhaseType:
    return make_distribution(CASES[name])


def make_distribution(case: Case) -> phasic.PhaseType:
    return phasic.PhaseType(phasic.Graph.from_serialized(case.graph))


def evaluated(function: Callable[..., Any], case: Case, *args: Any) -> np.ndarray:
    """A method of the distribution over the batch of the case, float64, batch axis first."""
    if case.thetas.shape[1]:
        return np.asarray(function(jnp.asarray(case.thetas), *args))
    return np.asarray(function(None, *args))[None]


def derivative(function: Callable[[Any], Any], case: Case, order: int) -> np.ndarray:
    """Jacobian or Hessian in theta at each parameter vector of the case."""
    rule = jax.jacrev(function) if order == 1 else jax.hessian(function)
    return np.asarray(jax.vmap(rule)(jnp.asarray(case.thetas)))


def truth(case: Case, quantity: str, order: int = 0, **options: Any) -> list[np.ndarray]:
    """The oracle's value, gradient and Hessian, each stacked over the parameter vectors."""
    found = [
        oracle.evaluate(case.graph, theta, quantity, order=order, **options)
        for theta in case.thetas
    ]
    return [np.stack(arrays) for arrays in zip(*found, strict=True)]


def largest(array: np.ndarray, n_last: int) -> np.ndarray:
    """Largest magnitude over the last axes, kept for broadcasting."""
    axes = tuple(range(array.ndim - n_last, array.ndim))
    return np.abs(array).max(axis=axes, keepdims=True)


def derivative_scale(case: Case, arrays: list[np.ndarray], n_last: int) -> np.ndarray:
    """Scale of the last derivative in `arrays`: its largest entry, over n_last axes.

    Where a derivative vanishes by cancellation the rounding of the terms remains: 1e-5 of the
    size that homogeneous functions have, |value| / theta^order, so 1e-14 of it after the 1e-9.
    """
    order, value = len(arrays) - 1, arrays[0]
    size = inverse = np.divide(1.0, case.thetas, where=case.thetas > 0, out=0 * case.thetas)
    if order == 2:
        size = inverse[:, :, None] * inverse[:, None, :]
    size = size.reshape(len(size), *(1,) * (value.ndim - 1), *size.shape[1:])
    rounding = 1e-5 * np.abs(value.reshape(value.shape + (1,) * order)) * size
    return np.maximum(largest(arrays[-1], n_last), rounding)


def assert_near(
    found: np.ndarray, exact: np.ndarray, tolerance: float, scale: np.ndarray | None = None
) -> None:
    """|found - exact| <= tolerance * scale, the scale being |exact| unless given."""
    assert found.shape == exact.shape, (found.shape, exact.shape)
    scale = np.broadcast_to(np.abs(exact) if scale is None else scale, exact.shape)
    wrong = ~(np.abs(found - exact) <= tolerance * scale)
    if wrong.any():
        with np.errstate(all="ignore"):
            error = np.where(wrong, np.abs(found - exact) / scale, 0.0)
        worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
        raise AssertionError(
            f"{wrong.sum()} of {wrong.size} entries are off by more than {tolerance}; worst at "
            f"{tuple(map(int, worst))}: found {found[worst]!r}, exact {exact[worst]!r}, "
            f"scale {scale[worst]!r}"
        )

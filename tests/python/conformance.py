"""What the conformance tests share: the models, the truth over a batch, the comparison.

1. `CASES` are the generated models by name; each is recorded and linked once.
2. `native` evaluates a quantity or its Jacobian or Hessian through the extension, all parameter
   vectors, outputs and directions as rows of one call; `distribution` is the same under JAX.
3. `truth` stacks the oracle's value and derivatives over the parameter vectors of a case.
4. `assert_near` states the tolerance as a share of a scale, and shows the worst entry.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import model_cases
import oracle
import phasic
from model_cases import Case
from phasic import _core
from phasic.trace_elimination import record_elimination_trace

CASES = {case.name: case for case in model_cases.cases()}
WITH_PARAMETERS = [name for name, case in CASES.items() if case.thetas.shape[1]]
CONTINUOUS = [name for name, case in CASES.items() if not case.discrete]
PARTS = {"theta": 0, "rewards": 1, "times": 2}


@cache
def distribution(name: str) -> phasic.PhaseType:
    return phasic.PhaseType(phasic.Graph.from_serialized(CASES[name].graph))


@cache
def program(name: str) -> _core.Trace:
    return record(CASES[name])


def record(case: Case) -> _core.Trace:
    return record_elimination_trace(phasic.Graph.from_serialized(case.graph))


def occupancy_truth(case: Case) -> np.ndarray:
    """Accumulated occupancy (batch, times, vertices); phasic reports transient vertices only."""
    (exact,) = truth(case, "occupancy", times=case.times)
    absorbing = phasic.Graph.from_serialized(case.graph)._frozen().is_absorbing()
    return np.where(absorbing, 0.0, exact)


def native(
    trace: _core.Trace,
    case: Case,
    quantity: str,
    wrt: tuple[str, ...] = (),
    *,
    rewards: np.ndarray | None = None,
    times: np.ndarray | None = None,
    k: int = 1,
    **options: Any,
) -> np.ndarray:
    """A quantity (batch, outputs) or its derivatives (batch, outputs, size of each part in wrt).

    Each output and each unit direction of the first part is a row of one batched call.
    """
    n_rewards = -1 if rewards is None else len(np.atleast_2d(rewards))
    operands = {
        "theta": case.thetas,
        "rewards": None if rewards is None else rewards.reshape(1, -1),
        "times": None if times is None else np.atleast_2d(times),
    }
    batch, order = len(case.thetas), k
    size = [operands[part].shape[1] for part in wrt]
    n_times = 0 if times is None else operands["times"].shape[1]
    n_outputs = _core.output_size(trace, quantity, order, n_rewards, n_times)
    fixed = {"order": order, "n_rewards": n_rewards, **options}
    if not wrt:
        value, _, status = _core.evaluate(trace, quantity, *operands.values(), **fixed)
        assert not status.any()
        return np.asarray(value)
    grid = np.indices((batch, n_outputs, *size[:-1])).reshape(1 + len(wrt), -1)
    rows = {
        part: None if array is None else (array[grid[0]] if len(array) > 1 else array)
        for part, array in operands.items()
    }
    rows["theta"] = case.thetas[grid[0]]
    _, gradient, status = _core.evaluate(
        trace,
        quantity,
        *rows.values(),
        **fixed,
        value=False,
        gradient=PARTS[wrt[-1]],
        cotangent=np.eye(n_outputs)[grid[1]],
        levels=tuple(PARTS[part] for part in wrt[:-1]),
        tangents=tuple(np.eye(size[i])[grid[2 + i]] for i in range(len(wrt) - 1)),
    )
    assert not status.any()
    return np.asarray(gradient).reshape(batch, n_outputs, *size)


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

    Where a derivative vanishes by cancellation the rounding of the terms remains: 1e-4 of the
    size that homogeneous functions have, |value| / theta^order, so 1e-13 of it after the 1e-9.
    """
    order, value = len(arrays) - 1, arrays[0]
    size = inverse = 1 / np.where(case.thetas > 0, case.thetas, case.thetas.max() or 1.0)
    if order == 2:
        size = inverse[:, :, None] * inverse[:, None, :]
    size = size.reshape(len(size), *(1,) * (value.ndim - 1), *size.shape[1:])
    rounding = 1e-4 * np.abs(value.reshape(value.shape + (1,) * order)) * size
    return np.maximum(largest(arrays[-1], n_last), rounding)


def assert_near(
    found: np.ndarray, exact: np.ndarray, tolerance: float, scale: np.ndarray | None = None
) -> None:
    """|found - exact| <= tolerance * scale, the scale being |exact| unless given."""
    found = np.asarray(found)
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


def assert_derivatives_in_time(name: str, tolerance: float, **options: Any) -> None:
    """First and second derivatives of pdf, cdf and sf in t, by the share of the largest entry."""
    case = CASES[name]
    batch, diagonal = np.arange(len(case.thetas))[:, None], np.arange(4)
    for quantity in ("pdf", "cdf", "sf"):
        for slope in (1, 2):
            (exact,) = truth(case, quantity, times=case.times, slope=slope)
            wrt = ("times",) * slope
            found = native(program(name), case, quantity, wrt, times=case.times, **options)
            found = found[(batch, *[diagonal] * (1 + slope))]  # entry i depends on time i only
            assert_near(found, exact, tolerance, largest(exact, 1))

"""SciPy: a SuperLU factor of ``scipy.sparse.linalg.splu`` for each theta."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse.linalg
from linear_system import explore

from models import Model

LOOP = 16
"""A batch is a loop over different parameters; a longer one would say the same."""


class Contender:
    """Densities by ``expm_multiply``, which steps through equidistant times."""

    def __init__(self, model: Model) -> None:
        self._system = explore(model)
        self._start = np.zeros(self._system.size)
        self._start[0] = 1.0
        self.facts: dict[str, int] = {}

    def record(self) -> float:
        """Return nothing recorded: SuperLU starts anew for each theta."""
        return float("nan")

    def largest(self, task: str) -> int:
        """Return the length of the loop."""
        return 1 if task == "density" else LOOP

    def call(self, task: str, thetas: np.ndarray, times: np.ndarray) -> Callable[[], object]:
        """Return a function that evaluates a task and returns its numbers."""
        one = {"value": self._value, "gradient": self._gradient, "density": self._density}[task]
        if task == "gradient":
            return lambda: tuple(map(np.array, zip(*map(one, thetas), strict=True)))
        return lambda: np.array([one(theta, times) for theta in thetas])

    def _value(self, theta: np.ndarray, times: np.ndarray) -> float:
        factor = scipy.sparse.linalg.splu(self._system.matrix(theta))
        return float(factor.solve(np.ones(self._system.size))[0])

    def _gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        factor = scipy.sparse.linalg.splu(self._system.matrix(theta))
        mean = factor.solve(np.ones(self._system.size))
        visits = factor.solve(self._start, trans="T")
        products = visits[self._system.rows] * mean[self._system.columns]
        return float(mean[0]), -(products @ self._system.coefficients)

    def _density(self, theta: np.ndarray, times: np.ndarray) -> np.ndarray:
        generator = -self._system.matrix(theta).T.tocsr()
        steps = scipy.sparse.linalg.expm_multiply(
            generator, self._start, start=0.0, stop=times[-1], num=len(times) + 1
        )
        return steps[1:] @ (self._system.exits @ theta)

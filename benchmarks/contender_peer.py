"""The peer, phasic 0.32.1 from PyPI: ``update_weights`` and then a method, in a loop."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import phasic  # of another environment: the same import name
from models import Model

LOOP = 16
"""A batch is a loop over different parameters; a longer one would say the same."""


class Contender:
    """Its default settings, which are its fastest: ``cache_trace=True`` is slower."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.record()
        self.facts: dict[str, int] = {}

    def record(self) -> float:
        """Return the CPU seconds of the first expectation of a new graph."""
        start = [(self._model.start, 1.0)]
        self._graph = phasic.Graph(self._model.callback, ipv=start, graph_cache=False)
        began = time.process_time()
        self._graph.update_weights(self._model.thetas(1)[0])
        self._graph.expectation()
        return time.process_time() - began

    def largest(self, task: str) -> int:
        """Return the length of the loop; 0 for what it has not."""
        return {"value": LOOP, "gradient": 0, "density": 1}[task]

    def call(self, task: str, thetas: np.ndarray, times: np.ndarray) -> Callable[[], object]:
        """Return a function that evaluates a task and returns its numbers."""
        graph = self._graph
        method = {"value": graph.expectation, "density": lambda: graph.pdf(times)}[task]

        def one(theta: np.ndarray) -> object:
            graph.update_weights(theta)
            return method()

        return lambda: np.array([one(theta) for theta in thetas])

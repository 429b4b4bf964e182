"""phasic-xla through its public interface: a jitted JAX function of a batch of parameters."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np

import phasic
from models import Model


class Contender:
    """One native thread; the cache folder is new for each recording."""

    def __init__(self, model: Model) -> None:
        self._graph = phasic.Graph(model.callback, ipv=[(model.start, 1.0)])
        self.record()  # the first recording of a process also compiles a JAX function
        self.facts = {"states": self._graph.vertices_length() - 1}

    def record(self) -> float:
        """Return the CPU seconds from the graph to a distribution, with a cold cache."""
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            self._distribution = phasic.PhaseType(self._graph, cache_dir=folder, threads=1)
            return time.process_time() - began

    def largest(self, task: str) -> int:
        """Return the largest batch that is worth running."""
        return 16384 if task != "density" else 64

    def call(self, task: str, thetas: np.ndarray, times: np.ndarray) -> Callable[[], object]:
        """Return a function that evaluates a task and returns its numbers."""
        self.facts["operations"] = self._distribution.trace.n_operations
        expectation, pdf = self._distribution.expectation, self._distribution.pdf
        function = {
            "value": expectation,
            "gradient": jax.vmap(jax.value_and_grad(expectation)),
            "density": lambda theta: pdf(theta, times),
        }[task]
        compiled, batch = jax.jit(function), jax.numpy.asarray(thetas)
        return lambda: jax.block_until_ready(compiled(batch))

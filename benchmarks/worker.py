"""One contender in a process of its own: answers requests, a JSON text a line each.

``python worker.py <contender>``. A process each, because two contenders share an import name, so
that none slows another down, and so that a crash is a result and not the end of the run. CPU time
of the whole process is measured, on one core, with libraries held to one thread.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import numpy as np

import models

MEMORY = 8 * 2**30
"""Bytes that a contender may allocate; beyond, its allocation fails and the machine survives."""


class Worker:
    """A contender with the model that it holds now."""

    def __init__(self, contender: str) -> None:
        self._module = importlib.import_module(f"contender_{contender}")

    def prepare(self, model: str) -> dict[str, int]:
        """Build a model; return the largest batch of each task, 0 if it cannot be done."""
        self._model = models.find(model)
        self._calls: dict[tuple[str, int], tuple[Callable[[], object], int]] = {}
        self._contender = self._module.Contender(self._model)
        tasks = ("value", "gradient", "density")
        return {task: self._contender.largest(task) for task in tasks}

    def record(self) -> float:
        """Return the CPU seconds of recording once more."""
        return self._contender.record()

    def numbers(self, task: str, size: int, times: list[float]) -> dict[str, Any]:
        """Return what the first parameter vectors give, as lists, and the contender's facts."""
        found = self._contender.call(task, self._model.thetas(size), np.array(times))()
        parts = found if isinstance(found, tuple) else (found,)
        lists = [np.asarray(part, dtype=float).tolist() for part in parts]
        return {"numbers": lists, "facts": self._contender.facts}

    def measure(self, task: str, size: int, times: list[float], least: float) -> float:
        """Return CPU seconds per parameter vector, over at least ``least`` seconds."""
        if (task, size) not in self._calls:
            call = self._contender.call(task, self._model.thetas(size), np.array(times))
            call()  # compiles
            self._calls[task, size] = (call, 1)
        while True:
            call, count = self._calls[task, size]
            began = time.process_time()
            for _ in range(count):
                call()
            elapsed = time.process_time() - began
            if elapsed >= least:
                return elapsed / (count * size)
            count = math.ceil(count * min(10.0, 1.2 * least / max(elapsed, 1e-9)))
            self._calls[task, size] = (call, count)


def serve(worker: Worker, requests: Iterator[str], replies: TextIO) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        request = json.loads(line)
        try:
            reply = {"result": getattr(worker, request.pop("do"))(**request)}
        except Exception as error:  # whatever a contender raises is reported in the table
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Run with standard output kept for replies, whatever a contender prints."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    serve(Worker(sys.argv[1]), iter(sys.stdin.readline, ""), replies)


if __name__ == "__main__":
    main()

"""What the JAX primitives compute: a quantity of a linked program, with its static sizes."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import finalize

from phasic import _core
from phasic._jax_runtime import register_targets
from phasic._options import EvaluationOptions, thread_count


class Quantity(enum.IntEnum):
    """What is computed; the numbers are those of the native enumeration."""

    MOMENTS = 0
    CROSS_MOMENTS = 1
    SOJOURN = 2
    ABSORPTION = 3
    PDF = 4
    CDF = 5
    SF = 6
    STATE_PROBABILITY = 7
    ACCUMULATED_OCCUPANCY = 8
    LOGPDF = 9
    LOGSF = 10
    HAZARD = 11


class Part(enum.IntEnum):
    """The arguments that a quantity can be differentiated in."""

    THETA = 0
    REWARDS = 1
    TIMES = 2


class Program:
    """A linked program, in the native registry for as long as this object lives.

    Hashable by what it computes, so that equal programs share compiled code.
    """

    def __init__(self, trace: _core.Trace, options: EvaluationOptions) -> None:
        register_targets()
        self.trace = trace
        self.options = options
        self.threads = thread_count(options.threads)
        self.jitted: dict[Any, Callable[..., Any]] = {}
        self._key = (trace.digest, options, self.threads)
        _core.register_program(trace)
        finalize(self, _core.unregister_program, trace.digest).atexit = False

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self._key == other._key

    def __repr__(self) -> str:
        return f"Program({self.trace.digest[:12]})"


@dataclass(frozen=True)
class Request:
    """One quantity of one program with its static sizes; hashable, a parameter of the primitive."""

    program: Program
    quantity: Quantity
    order: int = 1
    n_rewards: int = -1
    n_times: int = 0

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are operands, in operand order."""
        return (
            Part.THETA,
            *((Part.REWARDS,) if self.n_rewards >= 0 else ()),
            *((Part.TIMES,) if self.n_times > 0 else ()),
        )

    @property
    def output_size(self) -> int:
        """Elements of one item of the value."""
        return _core.output_size(
            self.program.trace,
            self.quantity.name.lower(),
            self.order,
            self.n_rewards,
            self.n_times,
        )

    def part_size(self, part: int) -> int:
        """Elements of one item of a part."""
        trace = self.program.trace
        return (trace.param_length, self.n_rewards * trace.n_vertices, self.n_times)[part]


__all__ = ["Part", "Program", "Quantity", "Request"]

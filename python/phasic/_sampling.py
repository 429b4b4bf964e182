"""Random draws of a distribution: the methods of `PhaseType` that take a JAX key.

1. The words of the key, the number of the row in the batch and the number of the draw make up the
   counter of a native generator. A draw depends on these and on its parameters alone, hence not on
   threads, on how a batch is split, or on how many draws there are.
2. Under ``vmap`` each key has draws of its own, and one key for many parameter vectors gives them
   common random numbers, as a loop would.
3. The native call also returns a status a row. Outside every transformation a bad one is explained
   in a ``ValueError``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phasic import _core
from phasic._arguments import as_numbers, prepare
from phasic._errors import BudgetError
from phasic._primitive import NativeCall, call
from phasic._request import Program

_OVER_BUDGET = 8
_NO_DERIVATIVE = (
    "samples cannot be differentiated: a draw jumps where a parameter moves it past a choice "
    "between states. Differentiate expectation, moments or pdf, or take jax.lax.stop_gradient of "
    "the arguments"
)


class Sample(NamedTuple):
    """Draws with the place where each ended."""

    value: jax.Array
    """Time or accumulated rewards."""
    vertex: jax.Array
    """Row in ``graph.states()``, int32; -1 if the draw ended in none (defect, trap)."""


class Paths(NamedTuple):
    """Drawn paths: the vertices in the order in which they are entered, and when."""

    vertex: jax.Array
    """(..., max_length) rows in ``graph.states()``, int32; -1 behind the end."""
    time: jax.Array
    """(..., max_length) time of entering, 0 for the first; +inf behind the end."""
    length: jax.Array
    """(...) number of vertices of the whole path, int32; above max_length if it was cut."""


@dataclass(frozen=True)
class _Form:
    """What is static about a call; hashable."""

    shape: tuple[int, ...]
    n_rewards: int = -1
    reward_axis: bool = False
    max_length: int = 0
    has_horizon: bool = False
    has_starts: bool = False
    given: tuple[int, ...] = ()

    @property
    def n_draws(self) -> int:
        return math.prod(self.shape)

    def outputs(self, dtype: Any) -> tuple[tuple[int, Any], ...]:
        """Sizes and dtypes: value, vertex, length of paths, status."""
        n = self.n_draws
        if self.max_length:
            width = n * self.max_length
            return (width, dtype), (width, np.int32), (n, np.int32), (1, np.int32)
        return (n * max(self.n_rewards, 1), dtype), (n, np.int32), (1, np.int32)


class Sampling:
    """Mixed into `PhaseType`; needs its ``_sampler``."""

    _sampler: Sampler

    def sample(
        self,
        key: jax.Array,
        theta: Any = None,
        shape: int | Sequence[int] = (),
        rewards: Any = None,
        *,
        given: int | Sequence[int] | None = None,
    ) -> jax.Array:
        """Return random draws of the absorption time or of accumulated rewards.

        Parameters
        ----------
        key : JAX key
            One key, typed or legacy. Equal keys give equal draws.
        theta : array_like, shape (..., param_length)
            Parameters; None or absent when the model has none.
        shape : int or sequence of int
            Shape of the draws from each parameter vector.
        rewards : array_like, shape (n_vertices,) or (..., n_rewards, n_vertices), optional
            As in `expectation`; several reward vectors are earned along the same path.
        given : int or sequence of int, optional
            Rows of absorbing states in ``graph.states()``: draw from the paths that end in one of
            them.

        Returns
        -------
        array, shape (..., *shape) or (..., *shape, n_rewards)
            Of the float dtype of theta. A draw of a defective start is 0 where it is absorbed at
            once.

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value, if a path may never end (under a
            transformation the draws that do not end are +inf), if none ends in ``given``, or if
            the expected number of jumps exceeds ``options.max_operations``, 10 operations a jump
            and one more for each reward (`BudgetError`; NaN under a transformation).
        TypeError
            If ``key`` is no JAX key, or a derivative is asked for.

        Notes
        -----
        Paths are simulated jump by jump; choices are resolved to 2^-64 and times to 2^-53. The cost
        grows with the number of jumps, about 1e8 a second on one core.

        Examples
        --------
        >>> import jax, phasic
        >>> model = phasic.PhaseType(phasic.exponential(2.0))
        >>> draws = model.sample(jax.random.key(0), shape=100_000)
        >>> draws.shape, abs(float(draws.mean()) - 0.5) < 0.01
        ((100000,), True)
        """
        return self._draw(key, theta, shape, rewards, given=given).value

    def sample_with_state(
        self,
        key: jax.Array,
        theta: Any = None,
        shape: int | Sequence[int] = (),
        rewards: Any = None,
        *,
        given: int | Sequence[int] | None = None,
        horizon: Any = None,
        start: Any = None,
    ) -> Sample:
        """Return draws as `sample` does, together with the vertex in which each ended.

        Parameters
        ----------
        key, theta, shape, rewards, given
            As in `sample`.
        horizon : array_like, shape (...), optional
            Finite time (discrete: step) >= 0 at which every draw stops, so that the value is
            ``min(absorption time, horizon)``, or the rewards up to then, and the vertex is the one
            that is occupied then. A trap is no error here.
        start : array_like of int, broadcastable to (..., *shape), optional
            Rows in ``graph.states()`` where the draws start, instead of the start distribution:
            absorbing ones, or those that the start distribution leads to.

        Returns
        -------
        Sample
            ``value`` as from `sample`, ``vertex`` of shape (..., *shape).
        """
        return self._draw(key, theta, shape, rewards, given=given, horizon=horizon, start=start)

    def sample_paths(
        self,
        key: jax.Array,
        theta: Any = None,
        shape: int | Sequence[int] = (),
        max_length: int | None = None,
        *,
        given: int | Sequence[int] | None = None,
    ) -> Paths:
        """Return random paths: the vertices that are entered, and when.

        Parameters
        ----------
        key, theta, shape, given
            As in `sample`. Equal arguments give the paths behind the draws of `sample`.
        max_length : int, optional
            Number of vertices to return of each path, at least 1; what is behind is cut, and
            ``length`` tells. None takes the longest path, and is an error under a transformation.

        Returns
        -------
        Paths
            ``vertex`` and ``time`` of shape (..., *shape, max_length), ``length`` of shape
            (..., *shape). The last vertex of a whole path is the absorbing one, entered at the
            absorption time; a path that the defect absorbs at time 0 has length 0.
        """
        if max_length is not None:
            if operator.index(max_length) < 1:
                raise ValueError(f"max_length is {max_length}, expected None or an int >= 1")
            return self._paths(key, theta, shape, operator.index(max_length), given)
        short = self._paths(key, theta, shape, 1, given)
        if isinstance(short.length, jax.core.Tracer):
            raise ValueError("max_length is None, expected an int >= 1 under a transformation")
        longest = max(int(np.max(np.asarray(short.length), initial=1)), 1)
        # Few sizes are compiled.
        paths = self._paths(key, theta, shape, 1 << (longest - 1).bit_length(), given)
        return Paths(paths.vertex[..., :longest], paths.time[..., :longest], paths.length)

    def _paths(self, key: Any, theta: Any, shape: Any, max_length: int, given: Any) -> Paths:
        time, vertex, length = self._sampler(key, theta, shape, given=given, max_length=max_length)
        return Paths(vertex, time, length)

    def _draw(self, key: Any, theta: Any, shape: Any, rewards: Any, **options: Any) -> Sample:
        value, vertex = self._sampler(key, theta, shape, rewards, **options)
        return Sample(value, vertex)


class Sampler:
    """One program with the compiled functions of its forms of sampling."""

    def __init__(self, program: Program, weights: Callable[[Any], jax.Array] | None = None) -> None:
        self._program = program
        self._weights = weights
        self._compiled: dict[_Form, Callable[..., Any]] = {}

    def __call__(
        self,
        key: Any,
        theta: Any,
        shape: Any,
        rewards: Any = None,
        *,
        given: Any = None,
        horizon: Any = None,
        start: Any = None,
        max_length: int = 0,
    ) -> tuple[jax.Array, ...]:
        """Return the results of `Sample` or `Paths` in native order, without the status."""
        trace = self._program.trace
        if self._weights is not None:
            theta = self._weights(theta)
        arguments = prepare(
            theta, rewards, None, param_length=trace.param_length, n_vertices=trace.n_vertices
        )
        form = _Form(
            checked_shape(shape),
            arguments.form.n_rewards,
            arguments.form.reward_axis,
            max_length,
            horizon is not None,
            start is not None,
            () if given is None else _absorbing(given, trace),
        )
        operands = list(arguments.operands)
        if horizon is not None:
            operands.append(_column("horizon", horizon, operands[0].dtype))
        batch = _broadcast(operands)
        if start is not None:
            starts = _starts(start, (*batch, *form.shape))
            operands.append(starts.reshape(*batch, form.n_draws))
        operands = [x.reshape((1,) * (len(batch) + 1 - x.ndim) + x.shape) for x in operands]
        operands.insert(0, checked_key(key))
        if any(isinstance(x, jax.core.Tracer) for x in operands):
            results: tuple[jax.Array, ...] = self._function(form)(*operands)[:-1]
            return results
        if jax.default_backend() != "cpu":
            operands = jax.device_put(operands, jax.local_devices(backend="cpu")[0])
        *found, status = self._function(form)(*operands)
        if not isinstance(status, jax.core.Tracer) and status.is_fully_addressable:
            self._raise_for_bad_rows(form, operands, np.asarray(status))
        return tuple(found)

    def _function(self, form: _Form) -> Callable[..., Any]:
        """Return the compiled function of (key, theta, [rewards], [horizon], [starts])."""
        found = self._compiled.get(form)
        if found is not None:
            return found

        def run(key: Any, theta: Any, *others: Any) -> Any:
            outputs = form.outputs(theta.dtype)
            what = NativeCall(
                self._program, "phasic_sample", outputs, self._attributes(form), _NO_DERIVATIVE
            )
            batch = jnp.broadcast_shapes(*(x.shape[:-1] for x in (theta, *others)))
            *results, status = call(what, _seed(key, batch), theta, *others)
            axes = (*batch, *form.shape)
            if form.max_length:
                time, vertex, length = results
                paths = (*axes, form.max_length)
                return time.reshape(paths), vertex.reshape(paths), length.reshape(axes), status
            value, vertex = results
            shape = (*axes, form.n_rewards) if form.reward_axis else axes
            return value.reshape(shape), vertex.reshape(axes), status

        run.__name__ = "phasic_sample"
        return self._compiled.setdefault(form, jax.jit(run))

    def _attributes(self, form: _Form) -> tuple[tuple[str, Any], ...]:
        return (
            ("n_draws", form.n_draws),
            ("n_rewards", form.n_rewards),
            ("max_length", form.max_length),
            ("has_horizon", int(form.has_horizon)),
            ("has_starts", int(form.has_starts)),
            ("given", form.given),
            ("max_operations", float(self._program.options.max_operations)),
            ("threads", self._program.threads),
        )

    def _raise_for_bad_rows(self, form: _Form, operands: list[Any], status: Any) -> None:
        bad = status.reshape(-1) != 0
        if not bad.any():
            return
        row = int(np.argmax(bad))
        batch = status.shape[:-1]
        place = np.unravel_index(row, batch)
        names = ["theta"] + ["rewards"] * (form.n_rewards >= 0)
        names += ["horizon"] * form.has_horizon + ["starts"] * form.has_starts
        parts: dict[str, Any] = {
            name: np.broadcast_to(np.asarray(x), (*batch, x.shape[-1]))[place]
            for name, x in zip(names, operands[1:], strict=True)
        }
        if form.has_horizon:
            parts["horizon"] = float(parts["horizon"][0])
        code = int(status.reshape(-1)[row])
        text = _core.explain_sample(
            self._program.trace,
            code,
            **parts,
            n_draws=form.n_draws,
            n_rewards=form.n_rewards,
            given=form.given,
            max_operations=self._program.options.max_operations,
        )
        if batch:
            text += f" (row {', '.join(str(int(i)) for i in place)} of the batch)"
        raise (BudgetError if code == _OVER_BUDGET else ValueError)(text)


def _seed(key: Any, batch: tuple[int, ...]) -> jax.Array:
    """Return (*batch, SEED_WORDS) uint32: the key's words, and the row's number in 64 bits."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        words = jax.random.key_data(key).reshape(-1)
        if words.size > 4:
            words = jax.random.bits(key, (4,), "uint32")
    else:
        words = key
    words = jnp.pad(words.astype(np.uint32), (0, 4 - words.size))
    numbers = jnp.arange(math.prod(batch), dtype=np.uint32).reshape(*batch, 1)
    parts = jnp.broadcast_to(words, (*batch, 4)), numbers, jnp.zeros_like(numbers)
    return jnp.concatenate(parts, axis=-1)


def checked_key(key: Any) -> Any:
    """Return the key, checked to be one, typed or legacy."""
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"key is of type {type(key).__name__}, expected a JAX key (jax.random.key)")
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if typed and key.shape != ():
        raise ValueError(f"key has shape {key.shape}, expected one key; use jax.vmap for several")
    if not typed and key.dtype != np.uint32:
        raise TypeError(f"key has dtype {key.dtype}, expected a JAX key (jax.random.key)")
    if not typed and key.shape not in ((2,), (4,)):
        raise ValueError(
            f"key has shape {key.shape}, expected one legacy key of 2 or 4 words; use jax.vmap for "
            "several"
        )
    return key


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape, given as an int or as several, as a tuple."""
    axes: tuple[int, ...]
    try:
        axes = (operator.index(shape),)
    except TypeError:
        try:
            axes = tuple(operator.index(n) for n in shape)
        except TypeError as error:
            raise TypeError(f"shape is {shape!r}, expected an int or a sequence of ints") from error
    if min(axes, default=0) < 0:
        raise ValueError(f"shape is {shape!r}, expected numbers >= 0")
    return axes


def _absorbing(given: Any, trace: _core.Trace) -> tuple[int, ...]:
    """Return the rows of ``given``, sorted, each once."""
    absorbing = trace.graph().is_absorbing()
    rows = tuple(sorted(set(checked_shape(given))))
    if not rows or rows[-1] >= absorbing.size or not absorbing[list(rows)].all():
        raise ValueError(
            f"given is {given!r}, expected rows of absorbing states in states(): "
            f"{np.flatnonzero(absorbing)[:10].tolist()}"
        )
    return rows


def _column(name: str, value: Any, dtype: Any) -> Any:
    array = as_numbers(name, value)
    return array.astype(dtype).reshape(*array.shape, 1)


def _broadcast(operands: list[Any]) -> tuple[int, ...]:
    shapes = [x.shape[:-1] for x in operands]
    try:
        return tuple(jnp.broadcast_shapes(*shapes))
    except ValueError as error:
        raise ValueError(
            f"leading (batch) axes of theta, rewards and horizon do not broadcast: {shapes}"
        ) from error


def _starts(value: Any, shape: tuple[int, ...]) -> Any:
    array = as_numbers("start", value)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"start has dtype {array.dtype}, expected integers (rows of states())")
    try:
        return jnp.broadcast_to(array, shape).astype(np.int32)
    except ValueError as error:
        raise ValueError(
            f"start has shape {array.shape}, expected one that broadcasts to {shape}"
        ) from error


__all__ = ["Paths", "Sample", "Sampler", "Sampling", "checked_key", "checked_shape"]

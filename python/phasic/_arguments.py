"""Arguments of the distribution's methods: checked, of one dtype, with aligned batch axes.

1. Numbers arrive as arrays, sequences or tracers. float32 and float64 are taken, integers are
   promoted, everything else is a ``TypeError``. The dtype of theta is the dtype of the result.
2. The last axis is checked against the model, with one wording for every argument.
3. Leading axes are batch axes. All operands get the same number of them, of size 1 where an
   argument has none, which is the form that the primitive takes.
"""

from __future__ import annotations

import operator
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = Any  # numpy array, JAX array or tracer


@dataclass(frozen=True)
class Form:
    """What is static about a call's arguments.

    Parameters
    ----------
    n_rewards : int
        Number of reward vectors, -1 without rewards.
    reward_axis : bool
        Whether the result has an axis of rewards.
    n_times : int
        Number of times of one row, 0 without times.
    time_axis : bool
        Whether the result has an axis of times.
    """

    n_rewards: int = -1
    reward_axis: bool = False
    n_times: int = 0
    time_axis: bool = False


@dataclass(frozen=True)
class Arguments:
    """Operands of equal rank and dtype, (..., size of the part), and their static form."""

    operands: tuple[Array, ...]
    form: Form

    @property
    def is_traced(self) -> bool:
        """Whether some operand belongs to a JAX transformation."""
        return any(isinstance(x, jax.core.Tracer) for x in self.operands)


@cache
def _warn_single_precision() -> None:
    warnings.warn(
        "JAX's 64-bit mode is off: phasic computes in float64 but takes and returns float32. Call "
        "jax.config.update('jax_enable_x64', True) at the start of the program for full precision.",
        RuntimeWarning,
        stacklevel=6,
    )


def as_numbers(name: str, value: Any) -> Array:
    """Return ``value`` as an array of a dtype that phasic takes."""
    if isinstance(value, np.ndarray | jax.Array):
        array: Any = value
    else:
        try:
            array = np.asarray(value)
        except jax.errors.TracerArrayConversionError:
            array = jnp.asarray(value)  # a sequence that holds tracers
        except ValueError as error:
            raise ValueError(f"{name} is not an array of numbers: {error}") from error
    if not (array.dtype in (np.float32, np.float64) or np.issubdtype(array.dtype, np.integer)):
        raise TypeError(f"{name} has dtype {array.dtype}, expected float32, float64 or integers")
    return array


def _check_size(name: str, array: Array, size: int, things: str) -> None:
    if array.ndim and array.shape[-1] == size:
        return
    entries = f"{array.shape[-1]} entries" if array.ndim else "no axis"
    raise ValueError(
        f"{name} has {entries} but the model has {size} {things} (shape {array.shape}, expected "
        f"(..., {size}))"
    )


def _theta(value: Any, param_length: int) -> Array:
    if value is None:
        if param_length:
            raise ValueError(
                f"theta is missing but the model has {param_length} parameters (expected shape "
                f"(..., {param_length}))"
            )
        return np.zeros(0)
    theta = as_numbers("theta", value)
    _check_size("theta", theta, param_length, "parameters")
    return theta


def _rewards(value: Any, n_vertices: int) -> tuple[Array, int, bool]:
    """Return rewards (..., n_rewards * n_vertices), n_rewards, and whether it is an axis."""
    rewards = as_numbers("rewards", value)
    _check_size("rewards", rewards, n_vertices, "vertices")
    if rewards.ndim == 1:
        return rewards, 1, False
    n_rewards = rewards.shape[-2]
    if n_rewards == 0:
        raise ValueError(f"rewards has no reward vector (shape {rewards.shape})")
    return rewards.reshape(*rewards.shape[:-2], n_rewards * n_vertices), n_rewards, True


def _check_batch(operands: dict[str, Array]) -> None:
    try:
        jnp.broadcast_shapes(*(x.shape[:-1] for x in operands.values()))
    except ValueError as error:
        found = ", ".join(f"{name} {x.shape[:-1]}" for name, x in operands.items())
        raise ValueError(f"leading (batch) axes do not broadcast: {found}") from error


def _cast(array: Array, dtype: np.dtype[Any], rank: int) -> Array:
    if array.ndim < rank:
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    return array if array.dtype == dtype else array.astype(dtype)


def prepare(
    theta: Any,
    rewards: Any,
    times: Any,
    *,
    param_length: int,
    n_vertices: int,
    times_name: str = "t",
) -> Arguments:
    """Return the operands of a call; ``rewards`` and ``times`` may be None.

    ``times_name`` is what messages call the times.

    Raises
    ------
    ValueError
        If a shape does not fit the model or the batch axes do not broadcast.
    TypeError
        If an argument is not real numbers of a supported dtype.
    """
    arrays = {"theta": _theta(theta, param_length)}
    n_rewards, reward_axis, time_axis = -1, False, False
    if rewards is not None:
        arrays["rewards"], n_rewards, reward_axis = _rewards(rewards, n_vertices)
    if times is not None:
        instants = as_numbers(times_name, times)
        time_axis = instants.ndim > 0
        arrays[times_name] = instants if time_axis else instants.reshape(1)
    wide = jax.dtypes.canonicalize_dtype(np.float64)
    if wide != np.float64:
        _warn_single_precision()
    dtype = np.dtype(np.float32) if arrays["theta"].dtype == np.float32 else np.dtype(wide)
    _check_batch(arrays)
    rank = max(x.ndim for x in arrays.values())
    n_times = arrays[times_name].shape[-1] if times is not None else 0
    operands = tuple(_cast(x, dtype, rank) for x in arrays.values())
    return Arguments(operands, Form(n_rewards, reward_axis, n_times, time_axis))


def checked_order(k: Any) -> int:
    """Return the order of a moment as an int >= 1."""
    try:
        order = operator.index(k)
    except TypeError as error:
        raise TypeError(f"k is of type {type(k).__name__}, expected an int >= 1") from error
    if order < 1:
        raise ValueError(f"k is {order}, expected an int >= 1")
    return order


def check_range(name: str, array: Any, lower: float, upper: float) -> None:
    """Raise unless a concrete array holds finite numbers from lower to upper."""
    if isinstance(array, jax.core.Tracer):
        return
    values = np.asarray(array)
    bad = ~(np.isfinite(values) & (values >= lower) & (values <= upper))
    if bad.any():
        place = np.unravel_index(np.argmax(bad), bad.shape)
        index = f"[{', '.join(map(str, place))}]" if place else ""
        limits = f" >= {lower:g}" if np.isfinite(lower) else ""
        limits += f" and <= {upper:g}" if np.isfinite(upper) else ""
        raise ValueError(f"{name}{index} is {values[place]}, expected a finite number{limits}")


__all__ = ["Arguments", "Form", "as_numbers", "check_range", "checked_order", "prepare"]

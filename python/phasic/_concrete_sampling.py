"""Random draws of one graph at one parameter vector, without JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._concrete import ConcreteQuantities, Numbers
from phasic._errors import BudgetError
from phasic._options import thread_count

_OK, _OVER_BUDGET = 0, 8

Seed = int | np.random.Generator | None
Integers = npt.NDArray[np.int32]
Path = tuple[Integers, Numbers]


class ConcreteSampling(ConcreteQuantities):
    """Mixed into `Graph`."""

    def sample(
        self, n: int = 1, seed: Seed = None, rewards: npt.ArrayLike | None = None
    ) -> Numbers:
        """Return n random draws of the absorption time, or of accumulated rewards.

        Parameters
        ----------
        n : int
            Number of draws, at least 0.
        seed : int or numpy Generator, optional
            Equal seeds give equal draws, whatever the number of threads. None takes fresh entropy;
            a generator is advanced.
        rewards : array_like, shape (vertices_length,) or (n_rewards, vertices_length), optional
            Reward per unit of time (visit, if discrete) in each vertex. Several reward vectors are
            earned along the same path.

        Returns
        -------
        ndarray, shape (n,) or (n, n_rewards)
            What is absorbed at time 0 by a defective start is 0.

        Raises
        ------
        ValueError
            If an argument has a wrong shape or value, if the graph has parameters and
            `update_weights` was not called, if a path may never end, or if the draws are expected
            to take too many jumps (`BudgetError`).

        Examples
        --------
        >>> import phasic
        >>> draws = phasic.exponential(2.0).sample(100_000, seed=1)
        >>> abs(draws.mean() - 0.5) < 0.01
        np.True_
        """
        flat, n_rewards, axis = None, -1, False
        if rewards is not None:
            rows = np.asarray(rewards)
            axis = rows.ndim == 2
            if axis and len(rows) == 0:
                raise ValueError(f"rewards has no reward vector (shape {rows.shape})")
            flat = np.concatenate([self._rewards(row) for row in (rows if axis else [rows])])
            n_rewards = len(rows) if axis else 1
        value, _, _ = self._run_sampler(n, seed, rewards=flat, n_rewards=n_rewards)
        return value if axis else value.reshape(-1)

    def sample_paths(
        self, n: int = 1, seed: Seed = None, max_length: int | None = None
    ) -> list[Path]:
        """Return n random paths, each as its vertices and the times of entering them.

        Parameters
        ----------
        n, seed
            As in `sample`; equal seeds give the paths behind the draws of `sample`.
        max_length : int, optional
            Number of vertices behind which a path is cut, at least 1.

        Returns
        -------
        list of (vertices, times)
            Rows in `states`, int32, and times, float64, of the same length. The last vertex of a
            whole path is the absorbing one, entered at the absorption time. A path that a defective
            start absorbs at time 0 is empty.

        Raises
        ------
        ValueError
            As in `sample`.
        """
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length is {max_length}, expected None or an int >= 1")
        if seed is None or isinstance(seed, np.random.Generator):
            seed = int.from_bytes(_words(seed).tobytes(), "little")
        _, _, lengths = self._run_sampler(n, seed, max_length=1)
        longest = max(int(lengths.max(initial=1)), 1)
        width = longest if max_length is None else min(longest, max_length)
        times, vertices, _ = self._run_sampler(n, seed, max_length=width)
        kept = np.minimum(lengths, width)
        return [(v[:k], t[:k]) for v, t, k in zip(vertices, times, kept, strict=True)]

    def _run_sampler(
        self, n: int, seed: Seed, **options: Any
    ) -> tuple[Numbers, Integers, Integers]:
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"n is {n!r}, expected a whole number >= 0")
        trace = self._trace()
        theta = self._parameters(trace.param_length)
        words = np.concatenate([_words(seed), np.zeros(2, np.uint32)])
        value, vertex, length, status = _core.sample(
            trace, words, theta, n_draws=int(n), threads=thread_count(None), **options
        )
        if status != _OK:
            options.pop("max_length", None)
            text = _core.explain_sample(trace, status, theta, n_draws=int(n), **options)
            raise (BudgetError if status == _OVER_BUDGET else ValueError)(text)
        return value, vertex, length


def _words(seed: Seed) -> npt.NDArray[np.uint32]:
    """Return 128 bits for a seed."""
    if isinstance(seed, np.random.Generator):
        return seed.integers(0, 2**32, 4, np.uint32)
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer)):
        raise ValueError(f"seed is {seed!r}, expected None, an int >= 0 or a numpy Generator")
    if seed is not None and seed < 0:
        raise ValueError(f"seed is {seed}, expected None, an int >= 0 or a numpy Generator")
    return np.random.SeedSequence(seed).generate_state(4).astype(np.uint32)


__all__ = ["ConcreteSampling"]

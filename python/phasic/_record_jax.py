"""Recording as an XLA custom call, so that JAX can distribute it.

1. A batch of work units is one uint8 array of padded JSON texts with their lengths and digests;
   padding rows have length 0.
2. ``phasic_record`` parses, rebuilds and records every row natively, without the GIL. It returns a
   status and leaves the bytes in the native store under (ticket, digest).
3. Under `vmap` one call gets the whole batch and spreads it over native threads; under `pmap` one
   call a device gets a shard, and the calls run at the same time.

The ticket keeps concurrent calls apart. It is an attribute, hence compiled in, so tickets are few
and used again. The arrays' sizes are powers of two for the same reason.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from phasic import _core
from phasic._jax_runtime import register_targets
from phasic._options import RECORD_MAX_OPERATIONS

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.uint8]]
Units = Sequence[tuple[str, bytes]]  # (digest, JSON text)

# Rows are padded to the longest text. Beyond this size a batch is cut where texts get much shorter.
_FREE_PADDING_BYTES = 1 << 26


class _Tickets:
    """Hands out the smallest integer that is not in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._returned: list[int] = []
        self._next = 1

    @contextmanager
    def one(self) -> Iterator[int]:
        """Lend a ticket; afterwards the native store has nothing under it."""
        with self._lock:
            if self._returned:
                ticket = heapq.heappop(self._returned)
            else:
                ticket = self._next
                self._next += 1
        try:
            yield ticket
        finally:
            _core.drop_recorded(ticket)
            with self._lock:
                heapq.heappush(self._returned, ticket)


tickets = _Tickets()


def cpu_devices() -> list[Any]:
    """Return this process's CPU devices, the only ones that record."""
    return list(jax.local_devices(backend="cpu"))


def process_count() -> int:
    """Return the number of processes of `jax.distributed`, 1 without it."""
    return int(jax.process_count())


def _power_of_two(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def _width(units: Units) -> int:
    return _power_of_two(max(len(text) for _, text in units))


def _pad(shards: Sequence[Units], n_rows: int, width: int) -> Arrays:
    """Lay each shard out as ``n_rows`` rows with texts of ``width`` bytes."""
    n = len(shards)
    texts = np.zeros((n, n_rows, width), np.uint8)
    lengths = np.zeros((n, n_rows), np.int32)
    digests = np.zeros((n, n_rows, 64), np.uint8)
    for i, units in enumerate(shards):
        for row, (digest, text) in enumerate(units):
            texts[i, row, : len(text)] = np.frombuffer(text, np.uint8)
            lengths[i, row] = len(text)
            digests[i, row] = np.frombuffer(digest.encode(), np.uint8)
    return texts, lengths, digests


def _batches(units: Units, n_shards: int) -> Iterator[Units]:
    """Cut units, longest first, so that padding stays within four times the texts.

    A small batch is never cut: everything is one call.
    """
    start = 0
    while start < len(units):
        end, total = start, 0
        width = _width(units[start:])
        while end < len(units):
            total += len(units[end][1])
            padded = width * (end - start + 1)
            if padded > max(_FREE_PADDING_BYTES, 4 * total) and end - start >= n_shards:
                break
            end += 1
        yield units[start:end]
        start = end


def _record_row(ticket: int, threads: int, text: Any, length: Any, digest: Any) -> Any:
    scalar = jax.ShapeDtypeStruct((), np.int32)
    call = jax.ffi.ffi_call(
        "phasic_record", (scalar, scalar), has_side_effect=True, vmap_method="broadcast_all"
    )
    return call(
        text,
        length,
        digest,
        ticket=np.int64(ticket),
        max_operations=np.float64(RECORD_MAX_OPERATIONS),
        threads=np.int64(threads),
    )


@cache
def _one_call(ticket: int, threads: int) -> Any:
    return jax.jit(jax.vmap(lambda *row: _record_row(ticket, threads, *row)))


@cache
def _call_a_device(ticket: int, threads: int, devices: tuple[Any, ...]) -> Any:
    return jax.pmap(jax.vmap(lambda *row: _record_row(ticket, threads, *row)), devices=devices)


def record_vmap(units: Units, ticket: int, threads: int) -> None:
    """Record all units in one call on one device; ``threads`` native ones, 0 for all cores."""
    register_targets()
    device = cpu_devices()[0]
    for batch in _batches(units, 1):
        arrays = [column[0] for column in _pad([batch], _power_of_two(len(batch)), _width(batch))]
        jax.block_until_ready(_one_call(ticket, threads)(*jax.device_put(arrays, device)))


def _deal(units: Units, n_shards: int) -> list[Units]:
    """Deal units, longest first, there and back again, so that no shard always gets the longer."""
    shards: list[list[tuple[str, bytes]]] = [[] for _ in range(n_shards)]
    for i, unit in enumerate(units):
        turn, place = divmod(i, n_shards)
        shards[place if turn % 2 == 0 else n_shards - 1 - place].append(unit)
    return list(shards)


def record_pmap(units: Units, ticket: int, threads: int, devices: Sequence[Any]) -> None:
    """Record the units in one call a device, all at the same time."""
    register_targets()
    n = len(devices)
    for batch in _batches(units, n):
        n_rows = _power_of_two(-(-len(batch) // n))
        arrays = _pad(_deal(batch, n), n_rows, _width(batch))
        jax.block_until_ready(_call_a_device(ticket, threads, tuple(devices))(*arrays))


__all__ = ["cpu_devices", "process_count", "record_pmap", "record_vmap", "tickets"]

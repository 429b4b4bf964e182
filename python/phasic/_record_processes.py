"""Recording shared by the processes of `jax.distributed`: each ends with every trace it asked for.

1. Every process says which units it lacks, then which of all of these its cache holds.
2. What nobody holds is dealt out, longest text first, to the process whose devices have the least
   to do. All know the same, so all deal alike. Each records its share and caches it.
3. The bytes, or what went wrong, are gathered.

A process takes part in exactly three exchanges whatever fails in it, because another one that
waits in a collective cannot be told. A failure is part of the message, and then every process
raises. A process that has ended ends the exchange of the others with an error.
"""

from __future__ import annotations

import json
import logging
import math
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from phasic._batch import Batch, Failure, load_trace

logger = logging.getLogger("phasic")

# Messages are gathered in pieces of at most this many bytes a process, padded to powers of two so
# that XLA compiles few sizes.
_MAX_PIECE, _MIN_PIECE = 1 << 24, 1 << 10
_LENGTHS = struct.Struct("<QQ")  # of the fields (JSON) and of the data

# Collectives of several threads could meet in another order elsewhere.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Message:
    """What one process says in one exchange."""

    fields: dict[str, Any]
    data: bytes


def _gather_bytes(content: bytes) -> list[bytes]:
    """Return every process's ``content``, in the order of the processes."""
    length = np.frombuffer(len(content).to_bytes(8, "little"), np.uint8)
    rows = multihost_utils.process_allgather(length)
    sizes = [int.from_bytes(row.tobytes(), "little") for row in rows]
    longest = max(sizes)
    width = min(_MAX_PIECE, max(_MIN_PIECE, 1 << max(longest - 1, 0).bit_length()))
    parts: list[list[bytes]] = [[] for _ in sizes]
    for start in range(0, longest, width):
        piece = np.zeros(width, np.uint8)
        own = content[start : start + width]
        piece[: len(own)] = np.frombuffer(own, np.uint8)
        rows = multihost_utils.process_allgather(piece)
        for part, row, size in zip(parts, rows, sizes, strict=True):
            part.append(row[: max(size - start, 0)].tobytes())
    return [b"".join(part) for part in parts]


def exchange(step: str, fields: dict[str, Any], data: bytes = b"") -> list[Message]:
    """Send ``fields`` (JSON) and ``data`` to every process; return all messages in their order.

    Raises
    ------
    RuntimeError
        If a process has ended, did not come in JAX's time limits, or came with another step.
    """
    text = json.dumps({"phasic step": step, **fields}).encode()
    me, n = jax.process_index(), jax.process_count()
    where = f"strategy 'pmap': process {me} of {n}, step '{step}'"
    try:
        contents = _gather_bytes(_LENGTHS.pack(len(text), len(data)) + text + data)
    except (RuntimeError, ValueError) as error:
        raise RuntimeError(
            f"{where}: lost the other processes: {error}. One of them has ended, or did not make "
            "the same call in JAX's time limits (30 s the first time that processes meet, 30 min "
            "later); see its output. What was recorded here is cached. Strategies 'vmap' and "
            "'sequential' need no other process."
        ) from error
    messages = []
    for sender, content in enumerate(contents):
        try:
            n_text, n_data = _LENGTHS.unpack_from(content)
            given = json.loads(content[_LENGTHS.size : _LENGTHS.size + n_text])
            theirs = given.pop("phasic step")
        except (struct.error, ValueError, AttributeError, KeyError, TypeError):
            theirs = "something that is not from phasic"
        if theirs != step:
            raise RuntimeError(
                f"{where}: process {sender} sent '{theirs}'; all processes must make the same "
                "calls in the same order"
            )
        messages.append(Message(given, content[len(content) - n_data :]))
    return messages


def estimated_cost(size: int) -> int:
    """Return what recording costs, up to a factor: the length of the text to the power 1.5.

    Measured powers are 1.2 (lattices) to 2.4 (random graphs of 2000 vertices). Integers, so that
    all machines agree.
    """
    return size * math.isqrt(size)


def deal(
    sizes: dict[str, int], wanted_by: Sequence[set[str]], n_devices: Sequence[int]
) -> dict[str, int]:
    """Return the process that records each unit: the one whose devices have the least to do.

    Parameters
    ----------
    sizes : dict of str to int
        Length of each unit's text.
    wanted_by : sequence of set of str
        The units that each process has the text of.
    n_devices : sequence of int
        Devices of each process.
    """
    common = math.lcm(*n_devices)
    weight = [common // n for n in n_devices]  # what a unit adds to each device, times common
    load = [0] * len(n_devices)
    dealt = {}
    for digest in sorted(sizes, key=lambda d: (-sizes[d], d)):
        cost = estimated_cost(sizes[digest])
        able = [p for p, wanted in enumerate(wanted_by) if digest in wanted]
        chosen = min(able, key=lambda p: ((load[p] + cost) * weight[p], p))
        load[chosen] += cost
        dealt[digest] = chosen
    return dealt


@dataclass(frozen=True)
class Needs:
    """What the processes lack, from their first messages; the same in each of them.

    Parameters
    ----------
    sizes : dict of str to int
        Length of the text of each unit that some process lacks.
    wanted_by : list of set of str
        The units that each process lacks, and has the text of.
    n_devices : list of int
        CPU devices of each process.
    """

    sizes: dict[str, int]
    wanted_by: list[set[str]]
    n_devices: list[int]


def _ask(lacking: dict[str, int], n_devices: int) -> Needs:
    """Say what this process lacks, with the lengths of the texts, and hear what the others do."""
    answers = [m.fields for m in exchange("needs", {"units": lacking, "devices": n_devices})]
    sizes: dict[str, int] = {}
    for fields in answers:
        for digest, size in fields["units"].items():
            sizes[digest] = max(size, sizes.get(digest, 0))
    wanted_by = [set(fields["units"]) for fields in answers]
    return Needs(sizes, wanted_by, [fields["devices"] for fields in answers])


def _look_up_for_others(batch: Batch, digests: Iterable[str]) -> None:
    """Load what this process did not ask for but its cache may hold."""
    for digest in sorted(set(digests) - batch.units.keys()):
        trace = load_trace(batch.cache, digest)
        if trace is not None:
            batch.traces[digest] = trace


def _share_out(batch: Batch, needs: Needs) -> dict[str, int]:
    """Return for every unit that some process lacks the process that provides its trace."""
    held = [digest for digest in sorted(needs.sizes) if digest in batch.traces]
    provider: dict[str, int] = {}
    for process, message in enumerate(exchange("holds", {"digests": held})):
        for digest in message.fields["digests"]:
            provider.setdefault(digest, process)
    left = {digest: size for digest, size in needs.sizes.items() if digest not in provider}
    dealt = deal(left, needs.wanted_by, needs.n_devices)
    me = jax.process_index()
    logger.info(
        "process %d of %d processes: %d units are lacking somewhere, %d of them are in a cache; "
        "%d are recorded here",
        me,
        len(needs.n_devices),
        len(needs.sizes),
        len(provider),
        sum(process == me for process in dealt.values()),
    )
    return provider | dealt


def _results(batch: Batch, share: Sequence[str], fault: BaseException | None) -> list[Message]:
    """Gather what became of all units."""
    payloads = {d: batch.traces[d].to_bytes() for d in share if d in batch.traces}
    fields = {
        "traces": [[digest, len(payload)] for digest, payload in payloads.items()],
        "failures": [[d, f.size, str(f.cause)] for d, f in batch.failures.items()],
        "unfinished": sum(d not in batch.traces and d not in batch.failures for d in share),
        "fault": None if fault is None else f"{type(fault).__name__}: {fault}",
    }
    return exchange("results", fields, b"".join(payloads.values()))


def _take_in(batch: Batch, sender: int, message: Message) -> None:
    """Decode what another process recorded, if it is needed here, and note what it failed at."""
    where = f" in process {sender}"
    needed: list[tuple[str, bytes]] = []
    start = 0
    for digest, size in message.fields["traces"]:
        if digest in batch.units and digest not in batch.traces:
            needed.append((digest, message.data[start : start + size]))
        start += size
    with ThreadPoolExecutor(thread_name_prefix="phasic-decode") as pool:
        for done in [pool.submit(batch.receive, *each, where) for each in needed]:
            done.result()
    for digest, size, cause in message.fields["failures"]:
        batch.failures.setdefault(digest, Failure(ValueError(cause), size, where))


def record_together(
    batch: Batch,
    n_devices: int,
    record_share: Callable[[set[str]], None],
    fault: BaseException | None = None,
) -> None:
    """Complete ``batch`` together with the other processes; ``record_share`` records units here.

    With a ``fault`` this process takes part without recording, so that all learn of it.

    Raises
    ------
    RuntimeError
        If the processes lost each other, or one could not record its share.
    """
    lacking = {} if fault else {digest: len(text) for digest, text in batch.waiting()}
    with _one_at_a_time:
        needs = _ask(lacking, n_devices)
        try:
            _look_up_for_others(batch, needs.sizes)
        except BaseException as error:
            fault = fault or error
        provider = _share_out(batch, needs)
        share = [d for d, process in provider.items() if process == jax.process_index()]
        here = {digest for digest in share if digest not in batch.traces}
        try:
            if fault is None:
                record_share(here)
        except BaseException as error:
            fault = error
        messages = _results(batch, share, fault)
    if fault is not None:
        raise fault
    stopped = []
    for sender, message in enumerate(messages):
        if sender != jax.process_index():
            _take_in(batch, sender, message)
        if message.fields["fault"] or message.fields["unfinished"]:
            why = message.fields["fault"] or "it was interrupted"
            stopped.append(f"process {sender} left {message.fields['unfinished']} units: {why}")
    if stopped:
        raise RuntimeError(
            f"strategy 'pmap' over {len(messages)} processes: {'; '.join(stopped)}. What was "
            "recorded is in the caches; the same call goes on from there."
        )


__all__ = ["Message", "deal", "estimated_cost", "exchange", "record_together"]

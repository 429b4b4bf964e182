"""Random damage to the files of a cache: it is noticed or harmless, and never a wrong trace."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import numpy as np
import pytest

import models
import phasic
from phasic import TraceCache, _core
from phasic._batch import load_trace
from phasic._cache_entry import encode_entry
from phasic.hierarchical_trace_cache import collect_missing_traces_batch


def recorded(folder: Path) -> dict[str, bytes]:
    """Trace bytes by digest, of components of 1 to 40 vertices."""
    found = {}
    for serialized in (models.two_islands(9), models.random_scc(40, 1), models.reset_lattice(4)):
        graph = phasic.Graph.from_serialized(serialized)
        units, _, _ = collect_missing_traces_batch(graph, min_size=1, cache_dir=folder)
        for digest, text in units.items():
            found[digest] = _core.record_work_unit(digest, text).to_bytes()
    return found


class Corruptor:
    """Damages entries in one of eight ways."""

    def __init__(self, traces: dict[str, bytes], seed: int) -> None:
        self.random = random.Random(seed)
        self.entries = {digest: encode_entry(digest, data) for digest, data in traces.items()}
        self.traces = traces

    def damaged(self, digest: str) -> bytes:
        generator = self.random
        content = bytearray(self.entries[digest])
        other = self.entries[generator.choice(list(self.entries))]
        place = generator.randrange(len(content))
        kind = generator.randrange(8)
        if kind == 0:  # a few flipped bits
            for _ in range(generator.randrange(1, 6)):
                content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del content[place:]
        elif kind == 2:  # swapped with another entry
            content[:] = other
        elif kind == 3:  # spliced with another entry
            content[place:] = other[generator.randrange(len(other)) :]
        elif kind == 4:
            content[:] = generator.randbytes(generator.randrange(2 * len(content)))
        elif kind == 5:  # a page of zeros, as after a crash of the machine
            content[place : place + 512] = bytes(len(content[place : place + 512]))
        elif kind == 6:  # a piece repeated or removed
            length = generator.randrange(1, 64)
            piece = content[place : place + length] if generator.random() < 0.5 else b""
            content[place : place + length] = piece * 2
        else:  # another payload under a valid header and checksum
            payload = bytearray(self.traces[digest])
            payload[generator.randrange(len(payload))] = generator.randrange(256)
            content[:] = encode_entry(digest, bytes(payload))
        return bytes(content)


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.extended)])
def test_damaged_entries_are_noticed_or_harmless(
    count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    traces = recorded(tmp_path)
    corruptor = Corruptor(traces, seed=2026)
    cache = TraceCache(tmp_path / "cache")
    (tmp_path / "cache" / "quarantine").mkdir(parents=True)
    noticed = 0
    caplog.set_level(logging.CRITICAL, "phasic")
    for i in range(count):
        digest = corruptor.random.choice(list(traces))
        path = cache.folder / f"{digest}.2.trace"
        content = corruptor.damaged(digest)
        path.write_bytes(content)
        trace = load_trace(cache, digest)
        if trace is not None:
            assert trace.to_bytes() == traces[digest], i
            assert content == corruptor.entries[digest], i
            continue
        noticed += 1
        assert not path.exists()
        for aside in (cache.folder / "quarantine").iterdir():
            assert aside.read_bytes() == content
            aside.unlink()
    assert cache.counts.damaged == noticed > 0.9 * count


def test_models_whose_cache_is_damaged_give_the_same_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = phasic.Graph.from_serialized(models.two_islands(9))
    theta = np.array([1.0, 2.0, 0.5, 0.25])

    def moments() -> np.ndarray:
        model = phasic.PhaseType(
            graph, min_size=1, strategy="sequential", cache_dir=tmp_path / "cache"
        )
        return np.asarray(model.moments(theta, 3))

    expected = moments()
    corruptor = Corruptor(recorded(tmp_path), seed=7)
    caplog.set_level(logging.CRITICAL, "phasic")
    for _ in range(10):
        for path in (tmp_path / "cache").glob("*.trace"):
            if corruptor.random.random() < 0.5:
                path.write_bytes(corruptor.damaged(path.name[:64]))
        np.testing.assert_array_equal(moments(), expected)

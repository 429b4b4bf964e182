"""The second level of the cache: found, verified, copied, and never in the way."""

from __future__ import annotations

import builtins
import errno
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem

import models
import phasic
from phasic import TraceCache
from phasic._cache import CacheCounts
from phasic._cache_entry import encode_entry
from phasic.hierarchical_trace_cache import get_trace_hierarchical

DIGEST, OTHER = "0123456789abcdef" * 4, "f" * 64
PAYLOAD = bytes(range(256)) * 3
NAME = f"{DIGEST}.2.trace"


@pytest.fixture(params=["folder", "url", "memory", "file system"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A store, by each way to name one."""
    place = tmp_path / "store" / "traces"
    if request.param == "folder":
        yield str(place)
    elif request.param == "url":
        yield place.as_uri()
    elif request.param == "memory":
        yield "memory://traces"
    else:
        yield DirFileSystem("/nested/traces", MemoryFileSystem())
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def objects(shared: Any) -> dict[str, bytes]:
    """Names and contents of all objects of a store."""
    if isinstance(shared, str):
        system, root = fsspec.url_to_fs(shared)
    else:
        system, root = shared, ""
    return {path.rsplit("/", 1)[-1]: system.cat_file(path) for path in system.find(root)}


def test_one_machine_records_and_another_finds(shared: Any, tmp_path: Path) -> None:
    first = TraceCache(tmp_path / "1", shared=shared)
    assert first.load(DIGEST) is None
    assert first.store(DIGEST, PAYLOAD)
    assert objects(shared) == {NAME: encode_entry(DIGEST, PAYLOAD)}
    second = TraceCache(tmp_path / "2", shared=shared)
    assert second.load(DIGEST) == PAYLOAD
    assert second.counts == CacheCounts(hits=1, shared_hits=1)
    assert TraceCache(tmp_path / "2").load(DIGEST) == PAYLOAD  # copied into the folder
    assert second.load(DIGEST) == PAYLOAD
    assert second.counts == CacheCounts(hits=2, shared_hits=1)
    assert second.load(OTHER) is None


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "foreign", "swapped"])
def test_a_damaged_object_is_passed_over_and_stored_anew(
    shared: Any, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = encode_entry(DIGEST, PAYLOAD)
    bad = {
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        "cut": content[:-1],
        "empty": b"",
        "foreign": b"\x7fELF" * 100,
        "swapped": encode_entry(OTHER, PAYLOAD),
    }[damage]
    TraceCache(tmp_path / "1", shared=shared).store(DIGEST, PAYLOAD)
    system, root = fsspec.url_to_fs(shared) if isinstance(shared, str) else (shared, "")
    system.pipe_file(f"{root}/{NAME}", bad)
    cache = TraceCache(tmp_path / "2", shared=shared)
    with caplog.at_level(logging.WARNING, "phasic"):
        assert cache.load(DIGEST) is None
    assert NAME in caplog.text and "passed over" in caplog.text
    assert cache.counts == CacheCounts(misses=1, damaged=1)
    assert not (tmp_path / "2").exists()
    cache.store(DIGEST, PAYLOAD)
    assert objects(shared) == {NAME: content}


class FailingFileSystem(MemoryFileSystem):
    """A store whose operations raise what they are told to."""

    cachable = False
    fails: dict[str, BaseException]

    def cat_file(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("cat_file", *args, **kwargs)

    def pipe_file(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("pipe_file", *args, **kwargs)

    def mv(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("mv", *args, **kwargs)

    def _call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        self.calls = [*getattr(self, "calls", []), operation]
        if operation in self.fails:
            raise self.fails[operation]
        return getattr(super(), operation)(*args, **kwargs)


class DriverError(Exception):
    """What a driver raises that knows no OSError."""


@pytest.mark.parametrize("operation", ["cat_file", "pipe_file", "mv"])
@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "I/O error"), TimeoutError("no answer"), DriverError("denied")]
)
def test_a_store_that_fails_costs_one_warning_and_no_result(
    operation: str, error: Exception, tmp_path: Path
) -> None:
    system = FailingFileSystem()
    system.fails = {operation: error}
    cache = TraceCache(tmp_path, shared=system)
    with pytest.warns(RuntimeWarning, match="shared cache file system FailingFileSystem") as seen:
        for digest in (DIGEST, OTHER):
            assert cache.load(digest) is None
            assert cache.store(digest, PAYLOAD)
            assert cache.load(digest) == PAYLOAD
    assert len(seen) == 1
    assert system.calls.count(operation) == 1  # left alone from then on
    MemoryFileSystem.store.clear()


def test_an_unreachable_store_is_warned_of_once_for_reading_and_writing(tmp_path: Path) -> None:
    system = FailingFileSystem()
    system.fails = dict.fromkeys(("cat_file", "pipe_file"), DriverError("no network"))
    graph = phasic.Graph.from_serialized(models.two_islands(6))
    alone = get_trace_hierarchical(graph, min_size=1, strategy="sequential", cache_dir=tmp_path)
    with pytest.warns(RuntimeWarning, match="no network") as seen:
        trace = get_trace_hierarchical(
            graph,
            min_size=1,
            strategy="sequential",
            cache_dir=TraceCache(tmp_path / "2", shared=system),
        )
    assert len(seen) == 1
    assert trace.to_bytes() == alone.to_bytes()


def test_models_are_evaluated_from_shared_traces(shared: Any, tmp_path: Path) -> None:
    graph = phasic.Graph.from_serialized(models.two_islands(6))
    theta = np.array([1.0, 2.0, 0.5, 0.25])
    found = []
    for machine in ("1", "2"):
        cache = TraceCache(tmp_path / machine, shared=shared)
        model = phasic.PhaseType(graph, min_size=1, strategy="sequential", cache_dir=cache)
        found.append(float(model.expectation(theta)))
    assert found[0] == found[1]
    assert cache.counts.misses == 0 and cache.counts.shared_hits == len(objects(shared)) > 1


def test_a_folder_that_takes_nothing_still_reads_the_shared_level(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    TraceCache(tmp_path / "1", shared=store).store(DIGEST, PAYLOAD)
    (tmp_path / "file").write_text("no folder")
    cache = TraceCache(tmp_path / "file" / "cache", shared=store)
    with pytest.warns(RuntimeWarning, match="cache folder"):
        assert cache.load(DIGEST) == PAYLOAD
        assert not cache.store(OTHER, PAYLOAD)
    assert TraceCache(tmp_path / "3", shared=store).load(OTHER) == PAYLOAD


def test_bad_targets_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="shared is of type int, expected a URL"):
        TraceCache(tmp_path, shared=7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nosuch"):
        TraceCache(tmp_path, shared="nosuch://place")
    real = builtins.__import__

    def without_fsspec(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "fsspec":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_fsspec)
    monkeypatch.delitem(sys.modules, "fsspec")
    with pytest.raises(ImportError, match=r"phasic-xla\[shared\]"):
        TraceCache(tmp_path, shared="memory://traces")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TraceCache(tmp_path)  # needs none of it

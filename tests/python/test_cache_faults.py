"""The cache under faults of the file layer, kill -9 at any system call, and wrong clocks.

1. Each system call of storing, loading, quarantining and pruning fails once, with each error; short
   reads and writes happen all the time. Nothing is raised, no wrong byte is handed out.
2. A process is killed before each of its system calls, and at random moments, while it writes: the
   cache verifies afterwards and has what was in it before.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from phasic import TraceCache
from phasic._cache_files import TEMPORARY, stored_files

DIGEST, OTHER = "0123456789abcdef" * 4, "f" * 64
PAYLOAD = bytes(range(256)) * 3
CALLS = (
    *("open", "write", "read", "fsync", "close", "fstat"),
    *("replace", "mkdir", "unlink", "utime", "scandir"),
)
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT)


class FailingCalls:
    """Wraps functions of `os`: the call number `fails_at`, over all of them, raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
        self.n_calls, self.fails_at = 0, -1
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.n_calls += 1
            if self.n_calls - 1 != self.fails_at:
                return real(*args, **kwargs)
            if name == "close":
                real(*args)  # the descriptor is gone even then
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(os, name, call)


def exercise(cache: TraceCache) -> None:
    """Use every operation; whatever fails, only right bytes may come back."""
    cache.store(DIGEST, PAYLOAD)
    assert cache.load(DIGEST) in (PAYLOAD, None)
    entry = cache.folder / f"{OTHER}.2.trace"
    if cache.folder.is_dir():
        entry.write_bytes(b"damage")
    assert cache.load(OTHER) is None
    cache.store(OTHER, PAYLOAD)
    assert cache.load(OTHER) in (PAYLOAD, None)
    cache.prune()


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", CALLS)
def test_any_system_call_may_fail(
    name: str, error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = FailingCalls(monkeypatch, name, error)
    exercise(TraceCache(tmp_path / "none"))
    n_calls, calls.n_calls = calls.n_calls, 0
    assert n_calls > 0
    for fails_at in range(n_calls):
        cache = TraceCache(tmp_path / str(fails_at))
        calls.n_calls, calls.fails_at = 0, fails_at
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            exercise(cache)
        assert len(seen) <= 1
        assert all(str(cache.folder) in str(warning.message) for warning in seen)
        calls.fails_at = -1
        assert cache.store(DIGEST, PAYLOAD) and cache.load(DIGEST) == PAYLOAD
        assert cache.load(OTHER) in (PAYLOAD, None)
        left = [file.kind for file in stored_files(cache.folder)]
        assert left.count(TEMPORARY) <= (name == "unlink")


def test_short_reads_and_writes_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, read = os.write, os.read
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data[:7])))
    monkeypatch.setattr(os, "read", lambda handle, n: read(handle, min(n, 5)))
    cache = TraceCache(tmp_path)
    assert cache.store(DIGEST, PAYLOAD)
    assert cache.load(DIGEST) == PAYLOAD
    assert cache.counts.damaged == 0


def test_a_temporary_file_that_another_clock_calls_dead_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    deleted: list[Path] = []

    def pruned_meanwhile(handle: int) -> None:
        real(handle)
        for path in tmp_path.glob(".*.tmp"):
            if not deleted:
                path.unlink()
                deleted.append(path)

    monkeypatch.setattr(os, "fsync", pruned_meanwhile)
    cache = TraceCache(tmp_path)
    assert cache.store(DIGEST, PAYLOAD)
    assert len(deleted) == 1
    assert cache.load(DIGEST) == PAYLOAD


@pytest.mark.parametrize("now", [0.0, 1e9, 4e9])
def test_clocks_may_be_wrong(now: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = TraceCache(tmp_path)
    digests = [f"{i:064x}" for i in range(3)]
    for digest, used in zip(digests, (2.0, 1e10, 1.0), strict=True):  # one of them is far ahead
        cache.store(digest, PAYLOAD)
        os.utime(tmp_path / f"{digest}.2.trace", (used, used))
    monkeypatch.setattr(time, "time", lambda: now)
    size = (tmp_path / f"{digests[0]}.2.trace").stat().st_size
    cache.max_bytes = size
    assert cache.prune() == 2 * size
    assert len(stored_files(tmp_path)) == 1
    cache.max_bytes = 0
    assert cache.prune() == size  # no file is immortal


PRELUDE = """
import os, random, signal, sys, warnings
import phasic
from phasic import TraceCache, _core
from phasic._cache_files import stored_files
from phasic._cache_verify import verify_entries
from phasic.hierarchical_trace_cache import collect_missing_traces_batch

warnings.simplefilter("error")
folder, count = sys.argv[1], int(sys.argv[2])

def ring(n):
    graph = phasic.Graph(1)
    v = [graph.find_or_create_vertex([i + 1]) for i in range(n + 1)]
    graph.starting_vertex().add_edge(v[0], 1.0)
    for i in range(n):
        v[i].add_edge(v[(i + 1) % n], 1.0)
    v[0].add_edge(v[n], 1.0)
    return graph

traces = {}
for n in range(3, 6):
    units, _, _ = collect_missing_traces_batch(ring(n), min_size=1, cache_dir=folder + "-none")
    for digest, text in units.items():
        traces[digest] = _core.record_work_unit(digest, text).to_bytes()
first = next(iter(traces))
assert TraceCache(folder).store(first, traces[first])

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(3)
    return pid

def check():
    cache = TraceCache(folder)
    found = {digest: cache.load(digest) for digest in traces}
    assert found[first] == traces[first], "what was stored is lost"
    assert all(found[d] in (None, traces[d]) for d in traces), "a wrong entry"
    assert cache.counts.damaged == 0, "a torn entry"
    assert verify_entries(stored_files(cache.folder)).is_sound
"""

KILLED_AT_EACH_CALL = """
def work_until(limit):
    left = limit
    def wrapped(real):
        def call(*args, **kwargs):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return real(*args, **kwargs)
        return call
    write = os.write
    os.write = lambda handle, data: write(handle, bytes(data[:100]))
    for name in ("open", "write", "fsync", "close", "replace", "mkdir", "unlink", "utime"):
        setattr(os, name, wrapped(getattr(os, name)))
    cache = TraceCache(folder)
    for digest, payload in traces.items():
        assert cache.store(digest, payload)
        assert cache.load(digest) == payload

killed = 0
while True:
    _, status = os.waitpid(child(lambda: work_until(killed)), 0)
    check()
    if not os.WIFSIGNALED(status):
        assert status == 0
        break
    killed += 1
print(killed)
"""

KILLED_AT_RANDOM = """
generator = random.Random(2026)

def work_forever(progress):
    cache = TraceCache(folder)
    digests = list(traces)
    while True:
        digest = generator.choice(digests)
        assert cache.store(digest, traces[digest])
        assert cache.load(digest) == traces[digest]
        os.write(progress, b".")

for _ in range(count):
    reader, writer = os.pipe()
    pid = child(lambda: work_forever(writer))
    os.close(writer)
    for _ in range(generator.randrange(1, 5)):
        assert os.read(reader, 1)
    for _ in range(generator.randrange(30000)):  # somewhere inside the next round
        pass
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), status
    os.close(reader)
    check()
print(count)
"""

WRITER = """
import random, sys, warnings
from phasic import TraceCache
warnings.simplefilter("error")
folder, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
cache, generator = TraceCache(folder), random.Random(seed)
def payload(i):
    return f"{i:064x}".encode() * (1 + i % 50)
for round in range(count):
    i = generator.randrange(count)
    assert cache.store(f"{i:064x}", payload(i))
    assert cache.load(f"{i:064x}") == payload(i)
    j = generator.randrange(count)
    assert cache.load(f"{j:064x}") in (None, payload(j))
    assert cache.store(f"{round:064x}", payload(round))
assert cache.counts.damaged == 0
"""


def run_script(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=570, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_may_be_killed_before_each_of_its_system_calls(tmp_path: Path) -> None:
    killed = run_script(PRELUDE + KILLED_AT_EACH_CALL, tmp_path / "cache", 0)
    assert int(killed) > 30


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.extended)])
def test_a_process_may_be_killed_at_random_moments(count: int, tmp_path: Path) -> None:
    run_script(PRELUDE + KILLED_AT_RANDOM, tmp_path / "cache", count)


@pytest.mark.parametrize(
    ("n_processes", "count"), [(4, 40), pytest.param(8, 1000, marks=pytest.mark.extended)]
)
def test_processes_lose_and_tear_nothing(n_processes: int, count: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(count)]
    writers = [
        subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE)
        for seed in range(n_processes)
    ]
    for writer in writers:
        _, stderr = writer.communicate(timeout=1700)
        assert writer.returncode == 0, stderr.decode()
    cache = TraceCache(tmp_path)
    for i in range(count):
        assert cache.load(f"{i:064x}") == f"{i:064x}".encode() * (1 + i % 50)
    assert len(list(tmp_path.iterdir())) == count

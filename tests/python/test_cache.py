"""The disk cache: whole entries or none, whatever happens to the files."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import pytest

from phasic import CacheCorruptionError, TraceCache
from phasic._cache import CacheCounts
from phasic._cache_entry import decode_entry, encode_entry

DIGEST = "0123456789abcdef" * 4
OTHER = "f" * 64
PAYLOAD = bytes(range(256)) * 3


def entry(folder: Path, digest: str = DIGEST) -> Path:
    return folder / f"{digest}.2.trace"


@pytest.fixture
def cache(tmp_path: Path) -> TraceCache:
    return TraceCache(tmp_path / "new" / "folder")


def test_stored_bytes_come_back_and_are_counted(cache: TraceCache) -> None:
    assert cache.load(DIGEST) is None
    assert cache.store(DIGEST, PAYLOAD)
    assert cache.load(DIGEST) == PAYLOAD
    assert cache.store(DIGEST, b"")
    assert cache.load(DIGEST) == b""
    assert cache.load(OTHER) is None
    assert cache.counts == CacheCounts(hits=2, misses=2, damaged=0)
    assert [path.name for path in cache.folder.iterdir()] == [f"{DIGEST}.2.trace"]


def test_every_changed_bit_and_every_missing_byte_is_found() -> None:
    content = encode_entry(DIGEST, PAYLOAD[:40])
    assert decode_entry(DIGEST, content) == PAYLOAD[:40]
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            with pytest.raises(CacheCorruptionError):
                decode_entry(DIGEST, bytes(changed))
        with pytest.raises(CacheCorruptionError):
            decode_entry(DIGEST, content[:place])
    with pytest.raises(CacheCorruptionError, match="expected 40"):
        decode_entry(DIGEST, content + b"x")
    with pytest.raises(CacheCorruptionError, match=f"belongs to digest {DIGEST}"):
        decode_entry(OTHER, content)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 500])
def test_a_damaged_entry_is_moved_aside_and_logged(
    cache: TraceCache, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache.store(DIGEST, PAYLOAD)
    entry(cache.folder).write_bytes(content)
    with caplog.at_level(logging.WARNING, "phasic"):
        assert cache.load(DIGEST) is None
    assert str(entry(cache.folder)) in caplog.text
    assert cache.counts == CacheCounts(hits=0, misses=1, damaged=1)
    (aside,) = (cache.folder / "quarantine").iterdir()
    assert aside.read_bytes() == content
    assert not entry(cache.folder).exists()
    assert cache.store(DIGEST, PAYLOAD)
    assert cache.load(DIGEST) == PAYLOAD


def test_what_is_no_regular_file_is_moved_aside(cache: TraceCache) -> None:
    cache.folder.mkdir(parents=True)
    entry(cache.folder).mkdir()
    assert cache.load(DIGEST) is None
    os.mkfifo(entry(cache.folder))  # opening it for reading would wait for a writer
    assert cache.load(DIGEST) is None
    assert cache.counts.damaged == 2
    assert cache.store(DIGEST, PAYLOAD)


def test_a_folder_that_cannot_be_used_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = TraceCache(tmp_path / "file" / "cache")
    with pytest.warns(RuntimeWarning, match=str(tmp_path / "file" / "cache")) as record:
        assert cache.load(DIGEST) is None
        assert not cache.store(DIGEST, PAYLOAD)
        assert not cache.store(OTHER, PAYLOAD)
        assert cache.prune() == 0
    assert len(record) == 1


def test_a_full_disk_leaves_nothing_behind(
    cache: TraceCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert not cache.store(DIGEST, PAYLOAD)
    assert list(cache.folder.iterdir()) == []


def test_an_interrupted_write_leaves_nothing_behind(
    cache: TraceCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.store(DIGEST, PAYLOAD)
    assert list(cache.folder.iterdir()) == []


def test_prune_deletes_the_least_recently_used(cache: TraceCache) -> None:
    digests = [f"{i:064x}" for i in range(5)]
    for age, digest in enumerate(digests):
        cache.store(digest, PAYLOAD)
        os.utime(entry(cache.folder, digest), (1e9 + age, 1e9 + age))
    assert cache.load(digests[0]) == PAYLOAD  # now the latest used
    size = entry(cache.folder, digests[0]).stat().st_size
    cache.max_bytes = 3 * size
    assert cache.prune() == 2 * size
    left = {path.name[:64] for path in cache.folder.iterdir()}
    assert left == {digests[0], digests[3], digests[4]}


def test_prune_deletes_only_what_the_cache_made(cache: TraceCache) -> None:
    cache.store(DIGEST, PAYLOAD)
    mine = cache.folder / "notes.tmp"
    mine.write_text("kept")
    dead = cache.folder / f".{DIGEST[:16]}.7.{'0' * 32}.tmp"
    live = cache.folder / f".{DIGEST[:16]}.8.{'0' * 32}.tmp"
    for path in (dead, live):
        path.write_text("part")
    for path in (dead, mine):
        os.utime(path, (1e9, 1e9))
    cache.max_bytes = 0
    cache.prune()
    assert {path.name for path in cache.folder.iterdir()} == {mine.name, live.name}


def test_the_environment_is_read_at_each_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = TraceCache()
    for name in ("one", "two"):
        monkeypatch.setenv("PHASIC_CACHE_DIR", str(tmp_path / name))
        assert cache.folder == tmp_path / name
    monkeypatch.delenv("PHASIC_CACHE_DIR")
    assert cache.folder.name == "phasic"


@pytest.mark.parametrize("digest", ["", "abc", "../" * 21 + "x", "A" * 64, "g" * 64, 7, None])
def test_only_digests_are_keys(cache: TraceCache, digest: object) -> None:
    for use in (cache.load, lambda d: cache.store(d, b""), lambda d: cache.reject(d, "")):
        with pytest.raises(ValueError, match="expected 64 lower-case hexadecimal digits"):
            use(digest)  # type: ignore[arg-type]


def test_a_negative_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_bytes is -1, expected an integer >= 0"):
        TraceCache(tmp_path, max_bytes=-1)


def test_threads_read_whole_entries_while_others_write(cache: TraceCache) -> None:
    digests = [f"{i:064x}" for i in range(4)]
    wrong: list[bytes] = []

    def work(seed: int) -> None:
        for i in range(60):
            digest = digests[(seed + i) % 4]
            cache.store(digest, digest.encode() * 500)
            found = cache.load(digest)
            if found != digest.encode() * 500:
                wrong.append(found or b"absent")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.counts == CacheCounts(hits=360)
    assert len(list(cache.folder.iterdir())) == 4


WRITER = textwrap.dedent(
    """
    import sys
    from phasic import TraceCache
    cache = TraceCache(sys.argv[1])
    for i in range(100):
        digest = f"{i % 5:064x}"
        assert cache.store(digest, digest.encode() * 300)
        assert cache.load(digest) == digest.encode() * 300
    assert cache.counts.damaged == 0
    """
)


def test_processes_share_a_folder(cache: TraceCache) -> None:
    command = [sys.executable, "-W", "error", "-c", WRITER, str(cache.folder)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for writer in writers:
        _, stderr = writer.communicate(timeout=120)
        assert writer.returncode == 0, stderr.decode()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(cache.load(f"{i:064x}") for i in range(5))
    assert len(list(cache.folder.iterdir())) == 5

"""The files of a cache folder: written whole or not at all, read with suspicion, listed.

1. `write_whole` writes under a unique temporary name in the same folder, syncs, and renames over
   the final name, so that a reader sees a whole file or none, whenever the writer dies.
2. `read_entry` takes regular files only; a device, a pipe or a folder of that name is damage.
3. Only files with names of this module's making are ever listed or deleted.
4. Times of use come from many clocks; one in the future counts as now.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from phasic._cache_entry import entry_name
from phasic._errors import CacheCorruptionError

_MAX_ENTRY_BYTES = 1 << 32
_STALE_SECONDS = 3600.0  # a temporary file older than this belongs to a process that died
_CHUNK_BYTES = 1 << 20

# The names that the cache gives to files; nothing else in the folder is ever deleted.
ENTRY, TEMPORARY, QUARANTINED = "entry", "temporary", "quarantined"
QUARANTINE = "quarantine"
_OWN_NAMES = {
    ENTRY: re.compile(r"[0-9a-f]{64}\.[0-9]+\.trace"),
    TEMPORARY: re.compile(r"\.[0-9a-f]{16}\.[0-9]+\.[0-9a-f]{32}\.tmp"),
    QUARANTINED: re.compile(r"[0-9a-f]{64}\.[0-9]+\.[0-9a-f]{32}\.bad"),
}


def read_entry(path: Path) -> bytes:
    """Return the content of a regular file; a device, pipe or folder of that name is damage.

    Raises
    ------
    CacheCorruptionError
        If it is no regular file or larger than any entry.
    OSError
        If it cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    handle = os.open(path, flags)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise CacheCorruptionError("cache entry is not a regular file")
        if status.st_size > _MAX_ENTRY_BYTES:
            raise CacheCorruptionError(
                f"cache entry has {status.st_size} bytes, expected at most {_MAX_ENTRY_BYTES}"
            )
        parts = []
        while part := os.read(handle, _CHUNK_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


def write_whole(folder: Path, digest: str, content: bytes) -> None:
    """Store ``content`` as the entry of ``digest``, making the folder if need be.

    Raises
    ------
    OSError
        If the folder does not take it; then the entry is what it was, and no temporary file stays.
    """
    try:
        _write_once(folder, digest, content)
    except FileNotFoundError:
        # Someone deleted the folder or, with another clock, took the temporary file for a dead one.
        _write_once(folder, digest, content)


def _write_once(folder: Path, digest: str, content: bytes) -> None:
    temporary = folder / f".{digest[:16]}.{os.getpid()}.{uuid.uuid4().hex}.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _write_synced(temporary, content)
        os.replace(temporary, folder / entry_name(digest))
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    _sync_folder(folder)


def _write_synced(path: Path, content: bytes) -> None:
    """Create ``path``, which must not exist, and force its content to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    handle = os.open(path, flags, 0o666)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Force a rename to the disk where the file system can do that for a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@dataclass(frozen=True)
class StoredFile:
    """One file that the cache made.

    Parameters
    ----------
    path : Path
        Where it is.
    kind : str
        ``entry``, ``temporary`` (being written, or left by a process that died) or ``quarantined``.
    size : int
        Bytes.
    used : float
        Time of the last use, seconds since 1970.
    """

    path: Path
    kind: str
    size: int
    used: float

    @property
    def digest(self) -> str:
        """The key of an entry or a quarantined one."""
        return self.path.name[:64]

    @property
    def is_current(self) -> bool:
        """Whether it is an entry that this version reads; others share the folder."""
        return self.kind == ENTRY and self.path.name == entry_name(self.digest)


def stored_files(folder: Path) -> list[StoredFile]:
    """List the cache's own files; what vanishes meanwhile or cannot be listed is skipped."""
    found: list[StoredFile] = []
    now = time.time()
    for kind, pattern in _OWN_NAMES.items():
        place = folder / QUARANTINE if kind == QUARANTINED else folder
        with contextlib.suppress(OSError), os.scandir(place) as items:
            for item in items:
                if pattern.fullmatch(item.name):
                    with contextlib.suppress(OSError):
                        status = item.stat(follow_symlinks=False)
                        path = Path(item.path)
                        used = min(status.st_mtime, now)
                        found.append(StoredFile(path, kind, status.st_size, used))
    return found


def expendable(
    files: Iterable[StoredFile], max_bytes: int | None, max_age: float | None = None
) -> list[StoredFile]:
    """Return which files to delete.

    These are the temporary ones of processes that died, those not used for ``max_age`` seconds,
    and, least recently used first, those beyond ``max_bytes``. None means no bound. The temporary
    files of live processes neither count nor go.
    """
    now = time.time()
    chosen: list[StoredFile] = []
    rest: list[StoredFile] = []
    for file in files:
        limit = _STALE_SECONDS if file.kind == TEMPORARY else max_age
        if limit is not None and now - file.used > limit:
            chosen.append(file)
        elif file.kind != TEMPORARY:
            rest.append(file)
    if max_bytes is not None:
        excess = sum(file.size for file in rest) - max_bytes
        for file in sorted(rest, key=lambda file: (file.used, file.path)):
            if excess <= 0:
                break
            excess -= file.size
            chosen.append(file)
    return chosen


def delete_files(files: Iterable[StoredFile]) -> tuple[list[StoredFile], list[OSError]]:
    """Delete files; return those deleted and the errors. What is gone already is neither."""
    deleted: list[StoredFile] = []
    errors: list[OSError] = []
    for file in files:
        try:
            file.path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            errors.append(error)
        else:
            deleted.append(file)
    return deleted, errors


def move_aside(path: Path) -> Path:
    """Move a damaged entry into the quarantine of its folder; return its new place.

    Raises
    ------
    OSError
        If the folder does not take it.
    """
    aside = path.parent / QUARANTINE / f"{path.stem}.{uuid.uuid4().hex}.bad"
    aside.parent.mkdir(exist_ok=True)
    path.replace(aside)
    return aside


__all__ = [
    "ENTRY",
    "QUARANTINED",
    "TEMPORARY",
    "StoredFile",
    "delete_files",
    "expendable",
    "move_aside",
    "read_entry",
    "stored_files",
    "write_whole",
]

"""The disk cache: opaque bytes by digest, in one folder that any number of processes may share.

1. An entry is one file ``<digest>.2.trace`` (2 is the major number of the format): magic, format
   major.minor, digest, payload length, checksum (BLAKE2b-256 of all other bytes), payload.
2. It is written to a unique temporary name in the same folder, synced, and renamed over the final
   name, so a reader sees a whole entry or none.
3. A reader takes regular files only and verifies every field before it hands out the payload. A
   damaged entry is moved to ``quarantine/``, logged at WARNING and counted; the caller records
   anew.
4. A folder that cannot be read or written costs one warning that names it, never a result.
5. A hit refreshes the file's modification time; `TraceCache.prune` deletes the least recently used
   files beyond the size bound.

The bytes mean nothing here: what they decode to is the caller's business, which reports a payload
that does not decode through `TraceCache.reject`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import stat
import struct
import threading
import time
import uuid
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from phasic._errors import CacheCorruptionError

logger = logging.getLogger("phasic")

CACHE_DIR_VARIABLE = "PHASIC_CACHE_DIR"
DEFAULT_MAX_BYTES = 1 << 30

_MAGIC = b"PHASICTR"
_MAJOR = 2
_MINOR = 0
_HEADER = struct.Struct("<8sHH32sQ")  # magic, major, minor, digest, payload length
_CHECKSUM_BYTES = 32
_PREFIX_BYTES = _HEADER.size + _CHECKSUM_BYTES
_MAX_ENTRY_BYTES = 1 << 32
_STALE_SECONDS = 3600.0  # a temporary file older than this belongs to a process that died

# The names this module gives to files; nothing else in the folder is ever deleted.
ENTRY, TEMPORARY, QUARANTINED = "entry", "temporary", "quarantined"
QUARANTINE = "quarantine"
_OWN_NAMES = {
    ENTRY: re.compile(r"[0-9a-f]{64}\.[0-9]+\.trace"),
    TEMPORARY: re.compile(r"\.[0-9a-f]{16}\.[0-9]+\.[0-9a-f]{32}\.tmp"),
    QUARANTINED: re.compile(r"[0-9a-f]{64}\.[0-9]+\.[0-9a-f]{32}\.bad"),
}


def check_digest(digest: str) -> str:
    """Return ``digest`` if it is 64 lower-case hex digits, which also makes it a safe file name.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if (
        not isinstance(digest, str)
        or len(digest) != 64
        or not all(c in "0123456789abcdef" for c in digest)
    ):
        raise ValueError(f"digest is {digest!r}, expected 64 lower-case hexadecimal digits")
    return digest


def _entry_path(folder: Path, digest: str) -> Path:
    return folder / f"{check_digest(digest)}.{_MAJOR}.trace"


def _checksum(header: bytes, payload: bytes) -> bytes:
    state = hashlib.blake2b(header, digest_size=_CHECKSUM_BYTES)
    state.update(payload)
    return state.digest()


def encode_entry(digest: str, payload: bytes) -> bytes:
    """Return the file content that stores ``payload`` under ``digest``."""
    header = _HEADER.pack(_MAGIC, _MAJOR, _MINOR, bytes.fromhex(digest), len(payload))
    return header + _checksum(header, payload) + payload


def decode_entry(digest: str, content: bytes) -> bytes:
    """Return the payload of an entry after checking every field of it.

    Raises
    ------
    CacheCorruptionError
        If the content is not an intact entry of this digest.
    """
    if len(content) < _PREFIX_BYTES:
        raise CacheCorruptionError(
            f"cache entry has {len(content)} bytes, expected at least {_PREFIX_BYTES}"
        )
    header = content[: _HEADER.size]
    magic, major, _, stored_digest, length = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise CacheCorruptionError(f"cache entry starts with {magic!r}, expected {_MAGIC!r}")
    if major != _MAJOR:
        raise CacheCorruptionError(f"cache entry has format {major}, expected {_MAJOR}")
    payload = content[_PREFIX_BYTES:]
    if len(payload) != length:
        raise CacheCorruptionError(
            f"cache entry holds {len(payload)} payload bytes, expected {length}"
        )
    if _checksum(header, payload) != content[_HEADER.size : _PREFIX_BYTES]:
        raise CacheCorruptionError("cache entry does not match its checksum")
    if stored_digest.hex() != digest:
        raise CacheCorruptionError(
            f"cache entry belongs to digest {stored_digest.hex()}, expected {digest}"
        )
    return payload


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
        with open(handle, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(handle)


def _write_synced(path: Path, content: bytes) -> None:
    """Create ``path``, which must not exist, and force its content to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(path, flags, 0o666), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Force a rename to the disk where the file system can do that for a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@dataclass(frozen=True)
class CacheCounts:
    """What one `TraceCache` met so far: entries found, absent, and damaged."""

    hits: int = 0
    misses: int = 0
    damaged: int = 0


class TraceCache:
    """A folder of recorded traces, shared by any number of threads and processes.

    Parameters
    ----------
    folder : path, optional
        Where the entries are. Without it the folder is looked up at each use: the environment
        variable ``PHASIC_CACHE_DIR``, else the user's cache folder as platformdirs names it. It is
        created when something is stored.
    max_bytes : int
        Size bound that `prune` enforces; least recently used entries go first.

    Examples
    --------
    >>> import tempfile
    >>> cache = TraceCache(tempfile.mkdtemp())
    >>> cache.store("0" * 64, b"bytes")
    True
    >>> cache.load("0" * 64)
    b'bytes'
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes!r}, expected an integer >= 0")
        self._folder = None if folder is None else Path(folder)
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._counts = CacheCounts()
        self._warned: set[Path] = set()

    @property
    def folder(self) -> Path:
        """The folder in force now."""
        if self._folder is not None:
            return self._folder
        named = os.environ.get(CACHE_DIR_VARIABLE)
        if named:
            return Path(named)
        import platformdirs

        return platformdirs.user_cache_path("phasic", appauthor=False)

    @property
    def counts(self) -> CacheCounts:
        """Hits, misses and damaged entries since this object was made."""
        with self._lock:
            return self._counts

    def _count(self, *, hits: int = 0, misses: int = 0, damaged: int = 0) -> None:
        with self._lock:
            old = self._counts
            self._counts = CacheCounts(old.hits + hits, old.misses + misses, old.damaged + damaged)

    def load(self, digest: str) -> bytes | None:
        """Return the payload stored under ``digest``, or None when the folder lacks it.

        A damaged entry is quarantined and counts as lacking.
        """
        path = _entry_path(self.folder, digest)
        try:
            payload = decode_entry(digest, read_entry(path))
        except FileNotFoundError:
            self._count(misses=1)
            return None
        except OSError as error:
            self._count(misses=1)
            self._warn_unusable(path.parent, "read", error)
            return None
        except CacheCorruptionError as error:
            self._count(misses=1)
            self._quarantine(path, str(error))
            return None
        self._count(hits=1)
        with contextlib.suppress(OSError):
            os.utime(path)
        return payload

    def store(self, digest: str, payload: bytes) -> bool:
        """Store ``payload`` under ``digest``; return whether the folder took it.

        A failure (read-only folder, full disk) costs one warning that names the folder.
        """
        folder = self.folder
        path = _entry_path(folder, digest)
        temporary = folder / f".{digest[:16]}.{os.getpid()}.{uuid.uuid4().hex}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_synced(temporary, encode_entry(digest, payload))
            temporary.replace(path)
            _sync_folder(folder)
        except OSError as error:
            self._warn_unusable(folder, "written", error)
            return False
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        return True

    def reject(self, digest: str, reason: str) -> None:
        """Move an entry aside whose payload turned out to be unusable."""
        self._quarantine(_entry_path(self.folder, digest), reason)

    def _quarantine(self, path: Path, reason: str) -> None:
        self._count(damaged=1)
        try:
            outcome = f"moved to {move_aside(path)}"
        except OSError as error:
            outcome = f"left in place ({error})"
        logger.warning("damaged cache entry %s: %s; %s", path, reason, outcome)

    def _warn_unusable(self, folder: Path, verb: str, error: OSError) -> None:
        with self._lock:
            if folder in self._warned:
                return
            self._warned.add(folder)
        warnings.warn(
            f"cache folder {folder} cannot be {verb} ({error}); traces are recorded and used, but "
            f"not kept. Set {CACHE_DIR_VARIABLE} or cache_dir= to a writable folder.",
            RuntimeWarning,
            stacklevel=2,
        )

    def prune(self) -> int:
        """Delete what exceeds ``max_bytes``, least recently used first; return the bytes freed.

        Quarantined entries count and go by the same rule. Temporary files of processes that died
        are deleted.
        """
        deleted, _ = delete_files(expendable(stored_files(self.folder), self.max_bytes))
        freed = sum(file.size for file in deleted)
        if freed:
            logger.debug("cache folder %s: pruned %d bytes", self.folder, freed)
        return freed


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
        return self.kind == ENTRY and self.path.name == f"{self.digest}.{_MAJOR}.trace"


def stored_files(folder: Path) -> list[StoredFile]:
    """List the cache's own files; what vanishes meanwhile or cannot be listed is skipped."""
    found: list[StoredFile] = []
    for kind, pattern in _OWN_NAMES.items():
        place = folder / QUARANTINE if kind == QUARANTINED else folder
        with contextlib.suppress(OSError), os.scandir(place) as items:
            for item in items:
                if pattern.fullmatch(item.name):
                    with contextlib.suppress(OSError):
                        status = item.stat(follow_symlinks=False)
                        path = Path(item.path)
                        found.append(StoredFile(path, kind, status.st_size, status.st_mtime))
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


CacheLike = str | os.PathLike[str] | TraceCache | None


def as_cache(cache_dir: CacheLike) -> TraceCache:
    """Return the cache that a ``cache_dir=`` argument means."""
    return cache_dir if isinstance(cache_dir, TraceCache) else TraceCache(cache_dir)


__all__ = [
    "CacheCounts",
    "CacheLike",
    "StoredFile",
    "TraceCache",
    "as_cache",
    "check_digest",
    "decode_entry",
    "delete_files",
    "encode_entry",
    "expendable",
    "move_aside",
    "read_entry",
    "stored_files",
]

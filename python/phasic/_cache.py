"""The disk cache: opaque bytes by digest, in one folder that any number of processes may share.

1. An entry is one file, written whole or not at all (`_cache_files`), every field of which is
   verified before its payload is handed out (`_cache_entry`).
2. A damaged entry is moved to ``quarantine/``, logged at WARNING and counted; the caller records
   anew.
3. A folder that cannot be read or written costs one warning that names it, never a result.
4. A hit refreshes the file's modification time; `TraceCache.prune` deletes the least recently used
   files beyond the size bound.
5. What the folder lacks is looked up in a second level that machines share, if there is one
   (`_cache_shared`), verified like any entry, and copied into the folder.

The bytes mean nothing here: what they decode to is the caller's business, which reports a payload
that does not decode through `TraceCache.reject`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from phasic._cache_entry import check_digest, decode_entry, encode_entry, entry_name
from phasic._cache_files import (
    delete_files,
    expendable,
    move_aside,
    read_entry,
    stored_files,
    write_whole,
)
from phasic._errors import CacheCorruptionError

if TYPE_CHECKING:
    from phasic._cache_shared import SharedLevel, SharedLike

logger = logging.getLogger("phasic")

CACHE_DIR_VARIABLE = "PHASIC_CACHE_DIR"
DEFAULT_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class CacheCounts:
    """What one `TraceCache` met so far.

    Parameters
    ----------
    hits : int
        Entries found, wherever.
    misses : int
        Entries found nowhere.
    damaged : int
        Entries that were set aside, or in the second level passed over.
    shared_hits : int
        Those of the hits that the folder lacked and the second level had.
    """

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    shared_hits: int = 0


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
    shared : str or fsspec file system, optional
        A second level, for several machines: a URL that fsspec understands (``s3://bucket/traces``,
        ``file:///mnt/traces``) or a file system, used from its root. What the folder lacks is
        looked up there, and what is stored is stored there too. Needs the extra ``shared``.

    Raises
    ------
    ImportError
        If ``shared`` is given and fsspec, or its driver for that URL, is not installed.
    ValueError
        If fsspec does not know the URL's protocol, or ``max_bytes`` is not an integer >= 0.

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
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        shared: SharedLike | None = None,
    ) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes!r}, expected an integer >= 0")
        self._folder = None if folder is None else Path(folder)
        self.max_bytes = max_bytes
        self._shared = _shared_level(shared)
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

    def _count(self, **more: int) -> None:
        with self._lock:
            old = {name: getattr(self._counts, name) + n for name, n in more.items()}
            self._counts = replace(self._counts, **old)

    def load(self, digest: str) -> bytes | None:
        """Return the payload stored under ``digest``, or None when neither level has it.

        A damaged entry is quarantined and counts as lacking.
        """
        payload = self._load_from_folder(digest)
        if payload is not None:
            self._count(hits=1)
            return payload
        payload = self._load_from_shared(digest)
        if payload is None:
            self._count(misses=1)
            return None
        self._count(hits=1, shared_hits=1)
        self._store_in_folder(digest, encode_entry(digest, payload))
        return payload

    def _load_from_folder(self, digest: str) -> bytes | None:
        path = self.folder / entry_name(digest)
        try:
            payload = decode_entry(digest, read_entry(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn_unusable(path.parent, "read", error)
            return None
        except CacheCorruptionError as error:
            self._quarantine(path, str(error))
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return payload

    def _load_from_shared(self, digest: str) -> bytes | None:
        if self._shared is None:
            return None
        content = self._shared.load(entry_name(digest))
        if content is None:
            return None
        try:
            return decode_entry(digest, content)
        except CacheCorruptionError as error:
            self._count(damaged=1)
            logger.warning(
                "damaged cache entry %s of %s: %s; passed over until it is stored anew",
                entry_name(digest),
                self._shared.name,
                error,
            )
            return None

    def store(self, digest: str, payload: bytes) -> bool:
        """Store ``payload`` under ``digest`` in both levels; return whether the folder took it.

        A failure (read-only folder, full disk, unreachable second level) costs one warning that
        names the place.
        """
        content = encode_entry(digest, payload)
        stored = self._store_in_folder(digest, content)
        if self._shared is not None:
            self._shared.store(entry_name(digest), content)
        return stored

    def _store_in_folder(self, digest: str, content: bytes) -> bool:
        folder = self.folder
        try:
            write_whole(folder, digest, content)
        except OSError as error:
            self._warn_unusable(folder, "written", error)
            return False
        return True

    def reject(self, digest: str, reason: str) -> None:
        """Move an entry aside whose payload turned out to be unusable."""
        self._quarantine(self.folder / entry_name(digest), reason)

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


def _shared_level(shared: SharedLike | None) -> SharedLevel | None:
    if shared is None:
        return None
    from phasic._cache_shared import SharedLevel

    return SharedLevel(shared)


CacheLike = str | os.PathLike[str] | TraceCache | None


def as_cache(cache_dir: CacheLike) -> TraceCache:
    """Return the cache that a ``cache_dir=`` argument means."""
    return cache_dir if isinstance(cache_dir, TraceCache) else TraceCache(cache_dir)


__all__ = ["CacheCounts", "CacheLike", "TraceCache", "as_cache", "check_digest"]

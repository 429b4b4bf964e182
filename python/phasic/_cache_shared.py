"""The second level of the cache: objects of some store that fsspec reaches, shared by machines.

1. The store is a URL or a file system of fsspec, which is imported here and nowhere else.
2. An object appears under a unique name and is then moved over its own, so that a reader sees a
   whole object or none where the store can do that; where it cannot, the entry's checksum tells.
3. A store that fails is left alone from then on, reading and writing each: one warning names it
   (the traceback is logged at DEBUG), and work goes on with the folder alone.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import fsspec

logger = logging.getLogger("phasic")

SharedLike: TypeAlias = "str | fsspec.AbstractFileSystem"


class SharedLevel:
    """Named byte strings in a store of fsspec; failures are warned of once and otherwise misses.

    Parameters
    ----------
    target : str or fsspec file system
        A URL, or a file system that is used from its root.

    Raises
    ------
    ImportError
        If fsspec, or its driver for the URL, is not installed.
    ValueError
        If fsspec does not know the URL's protocol.
    TypeError
        If the target is neither.
    """

    def __init__(self, target: SharedLike) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise ImportError(
                "shared= of TraceCache needs fsspec; install phasic-xla[shared]"
            ) from error
        if isinstance(target, str):
            self._system, root = fsspec.url_to_fs(target)
            self.name = target
        elif isinstance(target, fsspec.AbstractFileSystem):
            self._system, root = target, ""
            self.name = f"file system {type(target).__name__}"
        else:
            raise TypeError(
                f"shared is of type {type(target).__name__}, expected a URL (str) or an fsspec "
                "file system"
            )
        self._root = root.rstrip("/")
        self._lock = threading.Lock()
        self._failed: set[str] = set()

    def load(self, name: str) -> bytes | None:
        """Return the object of that name, or None when there is none or the store fails."""
        path = f"{self._root}/{name}"
        found: list[bytes] = []

        def read() -> None:
            with contextlib.suppress(FileNotFoundError):
                found.append(self._system.cat_file(path))

        self._attempt("read", read)
        return bytes(found[0]) if found else None

    def store(self, name: str, content: bytes) -> bool:
        """Store an object; return whether the store took it."""
        path = f"{self._root}/{name}"
        temporary = f"{self._root}/.{name}.{uuid.uuid4().hex}.tmp"

        def write() -> None:
            try:
                self._system.pipe_file(temporary, content)
            except FileNotFoundError:
                self._system.makedirs(self._root or "/", exist_ok=True)
                self._system.pipe_file(temporary, content)
            self._system.mv(temporary, path)

        return self._attempt("written", write)

    def _attempt(self, verb: str, driver_calls: Callable[[], None]) -> bool:
        """Call the driver, whatever it raises, unless it has failed before; return its success.

        What is called holds calls of the driver and nothing else, so that no fault of this package
        is taken for one of the store.
        """
        if verb in self._failed:
            return False
        try:
            driver_calls()
        except Exception as error:  # a driver's errors have no common base class
            logger.debug("shared cache %s cannot be %s", self.name, verb, exc_info=True)
            self._give_up(verb, error)
            return False
        return True

    def _give_up(self, verb: str, error: Exception) -> None:
        with self._lock:
            is_first = not self._failed
            self._failed.add(verb)
        if is_first:
            warnings.warn(
                f"shared cache {self.name} cannot be {verb} ({type(error).__name__}: {error}); "
                "traces are recorded and kept in the cache folder alone. Check the URL, the "
                "credentials and the network of shared=.",
                RuntimeWarning,
                stacklevel=2,
            )


__all__ = ["SharedLevel", "SharedLike"]

"""What must hold before phasic hands work to JAX: a jaxlib that is new enough, and our handlers.

JAX is imported inside the functions only.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
import threading

from phasic import _core

# The oldest jaxlib that this project declares and tests. An older runtime rejects the handlers with
# an error about the CPU backend that hides the cause.
JAXLIB_FLOOR = (0, 8)

_lock = threading.Lock()
_registered: set[str] = set()


def jax_is_available() -> bool:
    """Return whether JAX can be imported here."""
    try:
        importlib.import_module("jax")
    except ImportError:
        return False
    return True


def is_distributed() -> bool:
    """Return whether the caller has started `jax.distributed`; does not import JAX for it."""
    jax = sys.modules.get("jax")
    return jax is not None and bool(jax.distributed.is_initialized())


def require_jax(what: str) -> None:
    """Raise ``ImportError`` naming what needs JAX, unless JAX can be imported."""
    if not jax_is_available():
        raise ImportError(f"{what} needs JAX, which cannot be imported: pip install jax")


def check_jaxlib(version: str) -> None:
    """Raise ``ImportError`` when ``version`` of jaxlib is older than phasic supports."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < JAXLIB_FLOOR:
        floor = ".".join(str(n) for n in JAXLIB_FLOOR)
        raise ImportError(f"phasic needs jaxlib >= {floor}, found {version}: pip install -U jax")


def register_targets() -> None:
    """Register the native handlers with XLA, once a process.

    Raises
    ------
    ImportError
        If JAX is absent or too old.
    """
    import jax

    with _lock:
        if _registered:
            return
        check_jaxlib(importlib.metadata.version("jaxlib"))
        for name, handler in _core.ffi_targets().items():
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
            _registered.add(name)


__all__ = [
    "check_jaxlib",
    "is_distributed",
    "jax_is_available",
    "register_targets",
    "require_jax",
]

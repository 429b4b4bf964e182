"""The exception types of phasic. This module imports nothing, so the extension can name them.

User errors are of the ``ValueError`` family and name the argument; a damaged file is a
``CacheCorruptionError``; a broken invariant of phasic itself is an ``InternalError``.
"""


class BudgetError(ValueError):
    """A predicted cost exceeds a stated budget; the message has both numbers."""


class CacheCorruptionError(ValueError):
    """Stored bytes are damaged, foreign or cut short, and were not used."""


class InternalError(RuntimeError):
    """A bug in phasic, not in the caller's input. Please report it with its text."""


__all__ = ["BudgetError", "CacheCorruptionError", "InternalError"]

"""Names of test cases that are the same in every process, so that processes can share a run."""

from __future__ import annotations

import re


def shown(value: object) -> str:
    """Return the representation of a value without its address."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))

"""Runs the command line as ``python -m phasic``."""

from __future__ import annotations

import sys

from phasic._cli import main

if __name__ == "__main__":
    sys.exit(main())

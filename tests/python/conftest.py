"""Set-up shared by all tests: two host devices, 64-bit JAX, a cache folder of this run's own.

Tests that need another set-up (no JAX, 32-bit, one device) run a Python process of their own.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import jax
import pytest

# A run that was started in the background ignores Ctrl-C, which some tests send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)


@pytest.fixture(scope="session", autouse=True)
def session_cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep the tests away from the user's cache; traces recorded by one test serve the others."""
    folder = tmp_path_factory.mktemp("phasic-cache")
    os.environ["PHASIC_CACHE_DIR"] = str(folder)
    return folder


@pytest.fixture
def empty_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test a cache folder in which nothing was recorded yet."""
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root folder of the source tree."""
    return Path(__file__).resolve().parents[2]

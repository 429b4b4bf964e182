"""The installed package: one version, the declared files, an import that changes nothing."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import phasic

DISTRIBUTION = "phasic-xla"
MODULES = sorted(m.name for m in pkgutil.iter_modules(phasic.__path__, "phasic."))


def run_python(code: str, *options: str) -> str:
    """Run code in a Python process of its own, warnings being errors; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_version_is_written_once_and_agrees_everywhere(repository: Path) -> None:
    assert metadata.version(DISTRIBUTION) == phasic.__version__
    citation = (repository / "CITATION.cff").read_text()
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1] == phasic.__version__
    changelog = (repository / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE)[1] == phasic.__version__


def test_the_wheel_holds_the_package_and_its_metadata_only() -> None:
    distribution = metadata.distribution(DISTRIBUTION)
    direct_url = json.loads(distribution.read_text("direct_url.json") or "{}")
    if direct_url.get("dir_info", {}).get("editable"):
        pytest.skip("an editable install has no files of its own")
    files = [p for p in distribution.files or [] if "__pycache__" not in p.parts]
    commands = [p for p in files if p.parts[0] == ".."]  # made on installation
    assert {p.stem for p in commands} == {"phasic"}
    files = [p for p in files if p not in commands]
    folders = {p.parts[0] for p in files}
    assert folders == {"phasic", f"phasic_xla-{phasic.__version__}.dist-info"}
    in_package = [p for p in files if p.parts[0] == "phasic"]
    assert {p.suffix for p in in_package} <= {".py", ".pyi", ".so", ".typed"}
    assert sum(p.suffix == ".so" for p in in_package) == 1
    assert any(p.name == "py.typed" for p in in_package)
    assert any(p.name == "LICENSE" for p in files)


def test_the_extra_requirements_do_not_leak_into_the_package() -> None:
    required = [r for r in metadata.requires(DISTRIBUTION) or [] if "extra ==" not in r]
    assert {re.match(r"[\w-]+", r)[0] for r in required} == {"jax", "numpy", "platformdirs"}


def test_importing_changes_nothing_and_does_not_import_jax() -> None:
    code = """
import logging, os, sys, warnings
import numpy
before = dict(os.environ), list(logging.root.handlers), logging.root.level, list(warnings.filters)
import phasic
after = dict(os.environ), list(logging.root.handlers), logging.root.level, list(warnings.filters)
assert before == after
assert logging.getLogger("phasic").level == logging.NOTSET
assert all(isinstance(h, logging.NullHandler) for h in logging.getLogger("phasic").handlers)
assert not [m for m in sys.modules if m.split(".")[0] in ("jax", "jaxlib", "scipy", "matplotlib")]
"""
    assert run_python(code) == ""


def test_importing_after_jax_changes_no_flag_of_jax() -> None:
    code = """
import jax
before = dict(jax.config.values)
import phasic, phasic.hierarchical_trace_cache, phasic.trace_elimination
assert dict(jax.config.values) == before
"""
    assert run_python(code) == ""


def test_importing_is_quick() -> None:
    code = """
import time
begin = time.process_time()
import phasic
print(time.process_time() - begin)
"""
    assert min(float(run_python(code)) for _ in range(5)) < 0.3


def test_everything_public_exists_and_is_documented() -> None:
    assert phasic.__all__ == sorted(phasic.__all__)
    for name in phasic.__all__:
        thing = getattr(phasic, name)
        if callable(thing):
            assert thing.__doc__ and thing.__doc__.strip(), name


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__ and module.__doc__.strip()
    assert doctest.testmod(module).failed == 0

"""What the documentation shows is what happens.

Examples fenced as ``python`` run here; those fenced as ``py`` need a cluster or a remote store.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

import phasic

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "cpp" / "README.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def run_and_capture(code: str, names: dict[str, object]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<documentation>", "exec"), names)
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_examples_print_what_the_page_says(page: Path) -> None:
    names: dict[str, object] = {"__name__": "documentation"}
    shown = re.findall(
        r"^```python\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?",
        page.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert len(shown) == len(blocks(page, "python"))
    for code, output in shown:
        assert run_and_capture(code, names) == output


def test_the_readme_example_is_short_and_prints_something() -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    assert len(example.splitlines()) <= 16
    assert "print" in example


def test_the_readme_is_about_a_hundred_lines() -> None:
    assert 60 <= len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_the_two_commands_are_targets_and_ci_runs_the_second() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert re.search(rf"^make {command}\b", readme, re.MULTILINE)
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_format_example_loads() -> None:
    (text,) = blocks(ROOT / "docs" / "format.md", "json")
    graph = phasic.Graph.from_json(text)
    assert graph.param_length() == 2
    assert phasic.Graph.from_serialized(json.loads(text)).to_json() == graph.to_json()


def test_the_format_page_lists_every_field_that_is_written() -> None:
    (text,) = blocks(ROOT / "docs" / "format.md", "json")
    page = (ROOT / "docs" / "format.md").read_text()
    for field in phasic.Graph.from_json(text).serialize():
        assert f"| `{field}` |" in page

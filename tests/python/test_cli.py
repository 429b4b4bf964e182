"""The command line: what it says, what it touches, and its exit status."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import phasic
from phasic import TraceCache
from phasic import _core as core
from phasic import hierarchical_trace_cache as htc
from phasic._cli import main

FLAWED = "f" * 64


@pytest.fixture(scope="module")
def traces() -> dict[str, bytes]:
    """Record the components of cycles of 2, 3 and 4 states; map digests to their bytes."""
    found: dict[str, bytes] = {}
    for length in (2, 3, 4):
        graph = phasic.Graph(1)
        ring = [graph.find_or_create_vertex([i + 1]) for i in range(length)]
        end = graph.find_or_create_vertex([length + 1])
        graph.starting_vertex().add_edge(ring[0], 1.0)
        for vertex, following in zip(ring, [*ring[1:], ring[0]], strict=True):
            vertex.add_edge(following, 1.0)
        ring[0].add_edge(end, 1.0)
        core_graph = core.decompose(graph._frozen())
        sizes = core_graph.sizes
        (i,) = (i for i in range(len(sizes)) if sizes[i] > 1)
        digest = core_graph.digests[i]
        trace = core.record_work_unit(digest, core_graph.work_unit(i))
        found[digest] = trace.to_bytes()
    assert len(found) == 3
    return found


@pytest.fixture
def cache(tmp_path: Path, traces: dict[str, bytes]) -> TraceCache:
    """Give a cache of three intact entries, used 1000, 1001 and 1002 seconds after 1970."""
    cache = TraceCache(tmp_path / "cache")
    for place, (digest, payload) in enumerate(traces.items()):
        assert cache.store(digest, payload)
        os.utime(entry(cache, digest), (1000 + place, 1000 + place))
    return cache


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(cache: TraceCache, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs `phasic cache ...` on the cache's folder."""

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["cache", *arguments, "--dir", str(cache.folder)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def entry(cache: TraceCache, digest: str) -> Path:
    return cache.folder / f"{digest}.2.trace"


def run_json(run: Run, *arguments: str) -> tuple[int, dict[str, Any]]:
    status, out, err = run(*arguments, "--json")
    assert err == ""
    return status, json.loads(out)


def snapshot(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def temporary(cache: TraceCache, process: int, used: float | None = None) -> Path:
    path = cache.folder / f".{'a' * 16}.{process}.{'0' * 32}.tmp"
    path.write_bytes(b"part")
    if used is not None:
        os.utime(path, (used, used))
    return path


# ---------------------------------------------------------------------------- info and list


def test_info_counts_what_is_there(cache: TraceCache, run: Run) -> None:
    size = sum(path.stat().st_size for path in cache.folder.iterdir())
    (cache.folder / f"{FLAWED}.3.trace").write_bytes(b"of the future")
    (cache.folder / "notes.txt").write_text("not the cache's")
    temporary(cache, 1)
    os.utime(cache.folder / f"{FLAWED}.3.trace", (1001, 1001))
    status, found = run_json(run, "info")
    assert status == 0
    assert found == {
        "folder": str(cache.folder),
        "exists": True,
        "entries": 4,
        "bytes": size + 13,
        "oldest_use": "1970-01-01T00:16:40Z",
        "latest_use": "1970-01-01T00:16:42Z",
        "other_format": 1,
        "quarantined": 0,
        "quarantined_bytes": 0,
        "temporary": 1,
        "temporary_bytes": 4,
    }
    status, out, _ = run("info")
    assert (status, out.splitlines()[0]) == (0, f"cache folder {cache.folder}")
    assert out.splitlines()[1].startswith("4 entries, ")
    assert "1 of them of another version of the format" in out
    assert "1 temporary file, 4 B" in out
    assert "notes" not in out


def test_list_shows_the_latest_used_first(
    cache: TraceCache, run: Run, traces: dict[str, bytes]
) -> None:
    status, found = run_json(run, "list")
    assert status == 0
    assert [row["digest"] for row in found["entries"]] == list(traces)[::-1]
    first = found["entries"][0]
    assert first["bytes"] == entry(cache, first["digest"]).stat().st_size
    assert first["last_used"] == "1970-01-01T00:16:42Z"
    _, out, _ = run("list")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(traces)[::-1]
    assert lines[1].split() == ["digest", "bytes", "last", "used"]


def test_looking_changes_nothing(cache: TraceCache, run: Run) -> None:
    before = snapshot(cache.folder)
    for command in ("info", "list", "verify"):
        assert run(command)[0] == 0
    assert run("prune", "--max-bytes", "1T")[0] == 0
    assert snapshot(cache.folder) == before


def test_the_folder_in_force_is_the_default(
    cache: TraceCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(cache.folder))
    assert main(["cache", "info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["folder"], found["entries"]) == (str(cache.folder), 3)


# ----------------------------------------------------------------------------------- verify


def make_reading_raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def read(path: Path) -> bytes:
        raise error

    monkeypatch.setattr("phasic._cache_verify.read_entry", read)


def damage(cache: TraceCache, traces: dict[str, bytes]) -> dict[str, str]:
    """Make three damaged entries; map each digest to a part of the reason."""
    first, second, _ = traces
    content = bytearray(entry(cache, first).read_bytes())
    content[-1] ^= 1
    entry(cache, first).write_bytes(content)
    cache.store(second, b"not a trace")  # whole by its checksum
    cache.store(FLAWED, traces[first])  # decodes, to another trace
    return {
        first: "does not match its checksum",
        second: "",
        FLAWED: f"holds the component trace {first}",
    }


def test_an_intact_cache_verifies(run: Run) -> None:
    status, found = run_json(run, "verify")
    assert status == 0
    assert (found["intact"], found["damaged"], found["unreadable"]) == (3, [], [])


def test_verify_reports_damage_and_leaves_it_in_place(
    cache: TraceCache, run: Run, traces: dict[str, bytes]
) -> None:
    reasons = damage(cache, traces)
    before = snapshot(cache.folder)
    status, found = run_json(run, "verify")
    assert (status, found["intact"]) == (1, 1)
    assert {row["digest"] for row in found["damaged"]} == set(reasons)
    for row in found["damaged"]:
        assert reasons[row["digest"]] in row["reason"]
        assert row["moved_to"] is None
        assert row["file"] == str(entry(cache, row["digest"]))
    status, out, err = run("verify")
    assert (status, err) == (1, "")
    assert out.count("\ndamaged: ") == 3
    assert "1 intact" in out.splitlines()[-1]
    assert snapshot(cache.folder) == before


def test_verify_moves_damage_aside_when_told_to(
    cache: TraceCache, run: Run, traces: dict[str, bytes]
) -> None:
    reasons = damage(cache, traces)
    contents = {digest: entry(cache, digest).read_bytes() for digest in reasons}
    status, found = run_json(run, "verify", "--quarantine")
    assert status == 1
    for row in found["damaged"]:
        assert not Path(row["file"]).exists()
        assert Path(row["moved_to"]).parent == cache.folder / "quarantine"
        assert Path(row["moved_to"]).read_bytes() == contents[row["digest"]]
    status, found = run_json(run, "verify")
    assert (status, found["intact"], found["damaged"]) == (0, 1, [])
    _, found = run_json(run, "info")
    assert (found["entries"], found["quarantined"]) == (1, 3)


def test_damage_that_cannot_be_moved_is_said_to_stay(
    cache: TraceCache, run: Run, traces: dict[str, bytes]
) -> None:
    damage(cache, traces)
    (cache.folder / "quarantine").write_text("in the way")
    status, found = run_json(run, "verify", "--quarantine")
    assert status == 1
    for row in found["damaged"]:
        assert row["moved_to"] is None
        assert "left in place" in row["reason"]
        assert Path(row["file"]).exists()


def test_verify_tells_apart_what_it_cannot_judge(
    cache: TraceCache, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache.folder / f"{FLAWED}.3.trace").write_bytes(b"of the future")
    status, found = run_json(run, "verify", "--quarantine")
    assert (status, found["other_format"], found["damaged"]) == (0, 1, [])
    assert (cache.folder / f"{FLAWED}.3.trace").exists()

    make_reading_raise(monkeypatch, OSError(5, "Input/output error"))
    status, found = run_json(run, "verify", "--quarantine")
    assert (status, found["intact"], found["damaged"]) == (1, 0, [])
    assert len(found["unreadable"]) == 3
    assert "Input/output error" in found["unreadable"][0]["reason"]


def test_what_vanishes_meanwhile_is_passed_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make_reading_raise(monkeypatch, FileNotFoundError(2, "No such file or directory"))
    status, found = run_json(run, "verify")
    assert (status, found["intact"], found["unreadable"]) == (0, 0, [])


def test_what_verifies_is_what_loads(cache: TraceCache, run: Run, traces: dict[str, bytes]) -> None:
    """One rule for both: an entry is damaged to `verify` exactly when loading rejects it."""
    damage(cache, traces)
    _, found = run_json(run, "verify")
    damaged = {row["digest"] for row in found["damaged"]}
    load = import_module("phasic._recording").load_trace
    rejected = {d for d in (*traces, FLAWED) if load(cache, d) is None}
    assert damaged == rejected


# -------------------------------------------------------------------------- prune and clear


def test_prune_by_size_deletes_the_least_recently_used(
    cache: TraceCache, run: Run, traces: dict[str, bytes]
) -> None:
    first, second, third = traces
    sizes = {digest: entry(cache, digest).stat().st_size for digest in traces}
    bound = sizes[second] + sizes[third]
    status, found = run_json(run, "prune", "--max-bytes", str(bound))
    assert (status, found["deleted"], found["deleted_bytes"]) == (0, 1, sizes[first])
    assert [entry(cache, d).exists() for d in traces] == [False, True, True]
    status, out, _ = run("prune", "--max-bytes", str(bound - 1))
    assert (status, out.splitlines()[1].split(",")[0]) == (0, "deleted 1 file")
    assert [entry(cache, d).exists() for d in traces] == [False, False, True]


def test_prune_by_age_has_no_size_bound(
    cache: TraceCache, run: Run, traces: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phasic._cli.DEFAULT_MAX_BYTES", 0)
    monkeypatch.setattr("phasic._cache_files.time.time", lambda: 1001.5 + 2 * 86400)
    status, found = run_json(run, "prune", "--older-than", "2")
    assert (status, found["deleted"]) == (0, 2)
    assert [entry(cache, d).exists() for d in traces] == [False, False, True]
    status, found = run_json(run, "prune")
    assert (status, found["deleted"]) == (0, 1)


def test_prune_by_age_and_size_applies_both(cache: TraceCache, run: Run) -> None:
    status, found = run_json(run, "prune", "--older-than", "1e6", "--max-bytes", "0")
    assert (status, found["deleted"]) == (0, 3)


def test_clear_deletes_what_the_cache_made_and_nothing_else(
    cache: TraceCache, run: Run, traces: dict[str, bytes]
) -> None:
    damage(cache, traces)
    run("verify", "--quarantine")
    (cache.folder / f"{FLAWED}.3.trace").write_bytes(b"")
    mine = cache.folder / "notes.tmp"
    mine.write_text("kept")
    live, dead = temporary(cache, 1), temporary(cache, 2, used=0.0)
    status, found = run_json(run, "clear", "--yes")
    assert (status, found["deleted"]) == (0, 6)
    assert not dead.exists()
    assert set(cache.folder.iterdir()) == {mine, live}


def test_clear_refuses_without_a_terminal(cache: TraceCache, run: Run) -> None:
    before = snapshot(cache.folder)
    for stdin in (io.StringIO("yes\n"), None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            status, out, err = run("clear")
        assert (status, out) == (2, "")
        assert err == (
            "phasic: error: clear asks before it deletes, but stdin is no terminal; give --yes\n"
        )
    assert snapshot(cache.folder) == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [("y\n", True), (" YES \n", True), ("n\n", False), ("\n", False), ("", False), ("x\n", False)],
)
def test_clear_asks_on_a_terminal(
    cache: TraceCache, run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    status, out, err = run("clear", "--json")
    assert err.startswith("delete 3 files, ")
    assert err.endswith(f"in {cache.folder}? [y/N] ")
    assert status == (0 if agreed else 1)
    assert json.loads(out)["deleted"] == (3 if agreed else 0)
    assert any(cache.folder.iterdir()) is not agreed


def test_a_file_that_stays_is_an_error(cache: TraceCache, run: Run) -> None:
    (cache.folder / f"{FLAWED}.2.trace").mkdir()
    status, out, err = run("clear", "--yes")
    assert (status, out) == (2, "")
    assert err.startswith("phasic: error: deleted 3 files, ")
    assert "but 1 could not be deleted" in err
    assert err.count("\n") == 1


# -------------------------------------------------------------------- errors, the rest of it


def test_a_folder_without_permission_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    status, out, err = run("info")
    assert (status, out) == (2, "")
    assert "may not be read by this user" in err


def test_ctrl_c_ends_it_without_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make_reading_raise(monkeypatch, KeyboardInterrupt())
    assert run("verify") == (130, "", "")


def test_as_a_process(cache: TraceCache) -> None:
    """What recording stored verifies; JAX is not imported; a reader that leaves is no traceback."""
    graph = phasic.Graph(1)
    a, b, end = (graph.find_or_create_vertex([i]) for i in (1, 2, 3))
    graph.starting_vertex().add_edge(a, 1.0)
    a.add_edge(b, [1.0])
    b.add_edge(a, 1.0)
    b.add_edge(end, 2.0)
    htc.get_trace_hierarchical(graph, min_size=1, strategy="sequential", cache_dir=cache.folder)
    command = [sys.executable, "-W", "error", "-X", "importtime", "-m", "phasic", "cache"]
    done = subprocess.run(
        [*command, "verify", "--dir", str(cache.folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "3 intact" in done.stdout  # this model shares its component with the cycle of 2
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "phasic._cli" in imported
    assert not {"jax", "jaxlib", "scipy"} & imported

    reading, writing = os.pipe()
    os.close(reading)
    left = subprocess.run(
        [sys.executable, "-m", "phasic", "cache", "list", "--dir", str(cache.folder)],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=120,
    )
    os.close(writing)
    assert (left.returncode, left.stderr) == (2, b"")

"""Two processes with two devices each, on `jax.distributed` over the loopback interface."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasic import _record_processes
from phasic._record_processes import deal, estimated_cost, exchange

PROGRAM = Path(__file__).with_name("processes_program.py")


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def both(scenario: str, folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the two processes; kill what is left of them in the end."""
    address = free_address()
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    environment["PHASIC_CACHE_DIR"] = str(folder / "common")
    started = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), address, str(i), scenario, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for i in range(2)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def reports(output: str) -> list[dict[str, Any]]:
    lines = output.splitlines()
    return [json.loads(line.split(" ", 1)[1]) for line in lines if line.startswith("report ")]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """What both processes report, by scenario."""
    with both("together", tmp_path_factory.mktemp("processes")) as started:
        outputs = [process.communicate(timeout=120) for process in started]
    for process, (_, errors) in zip(started, outputs, strict=True):
        assert process.returncode == 0, errors
    names = ("share", "again", "one_sided", "different")
    names += ("bad_unit", "bad_call", "bad_graph", "unusable_cache", "interrupted", "evaluation")
    return dict(zip(names, zip(*(reports(o) for o, _ in outputs), strict=True), strict=True))


def test_each_ends_with_all_traces_and_caches_its_share(together: dict[str, Any]) -> None:
    first, second = together["share"]
    assert first["units"] == second["units"]
    ours, theirs = (report["entries"] for report in together["again"])
    n = len(first["units"])
    for me, (report, mine) in enumerate(((first, ours), (second, theirs))):
        assert report["order"] and all(report["same"])
        assert report["said"] == [
            f"process {me} of 2 processes: {n} units are lacking somewhere, 0 of them are in a "
            f"cache; {len(mine)} are recorded here"
        ]
    assert ours and theirs and not set(ours) & set(theirs)
    assert sorted(ours + theirs) == first["units"]


def test_what_another_cache_holds_is_not_recorded_again(together: dict[str, Any]) -> None:
    assert all(report["unchanged"] and report["same"] for report in together["again"])
    full, empty = together["one_sided"]
    assert full["before"] == full["after"] > 1
    assert empty["before"] == empty["after"] == 0
    assert full["digest"] == empty["digest"]


def test_processes_may_ask_for_different_units(together: dict[str, Any]) -> None:
    first, second = together["different"]
    assert first["got"] and second["got"]
    assert len(first["entries"]) + len(second["entries"]) == first["n"]
    assert not set(first["entries"]) & set(second["entries"])


def test_a_bad_unit_of_one_process_is_reported_by_all(together: dict[str, Any]) -> None:
    for me, report in enumerate(together["bad_unit"]):
        kind, text, cause = report["error"]
        assert (kind, cause) == ("RuntimeError", "ValueError")
        assert f"strategy 'pmap': recording work unit {report['digest']} (" in text
        assert "characters of JSON" in text and "JSON" in text.split("failed", 1)[1]
        assert ("in process 1" in text) == (me == 0)
    ours, theirs = (set(report["entries"]) for report in together["bad_unit"])
    assert len(ours | theirs) == len(together["share"][0]["units"]) - 1


def test_a_bad_call_of_one_process_is_reported_by_all(together: dict[str, Any]) -> None:
    first, second = (report["error"] for report in together["bad_call"])
    assert second[0] == "TypeError" and "is of type int, expected str" in second[1]
    assert first[0] == "RuntimeError" and f"TypeError: {second[1]}" in first[1]


def test_a_bad_graph_in_one_process_is_reported_by_all(together: dict[str, Any]) -> None:
    first, second = (report["error"] for report in together["bad_graph"])
    assert second[0] == "ValueError" and "param_length is 9" in second[1]
    assert first[0] == "RuntimeError" and f"ValueError: {second[1]}" in first[1]


def test_a_warning_that_is_an_error_in_one_process_leaves_no_other_waiting(
    together: dict[str, Any],
) -> None:
    first, second = (report["error"] for report in together["unusable_cache"])
    assert second[0] == "RuntimeWarning" and "cannot be read" in second[1]
    assert first[0] == "RuntimeError" and "RuntimeWarning: cache folder" in first[1]


def test_ctrl_c_in_one_process_reaches_all(together: dict[str, Any]) -> None:
    first, second = together["interrupted"]
    assert second["error"][0] == "KeyboardInterrupt" and second["entries"] == []
    n = len(together["share"][0]["units"]) - len(first["entries"])
    assert n > 0
    assert first["error"][0] == "RuntimeError"
    assert f"process 1 left {n} units: it was interrupted" in first["error"][1]


def test_evaluation_over_all_devices_gives_the_same_bits(together: dict[str, Any]) -> None:
    for report in together["evaluation"]:
        assert len(report["equal"]) == 8 and all(report["equal"])
        assert len(report["close"]) == 3 and all(report["close"])


@pytest.mark.extended
@pytest.mark.parametrize(
    ("scenario", "limit"), [("killed-1", 30.0), ("killed-0", 30.0), ("frozen-1", 60.0)]
)
def test_a_process_that_ends_is_an_error_in_the_other(
    scenario: str, limit: float, tmp_path: Path
) -> None:
    """Process 0 keeps JAX's books: when it ends, or a heartbeat stops, JAX ends the others."""
    victim = int(scenario[-1])
    with both(scenario, tmp_path) as started:
        survivor = started[1 - victim]
        began = time.monotonic()
        output, errors = survivor.communicate(timeout=limit)
        seconds = time.monotonic() - began
        if not scenario.startswith("frozen"):
            assert started[victim].wait(timeout=limit) == -signal.SIGKILL
    assert seconds < limit
    if scenario == "killed-1":
        (report,) = reports(output)
        kind, text, _ = report["error"]
        assert survivor.returncode == 0 and kind == "RuntimeError"
        assert "process 0 of 2, step 'results': lost the other processes" in text
        assert report["seconds"] < 10.0 and len(report["entries"]) > 0
    else:
        assert survivor.returncode != 0 or "lost the other processes" in output
        assert "another task died" in errors or "lost the other processes" in output


# ------------------------------------------------------------------------------- in one process


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=6), st.integers(1, 1000), max_size=30),
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
)
def test_units_are_dealt_out_evenly(sizes: dict[str, int], n_devices: list[int]) -> None:
    everything = [set(sizes)] * len(n_devices)
    dealt = deal(sizes, everything, n_devices)
    assert dealt.keys() == sizes.keys()
    assert dealt == deal(dict(reversed(sizes.items())), everything, n_devices)
    costs = {d: estimated_cost(size) for d, size in sizes.items()}
    loads = [sum(c for d, c in costs.items() if dealt[d] == p) for p in range(len(n_devices))]
    ideal = sum(costs.values()) / sum(n_devices)
    for load, n in zip(loads, n_devices, strict=True):  # greedy: at most one unit above the mean
        assert load / n <= ideal + max(costs.values(), default=0)


def test_only_a_process_that_has_the_text_is_dealt_a_unit() -> None:
    assert deal({"a": 9, "b": 5, "c": 1}, [{"a", "b"}, {"b", "c"}], [1, 1]) == {
        "a": 0,
        "b": 1,
        "c": 1,
    }


def test_an_exchange_with_itself_returns_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_record_processes, "_MAX_PIECE", 64)
    monkeypatch.setattr(_record_processes, "_MIN_PIECE", 16)
    for data in (b"", b"x", bytes(range(256)) * 3):
        (message,) = exchange("step", {"n": 3, "text": "\u00e4"}, data)
        assert message.fields == {"n": 3, "text": "\u00e4"} and message.data == data


def test_processes_that_make_different_calls_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gather = _record_processes._gather_bytes
    others = iter([gather_of("results"), b"\x00" * 40, b""])
    monkeypatch.setattr(
        _record_processes, "_gather_bytes", lambda content: [*gather(content), next(others)]
    )
    with pytest.raises(RuntimeError, match="step 'needs': process 1 sent 'results'; all processes"):
        exchange("needs", {})
    for _ in range(2):
        with pytest.raises(RuntimeError, match="process 1 sent 'something that is not from phasic"):
            exchange("needs", {})


def gather_of(step: str) -> bytes:
    text = json.dumps({"phasic step": step}).encode()
    return np.array([len(text), 0], "<u8").tobytes() + text

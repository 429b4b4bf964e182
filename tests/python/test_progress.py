"""Reports of how far an exploration is: to a function, to a terminal, to a file."""

from __future__ import annotations

import io
from typing import Any

import pytest

from phasic import Graph
from phasic._progress import ProgressLine
from test_batched_callback import States, as_batched, coalescent, endless


def test_progress_is_reported_after_each_batch() -> None:
    reports: list[tuple[int, int]] = []

    def ternary(states: States) -> Any:
        result = endless(states)
        keep = states[result[0], 0] < 9
        return tuple(field[keep] for field in result)

    ipv = [([1], 1.0)]

    def report(found: int, explored: int) -> None:
        reports.append((found, explored))

    Graph(ternary, ipv=ipv, batched=True, progress=report)
    assert reports == [(4, 1), (13, 4), (13, 13)]
    reports.clear()
    Graph(lambda state: [([state[0] + 1], 1)] if state[0] < 600 else [], ipv=ipv, progress=report)
    assert reports == [(257, 256), (513, 512), (600, 600)]

    def stop(found: int, explored: int) -> None:
        raise RuntimeError(f"stopped at {found}")

    with pytest.raises(RuntimeError, match="stopped at 4"):
        Graph(ternary, ipv=ipv, batched=True, progress=stop)
    for bad in (1, "yes"):
        with pytest.raises(ValueError, match=r"progress is .*expected True, False or a callable"):
            Graph(ternary, ipv=ipv, batched=True, progress=bad)  # type: ignore[arg-type]


def test_progress_is_written_to_stderr_only_when_asked(capfd: pytest.CaptureFixture[str]) -> None:
    ipv = [([4], 1.0)]
    Graph(as_batched(coalescent), ipv=ipv, batched=True)
    assert capfd.readouterr() == ("", "")
    Graph(as_batched(coalescent), ipv=ipv, batched=True, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("phasic: 4 states found, 4 explored, ")
    assert err.count("\n") == 1


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_progress_line_is_rewritten_on_a_terminal() -> None:
    times = iter([0.0, 0.05, 0.2, 0.25])
    stream = Terminal()
    line = ProgressLine(stream, lambda: next(times))
    for count in (10, 20, 30):
        line(count, count - 1)
    line.close()
    line.close()
    assert stream.getvalue() == (
        "\rphasic: 20 states found, 19 explored, 0.2 s"
        "\rphasic: 30 states found, 29 explored, 0.2 s\n"
    )


def test_the_progress_in_a_file_is_one_line_every_few_seconds() -> None:
    times = iter([0.0, 1.0, 6.0, 7.0])
    stream = io.StringIO()
    line = ProgressLine(stream, lambda: next(times))
    for count in (10, 20, 30):
        line(count, count)
    line.close()
    assert stream.getvalue() == (
        "phasic: 20 states found, 20 explored, 6.0 s\nphasic: 30 states found, 30 explored, 7.0 s\n"
    )

"""The command line's arguments, texts and folders that hold no cache."""

from __future__ import annotations

import argparse
import io
import json
import sys
import tomllib
from pathlib import Path

import pytest

from phasic._cli import _bytes_text, _time_text, byte_count, day_count, main

COMMANDS = ("info", "list", "verify", "prune", "clear")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_folder_is_an_empty_cache(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "absent"
    assert main(["cache", command, "--dir", str(folder)]) == 0
    expected = f"cache folder {folder} does not exist: the cache is empty\n"
    assert capsys.readouterr() == (expected, "")
    assert main(["cache", command, "--dir", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["folder"], found["exists"]) == (str(folder), False)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "required: COMMAND"),
        (["cache"], "required: COMMAND"),
        (["cache", "frobnicate"], "invalid choice"),
        (["cache", "info", "--dir", ""], "the name of the folder is empty"),
        (["cache", "info", "more\nlines"], "unrecognized arguments"),
        (["cache", "prune", "--max-bytes", "3X"], "'3X' is not a number of bytes like 500M or 2G"),
        (["cache", "prune", "--older-than", "nan"], "'nan' is not a number of days >= 0"),
    ],
)
def test_wrong_arguments_cost_one_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    printed = capsys.readouterr()
    assert (raised.value.code, printed.out) == (2, "")
    assert text in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_none_is_an_error(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert main(["cache", command, "--dir", str(tmp_path / "file")]) == 2
    expected = f"phasic: error: cache folder {tmp_path / 'file'} is not a folder\n"
    assert capsys.readouterr() == ("", expected)


def test_sizes_and_ages_are_read_as_people_write_them() -> None:
    assert [byte_count(t) for t in ("0", "7", "3K", "500M", "2g", " 1T ")] == [
        *(0, 7, 3 << 10, 500 << 20, 2 << 30, 1 << 40)
    ]
    assert (day_count("0"), day_count("1.5")) == (0.0, 1.5)
    for text in ("", "M", "-1", "1.5G", "2GB", "0x10", "٣", "9" * 5000):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number of bytes"):
            byte_count(text)
    for text in ("", "-1", "inf", "week"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number of days"):
            day_count(text)


def test_sizes_and_times_are_written_for_people() -> None:
    sizes = [0, 1023, 1024, 1536, (1 << 20) - 1, 1 << 30, 5 << 50]
    assert [_bytes_text(size) for size in sizes] == [
        *("0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1024.0 KiB", "1.0 GiB", "5120.0 TiB")
    ]
    assert _time_text(0.9) == "1970-01-01T00:00:00Z"
    assert _time_text(1e20) == "@100000000000000000000"


def test_a_name_that_the_terminal_lacks_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    assert main(["cache", "info", "--dir", str(tmp_path / "zwölf")]) == 0
    assert rb"zw\xf6lf does not exist" in written.getvalue()


def test_the_command_is_declared(repository: Path) -> None:
    scripts = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"phasic": "phasic._cli:main"}

"""The command ``phasic``: looking after the cache of traces.

``phasic cache info | list | verify | prune | clear``, each with ``--dir`` and ``--json``. Results
go to stdout, an error is one line on stderr.

Exit status: 0 done; 1 `verify` found an entry that is not intact, or the answer to `clear` was no;
2 an error, of usage or of the file system; 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from phasic._cache import CACHE_DIR_VARIABLE, DEFAULT_MAX_BYTES, TraceCache
from phasic._cache_files import (
    ENTRY,
    QUARANTINE,
    QUARANTINED,
    TEMPORARY,
    StoredFile,
    delete_files,
    expendable,
    stored_files,
)
from phasic._cache_verify import Finding, verify_entries
from phasic._version import __version__

SECONDS_PER_DAY = 86400.0
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class CommandError(Exception):
    """What the user did or the system refused; its text is the line on stderr."""


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


@dataclass(frozen=True)
class Report:
    """What a command found: lines for people, fields for ``--json``, and the exit status."""

    lines: list[str]
    fields: Mapping[str, Any]
    status: int = 0


# ------------------------------------------------------------------------------ what it prints


def _bytes_text(count: int) -> str:
    """Return a count of bytes with a unit that people read, ``1.5 MiB``."""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:.1f} {'KMGT'[power - 1]}iB"


def _time_text(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC; a file can carry one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"@{seconds:.0f}"


def _count_text(count: int, thing: str, things: str | None = None) -> str:
    return f"{count} {thing if count == 1 else things or thing + 's'}"


def _total(files: Sequence[StoredFile]) -> int:
    return sum(file.size for file in files)


def _of_kind(files: Sequence[StoredFile], kind: str) -> list[StoredFile]:
    return [file for file in files if file.kind == kind]


def _say(text: str) -> None:
    """Write a line to stdout; what its encoding lacks (a folder's name, say) is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


# -------------------------------------------------------------------------------- the commands


def _info(options: argparse.Namespace, folder: Path, files: list[StoredFile]) -> Report:
    entries = _of_kind(files, ENTRY)
    fields: dict[str, Any] = {"entries": len(entries), "bytes": _total(entries)}
    lines = [f"{_count_text(len(entries), 'entry', 'entries')}, {_bytes_text(_total(entries))}"]
    if entries:
        oldest = _time_text(min(file.used for file in entries))
        latest = _time_text(max(file.used for file in entries))
        fields |= {"oldest_use": oldest, "latest_use": latest}
        lines.append(f"last used between {oldest} and {latest}")
    fields["other_format"] = sum(not file.is_current for file in entries)
    if fields["other_format"]:
        lines.append(f"{fields['other_format']} of them of another version of the format")
    for kind in (QUARANTINED, TEMPORARY):
        some = _of_kind(files, kind)
        fields |= {kind: len(some), f"{kind}_bytes": _total(some)}
        if some:
            lines.append(f"{_count_text(len(some), f'{kind} file')}, {_bytes_text(_total(some))}")
    return Report(lines, fields)


def _list(options: argparse.Namespace, folder: Path, files: list[StoredFile]) -> Report:
    entries = sorted(_of_kind(files, ENTRY), key=lambda file: (-file.used, file.path))
    lines = [f"{file.digest}  {file.size:>12}  {_time_text(file.used)}" for file in entries]
    if entries:
        lines.insert(0, f"{'digest':<64}  {'bytes':>12}  last used")
    rows = [
        {
            "digest": file.digest,
            "file": file.path.name,
            "bytes": file.size,
            "last_used": _time_text(file.used),
        }
        for file in entries
    ]
    return Report(lines, {"entries": rows})


def _verify(options: argparse.Namespace, folder: Path, files: list[StoredFile]) -> Report:
    found = verify_entries(files, quarantine=options.quarantine)

    def rows(findings: list[Finding]) -> list[dict[str, str | None]]:
        return [
            {
                "digest": finding.file.digest,
                "file": str(finding.file.path),
                "reason": finding.reason,
                "moved_to": finding.moved_to,
            }
            for finding in findings
        ]

    lines = []
    for word, findings in (("damaged", found.damaged), ("unreadable", found.unreadable)):
        for finding in findings:
            moved = f"; moved to {finding.moved_to}" if finding.moved_to else ""
            lines.append(f"{word}: {finding.file.path}: {finding.reason}{moved}")
    lines.append(
        f"{len(found.intact)} intact ({_bytes_text(_total(found.intact))}), "
        f"{len(found.damaged)} damaged, {len(found.unreadable)} unreadable, "
        f"{len(found.other_format)} of another version of the format, not checked"
    )
    fields = {
        "intact": len(found.intact),
        "intact_bytes": _total(found.intact),
        "damaged": rows(found.damaged),
        "unreadable": rows(found.unreadable),
        "other_format": len(found.other_format),
    }
    return Report(lines, fields, status=0 if found.is_sound else 1)


def _deleted(chosen: list[StoredFile]) -> Report:
    """Delete files and report it.

    Raises
    ------
    CommandError
        If the file system refused some; the others are gone.
    """
    deleted, errors = delete_files(chosen)
    outcome = f"deleted {_count_text(len(deleted), 'file')}, {_bytes_text(_total(deleted))}"
    if errors:
        raise CommandError(f"{outcome}, but {len(errors)} could not be deleted: {errors[0]}")
    return Report([outcome], {"deleted": len(deleted), "deleted_bytes": _total(deleted)})


def _prune(options: argparse.Namespace, folder: Path, files: list[StoredFile]) -> Report:
    max_bytes: int | None = options.max_bytes
    max_age: float | None = None
    if options.older_than is not None:
        max_age = options.older_than * SECONDS_PER_DAY
    elif max_bytes is None:
        max_bytes = DEFAULT_MAX_BYTES
    return _deleted(expendable(files, max_bytes, max_age))


def _clear(options: argparse.Namespace, folder: Path, files: list[StoredFile]) -> Report:
    chosen = expendable(files, max_bytes=None, max_age=-math.inf)
    if chosen and not options.yes:
        question = f"delete {_count_text(len(chosen), 'file')}, {_bytes_text(_total(chosen))}"
        if not _confirmed(f"{question}, in {folder}? [y/N] "):
            return Report(["nothing deleted"], {"deleted": 0, "deleted_bytes": 0}, status=1)
    report = _deleted(chosen)
    quarantine = folder / QUARANTINE
    if quarantine.is_dir() and not any(quarantine.iterdir()):
        quarantine.rmdir()
    return report


def _confirmed(question: str) -> bool:
    """Ask on stderr, which leaves stdout to the result; only y and yes mean yes."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError("clear asks before it deletes, but stdin is no terminal; give --yes")
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# ------------------------------------------------------------------------------- the arguments


def byte_count(text: str) -> int:
    """Return the number of bytes that ``500M`` or ``2G`` means; units are powers of 1024."""
    match = re.fullmatch(r"([0-9]{1,18})([KMGT]?)", text.strip().upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes like 500M or 2G")
    return int(match[1]) * _UNITS[match[2]]


def day_count(text: str) -> float:
    """Return a finite number of days >= 0."""
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not (math.isfinite(days) and days >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days >= 0")
    return days


def folder_name(text: str) -> Path:
    """Return a folder; an empty name, of an unset shell variable say, does not mean this one."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


Command = Callable[[argparse.Namespace, Path, list[StoredFile]], Report]


def _parser() -> _Parser:
    common = _Parser(add_help=False)
    common.add_argument(
        "--dir",
        type=folder_name,
        metavar="FOLDER",
        help=f"the cache folder (default: {CACHE_DIR_VARIABLE}, else the user's cache folder)",
    )
    common.add_argument("--json", action="store_true", help="print one JSON object")

    parser = _Parser(prog="phasic", description="Phase-type distributions: the cache of traces.")
    parser.add_argument("--version", action="version", version=f"phasic {__version__}")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    about = "look after the disk cache of recorded traces"
    cache = groups.add_parser("cache", help=about, description=about)
    commands = cache.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Command, about: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, parents=[common], help=about, description=about)
        found.set_defaults(run=run)
        return found

    add("info", _info, "folder, number and size of the entries")
    add("list", _list, "the entries, latest used first")
    verify = add("verify", _verify, "read and check every entry; exit status 1 if any is damaged")
    verify.add_argument("--quarantine", action="store_true", help="move damaged entries aside")
    prune = add("prune", _prune, "delete what exceeds an age or a size, least recently used first")
    prune.add_argument(
        "--max-bytes",
        type=byte_count,
        metavar="N",
        help="what may stay, like 500M or 2G (default, unless --older-than is given: 1G)",
    )
    prune.add_argument(
        "--older-than", type=day_count, metavar="DAYS", help="delete what was not used for so long"
    )
    clear = add("clear", _clear, "delete everything that the cache stored, after asking")
    clear.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _check_folder(folder: Path) -> bool:
    """Return whether the folder exists.

    Raises
    ------
    CommandError
        If it is something else or may not be listed.
    """
    if not os.path.lexists(folder):
        return False
    if not folder.is_dir():
        raise CommandError(f"cache folder {folder} is not a folder")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise CommandError(f"cache folder {folder} may not be read by this user")
    return True


def _run(options: argparse.Namespace) -> int:
    folder = TraceCache(options.dir).folder
    exists = _check_folder(folder)
    report: Report = options.run(options, folder, stored_files(folder) if exists else [])
    if options.json:
        fields = {"folder": str(folder), "exists": exists, **report.fields}
        _say(json.dumps(fields, indent=2))
    elif not exists:
        _say(f"cache folder {folder} does not exist: the cache is empty")
    else:
        _say("\n".join([f"cache folder {folder}", *report.lines]))
    sys.stdout.flush()
    return report.status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, without the name of the program; without it those of this process.

    Raises
    ------
    SystemExit
        If the arguments are wrong (status 2), or help or the version were asked for (0).
    """
    options = _parser().parse_args(argv)
    try:
        return _run(options)
    except BrokenPipeError:  # the reader of stdout has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return 130
    except (CommandError, OSError) as error:
        sys.stderr.write(f"phasic: error: {' '.join(str(error).split())}\n")
        return 2


__all__ = ["main"]

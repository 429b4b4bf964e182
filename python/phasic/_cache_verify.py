"""Checking every entry of a cache folder: what is intact, damaged, unreadable or not ours to read.

An entry is intact when its header and checksum hold and its payload decodes to the component trace
of its digest, which is all that loading it asks. Nothing is changed, not even the times of last
use, unless quarantine is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from phasic._cache_entry import decode_entry
from phasic._cache_files import ENTRY, StoredFile, move_aside, read_entry
from phasic._errors import CacheCorruptionError
from phasic._recording import decode_trace


@dataclass(frozen=True)
class Finding:
    """One entry that is not intact.

    Parameters
    ----------
    file : StoredFile
        The entry.
    reason : str
        What is wrong with it.
    moved_to : str, optional
        Where it is now, if it was moved aside.
    """

    file: StoredFile
    reason: str
    moved_to: str | None = None


@dataclass
class Verification:
    """What the entries of a folder turned out to be.

    Parameters
    ----------
    intact : list of StoredFile
        Entries that loading accepts.
    damaged : list of Finding
        Entries that loading would quarantine.
    unreadable : list of Finding
        Entries that the operating system did not hand out.
    other_format : list of StoredFile
        Entries of other versions of phasic, which this one cannot judge.
    """

    intact: list[StoredFile] = field(default_factory=list)
    damaged: list[Finding] = field(default_factory=list)
    unreadable: list[Finding] = field(default_factory=list)
    other_format: list[StoredFile] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether every entry that was looked at is intact."""
        return not self.damaged and not self.unreadable


def verify_entries(files: Iterable[StoredFile], *, quarantine: bool = False) -> Verification:
    """Return what the entries among ``files`` are after reading and decoding each of them.

    Parameters
    ----------
    files : iterable of StoredFile
        Temporary and quarantined files are passed over.
    quarantine : bool
        Move damaged entries aside, so that they are recorded anew when they are next needed.

    Notes
    -----
    An entry that is deleted meanwhile, by a process that prunes, is passed over.
    """
    found = Verification()
    for file in files:
        if file.kind != ENTRY:
            continue
        if not file.is_current:
            found.other_format.append(file)
            continue
        try:
            decode_trace(file.digest, decode_entry(file.digest, read_entry(file.path)))
        except FileNotFoundError:
            continue
        except OSError as error:
            found.unreadable.append(Finding(file, str(error)))
        except CacheCorruptionError as error:
            finding = Finding(file, str(error))
            found.damaged.append(_aside(finding) if quarantine else finding)
        else:
            found.intact.append(file)
    return found


def _aside(finding: Finding) -> Finding:
    try:
        return replace(finding, moved_to=str(move_aside(finding.file.path)))
    except OSError as error:
        return replace(finding, reason=f"{finding.reason}; left in place ({error})")


__all__ = ["Finding", "Verification", "verify_entries"]

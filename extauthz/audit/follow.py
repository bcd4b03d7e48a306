"""The newest file of a writer, which may still be written to while it is verified.

The head is read first. Where the writer still runs, later heads are waited for until one signs everything that was
there when the end of the file was seen first; a file that follows in the meantime is read, too.
"""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from extauthz.audit.chain import HEAD_MAX, Signed
from extauthz.audit.fault import AuditError
from extauthz.audit.layout import HEAD, ChainFile, chain_files
from extauthz.audit.reading import LineReader
from extauthz.audit.scan import Problem, Report, Scanner

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from extauthz.audit.key import PublicKeys

_GLANCE: Final = 0.05
_GLANCES: Final = 100


@dataclass(slots=True)
class Followed:
    """`reports`: one a file. `head` None: `problem` says why."""

    reports: list[Report] = field(default_factory=list)
    head: Signed | None = None
    problem: str = ""
    running: bool = False
    overdue: bool = False
    """Somebody holds the writer's lock, and signs nothing: then it is not the writer."""


def read_head(path: Path, writer: str, keys: PublicKeys) -> tuple[Signed | None, str]:
    """The head, or what is wrong with it."""
    try:
        if path.exists() and not path.is_file():
            return None, "the head is no file"
        with path.open("rb") as file:
            signed = Signed.read(file.read(HEAD_MAX))
    except FileNotFoundError:
        return None, "the head is missing"
    except OSError as error:
        return None, f"the head cannot be read: {error.strerror}"
    except AuditError as error:
        return None, str(error)
    if signed.writer != writer:
        return None, "the head is another writer's"
    wrong = signed.wrong(keys)
    return (None, f"the head: {wrong}") if wrong else (signed, "")


def followed(file: ChainFile, head: Path, keys: PublicKeys, wanted: Iterable[int]) -> Followed:
    """Blocks. Raises nothing: what cannot be read is a finding."""
    found = Followed()
    found.head, found.problem = read_head(head, file.writer, keys)
    seqs = {*wanted, *((found.head.seq,) if found.head else ())}
    end = -1
    try:
        reading = _Reading(file, keys, seqs)
        try:
            reading.read()
            end = reading.report.seq
            found.running = _locked(head.with_name(head.name.removesuffix(HEAD) + ".lock"))
            for _ in range(_GLANCES if found.running else 0):
                if found.head is None or found.head.seq >= end:
                    break
                time.sleep(_GLANCE)
                later, _ = read_head(head, file.writer, keys)
                if later is not None and later.seq >= end:
                    found.head = later
                    reading.scanner.want(later.seq)
                    reading = _up_to(reading, found)
            found.overdue = found.running and found.head is not None and found.head.seq < end
        finally:
            reading.close()
    except AuditError as error:
        found.reports.append(Report(file.path.name, problems=[Problem(file.path.name, 0, 0, str(error))]))
        return found
    found.reports.append(reading.finish(whole=not found.running))
    return found


class _Reading:
    """One file, as far as it goes."""

    def __init__(self, file: ChainFile, keys: PublicKeys, seqs: Collection[int]) -> None:
        self.file = file
        self.keys = keys
        self.scanner = Scanner(file.path.name, file.writer, keys, seqs)
        self._reader = LineReader(file.path)

    @property
    def report(self) -> Report:
        return self.scanner.report

    def read(self) -> None:
        for lines in self._reader:
            self.scanner.feed(lines)

    def finish(self, *, whole: bool) -> Report:
        """A line that a running writer is writing is not one that was cut off."""
        return self.scanner.finish(self._reader.rest if whole else b"")

    def close(self) -> None:
        self._reader.close()


def _up_to(reading: _Reading, found: Followed) -> _Reading:
    """Reads on to the record that the head names, into the next files where there are some."""
    head = found.head
    reading.read()
    while head is not None and reading.report.seq < head.seq:
        file = reading.file
        later = [
            each
            for each in chain_files(file.path.parent.glob(f"{file.writer}-*"))
            if each.writer == file.writer and each.number > file.number
        ]
        if not later:
            break
        found.reports.append(reading.finish(whole=True))
        reading.close()
        reading = _Reading(later[0], reading.keys, {head.seq})
        reading.read()
    return reading


def _locked(path: Path) -> bool:
    """Whether a process holds the writer's slot."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False

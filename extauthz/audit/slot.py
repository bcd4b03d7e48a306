"""Which writer a process is, and where its chain goes on.

1. The first free slot of the role is claimed: `<role>-<n>`, held by a lock on `<writer>.lock` until the process ends.
   So two processes never continue one chain, also while an old one still writes its last records.
2. The head is believed when it is signed with our own key.
3. The newest file is read: it must be whole, and the head's record must be in it or be what it follows.
4. What stands after the head's record was written and not signed yet when the process was killed: it belongs to the
   chain, and the next record says how many records that were. So it does with a last line that was cut off. That is a
   batch at most; whoever has the files can compute a chain as well, so more than that is not signed.

A chain that is not as its head says is left alone, as evidence; another slot is claimed.
"""

from __future__ import annotations

import fcntl
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz.audit.chain import GENESIS, HEAD_MAX, Sealed, Signed
from extauthz.audit.fault import AuditError
from extauthz.audit.key import PublicKeys
from extauthz.audit.layout import ChainFile, chain_files, head_of
from extauthz.audit.reading import LineReader
from extauthz.audit.scan import Scanner

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.audit.key import AuditKey
    from extauthz.audit.scan import Report

log = logging.getLogger(__name__)

SLOTS: Final = 256
UNSIGNED: Final = 1024
"""Records after the head that are taken for those of a crash: some batches, as a restart may be killed as well."""
_MODE: Final = 0o640
_DIRECTORY_MODE: Final = 0o750


@dataclass(slots=True)
class Slot:
    """A writer that is ours. `lock` is the descriptor that holds it."""

    writer: str
    lock: int
    number: int = 0
    """Of the file to go on with; 0: there is none."""
    seq: int = 0
    tip: bytes = GENESIS
    size: int = 0
    """Bytes of the file."""
    cut: bool = False
    """The file does not end with a newline."""
    unsigned: int = 0
    """Records after the head."""
    torn: list[dict[str, Any]] = field(default_factory=list)
    began: bool = False
    """The file has a first record."""

    def release(self) -> None:
        os.close(self.lock)


def claimed(directory: Path, role: str, key: AuditKey) -> Slot:
    """Blocks: it reads up to one file. Raises AuditError."""
    try:
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        for number in range(SLOTS):
            writer = f"{role}-{number}"
            lock = _locked(directory / f"{writer}.lock")
            if lock is None:
                continue
            slot = Slot(writer, lock)
            try:
                _recover(directory, slot, key)
                _crashed(slot)
            except AuditError as error:
                slot.release()
                log.error("audit chain %s is left as it is: %s", writer, error)  # noqa: TRY400 - expected
            except BaseException:
                slot.release()
                raise
            else:
                return slot
    except OSError as error:
        raise AuditError(f"the audit directory {directory} cannot be used: {error.strerror}") from None
    raise AuditError(f"the audit directory {directory} has no free writer for {role}")


def _locked(path: Path) -> int | None:
    """1. None: somebody else has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _recover(directory: Path, slot: Slot, key: AuditKey) -> None:
    head = head_of(directory, slot.writer)
    files = [file for file in chain_files(directory.glob(f"{slot.writer}-*")) if file.writer == slot.writer]
    if not files and not head.exists():
        return
    signed = _head(head, slot.writer, key)
    if not files:
        if signed.seq:
            raise AuditError("its files are missing")
        return
    newest = files[-1]
    report, rest = _read(newest, signed.seq)
    slot.torn, slot.began = report.fragments, report.begun
    if not report.begun and len(files) > 1:  # it was being begun
        report, _ = _read(files[-2], signed.seq)
        if report.fragments:
            raise AuditError("a file ends with a line that no record names")
    if report.problems:
        raise AuditError(str(report.problems[0]))
    if {report.previous[0]: report.previous[1], **report.found}.get(signed.seq) != signed.chain:
        raise AuditError(f"record {signed.seq}, which its head names, is not there")
    slot.seq, slot.tip = report.seq, report.tip.encode()
    slot.unsigned = report.seq - signed.seq
    slot.number = newest.number
    if newest.packed:
        slot.number, slot.began = newest.number + 1, False
        return
    slot.size = newest.path.stat().st_size
    slot.cut = bool(rest)
    if rest and _whole(slot, rest):
        slot.torn = []


def _crashed(slot: Slot) -> None:
    """4."""
    if slot.unsigned > UNSIGNED:
        raise AuditError(f"{slot.unsigned} records after record {slot.seq - slot.unsigned} are not signed")


def _whole(slot: Slot, rest: bytes) -> bool:
    """A record of which only the newline is missing is one."""
    line = rest + b"\n"
    sealed = Sealed.of(line)
    if sealed is None or len(slot.torn) > 1 or (sealed.writer, sealed.seq) != (slot.writer, slot.seq + 1):
        return False
    if not sealed.follows(line, slot.tip):
        return False
    slot.seq, slot.tip, slot.began = sealed.seq, sealed.chain, True
    slot.unsigned += 1
    return True


def _head(path: Path, writer: str, key: AuditKey) -> Signed:
    """2."""
    try:
        with path.open("rb") as file:
            signed = Signed.read(file.read(HEAD_MAX))
    except FileNotFoundError:
        raise AuditError("its head is missing") from None
    if signed.writer != writer:
        raise AuditError("its head is another writer's")
    if signed.kid != key.kid:
        raise AuditError("its head is signed with another key")
    if wrong := signed.wrong(PublicKeys([key.jwk])):
        raise AuditError(f"its head: {wrong}")
    return signed


def _read(file: ChainFile, wanted: int) -> tuple[Report, bytes]:
    """3. What is in a file, and what stands after its last newline."""
    scanner = Scanner(file.path.name, file.writer, None, {wanted})
    reader = LineReader(file.path)
    try:
        for lines in reader:
            scanner.feed(lines)
    finally:
        reader.close()
    return scanner.finish(reader.rest), reader.rest

"""The files of an audit directory as lines: rotated and packed ones too, from any place, one block in memory at a time.

A file is known by its writer and number, so that it stays the same file when it is packed. Places are offsets in the
unpacked bytes. A packed file may have several gzip members (RFC 1952 section 2.2): reading then starts at the last one
before the place, which `Member` keeps.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from extauthz.audit.fault import AuditError
from extauthz.audit.layout import chain_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

LONGEST: Final = 1024 * 1024
"""Bytes of a line that is read as a record; a longer one keeps its place, and that is all that is known of it."""
_BLOCK: Final = 1024 * 1024
_GZIP: Final = 31
"""zlib's word for one gzip member with its header and check."""


@dataclass(frozen=True, slots=True)
class AuditFile:
    writer: str
    number: int
    path: Path
    packed: bool
    last: bool = False
    """Of its writer: the one that may still grow."""


class Gone(AuditError):
    """A file that was there a moment ago: it has been packed, or deleted."""


class Line(NamedTuple):
    offset: int
    length: int
    """Bytes, the newline included."""
    text: bytes | None
    """Without its newline. None: longer than `LONGEST`."""
    checksum: int
    """CRC-32 of all its bytes."""
    whole: bool = True
    """False: no newline yet; it may still be written to."""


class Member(NamedTuple):
    """Where a gzip member begins, in unpacked and in packed bytes."""

    unpacked: int
    packed: int


START: Final = Member(0, 0)


def audit_files(directory: Path) -> list[AuditFile]:
    """By writer and number. Raises AuditError."""
    try:
        found = chain_files(path for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise AuditError(f"{directory} cannot be read: {error.strerror}") from None
    newest = {one.writer: one.number for one in found}
    return [
        AuditFile(one.writer, one.number, one.path, one.packed, last=newest[one.writer] == one.number) for one in found
    ]


def blocks(
    file: AuditFile, start: Member = START, members: list[Member] | None = None, *, one: bool = False
) -> Iterator[bytes]:
    """The unpacked bytes from `start`, which is a member's start in a packed file. Raises AuditError.

    `members` is given the starts of the members that were met. `one`: of a packed file, this member alone.
    """
    try:
        with file.path.open("rb") as opened:
            if file.packed:
                yield from _unpacked(opened, start, members, one=one)
                return
            opened.seek(start.unpacked)
            while block := opened.read(_BLOCK):
                yield block
    except FileNotFoundError:
        raise Gone(f"{file.path} is gone") from None
    except (OSError, zlib.error) as error:
        raise AuditError(f"{file.path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _unpacked(opened: BinaryIO, start: Member, members: list[Member] | None, *, one: bool) -> Iterator[bytes]:
    """Raises OSError, zlib.error. A member that was cut off gives what it has."""
    opened.seek(start.packed)
    at, unpacked = start.packed, start.unpacked
    data = b""
    while data or (data := opened.read(_BLOCK)):
        if members is not None:
            members.append(Member(unpacked, at))
        machine = zlib.decompressobj(_GZIP)
        while True:
            block = machine.decompress(data, _BLOCK)
            unpacked += len(block)
            if block:
                yield block
            left = machine.unused_data or machine.unconsumed_tail
            at += len(data) - len(left)
            data = left
            if machine.eof:
                break
            if not data and not (data := opened.read(_BLOCK)):
                return
        if one:
            return


def lines(source: Iterator[bytes], offset: int) -> Iterator[Line]:
    """Each line, the first at `offset`; what follows the last newline comes last and is not `whole`."""
    rest = b""
    dropped = checksum = 0  # of the line at `offset`, when it is too long to be kept
    for block in source:
        data = rest + block if rest else block
        begin = 0
        while (end := data.find(b"\n", begin) + 1) > 0:
            length = dropped + end - begin
            text = None if length > LONGEST else data[begin : end - 1]
            yield Line(offset, length, text, zlib.crc32(memoryview(data)[begin:end], checksum))
            offset, begin, dropped, checksum = offset + length, end, 0, 0
        rest = data[begin:]
        if dropped or len(rest) > LONGEST:
            dropped, checksum, rest = dropped + len(rest), zlib.crc32(rest, checksum), b""
    if rest or dropped:
        yield Line(offset, dropped + len(rest), None if dropped else rest, zlib.crc32(rest, checksum), whole=False)


def skipped(source: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Without the first `count` bytes."""
    for block in source:
        if count < len(block):
            yield block[count:] if count else block
        count = max(0, count - len(block))

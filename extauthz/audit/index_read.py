"""A record's bytes from its place: plain files by offset, packed ones from the last gzip member before it."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from extauthz.audit.fault import AuditError
from extauthz.audit.index_files import LONGEST, AuditFile, Member, blocks, skipped
from extauthz.audit.index_members import member_before
from extauthz.audit.index_row import parsed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_OPEN: Final = 32
_MEMBERS: Final = 3
"""Gzip members whose bytes are kept in memory."""
_LARGEST: Final = 64 * 1024 * 1024
"""Bytes of a member that is kept; of a larger one the beginning."""


class Place(Protocol):
    @property
    def file(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def checksum(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Found:
    file: str
    """The name of the file that it is in."""
    line: bytes
    """As it stands there, without its newline; of a line that is too long for a record, the beginning."""
    record: dict[str, Any] | None
    """None: the line is no record."""
    intact: bool
    """Whether the line is what it was when it was indexed."""


class Reader:
    """Of one directory. Not thread-safe."""

    def __init__(self, connection: sqlite3.Connection, directory: Path) -> None:
        self._connection = connection
        self._directory = directory
        self._files: OrderedDict[str, BinaryIO] = OrderedDict()
        self._members: OrderedDict[tuple[str, Member], bytes] = OrderedDict()

    def close(self) -> None:
        """What was open or in memory; files may have been packed or taken away since."""
        for opened in self._files.values():
            opened.close()
        self._files.clear()
        self._members.clear()

    def read(self, place: Place) -> Found:
        """Raises AuditError, OSError, sqlite3.Error."""
        name = self._name(place.file)
        line, checksum, left = bytearray(), 0, place.length
        for piece in self._pieces(name, place):
            part = piece[:left]
            checksum = zlib.crc32(part, checksum)
            line += part[: LONGEST - len(line)]
            left -= len(part)
            if not left:
                break
        intact = not left and checksum == place.checksum
        whole = bytes(line.removesuffix(b"\n"))
        return Found(name, whole, parsed(whole) if place.length <= LONGEST else None, intact)

    def holds(self, place: Place, text: str) -> bool:
        """Whether the line has `text`, as JSON writes it. Raises AuditError, OSError, sqlite3.Error."""
        return _as_written(text) in self.read(place).line

    def _name(self, file: int) -> str:
        found = self._connection.execute("SELECT name FROM file WHERE id = ?", (file,)).fetchone()
        if found is None:
            raise AuditError("the records' file is gone; search again")
        return str(found[0])

    def _pieces(self, name: str, place: Place) -> Iterator[bytes]:
        """The bytes from the record's first on, at least as many as it has where the file has them."""
        packed = name.endswith(".gz")
        if not packed:
            opened = self._opened(name)
            opened.seek(place.offset)
            left = place.length
            while left and (piece := opened.read(min(left, LONGEST))):
                left -= len(piece)
                yield piece
            return
        start = member_before(self._connection, place.file, place.offset)
        file = AuditFile("", 0, self._directory / name, packed=True)
        known = self._member(file, start)
        begin = place.offset - start.unpacked
        if begin + place.length <= len(known):
            yield known[begin : begin + place.length]
        else:
            yield from skipped(blocks(file, start), begin)

    def _opened(self, name: str) -> BinaryIO:
        opened = self._files.get(name)
        if opened is None:
            if len(self._files) >= _OPEN:
                self._files.popitem(last=False)[1].close()
            opened = self._files[name] = (self._directory / name).open("rb")
        return opened

    def _member(self, file: AuditFile, start: Member) -> bytes:
        key = (file.path.name, start)
        known = self._members.get(key)
        if known is None:
            if len(self._members) >= _MEMBERS:
                self._members.popitem(last=False)
            known = self._members[key] = b"".join(self._until_next(file, start))
        return known

    def _until_next(self, file: AuditFile, start: Member) -> Iterator[bytes]:
        members: list[Member] = []
        size = 0
        for block in blocks(file, start, members):
            if len(members) > 1 or size > _LARGEST:  # the block is the next member's
                return
            size += len(block)
            yield block


@lru_cache(maxsize=4)
def _as_written(text: str) -> bytes:
    try:
        return orjson.dumps(text)[1:-1]
    except TypeError:  # half a surrogate pair: no record holds one
        return b"\0"

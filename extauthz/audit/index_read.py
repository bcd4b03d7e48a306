"""A record's bytes from its place: plain files by offset, packed ones from the last gzip member before it.

Neighbours are asked for together mostly, so what was read around a place stays in memory for a while.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from extauthz.audit.fault import AuditError
from extauthz.audit.index_files import LONGEST, AuditFile, Member, blocks, skipped
from extauthz.audit.index_members import member_before
from extauthz.audit.index_row import parsed
from extauthz.audit.layout import PACKED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

_AROUND: Final = 1024 * 1024
"""Bytes of a plain file that are read at once, up to the record's end: newest records come first."""
_LARGEST: Final = 64 * 1024 * 1024
"""Bytes of a gzip member that are kept; of a larger one the beginning."""
_CHUNKS: Final = 32
_MEMORY: Final = 192 * 1024 * 1024


class _Chunk(NamedTuple):
    begin: int
    data: bytes

    def part(self, offset: int, length: int) -> bytes | None:
        """None: it does not have all of it."""
        at = offset - self.begin
        return self.data[at : at + length] if 0 <= at <= len(self.data) - length else None


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
    """Of one directory. Not thread-safe. Everything raises AuditError, OSError and sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection, directory: Path) -> None:
        self._connection = connection
        self._directory = directory
        self._chunks: OrderedDict[int, _Chunk] = OrderedDict()
        self._names: dict[int, str] = {}

    def forget(self) -> None:
        """Files may have been packed, taken away or changed."""
        self._chunks.clear()
        self._names.clear()

    def read(self, file: int, offset: int, length: int, checksum: int) -> Found:
        found, line, left = 0, b"", length
        for piece in self._pieces(file, offset, length):
            part = piece[:left]
            found = zlib.crc32(part, found)
            line += part[: LONGEST - len(line)]
            left -= len(part)
            if not left:
                break
        whole = line.removesuffix(b"\n")
        record = parsed(whole) if length <= LONGEST else None
        return Found(self._name(file), whole, record, not left and found == checksum)

    def holds(self, file: int, offset: int, length: int, needle: bytes) -> bool:
        """Whether the line has these bytes; of a line that is too long for a record, its beginning."""
        chunk = self._chunks.get(file)
        if chunk is not None:  # a search through everything comes here for every record
            at = offset - chunk.begin
            if 0 <= at <= len(chunk.data) - length:
                return chunk.data.find(needle, at, at + length) >= 0
        return needle in next(self._pieces(file, offset, length), b"")

    def _pieces(self, file: int, offset: int, length: int) -> Iterator[bytes]:
        """The bytes from `offset` on, `length` of them or more where there are as many."""
        if length <= LONGEST:
            chunk = self._chunks.get(file)
            part = chunk.part(offset, length) if chunk else None
            if part is None:
                part = self._chunk(file, offset, length).part(offset, length)
            if part is not None:
                yield part
                return
        there = self._file(file)
        start = member_before(self._connection, file, offset) if there.packed else Member(offset, 0)
        yield from skipped(blocks(there, start), offset - start.unpacked)

    def _chunk(self, file: int, offset: int, length: int) -> _Chunk:
        there = self._file(file)
        if there.packed:
            start = member_before(self._connection, file, offset)
            chunk = _Chunk(start.unpacked, b"".join(_member(there, start)))
        else:
            begin = max(0, offset + length - _AROUND)
            with there.path.open("rb") as opened:
                opened.seek(begin)
                chunk = _Chunk(begin, opened.read(offset + length - begin))
        self._chunks[file] = chunk
        self._chunks.move_to_end(file)
        while len(self._chunks) > _CHUNKS or sum(len(one.data) for one in self._chunks.values()) > _MEMORY:
            self._chunks.popitem(last=False)
        return chunk

    def _file(self, file: int) -> AuditFile:
        path = self._directory / self._name(file)
        if not path.name.endswith(PACKED) and not path.exists():  # packed since the last look
            path = path.with_name(path.name + PACKED)
        return AuditFile("", 0, path, path.name.endswith(PACKED))

    def _name(self, file: int) -> str:
        name = self._names.get(file)
        if name is None:
            found = self._connection.execute("SELECT name FROM file WHERE id = ?", (file,)).fetchone()
            if found is None:
                raise AuditError("the records' file is gone; search again")
            name = self._names[file] = str(found[0])
        return name


def _member(file: AuditFile, start: Member) -> Iterator[bytes]:
    size = 0
    for block in blocks(file, start, one=True):
        size += len(block)
        yield block
        if size > _LARGEST:
            return


@lru_cache(maxsize=4)
def as_written(text: str) -> bytes:
    """As it stands inside a JSON string."""
    try:
        return orjson.dumps(text)[1:-1]
    except TypeError:  # half a surrogate pair: no record holds one
        return b"\0"

"""The index of one audit directory: which record is where, by whom, when, about what. It is never the evidence.

What it finds is a place; a record is always read from its file, and compared with the checksum that it had when it was
indexed. Several directories are searched one after the other (`search`).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from extauthz.audit.fault import AuditError
from extauthz.audit.index_read import Reader, as_written
from extauthz.audit.index_refresh import Refresh
from extauthz.audit.index_row import hexadecimal, uuid
from extauthz.audit.index_schema import NAME, OFFSET_BITS, connect
from extauthz.audit.index_words import Words
from extauthz.audit.query import statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from extauthz.audit.index_read import Found
    from extauthz.audit.index_refresh import Progress, Refreshed
    from extauthz.audit.query import Query

_AT_ONCE: Final = 256
_OFFSETS: Final = (1 << OFFSET_BITS) - 1
_FIRST_WORD: Final = 9
"""Where the numbers of words begin in a row."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A row. Empty texts: the record does not say."""

    at: int
    """Its place in this index."""
    length: int
    checksum: int
    time: int
    """Milliseconds since the epoch."""
    writer: str
    """Whose file it is in."""
    seq: int | None
    decision_id: str
    trace_id: str
    event: str
    subject: str
    workload: str
    tenant: str
    route: str
    layer: str
    code: str


class AuditIndex:
    """Not thread-safe; several processes may use one index at once."""

    def __init__(self, directory: Path, path: Path | None = None) -> None:
        """Raises AuditError. `path`: the index's own file, where it is not `index.db` in the directory."""
        if not directory.is_dir():
            raise AuditError(f"{directory} is no directory")
        self.directory = directory
        self._path = path or directory / NAME
        self._connection = connect(self._path)
        self._words = Words(self._connection)
        self._reader = Reader(self._connection, directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._reader.forget()
        self._connection.close()

    def refresh(self, progress: Progress = lambda _file, _records: None) -> Refreshed:
        """Reads what is new. Raises AuditError. `progress` is told the file that is read, and how many records were."""
        self._reader.forget()
        with self._faults(), self._alone():
            return Refresh(self._connection, self._words, progress).run(self.directory)

    def find(self, query: Query) -> Iterator[Hit]:
        """In the query's order, without an end: `text` is looked for, `limit` is the caller's. Raises AuditError."""
        needle = as_written(query.text)
        with self._faults():
            asked = statement(query, self._words.matching)
            cursor = self._connection.execute(asked.text, asked.values)
            while rows := cursor.fetchmany(_AT_ONCE):
                yield from self._hits([row for row in rows if self._holds(row, needle)] if needle else rows)

    def _holds(self, row: tuple[Any, ...], needle: bytes) -> bool:
        return self._reader.holds(row[0] >> OFFSET_BITS, row[0] & _OFFSETS, row[1], needle)

    def _hits(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[Hit]:
        writers = dict(self._connection.execute("SELECT id, writer FROM file"))
        texts = self._words.texts(number for row in rows for number in row[_FIRST_WORD:])
        for row in rows:
            at, length, checksum, time, seq, decision, trace = row[:7]
            words = (texts[number] for number in row[_FIRST_WORD:])
            writer = writers.get(at >> OFFSET_BITS, "")
            yield Hit(at, length, checksum, time, writer, seq, uuid(decision), hexadecimal(trace), *words)

    def read(self, hit: Hit) -> Found:
        """The record from its file. Raises AuditError."""
        with self._faults():
            return self._reader.read(hit.at >> OFFSET_BITS, hit.at & _OFFSETS, hit.length, hit.checksum)

    def plan(self, query: Query) -> str:
        """How SQLite goes about it; for benches and tests."""
        asked = statement(query, self._words.matching)
        rows = self._connection.execute(f"EXPLAIN QUERY PLAN {asked.text}", asked.values)
        return "; ".join(str(row[3]) for row in rows)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process reads at a time, the next one finds it done; a process that dies holds nothing."""
        handle = os.open(self._path.with_name(self._path.name + "-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise AuditError(f"the index {self._path}: {error}; it may be deleted, and is made again then") from None
        except OSError as error:
            raise AuditError(f"{error.filename or self.directory}: {error.strerror}") from None

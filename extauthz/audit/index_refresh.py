"""Reads what is new in an audit directory into its index.

1. A file that is as it was is not opened. One that has grown is read on from where its last whole line ended; a line
   that is still being written is left for the next time.
2. A file that was packed, or written to without growing, is compared with what was read of it before, line by line.
3. A file that shrank, or says something else than before, is read again from its start, and that is told.
4. A file that is gone (`rotate.keep`) takes its rows with it, and that is told.

Nothing in a line can stop this: what is no record is a row without words. What was changed in the middle of a file
that grew as well is not noticed here: `extauthz audit verify` reads every byte, this does not.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz.audit.fault import AuditError
from extauthz.audit.index_files import START, Gone, Member, audit_files, blocks, lines, skipped
from extauthz.audit.index_members import keep, member_before
from extauthz.audit.index_row import MALFORMED, row
from extauthz.audit.index_schema import OFFSET_BITS, indexes, without_indexes

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from extauthz.audit.index_files import AuditFile, Line
    from extauthz.audit.index_words import Words

    Progress = Callable[[AuditFile, int], None]

_ATTEMPTS: Final = 4
_BATCH: Final = 10_000
"""Records of one transaction."""
_MANY: Final = 32 * 1024 * 1024
"""Bytes of new records beyond which the indexes are made anew, where fewer were indexed before."""
_INSERT: Final = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SAVE: Final = """INSERT OR REPLACE INTO file (id, writer, number, name, size, modified, done, time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


@dataclass(slots=True)
class Refreshed:
    records: int = 0
    malformed: int = 0
    """Lines among them that are no records."""
    notes: list[str] = field(default_factory=list)
    """What an operator should know: files that changed, shrank, are gone or cannot be read."""
    added: list[range] = field(default_factory=list)
    """`at` of what is new."""


@dataclass(slots=True)
class _File:
    """What is known of a file. `size` and `modified` are the packed file's; `done` counts unpacked bytes."""

    id: int
    name: str = ""
    size: int = -1
    modified: int = 0
    done: int = 0
    time: int = 0

    @property
    def rows(self) -> tuple[int, int]:
        return self.id << OFFSET_BITS, (self.id + 1) << OFFSET_BITS


class Refresh:
    def __init__(self, connection: sqlite3.Connection, words: Words, progress: Progress) -> None:
        self._connection = connection
        self._words = words
        self._progress = progress
        self._done = Refreshed()

    def run(self, directory: Path) -> Refreshed:
        """Raises AuditError, OSError, sqlite3.Error."""
        for attempt in range(_ATTEMPTS):
            try:
                self._all(directory)
                break
            except (Gone, FileNotFoundError):  # packed, or deleted, since the directory was listed
                if attempt == _ATTEMPTS - 1:
                    raise
        if self._done.records > _BATCH:
            self._connection.execute("PRAGMA analysis_limit = 4000")
            self._connection.execute("ANALYZE record")
        return self._done

    def _all(self, directory: Path) -> None:
        files = audit_files(directory)
        self._forget_others(files)
        new = sum(max(0, one.path.stat().st_size - self._known(one).size) for one in files)
        if new > _MANY and new > self._indexed():
            without_indexes(self._connection)
        try:
            for file in files:
                self._file(file)
        finally:
            for statement in indexes():
                self._connection.execute(statement)

    def _indexed(self) -> int:
        """Bytes, packed ones as they are."""
        found: int | None = self._connection.execute("SELECT sum(size) FROM file").fetchone()[0]
        return found or 0

    def _forget_others(self, files: list[AuditFile]) -> None:
        there = {(one.writer, one.number) for one in files}
        for file, writer, number in self._connection.execute("SELECT id, writer, number FROM file").fetchall():
            if (writer, number) not in there:  # 4
                self._done.notes.append(f"{writer}-{number} is gone, its records are no longer found")
                with self._transaction():
                    self._forget(_File(file))
                    self._connection.execute("DELETE FROM file WHERE id = ?", (file,))

    def _file(self, file: AuditFile) -> None:
        before = file.path.stat()  # what is written from here on is read the next time at the latest
        now = (file.path.name, before.st_size, before.st_mtime_ns)
        known = self._known(file)
        if (known.name, known.size, known.modified) == now:  # 1
            return
        try:
            with self._transaction():
                known = self._known(file)  # another process may have read it meanwhile
                start = self._checked(file, known, before.st_size)
                self._save(file, known)
            self._read(file, known, start)
        except Gone:
            raise
        except AuditError as error:  # the other files are as good as they were
            self._done.notes.append(str(error))
            return
        known.name, known.size, known.modified = now
        with self._transaction():
            self._save(file, known)

    def _known(self, file: AuditFile) -> _File:
        """A file that is not known has an id of its own already."""
        ask = "SELECT id, name, size, modified, done, time FROM file WHERE writer = ? AND number = ?"
        found = self._connection.execute(ask, (file.writer, file.number)).fetchone()
        if found is None:
            found = self._connection.execute("SELECT coalesce(max(id), 0) + 1 FROM file").fetchone()
        return _File(*found)

    def _checked(self, file: AuditFile, known: _File, size: int) -> Member:
        """From where the file is to be read on."""
        members: list[Member] = []
        if known.done:
            grown = not file.packed and size > known.size and known.name == file.path.name
            if not (self._ends_alike(file, known) if grown else self._alike(file, known, members)):  # 3
                self._done.notes.append(f"{file.path.name} shrank or was changed, all of it is read again")
                self._forget(known)
                known.done = known.time = 0
                return START
        if not file.packed:
            return Member(known.done, 0)
        self._members(known, members)
        return member_before(self._connection, known.id, known.done)

    def _ends_alike(self, file: AuditFile, known: _File) -> bool:
        """Whether the last line that was read is still there; it commits to all before it (its chain value)."""
        ask = "SELECT at, length, checksum FROM record WHERE at >= ? AND at < ? ORDER BY at DESC LIMIT 1"
        last = self._connection.execute(ask, known.rows).fetchone()
        if last is None:
            return False
        line = next(lines(blocks(file, Member(last[0] - known.rows[0], 0)), 0), None)
        return line is not None and (line.length, line.checksum) == last[1:]

    def _alike(self, file: AuditFile, known: _File, members: list[Member]) -> bool:
        """2: every line."""
        ask = "SELECT length, checksum FROM record WHERE at >= ? AND at < ? ORDER BY at"
        rows = self._connection.execute(ask, known.rows)
        for line in lines(blocks(file, START, members), 0):
            if line.offset >= known.done:
                return True
            if rows.fetchone() != (line.length, line.checksum):
                return False
        return rows.fetchone() is None

    def _read(self, file: AuditFile, known: _File, start: Member) -> None:
        members: list[Member] = []
        first = known.done
        batch: list[Line] = []
        for line in lines(skipped(blocks(file, start, members), known.done - start.unpacked), known.done):
            if not line.whole and file.last and not file.packed:  # 1
                break
            batch.append(line)
            if len(batch) >= _BATCH:
                self._keep(file, known, batch, members)
        self._keep(file, known, batch, members)
        if known.done > first:
            self._done.added.append(range(known.rows[0] + first, known.rows[0] + known.done))

    def _keep(self, file: AuditFile, known: _File, batch: list[Line], members: list[Member]) -> None:
        with self._transaction():
            self._connection.executemany(_INSERT, (self._row(known, line) for line in batch))
            if batch:
                known.done = batch[-1].offset + batch[-1].length
            self._members(known, members)
            self._save(file, known)
        self._done.records += len(batch)
        batch.clear()
        self._progress(file, self._done.records)

    def _row(self, known: _File, line: Line) -> tuple[Any, ...]:
        found = row(line.text, known.time)
        known.time = found.time
        if found.event == MALFORMED:
            self._done.malformed += 1
        number = self._words.number
        words = (None if text is None else number(text) for text in found[6:])
        return (known.rows[0] + line.offset, line.length, line.checksum, *found[:6], *words)

    def _members(self, known: _File, members: list[Member]) -> None:
        keep(self._connection, known.id, members)
        members.clear()

    def _forget(self, known: _File) -> None:
        self._connection.execute("DELETE FROM record WHERE at >= ? AND at < ?", known.rows)
        self._connection.execute("DELETE FROM member WHERE file = ?", (known.id,))

    def _save(self, file: AuditFile, known: _File) -> None:
        state = (known.name, known.size, known.modified, known.done, known.time)
        self._connection.execute(_SAVE, (known.id, file.writer, file.number, *state))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            self._words.forget()
            raise
        self._connection.execute("COMMIT")

"""The index's tables, and how its file is opened. What is in it can always be made again from the records.

One row a record, under `at`: the file's number in its upper bits, the offset in the lower 40. Words that repeat
(subjects, workloads, routes, codes …) are numbers of `word`. Each column that is searched by has an index with the
time behind it, so that the newest of a thousand matches are found without looking at the others.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Final

from extauthz.audit.fault import AuditError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION: Final = 1
NAME: Final = "index.db"
"""In the audit directory: what has this name is an index, and may be begun anew whatever is in it."""
OFFSET_BITS: Final = 40
WORDS: Final = ("event", "subject", "workload", "tenant", "route", "layer", "code")
"""Columns that hold numbers of `word`."""
KEYS: Final = ("decision", "trace", "token", "made")
_TABLES: Final = """
CREATE TABLE file (
    id INTEGER PRIMARY KEY, writer TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, modified INTEGER NOT NULL, done INTEGER NOT NULL, time INTEGER NOT NULL,
    UNIQUE (writer, number)
) STRICT;
CREATE TABLE member (
    file INTEGER NOT NULL, unpacked INTEGER NOT NULL, packed INTEGER NOT NULL, PRIMARY KEY (file, unpacked)
) STRICT, WITHOUT ROWID;
CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE record (
    at INTEGER PRIMARY KEY, length INTEGER NOT NULL, checksum INTEGER NOT NULL, time INTEGER NOT NULL, seq INTEGER,
    decision ANY, trace ANY, token ANY, made ANY, event INTEGER NOT NULL, subject INTEGER, workload INTEGER,
    tenant INTEGER, route INTEGER, layer INTEGER, code INTEGER
) STRICT;
"""
_OURS: Final = frozenset({"file", "member", "word", "record"})
_MAGIC: Final = b"SQLite format 3\0"
_OTHERS_MAY_READ: Final = 0o077
_PATIENCE: Final = 60.0
"""Seconds that one process waits for another that reads new records."""


def connect(path: Path) -> sqlite3.Connection:
    """An index with its tables; a damaged one, or one of another version, is begun anew. Raises AuditError.

    Whoever names a file that is something else, or puts a link in our way, must not have it emptied.
    """
    try:
        try:
            return _opened(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, read-only, full: not the file's fault
                raise
            if path.name != NAME and not _database(path):
                raise AuditError(f"{path} is no index; name another file with --index") from None
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            return _opened(path)
    except sqlite3.Error as error:
        raise AuditError(f"the index {path} cannot be used ({error}); name another one with --index") from None
    except OSError as error:
        raise AuditError(f"the index {path}: {error.strerror}; name another one with --index") from None


def _database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _opened(path: Path) -> sqlite3.Connection:
    """Raises OSError, sqlite3.Error, AuditError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        mode = os.fstat(handle).st_mode
    finally:
        os.close(handle)
    if mode & _OTHERS_MAY_READ:
        raise AuditError(f"others may read or write the index {path}: chmod 600 it")
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # What a power cut spoils is found damaged and made again; the records themselves are not here.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -131072")
        connection.execute("PRAGMA mmap_size = 1073741824")
        connection.execute("PRAGMA temp_store = MEMORY")
        _prepared(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepared(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:  # nobody else did it meanwhile
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not names <= _OURS | {name for name in names if name.startswith("sqlite_")}:
            raise AuditError("the database is no index: name another file with --index")
        for name in names & _OURS:
            connection.execute(f'DROP TABLE "{name}"')
        for statement in (*_TABLES.split(";\n"), *indexes()):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def indexes() -> Iterator[str]:
    """The statements that make those that are missing."""
    yield "CREATE INDEX IF NOT EXISTS record_time ON record (time)"
    for name in WORDS:
        yield f"CREATE INDEX IF NOT EXISTS record_{name} ON record ({name}, time) WHERE {name} IS NOT NULL"
    for name in KEYS:
        yield f"CREATE INDEX IF NOT EXISTS record_{name} ON record ({name}) WHERE {name} IS NOT NULL"


def without_indexes(connection: sqlite3.Connection) -> None:
    """Before very many records: sorting them afterwards is faster than putting each into its place."""
    for name in ("time", *WORDS, *KEYS):
        connection.execute(f"DROP INDEX IF EXISTS record_{name}")

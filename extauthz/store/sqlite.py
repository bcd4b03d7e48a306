"""A store in one SQLite file, shared by the processes of one machine.

One thread owns the connection, so the event loop never waits for a disk. Every step that reads and writes is one
`BEGIN IMMEDIATE` transaction: SQLite lets one process at a time through. A commit is on the disk when it is answered
(`synchronous = FULL`): a revocation that was accepted survives a power cut.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from extauthz.store.bell import Bell
from extauthz.store.limits import check_key, check_name, check_value
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from extauthz.clock import Clock
    from extauthz.store.settings import SqliteStoreSettings

    Step = Callable[[sqlite3.Connection], "Result"]

Result = TypeVar("Result")
_VERSION: Final = 1
_POLL: Final = 0.1
"""Seconds between two looks for entries that another process has appended, while somebody waits."""
_SWEEP: Final = 500
_OPENINGS: Final = 10
"""Attempts to open a file that others are opening, within half of the timeout."""
_OTHERS_MAY_READ: Final = 0o077
_SCHEMA: Final = """
CREATE TABLE item (
    tab TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, expires REAL, PRIMARY KEY (tab, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX item_expires ON item (expires) WHERE expires IS NOT NULL;
CREATE TABLE log (name TEXT NOT NULL PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entry (
    log TEXT NOT NULL, sequence INTEGER NOT NULL, value BLOB NOT NULL, expires REAL, PRIMARY KEY (log, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_expires ON entry (expires) WHERE expires IS NOT NULL;
"""
_GET: Final = "SELECT value FROM item WHERE tab = ? AND key = ? AND (expires IS NULL OR expires > ?)"
_PUT: Final = "INSERT OR REPLACE INTO item (tab, key, value, expires) VALUES (?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM item WHERE tab = ? AND key = ?"
_SCAN: Final = """SELECT key, value FROM item
WHERE tab = ? AND key >= ? AND (expires IS NULL OR expires > ?) ORDER BY key LIMIT ?"""
_NEXT: Final = """INSERT INTO log (name, last) VALUES (?, 1)
ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last"""
_APPEND: Final = "INSERT INTO entry (log, sequence, value, expires) VALUES (?, ?, ?, ?)"
_READ: Final = """SELECT sequence, value FROM entry
WHERE log = ? AND sequence > ? AND (expires IS NULL OR expires > ?) ORDER BY sequence LIMIT ?"""
_LAST: Final = "SELECT last FROM log WHERE name = ?"
_SWEEPS: Final = (
    "DELETE FROM item WHERE (tab, key) IN (SELECT tab, key FROM item WHERE expires <= ? LIMIT ?)",
    "DELETE FROM entry WHERE (log, sequence) IN (SELECT log, sequence FROM entry WHERE expires <= ? LIMIT ?)",
)


class SqliteStore:
    """Implements `Store`. The file is opened by the first operation, and again after any fault."""

    def __init__(self, settings: SqliteStoreSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None
        self._bell = Bell(self.last, _POLL)
        self._closed = False

    async def get(self, table: str, key: str) -> bytes | None:
        check_key(table, key)
        now = self._clock.now()
        return await self._run(lambda connection: _value(connection, table, key, now))

    async def put(self, table: str, key: str, value: bytes, *, expires: float | None = None) -> None:
        check_key(table, key)
        check_value(table, value, expires)

        def step(connection: sqlite3.Connection) -> None:
            connection.execute(_PUT, (table, key, value, expires))

        await self._change(step)

    async def add(self, table: str, key: str, value: bytes, *, expires: float | None = None) -> bool:
        return await self.swap(table, key, None, value, expires=expires)

    async def take(self, table: str, key: str) -> bytes | None:
        check_key(table, key)
        now = self._clock.now()

        def step(connection: sqlite3.Connection) -> bytes | None:
            value = _value(connection, table, key, now)
            connection.execute(_DELETE, (table, key))
            return value

        return await self._change(step)

    async def swap(self, table: str, key: str, old: bytes | None, new: bytes, *, expires: float | None = None) -> bool:
        check_key(table, key)
        check_value(table, new, expires)
        now = self._clock.now()

        def step(connection: sqlite3.Connection) -> bool:
            if _value(connection, table, key, now) != old:
                return False
            connection.execute(_PUT, (table, key, new, expires))
            return True

        return await self._change(step)

    async def delete(self, table: str, key: str) -> bool:
        return await self.take(table, key) is not None

    async def scan(self, table: str, prefix: str = "", limit: int = 10_000) -> list[tuple[str, bytes]]:
        check_key(table, prefix)
        now = self._clock.now()

        def step(connection: sqlite3.Connection) -> list[tuple[str, bytes]]:
            found = []
            for key, value in connection.execute(_SCAN, (table, prefix, now, limit)):
                if not key.startswith(prefix):
                    break
                found.append((key, value))
            return found

        return await self._run(step)

    async def append(self, log: str, entry: bytes, *, expires: float | None = None) -> int:
        check_name(log)
        check_value(log, entry, expires)

        def step(connection: sqlite3.Connection) -> int:
            sequence: int = connection.execute(_NEXT, (log,)).fetchone()[0]
            connection.execute(_APPEND, (log, sequence, entry, expires))
            return sequence

        sequence = await self._change(step)
        self._bell.ring(log)
        return sequence

    async def read(self, log: str, after: int = 0, limit: int = 10_000) -> Sequence[tuple[int, bytes]]:
        check_name(log)
        bound = (log, after, self._clock.now(), limit)
        return await self._run(lambda connection: connection.execute(_READ, bound).fetchall())

    async def last(self, log: str) -> int:
        check_name(log)
        row = await self._run(lambda connection: connection.execute(_LAST, (log,)).fetchone())
        return 0 if row is None else row[0]

    async def wait(self, log: str, after: int, timeout: float) -> bool:
        async def holds() -> bool:
            return bool(await self.read(log, after, 1))

        return await self._bell.wait(log, holds, timeout)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._bell.close()
        self._thread.submit(self._disconnect)
        await asyncio.to_thread(self._thread.shutdown)

    async def _change(self, step: Step[Result]) -> Result:
        """`step` in one transaction, after a little sweeping."""
        now = self._clock.now()

        def transaction(connection: sqlite3.Connection) -> Result:
            connection.execute("BEGIN IMMEDIATE")
            for sweep in _SWEEPS:
                connection.execute(sweep, (now, _SWEEP))
            result = step(connection)
            connection.execute("COMMIT")
            return result

        return await self._run(transaction)

    async def _run(self, step: Step[Result]) -> Result:
        """In the store's thread. A step that no longer fits the time is not begun; its outcome is never guessed."""
        if self._closed:
            raise StoreError("the store is closed")
        work = self._thread.submit(self._attempt, step)
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise StoreError("sqlite: no answer in time") from None

    def _attempt(self, step: Step[Result]) -> Result:
        try:
            if self._connection is None:
                self._connection = self._connect()
            return step(self._connection)
        except sqlite3.Error as error:
            self._disconnect()  # rolls back; whatever is wrong is found again, or is over, with a fresh one
            raise StoreError(f"sqlite: {error}") from None
        except OSError as error:
            raise StoreError(f"sqlite: {self._settings.path}: {error.strerror}") from None

    def _connect(self) -> sqlite3.Connection:
        path = self._settings.path
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            mode = os.fstat(handle).st_mode
        finally:
            os.close(handle)
        if mode & _OTHERS_MAY_READ:
            raise StoreError(f"sqlite: others may read or write {path}: chmod 600 it")
        connection = sqlite3.connect(
            path, timeout=self._settings.timeout / 2, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepared(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepared(self, connection: sqlite3.Connection) -> None:
        """Two that make a new file at once: SQLite does not wait when it changes the journal's mode, so we do."""
        for _ in range(_OPENINGS - 1):
            try:
                return _prepare(connection, self._settings.max_size)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                    raise
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                time.sleep(self._settings.timeout / 2 / _OPENINGS)  # in the store's own thread
        return _prepare(connection, self._settings.max_size)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _value(connection: sqlite3.Connection, table: str, key: str, now: float) -> bytes | None:
    row = connection.execute(_GET, (table, key, now)).fetchone()
    return None if row is None else row[0]


def _prepare(connection: sqlite3.Connection, max_size: int) -> None:
    """Raises sqlite3.Error or StoreError."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")
    page_size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {max_size // page_size}")
    if connection.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been quicker
    if version not in {0, _VERSION}:
        raise StoreError(f"sqlite: the file is of another version of extauthz ({version})")
    if version == 0:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")

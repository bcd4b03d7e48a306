"""A store in one SQLite file, shared by the processes of one machine.

Every step that reads and writes is one `BEGIN IMMEDIATE` transaction: SQLite lets one process at a time through. A
commit is on the disk when it is answered (`synchronous = FULL`): a revocation that was accepted survives a power cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from extauthz.store.bell import Bell
from extauthz.store.limits import check_key, check_name, check_value
from extauthz.store.sqlite_file import Layout, SqliteFile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from extauthz.clock import Clock
    from extauthz.store.settings import SqliteStoreSettings
    from extauthz.store.sqlite_file import Step

Result = TypeVar("Result")
_POLL: Final = 0.1
"""Seconds between two looks for entries that another process has appended, while somebody waits."""
_SWEEP: Final = 500
_LAYOUT: Final = Layout(
    1,
    """
CREATE TABLE item (
    tab TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, expires REAL, PRIMARY KEY (tab, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX item_expires ON item (expires) WHERE expires IS NOT NULL;
CREATE TABLE log (name TEXT NOT NULL PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entry (
    log TEXT NOT NULL, sequence INTEGER NOT NULL, value BLOB NOT NULL, expires REAL, PRIMARY KEY (log, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_expires ON entry (expires) WHERE expires IS NOT NULL;
""",
)
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
        self._clock = clock
        self._file = SqliteFile(settings, _LAYOUT)
        self._bell = Bell(self.last, _POLL)

    async def get(self, table: str, key: str) -> bytes | None:
        check_key(table, key)
        now = self._clock.now()
        return await self._file.run(lambda connection: _value(connection, table, key, now))

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

        return await self._file.run(step)

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
        return await self._file.run(lambda connection: connection.execute(_READ, bound).fetchall())

    async def last(self, log: str) -> int:
        check_name(log)
        row = await self._file.run(lambda connection: connection.execute(_LAST, (log,)).fetchone())
        return 0 if row is None else row[0]

    async def wait(self, log: str, after: int, timeout: float) -> bool:
        async def holds() -> bool:
            return bool(await self.read(log, after, 1))

        return await self._bell.wait(log, holds, timeout)

    async def close(self) -> None:
        await self._bell.close()
        await self._file.close()

    async def _change(self, step: Step[Result]) -> Result:
        """`step` in one transaction, after a little sweeping."""
        now = self._clock.now()

        def swept(connection: sqlite3.Connection) -> Result:
            for sweep in _SWEEPS:
                connection.execute(sweep, (now, _SWEEP))
            return step(connection)

        return await self._file.change(swept)


def _value(connection: sqlite3.Connection, table: str, key: str, now: float) -> bytes | None:
    row = connection.execute(_GET, (table, key, now)).fetchone()
    return None if row is None else row[0]

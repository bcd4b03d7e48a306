"""One SQLite file, and the one thread that owns its connection, so the event loop never waits for a disk.

The file is opened by the first step, and again after any fault. It is ours alone: made with mode 0600, refused when
others may read it, and refused when it was made for something else (`Layout.version`).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.store.settings import SqliteStoreSettings

    Step = Callable[[sqlite3.Connection], "Result"]

Result = TypeVar("Result")
_OPENINGS: Final = 10
"""Attempts to open a file that others are opening, within half of the timeout."""
_OTHERS_MAY_READ: Final = 0o077


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables of a file. `version` is its `user_version`, distinct for every kind of file of ours.

    `synchronous` `FULL`: a commit is on the disk when it is answered, so it survives a power cut. `NORMAL`: it is with
    the operating system, so it survives the end of this process.
    """

    version: int
    schema: str
    synchronous: Literal["FULL", "NORMAL"] = "FULL"


class SqliteFile:
    """Steps run one after the other in the file's thread; each takes at most `settings.timeout`."""

    def __init__(self, settings: SqliteStoreSettings, layout: Layout) -> None:
        self._settings = settings
        self._layout = layout
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def run(self, step: Step[Result]) -> Result:
        """A step that no longer fits the time is not begun; its outcome is never guessed. Raises StoreError."""
        if self._closed:
            raise StoreError("the store is closed")
        work = self._thread.submit(self._attempt, step)
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise StoreError("sqlite: no answer in time") from None

    async def change(self, step: Step[Result]) -> Result:
        """`step` in one transaction, which SQLite lets one process at a time have. Raises StoreError."""

        def transaction(connection: sqlite3.Connection) -> Result:
            connection.execute("BEGIN IMMEDIATE")
            result = step(connection)
            connection.execute("COMMIT")
            return result

        return await self.run(transaction)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._thread.submit(self._disconnect)
        await asyncio.to_thread(self._thread.shutdown)

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
                return _prepare(connection, self._settings.max_size, self._layout)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                    raise
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                time.sleep(self._settings.timeout / 2 / _OPENINGS)  # in the file's own thread
        return _prepare(connection, self._settings.max_size, self._layout)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _prepare(connection: sqlite3.Connection, max_size: int, layout: Layout) -> None:
    """Raises sqlite3.Error or StoreError."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {layout.synchronous}")
    connection.execute("PRAGMA trusted_schema = OFF")
    page_size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {max_size // page_size}")
    if connection.execute("PRAGMA user_version").fetchone()[0] == layout.version:
        return
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been quicker
    if version not in {0, layout.version}:
        raise StoreError(f"sqlite: the file is of another version or part of extauthz ({version})")
    if version == 0:
        for statement in layout.schema.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {layout.version}")
    connection.execute("COMMIT")

"""Gzip members of a packed file: `member(file, unpacked, packed)`, where reading can begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.audit.index_files import START, Member

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable


def keep(connection: sqlite3.Connection, file: int, members: Iterable[Member]) -> None:
    add = "INSERT OR REPLACE INTO member (file, unpacked, packed) VALUES (?, ?, ?)"
    connection.executemany(add, [(file, *member) for member in members])


def member_before(connection: sqlite3.Connection, file: int, offset: int) -> Member:
    """The last member that starts at `offset` or before it."""
    ask = "SELECT unpacked, packed FROM member WHERE file = ? AND unpacked <= ? ORDER BY unpacked DESC LIMIT 1"
    found = connection.execute(ask, (file, offset)).fetchone()
    return START if found is None else Member(*found)

"""The index may be named by anybody, or lie in a directory that others sent: nothing but an index is made anew."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from extauthz.audit.fault import AuditError
from extauthz.audit.index import AuditIndex
from tests.support.audit import check, trail_in

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    async with trail_in(tmp_path / "audit") as trail:
        await trail.written(check(1), float("inf"))
    return tmp_path / "audit"


def queue(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE entry (body TEXT)")
    connection.execute("INSERT INTO entry VALUES ('waits to be judged')")
    connection.execute("PRAGMA user_version = 8001")
    connection.commit()
    connection.close()
    file.chmod(0o600)


def kept(file: Path) -> bool:
    connection = sqlite3.connect(file)
    try:
        return bool(connection.execute("SELECT body FROM entry").fetchone() == ("waits to be judged",))
    finally:
        connection.close()


def test_another_database_is_not_emptied(directory: Path, tmp_path: Path) -> None:
    queue(tmp_path / "judgement.sqlite")
    with pytest.raises(AuditError):
        AuditIndex(directory, tmp_path / "judgement.sqlite").close()
    assert kept(tmp_path / "judgement.sqlite")


def test_a_file_that_is_no_database_is_not_deleted(directory: Path) -> None:
    key = directory / "audit.key"
    before = key.read_bytes()
    with pytest.raises(AuditError):
        AuditIndex(directory, key).close()
    assert key.read_bytes() == before


def test_a_link_in_the_directory_leads_nowhere(directory: Path, tmp_path: Path) -> None:
    queue(tmp_path / "judgement.sqlite")
    (directory / "index.db").symlink_to(tmp_path / "judgement.sqlite")
    with pytest.raises(AuditError):
        AuditIndex(directory).close()
    assert kept(tmp_path / "judgement.sqlite")

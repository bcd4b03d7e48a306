"""The published trust: whole, for everybody to read, and followed."""

from __future__ import annotations

import asyncio
import stat
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from extauthz.authority.publication import Publication
from extauthz.errors import ExtauthzError
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from pathlib import Path


class Ca:
    """Says that its sequence is another one, as often as `change` was called."""

    def __init__(self) -> None:
        self.sequence = 1
        self._changed = asyncio.Event()
        self.waiting: asyncio.Queue[int] = asyncio.Queue()

    def change(self) -> None:
        self.sequence += 1
        self._changed.set()

    def trust(self) -> SimpleNamespace:
        return SimpleNamespace(sequence=self.sequence)

    async def wait(self, sequence: int, timeout: float) -> SimpleNamespace:
        assert timeout > 0
        self.waiting.put_nowait(sequence)
        while self.sequence == sequence:
            await self._changed.wait()
            self._changed.clear()
        return self.trust()


async def test_the_file_is_there_at_once_and_follows(tmp_path: Path) -> None:
    ca, file = Ca(), tmp_path / "trust.pem"
    publication = Publication(file, lambda: f"certificates {ca.sequence}", ca)  # type: ignore[arg-type]  # a stand-in
    await publication.write()
    assert file.read_text() == "certificates 1"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    tasks = Tasks()
    tasks.start(publication.follow(), "published trust")
    async with asyncio.timeout(10):
        for sequence in (1, 2, 3):
            assert await ca.waiting.get() == sequence
            assert file.read_text() == f"certificates {sequence}"
            ca.change()
    assert [one.name for one in tmp_path.iterdir()] == ["trust.pem"]
    await tasks.close()


async def test_a_folder_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    publication = Publication(tmp_path / "none" / "trust.pem", lambda: "x", Ca())  # type: ignore[arg-type]  # the same
    with pytest.raises(ExtauthzError, match=r"trust\.pem cannot be written"):
        await publication.write()

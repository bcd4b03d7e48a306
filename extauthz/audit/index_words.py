"""Words of the index and their numbers: `word(id, text)`, with the latest ones in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_MOST: Final = 100_000
_AT_ONCE: Final = 500


class Words:
    """Numbers are given inside the transaction of the rows that use them; `forget` after one that was rolled back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """An old one, or the next."""
        number = self._numbers.get(text)
        if number is None:
            found = self._connection.execute("SELECT id FROM word WHERE text = ?", (text,)).fetchone()
            if found is None:
                add = "INSERT INTO word (text) VALUES (?) RETURNING id"
                found = self._connection.execute(add, (text,)).fetchone()
            if len(self._numbers) >= _MOST:
                self._numbers.clear()
            number = self._numbers[text] = int(found[0])
        return number

    def forget(self) -> None:
        self._numbers.clear()

    def texts(self, numbers: Iterable[int | None]) -> dict[int | None, str]:
        """The words of these numbers; an empty one for None."""
        wanted = [number for number in set(numbers) if number is not None]
        found: dict[int | None, str] = {None: ""}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            ask = f"SELECT id, text FROM word WHERE id IN ({', '.join('?' * len(some))})"  # noqa: S608 - question marks
            found |= dict(self._connection.execute(ask, some))
        return found

"""Words of the index and their numbers: `word(id, text)`, with the latest ones in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.audit.fault import AuditError
from extauthz.audit.index_row import bounded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

_MOST: Final = 100_000
_AT_ONCE: Final = 500
_MATCHES: Final = 20_000
"""Words that a pattern may stand for."""


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

    def matching(self, wanted: Sequence[str]) -> list[int]:
        """Numbers of these words; a `*` in one stands for any characters. Raises AuditError when they are too many."""
        exact = [bounded(one) for one in wanted if "*" not in one]
        patterns = [one.replace("[", "[[]").replace("?", "[?]") for one in wanted if "*" in one]
        terms = ["text = ?"] * len(exact) + ["text GLOB ?"] * len(patterns)
        ask = f"SELECT id FROM word WHERE {' OR '.join(terms)} LIMIT {_MATCHES + 1}"  # noqa: S608 - question marks
        found = [row[0] for row in self._connection.execute(ask, (*exact, *patterns))]
        if len(found) > _MATCHES:
            raise AuditError(f"{', '.join(patterns)} fits more than {_MATCHES} words: say more of it")
        return found

    def texts(self, numbers: Iterable[int | None]) -> dict[int | None, str]:
        """The words of these numbers; an empty one for None."""
        wanted = [number for number in set(numbers) if number is not None]
        found: dict[int | None, str] = {None: ""}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            ask = f"SELECT id, text FROM word WHERE id IN ({', '.join('?' * len(some))})"  # noqa: S608 - question marks
            found |= dict(self._connection.execute(ask, some))
        return found

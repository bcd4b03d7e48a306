"""Rows of what only containers can show, and how they are printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Row:
    """`seen` is what happened, in a few words."""

    name: str
    what: str
    expected: str
    seen: str
    ok: bool

    def line(self) -> str:
        mark = "ok  " if self.ok else "BAD "
        text = f"{mark} {self.name:<28} {self.what:<66} {self.seen}"
        return text if self.ok else f"{text}\n     expected: {self.expected}"


@dataclass(slots=True)
class Table:
    """Collects rows and prints each as it comes."""

    say: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)

    def add(self, name: str, what: str, expected: str, seen: str, *, ok: bool | None = None) -> None:
        """`ok` None: what was seen is what was expected, to the letter."""
        self.rows.append(Row(name, what, expected, seen, seen == expected if ok is None else ok))
        self.say(self.rows[-1].line())

    @property
    def sound(self) -> bool:
        return all(row.ok for row in self.rows)

"""The table as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.rows import Row

_WIDTH: Final = 190


def table(rows: Sequence[Row], console: Console | None = None) -> None:
    console = console or Console(width=_WIDTH)
    made = Table(box=box.SIMPLE_HEAD, show_lines=True)
    for title in ("fault", "promise", "seen", "lost", "wrongly allowed", "kept"):
        made.add_column(title, justify="right" if title in {"lost", "wrongly allowed"} else "left", overflow="fold")
    for row in rows:
        made.add_row(row.fault, row.promise, seen(row), str(row.lost), str(row.wrong), "yes" if row.kept else "NO")
    console.print(made)
    for row in rows:
        for sentence in row.broken:
            console.print(f"{row.name}: {sentence}", style="red", markup=False)


def seen(row: Row) -> str:
    """One line: codes with counts, times, whatever else the row has measured."""
    codes = ", ".join(f"{label} ×{count}" for label, count in row.codes.most_common())
    parts = [codes, f"{row.requests} requests"]
    if row.detected is not None:
        parts.append(f"detected {row.detected:.1f} s ({row.operator})")
    if row.recovered is not None:
        parts.append(f"recovered {row.recovered:.1f} s")
    if row.longest:
        parts.append(f"longest {row.longest * 1e3:.0f} ms")
    parts += [f"{name.replace('_', ' ')}: {value}" for name, value in row.facts.items()]
    return "; ".join(part for part in parts if part)

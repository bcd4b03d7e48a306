"""Tables of text that others wrote: nothing in a cell is markup, nothing in it reaches the terminal as a command."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from extauthz.telemetry.redact import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_CELL = 400


def print_json(value: object) -> None:
    """ASCII alone: a name from outside moves no cursor."""
    print(json.dumps(value, indent=2))


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A rich table on a terminal, aligned columns elsewhere. No rows: a line that says so."""
    cells = [[plain(cell, _CELL) for cell in row] for row in rows]
    if not cells:
        print(f"{title}: none")
        return
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - only for a person who watches
        from rich.table import Table  # noqa: PLC0415 - the same
        from rich.text import Text  # noqa: PLC0415 - the same

        table = Table(*head, title=title, title_justify="left")
        for row in cells:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    print(title)
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for line in (head, *cells):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

"""What every verb of `extauthz policy` prints with: JSON for programs, plain text for pipes, rich on a terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.policy.authoring.finding import Finding

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Directory = Annotated[Path, typer.Argument(help="The policy directory.", show_default=True)]
HERE = Path()


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)


def print_findings(findings: Sequence[Finding]) -> None:
    """Each with its line of Rego; the place stands out on a terminal."""
    colour = sys.stdout.isatty()
    for found in findings:
        first, *more = found.lines()
        if colour:
            style = typer.colors.YELLOW if found.warning else typer.colors.RED
            first = typer.style(first, fg=style)
        print("\n".join([first, *more]))


def mark(good: bool) -> str:
    """`ok` or `FAILED`, coloured on a terminal."""
    word = "ok    " if good else "FAILED"
    return typer.style(word, fg=typer.colors.GREEN if good else typer.colors.RED) if sys.stdout.isatty() else word


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A rich table on a terminal, aligned columns elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - only for a person who watches
        from rich.table import Table  # noqa: PLC0415 - the same

        table = Table(*head)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def refuse(text: str, code: int = 2) -> NoReturn:
    """A wrong command line or input, in one line on stderr."""
    print(f"extauthz policy: {text}", file=sys.stderr)
    raise typer.Exit(code)

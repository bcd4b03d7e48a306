"""Shows a run: with rich on a terminal, as plain lines otherwise, as JSON lines' last one for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.status import Status

    from extauthz.demo.load import Load
    from extauthz.demo.runner import Row


class Report(Protocol):
    def step(self, text: str) -> None:
        """The platform is about to do this."""

    def row(self, row: Row) -> None: ...

    def load(self, load: Load, seconds: float) -> None: ...

    def note(self, text: str) -> None: ...

    def end(self, rows: Sequence[Row], seconds: float) -> None: ...


def choose(*, as_json: bool) -> Report:
    """JSON keeps standard output for itself: progress goes to standard error."""
    if as_json:
        return JsonReport(PlainReport(sys.stderr), sys.stdout)
    return RichReport(Console()) if sys.stdout.isatty() else PlainReport(sys.stdout)


def summary(rows: Sequence[Row], seconds: float) -> str:
    good = sum(row.ok for row in rows)
    denials = sum(bool(row.scenario.layer) for row in rows)
    return f"{good} of {len(rows)} as expected, {denials} of them denials, in {seconds:.1f} s"


class PlainReport:
    def __init__(self, out: TextIO) -> None:
        self._out = out

    def step(self, text: str) -> None:
        self.note(f"» {text}")

    def note(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def row(self, row: Row) -> None:
        added = f"{row.added_us} us" if row.checks else "-"
        layer, code = row.answer.layer or "-", row.answer.code or "allowed"
        mark = "ok  " if row.ok else "BAD "
        said = f"{row.answer.status:>3} {layer:<10} {code:<34} {added:>10}  {row.scenario.what}"
        self.note(f"{mark} {row.scenario.name:<26} {said}")
        if row.problem:
            self.note(f"     {row.problem}")

    def load(self, load: Load, seconds: float) -> None:
        self.note(load_line(load, seconds))

    def end(self, rows: Sequence[Row], seconds: float) -> None:
        self.note(summary(rows, seconds))


class RichReport:
    """The rows of a table as they come, a spinner while the platform starts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._layer = ""

    def step(self, text: str) -> None:
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        self._status.update(text)
        self._console.print(f"[dim]» {text}[/dim]")

    def row(self, row: Row) -> None:
        self._quiet()
        table = Table.grid(padding=(0, 1))
        widths = (1, 24, 3, 10, 32, 9)
        for width in widths:
            table.add_column(width=width, no_wrap=True)
        table.add_column(ratio=1, overflow="fold")
        mark = "[green]✓[/green]" if row.ok else "[bold red]✗[/bold red]"
        colour = "red" if row.scenario.layer else "green"
        added = f"{row.added_us:,} µs" if row.checks else "–"
        code = row.answer.code or "allowed"
        said = row.scenario.what + (f" [bold red]{row.problem}[/bold red]" if row.problem else "")
        table.add_row(
            mark,
            row.scenario.name,
            str(row.answer.status),
            row.answer.layer or "–",
            f"[{colour}]{code}[/{colour}]",
            added,
            f"[dim]{said}[/dim]",
        )
        self._console.print(table)

    def load(self, load: Load, seconds: float) -> None:
        self.note(load_line(load, seconds))

    def note(self, text: str) -> None:
        self._quiet()
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def end(self, rows: Sequence[Row], seconds: float) -> None:
        self._quiet()
        style = "bold green" if all(row.ok for row in rows) else "bold red"
        self._console.print(summary(rows, seconds), style=style, highlight=False)

    def _quiet(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


class JsonReport:
    """Progress to `progress`; at the end one line with everything to `out`."""

    def __init__(self, progress: Report, out: TextIO) -> None:
        self._progress = progress
        self._out = out
        self._load: dict[str, Any] = {}
        self.step, self.row, self.note = progress.step, progress.row, progress.note

    def load(self, load: Load, seconds: float) -> None:
        self._progress.load(load, seconds)
        self._load = {"load": load_json(load)}

    def end(self, rows: Sequence[Row], seconds: float) -> None:
        self._progress.end(rows, seconds)
        sound = all(row.ok for row in rows) and self._load.get("load", {}).get("ok", True)
        body = {"scenarios": [row.as_json() for row in rows], **self._load, "ok": sound, "seconds": round(seconds, 1)}
        print(json.dumps(body), file=self._out, flush=True)


def load_json(load: Load) -> dict[str, Any]:
    return {
        "requests": load.total,
        "allowed": load.allowed,
        "denied": dict(load.denied),
        "failed": dict(load.failed),
        "wrong": len(load.wrong),
        "hung": load.hung,
        "ok": load.sound,
    }


def load_line(load: Load, seconds: float) -> str:
    codes = ", ".join(f"{code} {count}" for code, count in load.denied.most_common())
    per_second = load.total / max(seconds, 0.001)
    return (
        f"load: {load.total} transfers in {seconds:.1f} s ({per_second:.0f}/s): {load.allowed} allowed; {codes}; "
        f"wrongly allowed {len(load.wrong)}, hanging {load.hung}, failed {load.failed.total()}"
    )

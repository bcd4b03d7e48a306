"""One thing to correct in a policy, shown with the line of Rego that it is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_LINE = 160


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`line` and `column` count from 1; 0 means the file as a whole. `rule` is the check's name, for ignoring it.

    `warning`: worth knowing, and no reason to fail.
    """

    file: str
    line: int
    column: int
    rule: str
    message: str
    remedy: str
    source: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        kind = "warning: " if self.warning else ""
        fix = f" (fix: {self.remedy})" if self.remedy else ""
        return f"{place}: {kind}{self.message}{fix} [{self.rule}]"

    def lines(self) -> list[str]:
        """The finding, then its line of Rego with a mark under the column."""
        shown = self.source.expandtabs(4).rstrip()[:MAX_LINE]
        if not shown:
            return [str(self)]
        before = len(self.source[: max(self.column - 1, 0)].expandtabs(4))
        number = f"{self.line:>5} | "
        mark = [" " * (len(number) - 2) + "| " + " " * before + "^"] if self.column and before <= len(shown) else []
        return [str(self), number + shown, *mark]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def with_sources(findings: Iterable[Finding], directory: Path) -> list[Finding]:
    """The findings in order, each with its line of Rego. Their files are below `directory`, and named so."""
    lines: dict[str, list[str]] = {}

    def sourced(found: Finding) -> Finding:
        if found.file not in lines:
            place = directory / found.file
            lines[found.file] = place.read_text(errors="replace").splitlines() if place.is_file() else []
        text = lines[found.file]
        source = text[found.line - 1] if 0 < found.line <= len(text) else found.source
        return replace(found, file=str(directory / found.file), source=source)

    return sorted({sourced(found) for found in findings})

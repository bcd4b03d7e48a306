"""The measured table of docs/failure-modes.md: `python -m tests.faults --json | python -m tests.faults.page`.

Refuses a document in which a promise is broken, or which has not every row.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from tests.faults import catalogue

PAGE: Final = Path(__file__).parents[2] / "docs" / "failure-modes.md"
BEGIN: Final = "<!-- measured: python -m tests.faults --json | python -m tests.faults.page -->"
END: Final = "<!-- /measured -->"
HEAD: Final = (
    "| fault | promise | what honest callers got meanwhile | seen by the operator | recovered | longest answer |\n"
    "| --- | --- | --- | --- | --- | --- |"
)


def block(rows: list[dict[str, Any]]) -> str:
    """The table, between its marks."""
    requests = sum(row["seen"]["requests"] for row in rows)
    total = f"{len(rows)} rows, {requests:,} requests: 0 lost, 0 wrongly allowed."
    return "\n".join([BEGIN, HEAD, *map(_line, rows), "", total, END])


def _line(row: dict[str, Any]) -> str:
    seen = row["seen"]
    codes = ", ".join(f"{label} ×{count}" for label, count in seen["codes"].items())
    facts = [
        f"{name.removesuffix('_s').replace('_', ' ')}: {_fact(name, seen[name])}" for name in seen if name not in _KNOWN
    ]
    got = "; ".join(filter(None, [codes, *facts]))
    detected = "" if seen["detected_s"] is None else f" after {seen['detected_s']:.1f} s"
    recovered = "" if seen["recovered_s"] is None else f"{seen['recovered_s']:.1f} s"
    longest = f"{seen['longest_ms']} ms" if seen["longest_ms"] else ""
    operator = f"`{seen['operator']}`{detected}" if seen["operator"] else ""
    cells = [row["fault"], row["promise"], got, operator, recovered, longest]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


_KNOWN: Final = frozenset({"codes", "requests", "longest_ms", "deadline_ms", "detected_s", "operator", "recovered_s"})


def _fact(name: str, value: Any) -> str:
    return f"{value} s" if name.endswith("_s") else str(value)


def main() -> int:
    rows = json.load(sys.stdin)["rows"]
    names = [scenario.name for family in catalogue.FAMILIES for scenario in family.scenarios]
    if [row["name"] for row in rows] != names or not all(row["kept"] for row in rows):
        print("not every row is there and kept: the page stays as it is", file=sys.stderr)  # noqa: T201 - a command
        return 1
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + block(rows) + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())

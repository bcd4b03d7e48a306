"""`extauthz audit verify`: is the trail what was written, all of it?

Exit codes: 0: it is; 1: it is not, or there is nothing; 2: it cannot be looked at.
"""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.cli.tables import print_json, print_table
from extauthz.telemetry.redact import plain

if TYPE_CHECKING:
    from extauthz.audit.verify import Result

_UNUSABLE = 2
_SHOWN = 50


def run(
    paths: Annotated[list[Path], typer.Argument(help="The audit directory, or files of it.")],
    key: Annotated[list[Path], typer.Option("--key", help="Public key: JWK, JWK set or PEM; repeatable.")],
    witness: Annotated[
        list[Path] | None, typer.Option("--witness", help="Heads or checkpoints that were kept elsewhere; repeatable.")
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=0, max=256, help="0: one a CPU.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find every edit, deletion, reordering, gap, repetition and truncation, and name the record."""
    from extauthz.audit.fault import AuditError  # noqa: PLC0415 - other verbs start faster
    from extauthz.audit.key import PublicKeys  # noqa: PLC0415 - the same
    from extauthz.audit.verify import read_witness, verify  # noqa: PLC0415 - the same

    try:
        kept = [place for path in witness or [] for place in read_witness(path)]
        result = verify(paths, PublicKeys.read(key), kept, processes=processes)
    except AuditError as error:
        print(f"extauthz: {error}", file=sys.stderr)
        raise typer.Exit(_UNUSABLE) from None
    if as_json:
        print_json(_document(result))
    else:
        _show(result)
    raise typer.Exit(0 if result.sound else 1)


def _rate(result: Result) -> int:
    return round(result.records / result.seconds) if result.seconds else 0


def _document(result: Result) -> dict[str, Any]:
    return {
        "sound": result.sound,
        "records": result.records,
        "records_per_second": _rate(result),
        "writers": [
            {
                "writer": one.writer,
                "files": one.files,
                "records": one.records,
                "first": one.first,
                "last": one.last,
                "signed": one.signed,
                "checkpoints": one.checkpoints,
                "witnessed": one.witnessed,
                "running": one.running,
                "adopted": one.adopted,
                "further_problems": one.more,
            }
            for one in result.writers
        ],
        "problems": [
            {"file": one.file, "line": one.line, "record": one.seq, "problem": one.what} for one in result.problems
        ],
    }


def _show(result: Result) -> None:
    rows = [
        (
            one.writer,
            str(one.files),
            str(one.records),
            f"{one.first}–{one.last}",
            str(one.signed),
            str(one.checkpoints),
            "running" if one.running else "",
            str(len(one.problems) + one.more) if one.problems else "none",
        )
        for one in result.writers
    ]
    head = ("writer", "files", "records", "from–to", "signed up to", "checkpoints", "", "problems")
    print_table("Audit chains", head, rows)
    for problem in result.problems[:_SHOWN]:
        print(plain(str(problem), 4096))
    if len(result.problems) > _SHOWN:
        print(f"… and {len(result.problems) - _SHOWN} more")
    for one in result.writers:
        if one.adopted:
            print(f"{one.writer}: {one.adopted} records were not signed when a start took them over, after a crash")
    verdict = "intact" if result.sound else "there are problems" if result.problems else "no records"
    print(f"{result.records} records, {_rate(result)} a second: {verdict}")

"""`extauthz audit export`: records for other programs, the oldest first."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from extauthz.cli.audit import searching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from extauthz.audit.index_read import Found
    from extauthz.audit.search import Match

CHANGED: Final = 4
"""Exit code: a record is not what it was when it was indexed."""
COLUMNS: Final = (
    "timestamp", "event", "decision_id", "trace_id", "subject.type", "subject.id", "subject.credential",
    "subject.issuer", "subject.token", "subject.act", "subject.tenant", "workload", "action", "resource.type",
    "resource.id", "request.method", "request.host", "request.route", "request.path", "requested_by", "layer", "code",
    "result.allow", "result.status", "revision", "mode", "exchange.audience", "exchange.purpose", "exchange.token",
    "writer", "seq", "chain",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    OCSF = "ocsf"


def run(
    directory: searching.Directories,
    format: Annotated[  # noqa: A002 - the option's name
        Format, typer.Option(help="jsonl: the lines as they are; csv: the common columns; ocsf: OCSF 1.8 events.")
    ] = Format.JSONL,
    output: Annotated[Path | None, typer.Option(help="A file, made anew, for you alone; stdout without it.")] = None,
    subject: searching.Subject = None,
    workload: searching.Workload = None,
    tenant: searching.Tenant = None,
    route: searching.Route = None,
    layer: searching.Layer = None,
    code: searching.Code = None,
    event: searching.Event = None,
    trace: searching.Trace = None,
    since: searching.Since = "",
    until: searching.Until = "",
    text: searching.Text = "",
    limit: Annotated[int | None, typer.Option(min=1, help="The oldest so many.")] = None,
    index: searching.Index = None,
) -> None:
    """Write records for other programs. Exit code 4 when one is not what it was when it was indexed."""
    changed = 0
    with searching.faults():
        asked = searching.query(
            since,
            until,
            subject=subject,
            workload=workload,
            tenant=tenant,
            route=route,
            layer=layer,
            code=code,
            event=event,
            trace_id=trace,
            text=text,
            limit=limit,
            order="oldest",
        )
        with searching.archive(directory, index) as archive, _opened(output) as write:
            if format is Format.CSV:
                write(_row(COLUMNS))
            for match in archive.find(asked):
                found = match.read()
                changed += not found.intact
                write(_FORMATS[format](match, found))
    if changed:
        print(f"extauthz: {changed} records are not what they were when they were indexed: verify", file=sys.stderr)
        raise typer.Exit(CHANGED)


def _jsonl(_match: Match, found: Found) -> bytes:
    """As it stands in the file, so that its chain can still be computed."""
    return found.line + b"\n"


def _csv(match: Match, found: Found) -> bytes:
    if found.record is None:
        return _row((searching.moment(match.hit.time), match.hit.event, *[""] * (len(COLUMNS) - 2)))
    return _row([_cell(found.record, column) for column in COLUMNS])


def _ocsf(_match: Match, found: Found) -> bytes:
    from extauthz.audit import ocsf  # noqa: PLC0415 - other formats start faster

    if found.record is None:
        told = ocsf.unreadable(found.line[:4096].decode("utf-8", "replace"), found.file)
    else:
        told = ocsf.event(found.record)
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


_FORMATS: Final[Mapping[Format, Callable[[Match, Found], bytes]]] = {
    Format.JSONL: _jsonl,
    Format.CSV: _csv,
    Format.OCSF: _ocsf,
}


def _row(cells: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # RFC 4180
    return text.getvalue().encode("utf-8", "replace")


def _cell(record: Mapping[str, Any], column: str) -> str:
    """A spreadsheet would run what looks like a formula: such a text gets a quotation mark in front."""
    value: Any = record
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


@contextmanager
def _opened(output: Path | None) -> Iterator[Callable[[bytes], object]]:
    """Writes to stdout, or to a file that is there when all of it is. Raises ExtauthzError."""
    from extauthz.audit.fault import AuditError  # noqa: PLC0415 - other verbs start faster

    if output is None:
        yield _shown if sys.stdout.isatty() else sys.stdout.buffer.write
        sys.stdout.flush()
        return
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file.write
            unfinished.rename(output)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AuditError(f"{output} cannot be written: {error.strerror}") from None


def _shown(line: bytes) -> None:
    """On a terminal nothing of it moves the cursor."""
    print(searching.escaped_line(line))

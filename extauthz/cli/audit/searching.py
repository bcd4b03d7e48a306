"""What `search`, `tail` and `export` have in common: the words of a search, and the directories that are searched."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from extauthz.audit.index_files import AuditFile
    from extauthz.audit.index_refresh import Refreshed
    from extauthz.audit.query import Query
    from extauthz.audit.search import Archive, Match

_STEP = 100_000
"""New records after which it is said how far it is."""
_OR = " Repeatable; * stands for anything."

Directories = Annotated[
    list[Path],
    typer.Option("--directory", "-d", envvar="EXTAUTHZ_AUDIT", help="An audit directory; repeatable: one a server."),
]
Index = Annotated[
    Path | None,
    typer.Option(help="The index's file, where it shall not be index.db in the directory (which may be read-only)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Subject = Annotated[list[str] | None, typer.Option(help=f"Who.{_OR}")]
Workload = Annotated[list[str] | None, typer.Option(help=f"The calling workload's SPIFFE ID.{_OR}")]
Tenant = Annotated[list[str] | None, typer.Option(help=f"The subject's tenant.{_OR}")]
Route = Annotated[list[str] | None, typer.Option(help=f"Name of the route.{_OR}")]
Layer = Annotated[list[str] | None, typer.Option(help="Layer of a refusal: token, role, attribute …")]
Code = Annotated[list[str] | None, typer.Option(help=f"Code of a refusal: token.expired …{_OR}")]
Event = Annotated[list[str] | None, typer.Option(help=f"decision.denied, token.exchanged …{_OR}")]
Trace = Annotated[list[str] | None, typer.Option(help="Trace id, 32 hex digits.")]
Token = Annotated[list[str] | None, typer.Option(help="Digest of a token that came: 16 hex digits.")]
Since = Annotated[str, typer.Option(help="2026-11-23T10:00:00Z, 2026-11-23, or 90m for 90 minutes ago.")]
Until = Annotated[str, typer.Option(help="The same; this moment is not included.")]
Text = Annotated[str, typer.Option(help="What the record's line has, letter by letter; slow alone.")]


def query(since: str, until: str, **words: Any) -> Query:
    """Raises AuditError."""
    from extauthz.audit import query as questions  # noqa: PLC0415 - other verbs start faster
    from extauthz.clock import SystemClock  # noqa: PLC0415 - the same

    now = SystemClock.now()
    asked: dict[str, Any] = {"limit": None}
    asked |= {word: tuple(value) if isinstance(value, list) else value for word, value in words.items() if value}
    for word, text in (("since", since), ("until", until)):
        if text:
            asked[word] = questions.moment(text, now)
    return questions.Query(**asked)


@contextmanager
def faults() -> Iterator[None]:
    """A fault of ours is told in one line, and the exit code is 1."""
    try:
        yield
    except ExtauthzError as error:
        print(f"extauthz: {escaped(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from None
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        raise typer.Exit(0) from None


@contextmanager
def archive(directories: Sequence[Path], index: Path | None = None) -> Iterator[Archive]:
    """Searched directories, with what is new in them. Raises AuditError."""
    from extauthz.audit.search import Archive  # noqa: PLC0415 - other verbs start faster

    with Archive(directories, index) as opened:
        tell(opened.refresh(_progress()))
        yield opened


def tell(done: Sequence[Refreshed]) -> None:
    """On stderr, what an operator should know of what was read."""
    for one in done:
        for note in one.notes:
            print(f"extauthz: {escaped(note)}", file=sys.stderr)
        if one.malformed:
            print(
                f'extauthz: {one.malformed} new lines are no records: search --event "(malformed)", and verify',
                file=sys.stderr,
            )


def name(match: Match) -> str:
    """What `show` finds it by."""
    hit = match.hit
    return hit.decision_id or (f"{hit.writer}:{hit.seq}" if hit.seq is not None else f"{hit.writer}:?")


def document(match: Match) -> dict[str, Any]:
    """A record and where it is, as JSON values. Raises AuditError."""
    found = match.read()
    told: dict[str, Any] = {"directory": str(match.directory), "file": found.file, "intact": found.intact}
    if found.record is None:
        return {**told, "line": found.line[:4096].decode("utf-8", "replace")}
    return {**told, "record": found.record}


def escaped(text: str) -> str:
    """Nothing in it moves a cursor."""
    from extauthz.telemetry.redact import plain  # noqa: PLC0415 - other verbs start faster

    return plain(text, 4096)


def escaped_line(line: bytes) -> str:
    """A line of JSON or CSV for a terminal."""
    return "".join(
        one if one.isprintable() else f"\\u{ord(one):04x}" for one in line.decode("utf-8", "replace").rstrip()
    )


def moment(milliseconds: int) -> str:
    """In UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _progress() -> Any:
    told = 0

    def progress(file: AuditFile, records: int) -> None:
        nonlocal told
        if records - told >= _STEP and sys.stderr.isatty():
            told = records
            print(f"extauthz: {records} new records, at {escaped(file.path.name)} …", file=sys.stderr)

    return progress

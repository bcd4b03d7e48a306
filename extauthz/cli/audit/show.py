"""`extauthz audit show`: one record, whole, in words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.audit import searching
from extauthz.cli.audit.searching import escaped
from extauthz.cli.tables import print_json

if TYPE_CHECKING:
    from extauthz.audit.search import Match

UNKNOWN = 2
"""Exit code: there is no such record."""
CHANGED = 4
"""Exit code: it is not what it was when it was indexed."""


def run(
    name: Annotated[str, typer.Argument(metavar="DECISION_ID|WRITER:SEQ", help="As `search` prints it.")],
    directory: searching.Directories,
    index: searching.Index = None,
    as_json: searching.AsJson = False,
) -> None:
    """Show every record of a decision, or one record by its writer and number.

    Exit codes: 2: there is none; 4: a record is not what it was when it was indexed.
    """
    with searching.faults(), searching.archive(directory, index) as archive:
        found = archive.named(name)
        documents = [searching.document(one) for one in found]
        if as_json:
            print_json(documents)
        else:
            for one in found:
                _print(one)
    if not found:
        print(f"extauthz: no record {escaped(name)}", file=sys.stderr)
        raise typer.Exit(UNKNOWN)
    if not all(one["intact"] for one in documents):
        print("extauthz: a record is not what it was when it was indexed: verify", file=sys.stderr)
        raise typer.Exit(CHANGED)


def _print(match: Match) -> None:
    from extauthz.audit.search_words import described  # noqa: PLC0415 - other verbs start faster

    found = match.read()
    print(escaped(f"{match.hit.event}  {searching.name(match)}"))
    record = found.record
    rows = [("line", found.line[:4096].decode("utf-8", "replace"))] if record is None else described(record)
    seq = "?" if match.hit.seq is None else str(match.hit.seq)
    rows.append(("where", f"{match.directory / found.file}, record {seq} of {match.hit.writer}"))
    if not found.intact:
        rows.append(("CHANGED", "this is not the line that was indexed"))
    for word, text in rows:
        print(f"  {escaped(word):<14} {escaped(text)}")
    print()

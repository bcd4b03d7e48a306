"""`extauthz audit reconstruct`: what happened around a decision, across servers and the authority."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.cli.audit import searching
from extauthz.cli.audit.searching import escaped
from extauthz.cli.tables import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.audit.reconstruct import Story

UNKNOWN = 2
"""Exit code: there is no such decision."""
UNSOUND = 3
"""Exit code: something is missing, or contradicts."""
TOUCHED = 4
"""Exit code: `verify` found a problem in the files."""


def run(
    decision_id: Annotated[str, typer.Argument(help="As the caller was told it, or `search` prints it.")],
    directory: searching.Directories,
    verify: Annotated[bool, typer.Option("--verify", help="Verify the directories that records came from.")] = False,
    key: Annotated[
        list[Path] | None, typer.Option("--key", help="For --verify: public key (JWK, JWK set, PEM); repeatable.")
    ] = None,
    index: searching.Index = None,
    as_json: searching.AsJson = False,
) -> None:
    """Tell the whole chain of a decision: user, edge, exchange at the authority, next zone … and what came of it.

    Give every directory: each server's and the authority's. Exit codes: 0: the chain is whole; 2: there is no such
    decision; 3: something is missing or contradicts; 4: the files do not verify.
    """
    from extauthz.audit.reconstruct import reconstruct  # noqa: PLC0415 - other verbs start faster
    from extauthz.audit.reconstruct_gather import gather  # noqa: PLC0415 - the same

    if verify and not key:
        raise typer.BadParameter("--verify needs the public keys: --key")
    with searching.faults():
        with searching.archive(directory, index) as archive:
            evidence, remarks = gather(archive, decision_id)
        story = reconstruct(evidence, decision_id, remarks)
        if story is None:
            print(f"extauthz: no record of decision {escaped(decision_id)}", file=sys.stderr)
            raise typer.Exit(UNKNOWN)
        verdicts = _verified(story, key or []) if verify else []
    _print(story, verdicts, as_json=as_json)
    if not all(one["sound"] for one in verdicts):
        raise typer.Exit(TOUCHED)
    raise typer.Exit(0 if story.whole else UNSOUND)


def _verified(story: Story, keys: Sequence[Path]) -> list[dict[str, Any]]:
    """Of each directory that the story's records are in, as a whole. Raises ExtauthzError."""
    from pathlib import Path  # noqa: PLC0415 - only here at run time

    from extauthz.audit.key import PublicKeys  # noqa: PLC0415 - other verbs start faster
    from extauthz.audit.verify import verify  # noqa: PLC0415 - the same

    known = PublicKeys.read(list(keys))
    found = []
    for name in sorted({step.evidence.directory for step in story.steps()}):
        result = verify([Path(name)], known)
        problems = [str(problem) for problem in result.problems]
        found.append({"directory": name, "sound": result.sound, "records": result.records, "problems": problems})
    return found


def _print(story: Story, verdicts: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    from extauthz.audit.reconstruct_text import document, lines  # noqa: PLC0415 - other verbs start faster

    if as_json:
        print_json({**document(story), "verified": list(verdicts)})
        return
    for line in lines(story):
        print(escaped(line))
    for one in verdicts:
        word = "verified" if one["sound"] else "NOT SOUND"
        print(escaped(f"{word}: {one['directory']}, {one['records']} records"))
        for problem in one["problems"][:20]:
            print(f"  {escaped(problem)}")

"""`extauthz inventory`: every principal, what it may reach, with which credential, and what is never used.

Exit codes: 0; 1 for a configuration or a record file that cannot be read; with `--fail-on-standing` 2 when there is
standing privilege, or something could not be seen; with `--observed` 3 when something was let through that the
configurations do not show.
"""

from __future__ import annotations

import glob
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from extauthz.cli.tables import print_json, print_table
from extauthz.errors import ConfigError, ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.inventory import Inventory
    from extauthz.inventory.observed import Observed, Undocumented

STANDING: Final = 2
UNDOCUMENTED: Final = 3


@dataclass(frozen=True, slots=True)
class _Wanted:
    as_json: bool
    mermaid: bool
    svg: bool
    standing: bool


def inventory(
    files: Annotated[list[Path], typer.Argument(help="extauthz.yaml files: servers', the authority's, agents'.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the graph as Mermaid text.")] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Print the graph as an SVG picture.")] = False,
    standing: Annotated[bool, typer.Option("--standing", help="Print standing privilege alone.")] = False,
    fail_on_standing: Annotated[
        bool, typer.Option("--fail-on-standing", help="Exit code 2 when there is standing privilege, or a gap.")
    ] = False,
    observed: Annotated[
        list[str] | None,
        typer.Option("--observed", help="Decision records, also rotated and .gz; a pattern in quotes; repeatable."),
    ] = None,
) -> None:
    """List who may reach what, by whose word, for how long; draw it; hold it against decision records.

    Only configurations and the files that they name are read: no server is asked. The policy has the last word on each
    path and is not part of the list.
    """
    from extauthz.clock import SystemClock  # noqa: PLC0415 - other verbs start faster
    from extauthz.inventory import build, observe, read  # noqa: PLC0415 - the same

    if mermaid + svg + as_json > 1:
        raise typer.BadParameter("choose one of --json, --mermaid and --svg")
    clock = SystemClock()
    try:
        found = build(read(files, clock), clock)
        seen = observe(found, _expanded(observed)) if observed else None
    except ConfigError:
        raise  # the root command tells it
    except ExtauthzError as error:
        print(f"extauthz: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    _show(found, seen, _Wanted(as_json, mermaid, svg, standing))
    for gap in found.gaps:
        print(f"not seen: {gap}", file=sys.stderr)
    if seen is not None and not seen.sound:
        raise typer.Exit(UNDOCUMENTED)
    raise typer.Exit(STANDING if fail_on_standing and (found.standing or found.gaps) else 0)


def _expanded(patterns: Sequence[str]) -> list[Path]:
    """The files of all patterns, each once. Raises ExtauthzError for a pattern without any."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        names = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207 - absolute ones, too
        if not names:
            raise ExtauthzError(f"no file fits {pattern}")
        found |= dict.fromkeys(Path(name).resolve() for name in names)
    return list(found)


def _show(found: Inventory, seen: Observed | None, wanted: _Wanted) -> None:
    if wanted.mermaid or wanted.svg:
        from extauthz.inventory import mermaid, svg  # noqa: PLC0415 - only where it is drawn
        from extauthz.inventory.graph import graph  # noqa: PLC0415 - the same

        print((svg if wanted.svg else mermaid).text(graph(found)), end="")
        return
    if wanted.as_json:
        print_json(_document(found, seen, standing=wanted.standing))
        return
    if not wanted.standing:
        _tables(found)
    rows = [(one.kind, one.where, one.what, one.why, one.remedy) for one in found.standing]
    print_table("Standing privilege", ("kind", "where", "what", "why", "how to get rid of it"), rows)
    if seen is not None:
        _compared(seen)


def _document(found: Inventory, seen: Observed | None, *, standing: bool) -> dict[str, Any]:
    whole = found.as_json()
    document = {"standing": whole["standing"], "gaps": whole["gaps"]} if standing else whole
    return document if seen is None else {**document, "observed": seen.as_json()}


def _tables(found: Inventory) -> None:
    from extauthz.config.words import seconds  # noqa: PLC0415 - other verbs start faster

    def life(value: float | None) -> str:
        return "" if value is None else seconds(value)

    held = [
        (one.kind, one.id, credential.kind, life(credential.lifetime), credential.minted_by, ", ".join(one.reaches))
        for one in found.principals
        for credential in one.credentials
    ]
    print_table("Principals", ("kind", "who", "credential", "at most", "minted by", "may call"), held)
    ways = [
        (path.id, path.request, ", ".join(path.callers), path.credential, life(path.lifetime), ", ".join(path.effects))
        for path in found.paths
    ]
    print_table("Ways in", ("route", "requests", "callers", "credential", "at most", "effects"), ways)
    told = [(word.who, word.kind, word.whom, word.by) for word in found.trust]
    print_table("Whose word counts", ("who believes", "as", "whom", "known by"), told)
    data = [(one.resource, one.access, one.action, ", ".join(one.paths)) for one in found.data]
    print_table("Data", ("resource", "access", "action", "on"), data)


def _compared(seen: Observed) -> None:
    def rows(ways: Sequence[Undocumented]) -> list[tuple[str, ...]]:
        return [
            (
                f"{one.way.server}/{one.way.route}",
                one.way.workload or "-",
                one.way.credential or "-",
                one.way.issuer or "-",
                str(one.allowed),
                str(one.denied),
                one.why,
            )
            for one in ways
        ]

    head = ("route", "workload", "credential", "issuer", "allowed", "denied", "why")
    used = [(name, str(one.allowed), str(one.denied)) for name, one in sorted(seen.used.items())]
    print_table("Used", ("route", "allowed", "denied"), used)
    print_table("Configured, not used in these records", ("route",), [(name,) for name in seen.unused])
    spare = [(one.path, one.part, one.value) for one in seen.unused_parts]
    print_table("Of used routes, not used in these records", ("route", "what", "which"), spare)
    print_table("Refused, and not in the configuration", head, rows(seen.refused))
    print_table("Undocumented paths", head, rows(seen.undocumented))
    if seen.unlisted.allowed or seen.unlisted.denied:
        print(f"beyond those listed: {seen.unlisted.allowed} allowed, {seen.unlisted.denied} denied")
    verdict = "no undocumented path" if seen.sound else "there are undocumented paths" if seen.records else "no record"
    print(f"{seen.records} decision records, {seen.skipped} other lines, {seen.questions} questions: {verdict}")

"""`extauthz policy replay`: recorded decisions put to a candidate."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.cli.policy.output import AsJson, print_json, print_table, refuse

if TYPE_CHECKING:
    from extauthz.policy.authoring.replaying import Replay

SKIPPED = {
    "no_input": "no policy was asked, or the input was not recorded (telemetry.records.input)",
    "undecided": "the server had a fault of its own",
    "masked": "the candidate reads values that were masked",
    "unreadable": "not decision records",
}


class FailOn(StrEnum):
    ANY = "any"
    WIDER = "wider"
    NARROWER = "narrower"
    NONE = "none"


def run(
    records: Annotated[list[Path], typer.Argument(help="Files of decision records (JSON lines).", exists=True)],
    policy: Annotated[Path, typer.Option(help="The candidate: a policy directory or a policy bundle.", exists=True)],
    recorded_by: Annotated[
        Path | None,
        typer.Option(help="The policy that decided then: tells what the candidate reads beyond it.", exists=True),
    ] = None,
    fail_on: Annotated[FailOn, typer.Option(help="Which differences make the exit code 1.")] = FailOn.ANY,
    threads: Annotated[int, typer.Option(help="Questions at the same time.", min=1, max=64)] = 2,
    as_json: AsJson = False,
) -> None:
    """Put recorded decisions to another policy: what would be allowed or denied instead, by rule, tenant and route.

    Exit code 0: nothing of what --fail-on names; 1: something of it, or the candidate has no answer where there was
    one; 2: there was nothing to compare.
    """
    from time import perf_counter  # noqa: PLC0415 - other verbs start faster

    from extauthz.policy.authoring import replaying  # noqa: PLC0415 - the same
    from extauthz.policy.authoring.bulk import BulkPolicy  # noqa: PLC0415 - the same
    from extauthz.policy.authoring.opening import open_policy  # noqa: PLC0415 - the same

    with BulkPolicy(open_policy(policy)) as candidate:
        started = perf_counter()
        try:
            report = replaying.replay(replaying.lines(records), candidate, threads=threads)
        except OSError as error:
            refuse(f"{error.filename} cannot be read: {error.strerror}")
        report.seconds = perf_counter() - started
        if recorded_by is not None:
            with BulkPolicy(open_policy(recorded_by)) as recording:
                report.unrecorded = replaying.reads_more(report.entrypoints, recording, candidate)
        revision = candidate.policy.revision
    if as_json:
        print_json(_json(report, revision))
    else:
        _print(report, revision)
    if not report.compared:
        raise typer.Exit(2)
    kinds = {
        FailOn.ANY: {group.kind for group in report.groups},
        FailOn.WIDER: replaying.WIDER,
        FailOn.NARROWER: replaying.NARROWER,
        FailOn.NONE: set[str](),
    }[fail_on]
    raise typer.Exit(1 if report.count({*kinds, *({"fault"} if fail_on is not FailOn.NONE else ())}) else 0)


def _print(report: Replay, revision: str) -> None:
    rate = f"{report.records:,} records in {report.seconds:.1f} s ({report.per_minute:,.0f} a minute)"
    print(f"{rate}, put to revision {revision}")
    print(f"{report.compared:,} compared, {report.same:,} the same, {report.different:,} different")
    for reason, number in report.skipped.most_common():
        print(f"{number:,} not compared: {SKIPPED[reason]}")
    for entrypoint, paths in report.unrecorded.items():
        print(f"{entrypoint} also reads what no record holds, seen as missing here: {', '.join(paths)}")
    if report.groups:
        head = ("difference", "code", "entrypoint", "tenant", "route", "records", "example")
        print_table(
            head,
            [
                (g.kind, g.code or "-", g.entrypoint, g.tenant or "-", g.route, f"{number:,}", report.examples[g])
                for g, number in report.groups.most_common()
            ],
        )


def _json(report: Replay, revision: str) -> dict[str, Any]:
    return {
        "revision": revision,
        "recorded_revisions": sorted(report.revisions),
        "records": report.records,
        "compared": report.compared,
        "same": report.same,
        "different": report.different,
        "skipped": dict(report.skipped),
        "unrecorded": report.unrecorded,
        "seconds": round(report.seconds, 3),
        "records_per_minute": round(report.per_minute),
        "differences": [
            {**asdict(group), "records": number, "example": report.examples[group]}
            for group, number in report.groups.most_common()
        ],
    }

"""`extauthz audit search`: which records say so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.audit import searching
from extauthz.cli.tables import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.audit.search import Match

HEAD = ("time (UTC)", "event", "subject", "workload", "route", "code", "id")


def run(
    directory: searching.Directories,
    subject: searching.Subject = None,
    workload: searching.Workload = None,
    tenant: searching.Tenant = None,
    route: searching.Route = None,
    layer: searching.Layer = None,
    code: searching.Code = None,
    event: searching.Event = None,
    trace: searching.Trace = None,
    token: searching.Token = None,
    since: searching.Since = "",
    until: searching.Until = "",
    text: searching.Text = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 50,
    index: searching.Index = None,
    as_json: searching.AsJson = False,
) -> None:
    """Find records, the newest first. Look at one with `show`, at what led to it with `reconstruct`.

    What is found is where the index says; whether anybody has touched the files, only `verify` can say.
    """
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
            token=token,
            text=text,
            limit=limit + 1,
        )
        with searching.archive(directory, index) as archive:
            found = list(archive.find(asked))
            more, found = len(found) > limit, found[:limit]
            if as_json:
                print_json({"more": more, "records": [searching.document(one) for one in found]})
                return
    print_table("Records", HEAD, rows(found))
    if more:
        print(f"the newest {limit}; there are more: --limit, --since, --until", file=sys.stderr)


def rows(found: Sequence[Match]) -> list[tuple[str, ...]]:
    return [
        (
            searching.moment(one.hit.time),
            one.hit.event,
            one.hit.subject or "-",
            one.hit.workload or "-",
            one.hit.route or "-",
            one.hit.code or "-",
            searching.name(one),
        )
        for one in found
    ]

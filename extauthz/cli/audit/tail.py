"""`extauthz audit tail`: the latest records, and with -f those that come."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.cli.audit import searching
from extauthz.cli.audit.searching import escaped, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from extauthz.audit.query import Query
    from extauthz.audit.search import Archive, Match

INTERVAL = 0.5
"""Seconds between two looks."""


def run(
    directory: searching.Directories,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with the records that come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=100_000, help="Of those that are there.")] = 20,
    subject: searching.Subject = None,
    workload: searching.Workload = None,
    tenant: searching.Tenant = None,
    route: searching.Route = None,
    layer: searching.Layer = None,
    code: searching.Code = None,
    event: searching.Event = None,
    trace: searching.Trace = None,
    text: searching.Text = "",
    index: searching.Index = None,
    as_json: searching.AsJson = False,
) -> None:
    """Print the latest records, the newest last: one line each, or one JSON object each."""
    with searching.faults():
        asked = searching.query(
            "",
            "",
            subject=subject,
            workload=workload,
            tenant=tenant,
            route=route,
            layer=layer,
            code=code,
            event=event,
            trace_id=trace,
            text=text,
        )
        show = _json if as_json else _text
        with searching.archive(directory, index) as archive, suppress(KeyboardInterrupt):
            for match in latest(archive, asked, lines):
                print(show(match), flush=True)
            for match in following(archive, asked, time.sleep) if follow else ():
                print(show(match), flush=True)


def latest(archive: Archive, query: Query, count: int) -> list[Match]:
    return list(archive.find(replace(query, limit=count)))[::-1]


def following(archive: Archive, query: Query, pause: Callable[[float], object]) -> Iterator[Match]:
    """What comes, for ever. Raises AuditError."""
    while True:
        pause(INTERVAL)
        yield from archive.new(query, searching.tell)


def _json(match: Match) -> str:
    return json.dumps(searching.document(match), separators=(",", ":"))


def _text(match: Match) -> str:
    hit = match.hit
    parts: list[Any] = [moment(hit.time), hit.event, searching.name(match)]
    named = {"subject": hit.subject, "workload": hit.workload, "tenant": hit.tenant, "route": hit.route}
    parts += [f"{name}={value}" for name, value in named.items() if value]
    parts += [hit.code] if hit.code else []
    return escaped("  ".join(parts))

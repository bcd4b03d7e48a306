"""`extauthz quarantine`: who is refused for what was done before, and the operator's word on it.

It works on the queue that the configuration's `judgement` names, which every worker and replica follows within a
second. With an audit trail, no quarantine begins or ends by an operator's word without a record of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError

from extauthz.audit.fault import AuditError
from extauthz.audit.trail import AuditTrail
from extauthz.check.judgement_record import started_of
from extauthz.cli.config import DEFAULT_FILE, AsJson
from extauthz.cli.tables import print_json, print_table
from extauthz.clock import SystemClock
from extauthz.config import load
from extauthz.errors import ConfigError, ConfigProblem
from extauthz.judgement.opening import open_queue
from extauthz.judgement.quarantine import KINDS, OPERATOR, Key, Quarantine
from extauthz.settings import Duration
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from extauthz.config import Config
    from extauthz.judgement.queue import Queue

app = typer.Typer(no_args_is_help=True, help="Who is in quarantine: list, add, release.")
Where = Annotated[Path, typer.Option("--config", help="The configuration file.", show_default=True)]

_ID: Final = 12
_VALUES: Final = {
    "workload": (re.compile(r"spiffe://[!-~]{1,2040}"), "a SPIFFE ID is expected"),
    "token": (
        re.compile(r"[0-9a-f]{16}"),
        "the first 16 hex digits of the token's SHA-256 are expected, as a record's `subject.token` has them",
    ),
    "tenant": (re.compile(r"[^\x00-\x1f\x7f]{1,256}"), "a tenant is expected"),
}


@app.command("list")
def list_quarantines(config: Where = DEFAULT_FILE, as_json: AsJson = False) -> None:
    """List the quarantines in force: whom they cover, where, until when, and which decision began them."""
    found = sorted(_run(_listed(load(config))), key=lambda made: made.since)
    if as_json:
        print_json(
            [{"id": _id(made.key), **started_of(made)["quarantine"], "decision_id": made.decision_id} for made in found]
        )
        return
    rows = [
        (
            _id(made.key),
            made.key.kind,
            made.key.value,
            made.key.issuer or "-",
            made.key.route or "every route",
            _time(made.until),
            made.by if made.by == OPERATOR else f"{made.by} {made.decision_id}",
        )
        for made in found
    ]
    print_table("quarantines", ("id", "kind", "value", "issuer", "route", "until", "by"), rows)


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="workload, token or tenant.")],
    value: Annotated[str, typer.Argument(help="A SPIFFE ID; 16 hex digits of a token's SHA-256; a tenant.")],
    duration: Annotated[str, typer.Option("--for", help="How long: 10m, 2h, 1d.")],
    route: Annotated[str, typer.Option("--route", help="On this route alone; otherwise on every route.")] = "",
    issuer: Annotated[str, typer.Option("--issuer", help="A tenant of this issuer alone.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; for the audit trail.")] = "",
    config: Where = DEFAULT_FILE,
) -> None:
    """Put a workload, a token or a tenant into quarantine."""
    loaded = load(config)
    pattern, expected = _VALUES.get(kind, (None, ""))
    if pattern is None:
        raise typer.BadParameter(f"{', '.join(KINDS)} are the kinds")
    if not pattern.fullmatch(value):
        raise typer.BadParameter(expected)
    if route and loaded.route(route) is None:
        raise typer.BadParameter(f"the configuration has no route {route}")
    if issuer and kind != "tenant":
        raise typer.BadParameter("--issuer is for tenants")
    now = SystemClock().now()
    key = Key(KINDS[KINDS.index(kind)], value, issuer, route)
    made = Quarantine(key, now, now + _seconds(duration), OPERATOR)
    _run(_added(loaded, made, reason))
    print(f"{_id(key)}: until {_time(made.until)}")


@app.command()
def release(
    ids: Annotated[list[str], typer.Argument(help="Ids, as `list` prints them.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; for the audit trail.")] = "",
    config: Where = DEFAULT_FILE,
) -> None:
    """End quarantines now. What was accepted before counts no more. Exit code 1 when an id is not in force."""
    missing = _run(_released(load(config), ids, reason))
    for name in ids:
        print(f"{name}: {'not in force' if name in missing else 'released'}")
    if missing:
        raise typer.Exit(1)


async def _listed(config: Config) -> list[Quarantine]:
    async with _opened(config) as (queue, _):
        return [*await queue.quarantines()]


async def _added(config: Config, made: Quarantine, reason: str) -> None:
    async with _opened(config, audited=True) as (queue, audit):
        if audit is not None:
            await audit.write("quarantine.started", _facts(made, reason))
        await queue.confine(made)


async def _released(config: Config, ids: list[str], reason: str) -> set[str]:
    async with _opened(config, audited=True) as (queue, audit):
        known = {_id(made.key): made for made in await queue.quarantines()}
        missing = set(ids) - known.keys()
        for name in sorted(set(ids) & known.keys()):
            made = known[name]
            if audit is not None:
                await audit.write("quarantine.released", _facts(made, reason))
            if await queue.release(made.key) is None:
                missing.add(name)
        return missing


@asynccontextmanager
async def _opened(config: Config, *, audited: bool = False) -> AsyncIterator[tuple[Queue, AuditTrail | None]]:
    """Raises ConfigError, StoreError and AuditError."""
    if config.judgement is None:
        raise ConfigError((ConfigProblem(config.origin.file, 0, "judgement", "names no queue", "add `judgement`"),))
    clock = SystemClock()
    audit = None
    if audited and config.audit.directory is not None:
        audit = await AuditTrail.open(config.audit, "operator", clock)
    try:
        queue = await asyncio.to_thread(open_queue, config.judgement, clock)
        try:
            yield queue, audit
        finally:
            await queue.close()
    finally:
        if audit is not None:
            await audit.close()


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """A store or an audit trail that fails is told in one line; nothing was changed that is not recorded."""
    try:
        return asyncio.run(work)
    except (StoreError, AuditError) as error:
        print(f"extauthz: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _facts(made: Quarantine, reason: str) -> dict[str, Any]:
    facts = started_of(made)
    return {**facts, "by": OPERATOR, **({"reason": reason[:256]} if reason else {})}


def _id(key: Key) -> str:
    return hashlib.sha256(key.text.encode()).hexdigest()[:_ID]


def _seconds(text: str) -> float:
    try:
        seconds: float = TypeAdapter(Duration).validate_python(text)
    except ValidationError:
        seconds = 0.0
    if not 1 <= seconds <= 7 * 86400:
        raise typer.BadParameter("--for: a duration from 1s to 7d is expected")
    return seconds


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""`extauthz policy status`: which policy answers, how the candidate compares with it, and whether it may go live."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from extauthz.cli.policy.output import AsJson, print_json, print_table, refuse
from extauthz.cli.policy.server import DEFAULT, Config, Server, TokenFile, api

LATEST = 10
"""Differences that are shown in text."""


def run(
    server: Server = "",
    config: Config = DEFAULT,
    token_file: TokenFile = None,
    ready: Annotated[bool, typer.Option("--ready", help="Exit 1 while the candidate may not be promoted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which policy answers, how the candidate compares with it, and what speaks against its promotion."""
    from extauthz.api.client import ApiError  # noqa: PLC0415 - other verbs start faster
    from extauthz.api.combined import objections  # noqa: PLC0415 - the same

    try:
        status = api(server, config, token_file).rollout()
    except ApiError as error:
        refuse(str(error), code=1)
    against = [] if status.get("phase") == "promoted" else objections(status)
    if as_json:
        print_json({**status, "objections": against})
    else:
        print("\n".join(_lines(status)))
        _tables(status)
        for objection in against if status["candidate"] else ():
            print(f"not to be promoted yet: {objection}")
    if ready and against:
        raise typer.Exit(1)


def _lines(status: dict[str, Any]) -> list[str]:
    lines = [f"live       {status['live'] or 'of the engine'}"]
    if status["candidate"] is None:
        return [*lines, "candidate  none (policy.candidate is not configured)"]
    configured = status["configured"]
    if configured == "percent":
        configured += f", {status['percent']:g} % by {status['by']}"
    lines.append(f"candidate  {status['candidate']}: {status['phase']} (configured: {configured})")
    if choice := status["choice"]:
        kept = "kept over a restart" if status["kept"] else "until the server stops"
        lines.append(f"           {choice['by']}, {choice['why']} ({kept})")
    if not status["agreed"]:
        lines.append("           the workers do not agree yet")
    bound, compared = status["bound"], status["compared"]
    lines.append(f"compared   {compared} in {bound['window']:g} s, dropped {status['dropped']}")
    if compared:
        lines.append(
            f"denied     live {_percent(status['live_denied'], compared)}, "
            f"candidate {_percent(status['candidate_denied'], compared)} "
            f"({status['increase']:+.2f} points, at most {bound['max_denial_increase']:g} are allowed)"
        )
    return lines


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %"


def _tables(status: dict[str, Any]) -> None:
    if not status.get("totals"):
        return
    rows = [(row["difference"], row["route"], row["code"], str(row["count"])) for row in status["totals"]]
    print()
    print_table(("difference", "route", "code", "count"), rows)
    print()
    latest = status["differences"][:LATEST]
    shown = [
        (one["decision_id"], one["difference"], one["route"], _said(one["live"]), _said(one["candidate"]))
        for one in latest
    ]
    print_table(("decision", "difference", "route", "live", "candidate"), shown)
    print()


def _said(outcome: dict[str, Any]) -> str:
    return "allow" if outcome["allow"] else str(outcome["code"])

"""`extauthz token inspect`: what a token says of itself."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.cli.tables import print_json, print_table
from extauthz.cli.token.reading import STDIN, Token, token_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def run(
    token: Token = STDIN,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Show header and claims of a token, not verified; opaque tokens and API keys are known by their form.

    The token itself is never printed. To ask whether a route would take it, and why not: `extauthz token explain`.
    """
    from extauthz.cli.token.described import described  # noqa: PLC0415 - other verbs start faster
    from extauthz.clock import SystemClock  # noqa: PLC0415 - the same
    from extauthz.telemetry.redact import redact_tokens  # noqa: PLC0415 - the same

    found = described(token_of(token), SystemClock().now())
    # A claim may hold a token in turn.
    safe: dict[str, Any] = json.loads(redact_tokens(json.dumps(found)))
    if as_json:
        print_json(safe)
        return
    _print(safe)


def _print(found: Mapping[str, Any]) -> None:
    print(f"{found['says']}; {found['characters']} characters, SHA-256 {found['sha256']}")
    if found["kind"] != "jwt":
        return
    print("NOT VERIFIED: whoever made this text chose every word of it.")
    if not found["form"]["ok"]:
        form = found["form"]
        print(f"Its form is refused: {form['code']}: {form['message']} {form['detail']}", file=sys.stderr)
    for title in ("header", "claims"):
        members = found[title]
        if members is None:
            print(f"{title} cannot be read")
            continue
        print_table(title, ("name", "value"), [(name, json.dumps(value)) for name, value in members.items()])
    print_table("times", ("claim", "at", "which"), [(one["claim"], one["at"], one["words"]) for one in found["times"]])
    if found["act"]:
        print_table("acts for the subject, the current actor first", ("actor",), [(one,) for one in found["act"]])
    if found["bound_to"]:
        print_table("bound to", ("holder of",), [(found["bound_to"],)])
    if found["ancestors"]:
        print_table("derived from", ("token id, root first",), [(json.dumps(one),) for one in found["ancestors"]])

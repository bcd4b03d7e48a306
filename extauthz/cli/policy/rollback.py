"""`extauthz policy rollback`: the live policy answers everybody again."""

from __future__ import annotations

from typing import Annotated

import typer

from extauthz.cli.policy.output import AsJson, print_json, refuse
from extauthz.cli.policy.server import DEFAULT, Config, Server, TokenFile, api


def run(
    server: Server = "",
    config: Config = DEFAULT,
    token_file: TokenFile = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Forget the choice: the candidate does what the configuration says.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the candidate back: the live policy answers everybody, at once."""
    from extauthz.api.client import ApiError  # noqa: PLC0415 - other verbs start faster

    asked = api(server, config, token_file)
    try:
        status = asked.rollout()
        if status["candidate"] is None:
            refuse("there is no candidate: policy.candidate is not configured", code=1)
        done = asked.choose("clear" if clear else "rollback", status["live"], status["candidate"])
    except ApiError as error:
        refuse(str(error), code=1)
    if as_json:
        print_json({"live": status["live"], "candidate": status["candidate"], **done})
        return
    print(f"{status['candidate']}: {status['phase']} → {done['phase']}")
    if done["warning"]:
        print(f"warning: {done['warning']}")

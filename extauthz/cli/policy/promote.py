"""`extauthz policy promote`: the candidate answers everybody, from now on."""

from __future__ import annotations

from typing import Annotated

import typer

from extauthz.cli.policy.output import AsJson, print_json, refuse
from extauthz.cli.policy.server import DEFAULT, Config, Server, TokenFile, api


def run(
    server: Server = "",
    config: Config = DEFAULT,
    token_file: TokenFile = None,
    candidate: Annotated[str, typer.Option("--candidate", help="Refuse unless this revision is the candidate.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Also against what `status` says speaks against it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let the candidate answer everybody; no file is rewritten.

    The choice holds for exactly these two revisions. Commit the candidate as the live policy to make it permanent: the
    first configuration that names other revisions ends the choice.
    """
    from extauthz.api.client import ApiError  # noqa: PLC0415 - other verbs start faster

    asked = api(server, config, token_file)
    try:
        status = asked.rollout()
        if status["candidate"] is None:
            refuse("there is no candidate: policy.candidate is not configured", code=1)
        if candidate and status["candidate"] != candidate:
            refuse(f"the candidate is {status['candidate']}, not {candidate}", code=1)
        done = asked.choose("promote", status["live"], status["candidate"], force=force)
    except ApiError as error:
        refuse("\n".join(f"not promoted: {line}" for line in str(error).splitlines()), code=1)
    if as_json:
        print_json({"live": status["live"], "candidate": status["candidate"], **done})
        return
    print(f"{status['candidate']} answers now; {status['live']} is compared with it")
    if done["warning"]:
        print(f"warning: {done['warning']}")
    kept = "over restarts" if status["kept"] and not done["warning"] else "until the server stops"
    print(f"This holds {kept}, and no longer than the configuration names these two revisions.")
    print("To make it permanent, make the candidate the live policy in your repository and remove policy.candidate.")

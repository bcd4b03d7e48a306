"""`extauthz policy new`: a working policy to start from."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import Annotated

import typer

from extauthz.cli.policy.output import AsJson, print_json


def run(
    directory: Annotated[Path, typer.Argument(help="A directory that is empty or does not exist.")],
    as_json: AsJson = False,
) -> None:
    """Write a working policy with tests, decision cases and the input's schema into an empty directory."""
    from extauthz.policy.authoring.scaffold import create  # noqa: PLC0415 - other verbs start faster

    files = create(directory)
    if as_json:
        print_json({"directory": str(directory), "files": files, "entrypoint": "authz/transfers/decision"})
        return
    for file in files:
        print(f"  {directory / file}")
    print(f"Entrypoint authz/transfers/decision. Next: extauthz policy test {directory}")

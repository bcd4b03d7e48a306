"""`extauthz audit key`: the public half of an audit key, for whoever verifies."""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import Annotated

import typer

from extauthz.cli.tables import print_json


def run(
    file: Annotated[Path, typer.Argument(help="The private key: `audit.key` of the configuration.")],
    make: Annotated[bool, typer.Option("--make", help="Make the key when there is none.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write it to a file instead, for `verify --key`.")] = None,
) -> None:
    """Print the public key as a JWK, with its kid. Keep it where whoever can touch the trail cannot."""
    from extauthz.audit import key  # noqa: PLC0415 - other verbs start faster
    from extauthz.audit.fault import AuditError  # noqa: PLC0415 - the same

    if not make and not file.exists():
        print(f"extauthz: there is no {file}", file=sys.stderr)
        raise typer.Exit(1)
    try:
        jwk = key.opened(file).jwk
        if out is None:
            print_json(jwk)
        else:
            out.write_text(json.dumps(jwk))
    except (AuditError, OSError) as error:
        print(f"extauthz: {error}", file=sys.stderr)
        raise typer.Exit(1) from None

"""The `extauthz` command: one file a verb."""

from __future__ import annotations

import sys

import typer

from extauthz import __version__
from extauthz.cli.agent import agent
from extauthz.cli.api_key import app as api_key
from extauthz.cli.audit import app as audit
from extauthz.cli.authority import app as authority
from extauthz.cli.break_glass import app as break_glass
from extauthz.cli.config import app as config
from extauthz.cli.demo import demo
from extauthz.cli.inventory import inventory
from extauthz.cli.policy import app as policy
from extauthz.cli.quarantine import app as quarantine
from extauthz.cli.serve import serve
from extauthz.cli.token import app as token
from extauthz.errors import ConfigError, MissingPart

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True)
app.command("serve")(serve)
app.command("agent")(agent)
app.add_typer(authority, name="authority")
app.add_typer(config, name="config")
app.add_typer(api_key, name="api-key")
app.add_typer(break_glass, name="break-glass")
app.command("demo")(demo)
app.add_typer(policy, name="policy")
app.add_typer(token, name="token")
app.add_typer(audit, name="audit")
app.add_typer(quarantine, name="quarantine")
app.command("inventory")(inventory)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"extauthz {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """External authorization for Envoy, decided by Rego policies in a local OPA."""


def main() -> None:
    """Runs the command. A configuration or a part that we refuse is told in plain lines, never as a traceback."""
    try:
        app()
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except MissingPart as error:
        print(f"extauthz: {error}", file=sys.stderr)
        sys.exit(3)

"""`python -m extauthz.testing prepare | opa`: what compose-based tests and Rego tests need before they start."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer

from extauthz.demo.files import shared
from extauthz.errors import ConfigError, ExtauthzError, MissingPart
from extauthz.policy.native import find_tool
from extauthz.testing.folder import prepare as prepare_folder

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def prepare(
    config: Annotated[Path, typer.Argument(help="The project's configuration file.")] = Path("extauthz.yaml"),
    folder: Annotated[Path, typer.Argument(help="Where the test copy goes; git should ignore it.")] = Path(".extauthz"),
    listen: Annotated[str, typer.Option(help="Where the server answers Checks.")] = "0.0.0.0:9191",
    host: Annotated[str, typer.Option(help="The host name by which Envoy reaches it.")] = "extauthz",
    http: Annotated[str, typer.Option(help="Where it answers /readyz.")] = "127.0.0.1:9190",
) -> None:
    """Write a test copy of extauthz.yaml with its policy, and the keys of its test issuers.

    Mount FOLDER/server as /etc/extauthz into the server, FOLDER/envoy into Envoy, which asks over mTLS.
    Run it again after a change: a running server reloads.
    """
    made = prepare_folder(config, folder, server={"listen": listen, "http": http}, tls=host)
    sys.stdout.write(f"{made.server} is what the server reads, {made.envoy} what Envoy shows to it\n")


@app.command()
def opa() -> None:
    """Print the path of the `opa` tool. Builds it first (minutes, once for a machine) where it is missing."""
    try:
        tool = find_tool()
    except MissingPart:
        script = shared("native") / "build.py"
        code = _run(script, "--tool-only", "--if-missing")
        if code:
            raise typer.Exit(code) from None
        tool = find_tool()
    sys.stdout.write(f"{tool}\n")


def _run(script: Path, *arguments: str) -> int:
    """Its progress goes to stderr: stdout is for the path."""
    before, out = sys.argv, sys.stdout
    sys.argv, sys.stdout = [str(script), *arguments], sys.stderr
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    finally:
        sys.argv, sys.stdout = before, out
    return 0


def main() -> None:
    try:
        app()
    except (ConfigError, ExtauthzError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()

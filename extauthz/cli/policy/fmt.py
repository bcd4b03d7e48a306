"""`extauthz policy fmt`: Rego in its one layout."""

from __future__ import annotations

from typing import Annotated

import typer

from extauthz.cli.policy.output import HERE, AsJson, Directory, print_findings, print_json


def run(
    directory: Directory = HERE,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 when something would be.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Format every Rego file below a directory, as `opa fmt` does; print the names of the files that change."""
    from extauthz.policy.authoring.opa import Opa, errors, finding  # noqa: PLC0415 - other verbs start faster
    from extauthz.policy.native import find_tool  # noqa: PLC0415 - the same

    opa = Opa(find_tool(), directory)
    broken = [finding(error) for error in errors(opa.json("check", "--format", "json", "--bundle", "."))]
    broken = [found for found in broken if found.rule == "rego_parse_error"]
    changed = [] if broken else opa.run("fmt", "--list", ".").stdout.decode().split("\n")
    changed = [name for name in changed if name.strip()]
    if changed and not check:
        opa.run("fmt", "--write", ".")
    if as_json:
        print_json(
            {"changed": changed, "written": bool(changed) and not check, "problems": [b.as_json() for b in broken]}
        )
    else:
        print_findings(broken)
        for name in changed:
            print(f"{'would change' if check else 'formatted'} {directory / name}")
    raise typer.Exit(1 if broken or (changed and check) else 0)

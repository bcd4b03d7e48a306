"""`extauthz policy check`: what is wrong with a policy, file, line and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.cli.policy.output import HERE, AsJson, Directory, mark, print_findings, print_json

if TYPE_CHECKING:
    from extauthz.policy.authoring.checking import CheckReport


def run(
    directory: Directory = HERE,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail as well.")] = False,
    schema: Annotated[bool, typer.Option(help="Check references to the input against its schema.")] = True,
    as_json: AsJson = False,
) -> None:
    """Check Rego strictly, against the schema of the input, and with our own lints; show what each entrypoint reads.

    Exit code 0: nothing to correct; 1: something is. Warnings fail only with --strict.
    """
    from extauthz.policy.authoring.checking import check  # noqa: PLC0415 - other verbs start faster
    from extauthz.policy.native import find_tool  # noqa: PLC0415 - the same

    report = check(find_tool(), directory, schema=schema)
    good = not report.findings if strict else not report.errors
    if as_json:
        print_json(_json(report, good=good))
    else:
        _print(report, good=good)
    raise typer.Exit(0 if good else 1)


def _print(report: CheckReport, *, good: bool) -> None:
    print_findings(report.findings)
    for analysis in report.analyses:
        paths = [".".join(path) or "everything" for path in analysis.paths]
        print(f"{analysis.entrypoint} reads {len(paths)} of the input's paths: {', '.join(paths) or 'none'}")
    warnings = len(report.findings) - report.errors
    print(f"{mark(good)} {report.files} files, {report.errors} to correct, {warnings} warnings")


def _json(report: CheckReport, *, good: bool) -> dict[str, Any]:
    return {
        "ok": good,
        "revision": report.revision,
        "findings": [found.as_json() for found in report.findings],
        "entrypoints": [
            {
                "entrypoint": one.entrypoint,
                "reads": [".".join(path) for path in one.paths],
                "nondeterministic": one.nondeterministic,
                "cacheable": one.cacheable,
            }
            for one in report.analyses
        ],
    }

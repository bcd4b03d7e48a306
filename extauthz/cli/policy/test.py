"""`extauthz policy test`: OPA's tests and the decision cases, with coverage, for people and for CI."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.cli.policy.output import HERE, AsJson, Directory, mark, print_findings, print_json, refuse

if TYPE_CHECKING:
    from extauthz.policy.authoring.testing import TestReport


def run(
    directory: Directory = HERE,
    only: Annotated[str, typer.Option("--run", help="Only tests and cases whose name matches this expression.")] = "",
    threshold: Annotated[float, typer.Option(help="The least coverage, in percent.", min=0, max=100)] = 0.0,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML into this file.")] = None,
    coverage: Annotated[bool, typer.Option(help="Measure what the tests cover.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run OPA's tests and the decision cases (cases.yaml, *_cases.yaml) of a policy directory.

    Exit code 0: all passed; 1: one failed, there are none, or the coverage is below the threshold.
    """
    import re  # noqa: PLC0415 - other verbs start faster

    from extauthz.policy.authoring import testing  # noqa: PLC0415 - the same
    from extauthz.policy.authoring.junit import junit as to_junit  # noqa: PLC0415 - the same
    from extauthz.policy.native import find_tool  # noqa: PLC0415 - the same

    try:
        re.compile(only)
    except re.error as error:
        refuse(f"--run is no regular expression: {error}")
    report = testing.run(find_tool(), directory, only=only, coverage=coverage or threshold > 0)
    covered = report.coverage is None or report.coverage >= threshold
    if junit is not None:
        try:
            junit.write_text(to_junit(report), encoding="utf-8")
        except OSError as error:
            refuse(f"{junit} cannot be written: {error.strerror}")
    if as_json:
        print_json(_json(report, good=report.passed and covered))
    else:
        _print(report, threshold, covered=covered)
    raise typer.Exit(0 if report.passed and covered else 1)


def _print(report: TestReport, threshold: float, *, covered: bool) -> None:
    print_findings(report.findings)
    if not report.tests and not report.cases:
        if not report.findings:
            print(
                "There is nothing to run: write *_test.rego files and cases.yaml, or start from `extauthz policy new`."
            )
        return
    ran = [test for test in report.tests if not test.skipped]
    good = sum(test.passed for test in ran)
    print(f"{mark(good == len(ran))} {good} of {len(ran)} tests passed")
    good = sum(case.passed for case in report.cases)
    print(f"{mark(good == len(report.cases))} {good} of {len(report.cases)} decision cases passed")
    if report.coverage is not None:
        at_least = f", at least {threshold:g} % is wanted" if threshold else ""
        print(f"{mark(covered)} coverage {report.coverage:.1f} %{at_least}")
        for file in report.uncovered:
            lines = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in file.lines)
            print(f"       {file.file}: not covered: {lines}")


def _json(report: TestReport, *, good: bool) -> dict[str, Any]:
    return {
        "passed": good,
        "tests": [asdict(test) for test in report.tests],
        "cases": [
            {"name": one.case.name, "file": one.case.file, "line": one.case.line, "problems": one.problems}
            for one in report.cases
        ],
        "coverage": report.coverage,
        "uncovered": [asdict(one) for one in report.uncovered],
        "findings": [found.as_json() for found in report.findings],
    }

"""Test results as JUnit XML, the form that CI systems read (testsuites / testsuite / testcase / failure)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from extauthz.policy.authoring.testing import TestReport

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 section 2.2


def junit(report: TestReport) -> str:
    """The whole document."""
    tests = [
        _case(one.name, one.file, one.line, one.seconds, "" if one.passed else one.problem, skipped=one.skipped)
        for one in report.tests
    ]
    cases = [
        _case(one.case.name, one.case.file, one.case.line, 0.0, "; ".join(one.problems), skipped=False)
        for one in report.cases
    ]
    broken = [
        _case(found.rule, found.file, found.line, 0.0, str(found), skipped=False)
        for found in (() if report.tests or report.cases else report.findings)
    ]
    suites = [("rego", tests), ("decision-cases", cases), ("compile", broken)]
    body = "".join(_suite(name, lines) for name, lines in suites if lines)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="policy">\n{body}</testsuites>\n'


def _suite(name: str, lines: list[str]) -> str:
    failures = sum("<failure" in line for line in lines)
    skipped = sum("<skipped" in line for line in lines)
    head = f'name="{name}" tests="{len(lines)}" failures="{failures}" skipped="{skipped}"'
    return f"  <testsuite {head}>\n{''.join(lines)}  </testsuite>\n"


def _case(name: str, file: str, line: int, seconds: float, problem: str, *, skipped: bool) -> str:
    head = f'name={_quoted(name)} classname={_quoted(file)} file={_quoted(file)} line="{line}" time="{seconds:.6f}"'
    if skipped:
        return f"    <testcase {head}><skipped/></testcase>\n"
    if problem:
        return f"    <testcase {head}><failure message={_quoted(problem)}/></testcase>\n"
    return f"    <testcase {head}/>\n"


def _quoted(text: str) -> str:
    return quoteattr(_NOT_XML.sub("?", text))

"""Runs everything that a policy is tested with: OPA's own tests, their coverage, and the decision cases."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from extauthz.policy.authoring.evaluator import Evaluator
from extauthz.policy.authoring.finding import Finding, with_sources
from extauthz.policy.authoring.opa import Opa, errors, finding
from extauthz.policy.case_files import load_cases
from extauthz.policy.loader import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from extauthz.policy.cases import CaseResult

SECOND: Final = 1e9
TIMEOUT: Final = "60s"
"""Of one test; a test of random inputs on a busy machine takes seconds."""


@dataclass(frozen=True, slots=True)
class RegoTest:
    """One of OPA's tests. `failed_at` is the line of Rego that was not true."""

    name: str
    file: str
    line: int
    seconds: float
    passed: bool
    skipped: bool = False
    problem: str = ""
    failed_at: int = 0


@dataclass(frozen=True, slots=True)
class Uncovered:
    file: str
    lines: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TestReport:
    """`coverage` is what OPA's tests cover, in percent; None when it was not asked for or they failed."""

    __test__ = False
    tests: tuple[RegoTest, ...]
    cases: tuple[CaseResult, ...]
    coverage: float | None
    uncovered: tuple[Uncovered, ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return not self.findings and bool(self.tests or self.cases)


def run(tool: Path, directory: Path, *, only: str = "", coverage: bool = True) -> TestReport:
    """`only` is a regular expression that a test's or a case's name must match.

    A policy that does not compile gives findings and no tests. Raises ConfigError for what is wrong with case files
    or the policy directory, and MissingPart. Blocks.
    """
    opa = Opa(tool, directory)
    chosen = ["--run", only] if only else []
    with ThreadPoolExecutor(2) as threads:
        measured = threads.submit(_opa_test, opa, "--coverage", *chosen) if coverage else None
        answer = _opa_test(opa, *chosen)
        covered = measured.result() if measured else None
    if not isinstance(answer, list) and (errors(answer) or any(directory.rglob("*_test.rego"))):
        return TestReport((), (), None, (), tuple(with_sources(_broken(opa, answer), directory)))
    tests = _explained(opa, tuple(_test(one) for one in answer or ()))
    cases = _cases(directory, only)
    percent, uncovered = _coverage(covered)
    failures = [*_rego_failures(tests), *_case_failures(directory, cases)]
    return TestReport(tests, cases, percent, uncovered, tuple(with_sources(failures, directory)))


def _opa_test(opa: Opa, *options: str) -> Any:
    return opa.json("test", "--format", "json", "--timeout", TIMEOUT, "--bundle", *options, ".")


def _broken(opa: Opa, answer: Any) -> list[Finding]:
    """Why there are no test results: what OPA said, else what its check says."""
    found = errors(answer) or errors(opa.json("check", "--format", "json", "--bundle", "."))
    return [finding(one) for one in found] or [
        Finding("", 0, 0, "opa_test", "OPA ran no tests and gives no reason", "run `opa test --bundle` by hand")
    ]


def _explained(opa: Opa, tests: tuple[RegoTest, ...]) -> tuple[RegoTest, ...]:
    """The tests; those that failed run once more with a trace, which tells the line."""
    failed = [re.escape(test.name.rpartition(".")[2]) for test in tests if not test.passed and not test.skipped]
    if not failed:
        return tests
    answer = _opa_test(opa, "--explain", "fails", "--run", f"({'|'.join(failed)})$")
    traced = [_test(one) for one in answer] if isinstance(answer, list) else []
    lines = {test.name: test.failed_at for test in traced}
    return tuple(replace(test, failed_at=lines.get(test.name, 0)) for test in tests)


def _cases(directory: Path, only: str) -> tuple[CaseResult, ...]:
    cases = [case for case in load_cases(directory) if re.search(only, case.name)]
    if not cases:
        return ()
    with Evaluator(load(directory)) as evaluator:
        return tuple(evaluator.run(cases))


def _test(found: Mapping[str, Any]) -> RegoTest:
    place = found.get("location") or {}
    failed = bool(found.get("fail"))
    error = found.get("error")
    problem = str(error.get("message", error) if isinstance(error, dict) else error) if error else ""
    package = str(found.get("package", "")).removeprefix("data.")
    return RegoTest(
        name=f"{package}.{found.get('name', '')}",
        file=str(place.get("file", "")),
        line=int(place.get("row", 0)),
        seconds=float(found.get("duration", 0)) / SECOND,
        passed=not failed and not error,
        skipped=bool(found.get("skip")),
        problem=problem or ("the test is not true" if failed else ""),
        failed_at=_failed_line(found, str(place.get("file", ""))),
    )


def _failed_line(found: Mapping[str, Any], file: str) -> int:
    """The last line of the test's own file that failed."""
    for event in reversed(found.get("trace") or []):
        place = event.get("Location") or {}
        if event.get("Op") == "Fail" and place.get("file") == file:
            return int(place.get("row", 0))
    return 0


def _coverage(answer: Any) -> tuple[float | None, tuple[Uncovered, ...]]:
    if not isinstance(answer, dict) or not isinstance(answer.get("coverage"), int | float):
        return None, ()
    uncovered = []
    for name, one in sorted((answer.get("files") or {}).items()):
        parts = one.get("not_covered") or ()
        ranges = sorted({(int(part["start"]["row"]), int(part["end"]["row"])) for part in parts})
        if ranges:
            uncovered.append(Uncovered(name, tuple(ranges)))
    return float(answer["coverage"]), tuple(uncovered)


def _rego_failures(tests: tuple[RegoTest, ...]) -> Iterator[Finding]:
    for test in tests:
        if not test.passed and not test.skipped:
            name = test.name.rpartition(".")[2]
            line = test.failed_at or test.line
            yield Finding(test.file, line, 0, name, f"{test.name}: {test.problem}", "correct the rule or the test")


def _case_failures(directory: Path, results: tuple[CaseResult, ...]) -> Iterator[Finding]:
    for result in results:
        if not result.passed:
            case = result.case
            file = case.file.removeprefix(f"{directory}/")
            message = f"case {case.name}: {'; '.join(result.problems)}"
            remedy = "correct the rule or the case; `extauthz policy explain` shows why"
            yield Finding(file, case.line, 0, case.name, message, remedy)

"""`extauthz policy check`: everything that can be said of a policy before it meets traffic.

1. OPA's strict mode, against the schema of the input.
2. Lints on the syntax tree (`lints`).
3. The projection of each entrypoint: what of the input the answer depends on, and where it is wide, why.
4. Builtins whose answer changes with time, network or chance, and what that does to caching.
5. The answers to the decision cases: reasons that a caller cannot act on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.codes import CODES
from extauthz.errors import ConfigError, EngineFault
from extauthz.policy.authoring import lints
from extauthz.policy.authoring import rego_ast as ast
from extauthz.policy.authoring.evaluator import Evaluator
from extauthz.policy.authoring.finding import Finding, with_sources
from extauthz.policy.authoring.opa import Opa, errors, finding
from extauthz.policy.authoring.shipped import schema_option
from extauthz.policy.case_files import load_cases
from extauthz.policy.loader import load
from extauthz.policy.projection import TIME_BUILTINS, Analysis, analyse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from extauthz.policy.authoring.rego_ast import Module
    from extauthz.policy.loader import PolicyFiles

SECTIONS: Final = frozenset({"subject", "action", "resource", "context"})
PLACES: Final = 5
"""The most places at which one wide path is shown."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """`analyses` are those of the declared entrypoints; empty when the policy does not compile."""

    findings: tuple[Finding, ...]
    analyses: tuple[Analysis, ...]
    files: int
    revision: str = ""

    @property
    def errors(self) -> int:
        return sum(not found.warning for found in self.findings)


def check(tool: Path, directory: Path, *, schema: bool = True) -> CheckReport:
    """Raises ConfigError for what is no policy directory, and MissingPart. Blocks."""
    policy = load(directory)
    opa = Opa(tool, directory)
    schemas = ["--schema", schema_option(directory)] if schema else []
    # 1
    found = [
        finding(one) for one in errors(opa.json("check", "--format", "json", "--strict", *schemas, "--bundle", "."))
    ]
    # 2
    rego = [name for name in policy.files if name.endswith(".rego")]
    modules, broken = ast.parse(opa, rego)
    found = list({(one.file, one.line, one.message): one for one in [*found, *broken]}.values())
    found += lints.lint(modules) if not broken else []
    analyses: tuple[Analysis, ...] = ()
    try:
        report = analyse(tool, policy)
    except ConfigError as error:
        if not found:
            raise
        del error  # the same problems as OPA's check has told
    else:
        analyses = tuple(report.analyses[name] for name in report.declared)
        for analysis in analyses:
            found += [*_wide(analysis, modules), *_impure(analysis, modules)]  # 3 4
        found += _answers(policy, directory, modules, report.declared)  # 5
    findings = [one for one in with_sources(found, directory) if not _ignored(one, policy)]
    return CheckReport(tuple(findings), analyses, len(rego), policy.revision)


def _ignored(found: Finding, policy: PolicyFiles) -> bool:
    for name, content in policy.files.items():
        if found.file.endswith(name) and found.line:
            return lints.ignored(found, content.decode(errors="replace").splitlines())
    return False


def is_wide(path: tuple[str, ...]) -> bool:
    """Whole sections of the input; below `properties` an object is what it is."""
    return not path or (path[0] in SECTIONS and path[1:] in ((), ("properties",)))


def _wide(analysis: Analysis, modules: Sequence[Module]) -> Iterator[Finding]:
    for path in filter(is_wide, analysis.paths):
        shown = ".".join(("input", *path))
        message = f"{analysis.entrypoint} reads the whole of {shown}: requests seldom share a cached decision"
        remedy = "read single paths, as in input.resource.properties.tenant"
        places = list(_reads(path, modules))[:PLACES]
        for file, where in places or [("", (0, 0))]:
            yield Finding(file, *where, "wide-projection", message, remedy, warning=True)


def _reads(path: tuple[str, ...], modules: Sequence[Module]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Where the input is read no deeper than `path`."""
    wanted = ("input", *path)
    for module in modules:
        for ref in ast.refs(module.rules):
            if ast.constant_prefix(ref) == wanted:
                yield module.file, ast.place(ref)
        if not path:  # `input` alone is a variable, unless something of it is read
            for term in ast.walk(module.rules):
                if term.get("type") == "var" and term.get("value") == "input" and not _heads_ref(term, module):
                    yield module.file, ast.place(term)


def _heads_ref(term: dict[str, Any], module: Module) -> bool:
    return any(ref["value"] and ref["value"][0] is term for ref in ast.refs(module.rules))


def _impure(analysis: Analysis, modules: Sequence[Module]) -> Iterator[Finding]:
    for name in analysis.nondeterministic:
        clock = name in TIME_BUILTINS
        effect = "is reused for policy.cache.clock_ttl at most" if clock else "is never reused"
        message = f"{name} makes the answer change by itself: a decision of {analysis.entrypoint} {effect}"
        remedy = "take the time as an attribute" if clock else "take the value from an attribute source"
        places = [
            (module.file, ast.place(ref))
            for module in modules
            for ref in ast.refs(module.rules)
            if ".".join(ast.constant_prefix(ref)) == name
        ]
        for file, where in places or [("", (0, 0))]:
            yield Finding(file, *where, "nondeterministic", message, remedy, warning=True)


def _answers(
    policy: PolicyFiles, directory: Path, modules: Sequence[Module], declared: Sequence[str]
) -> Iterator[Finding]:
    """Reasons in the answers to the cases, and entrypoints that no case asks."""
    try:
        cases = load_cases(directory)
    except ConfigError as error:
        for problem in error.problems:
            file = problem.file.removeprefix(f"{directory}/")
            yield Finding(file, problem.line, 0, "case", f"{problem.key}: {problem.message}", problem.remedy)
        return
    asked = {case.entrypoint for case in cases}
    for name in declared:
        if name not in asked:
            message = f"no decision case asks {name}: a server could activate it unproved"
            yield Finding("", 0, 0, "no-case", message, "add a case to cases.yaml", warning=True)
    seen: set[tuple[str, str]] = set()
    with Evaluator(policy) as evaluator:
        for case in cases:
            try:
                reasons = evaluator.raw(case.entrypoint, case.document).get("reasons") or ()
            except (EngineFault, AttributeError):
                continue  # the test of the cases tells
            for reason in reasons if isinstance(reasons, list | tuple) else ():
                yield from _reason(reason, modules, seen)


def _reason(reason: Any, modules: Sequence[Module], seen: set[tuple[str, str]]) -> Iterator[Finding]:
    code = str(reason.get("code", "")) if isinstance(reason, dict) else ""
    if not code:
        return
    file, where = _literal(code, modules)
    for name in ("message", "remedy"):
        if not reason.get(name) and code not in CODES and (code, name) not in seen:
            seen.add((code, name))
            message = f"the reason {code} has no {name}"
            yield Finding(file, *where, f"reason-{name}", message, f"add `{name}` to the reason")
    if (code, "code") not in seen:
        seen.add((code, "code"))
        yield from lints.code_findings(file, where, code)


def _literal(text: str, modules: Sequence[Module]) -> tuple[str, tuple[int, int]]:
    """Where a text is written in the policy."""
    for module in modules:
        for term in ast.walk(module.rules):
            if term.get("type") == "string" and term.get("value") == text:
                return module.file, ast.place(term)
    return "", (0, 0)

"""What our own checks look for in a policy, beside OPA's strict mode: mistakes that compile and then allow too much,
deny without a reason, or make every decision unique.

A line `# extauthz:ignore <check>` on the line, or on the one above it, switches one check off there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from extauthz.codes import POLICY_LAYERS, Layer
from extauthz.policy.authoring import rego_ast as ast
from extauthz.policy.authoring.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from extauthz.policy.authoring.rego_ast import Module

_CODE: Final = re.compile(r"([a-z]+)\.[a-z0-9_]{1,64}")
_LAYERS: Final = ", ".join(layer.value for layer in Layer if layer in POLICY_LAYERS)


def lint(modules: Sequence[Module]) -> list[Finding]:
    """Everything that can be seen in the files alone, without their tests."""
    found: list[Finding] = []
    for module in modules:
        for check in (negations, reasons, defaults):
            found += check(module, modules)
    if not any(ast.entrypoints(module) for module in modules):
        remedy = "write `# METADATA` and `# entrypoint: true` above the rule that decides"
        found.append(Finding("", 0, 0, "no-entrypoint", "no rule is declared as an entrypoint", remedy))
    return found


def negations(module: Module, _: Sequence[Module]) -> Iterator[Finding]:
    """`not` over a call or a lookup that takes a part of the input.

    Where that part is missing the whole expression is undefined, the rule does not fire, and a denial is lost.
    """
    for expression in ast.walk(module.rules):
        if expression.get("negated") and (hole := _hole(expression.get("terms"))):
            line, column = ast.place(expression)
            yield Finding(
                module.file,
                line,
                column,
                "not-undefined",
                f"`not` over an expression that is undefined where {hole} is: then nothing is negated",
                "give the condition a rule of its own, and write `not <rule>`",
            )


def _hole(terms: Any) -> str:
    """The reference that can be undefined inside a negated expression; empty when there is none."""
    if isinstance(terms, dict):  # a plain path: undefined is what `not` is for, except in its brackets
        inner = (
            [part for part in terms.get("value") or () if isinstance(part, dict)] if terms.get("type") == "ref" else []
        )
        return _first_hole(inner)
    if isinstance(terms, list):  # an operator or a function, and its arguments
        return _first_hole(terms[1:])
    return ""


def _first_hole(nodes: Iterable[Any]) -> str:
    for node in nodes:
        for ref in ast.refs(node):
            prefix = ast.constant_prefix(ref)
            if prefix[:1] == ("input",) or (prefix[:1] == ("data",) and not ast.whole(ref)):
                return ".".join(prefix)
    return ""


def defaults(module: Module, modules: Sequence[Module]) -> Iterator[Finding]:
    """Entrypoints without a default, and defaults that allow."""
    package = [rule for other in modules if other.package == module.package for rule in other.rules]
    with_default = {ast.rule_name(rule): rule for rule in package if rule.get("default")}
    for name, (line, column) in ast.entrypoints(module).items():
        default = with_default.get(name)
        if default is None:
            remedy = f'write `default {name} := {{"allow": false, "ttl": 1}}`'
            message = f"the entrypoint {name} has no default: it can be undefined, and then the engine fails"
            yield Finding(module.file, line, column, "missing-default", message, remedy)
        elif _allows((default.get("head") or {}).get("value") or {}):
            where = ast.place(default)
            yield Finding(
                module.file, *where, "default-allows", f"the default of {name} allows", "let the default deny"
            )


def _allows(value: dict[str, Any]) -> bool:
    answer = ast.members(value).get("allow", value) if value.get("type") == "object" else value
    return answer.get("type") == "boolean" and answer.get("value") is True


def reasons(module: Module, _: Sequence[Module]) -> Iterator[Finding]:
    """Reasons that are written out: the parts that are missing, codes that are none, layers that do not exist."""
    listed = {id(term) for term in _written_reasons(module)}
    for term in ast.walk(module.rules):
        parts = ast.members(term)
        if id(term) in listed:
            yield from _missing(module.file, term, parts)
        code = parts.get("code")
        if code is not None and code.get("type") == "string" and (id(term) in listed or _is_reason(parts)):
            yield from code_findings(module.file, ast.place(code), str(code["value"]))


def code_findings(file: str, where: tuple[int, int], code: str) -> Iterator[Finding]:
    """What is wrong with a reason's code."""
    match = _CODE.fullmatch(code)
    if match is None:
        message = f"`{code}` is no code: <layer>.<what>, lower case"
        yield Finding(file, *where, "reason-code", message, "write it as in role.permission_missing")
    elif match[1] not in POLICY_LAYERS:
        message = f"a policy cannot deny at a layer `{match[1]}`: the answer would be refused as malformed"
        yield Finding(file, *where, "unknown-layer", message, f"use one of: {_LAYERS}")


def _is_reason(parts: dict[str, Any]) -> bool:
    return not parts.keys().isdisjoint({"message", "remedy", "detail"})


def _written_reasons(module: Module) -> Iterator[dict[str, Any]]:
    """The object terms in lists under the key `reasons`."""
    for term in ast.walk(module.rules):
        listed = ast.members(term).get("reasons")
        if listed is None:
            continue
        if listed.get("type") in ("array", "set"):
            yield from (one for one in listed["value"] if one.get("type") == "object")
        elif listed.get("type") in ("arraycomprehension", "setcomprehension"):
            head = listed["value"].get("term") or {}
            if head.get("type") == "object":
                yield head


def _missing(file: str, term: dict[str, Any], parts: dict[str, Any]) -> Iterator[Finding]:
    for name, what in (("code", "callers and metrics"), ("message", "the caller"), ("remedy", "the caller")):
        if name not in parts:
            yield Finding(
                file,
                *ast.place(term),
                f"reason-{name}",
                f"a reason without `{name}` tells {what} nothing",
                f"add `{name}`",
            )


def ignored(found: Finding, lines: Sequence[str]) -> bool:
    """Whether a comment at the finding's line, or above it, switches its check off."""
    near = lines[max(found.line - 2, 0) : found.line]
    return any(re.search(rf"#\s*extauthz:ignore\s+{re.escape(found.rule)}\b", line) for line in near)

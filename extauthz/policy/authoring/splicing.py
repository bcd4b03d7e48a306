"""The old policy with one changed part of the new one: what tells which change is to blame.

A part is a rule (all definitions of one name in a file), or a whole file where rules cannot be told apart: data, a
file that is new or gone, changed imports.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from extauthz.errors import ConfigError
from extauthz.policy.authoring import rego_ast as ast
from extauthz.policy.authoring.opa import Opa
from extauthz.policy.loader import revision_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.policy.loader import PolicyFiles

Spans = dict[str, list[tuple[int, int]]]


def parts(old: PolicyFiles, new: PolicyFiles, tool: Path) -> Iterator[tuple[str, PolicyFiles]]:
    """(name, hybrid) for every changed part: `data.a.b.rule (a/b.rego:7)`, or the file's name."""
    for name in sorted({*old.files, *new.files}):
        before, after = old.files.get(name), new.files.get(name)
        if before == after:
            continue
        spliced = []
        if before is not None and after is not None and name.endswith(".rego"):
            spliced = list(_rules(name, before.decode(), after.decode(), tool))
        for shown, text in spliced:
            yield shown, _with(old, name, text.encode())
        if not spliced:
            yield name, _with(old, name, after)


def _with(old: PolicyFiles, name: str, content: bytes | None) -> PolicyFiles:
    files = {key: text for key, text in old.files.items() if key != name}
    if content is not None:
        files[name] = content
    return replace(old, files=files, revision=revision_of(files))


def _rules(name: str, before: str, after: str, tool: Path) -> Iterator[tuple[str, str]]:
    """Nothing where the files differ in more than rules."""
    try:
        one, other = _module(name, before, tool), _module(name, after, tool)
    except ConfigError:
        return
    if _bare(one.tree.get("imports")) != _bare(other.tree.get("imports")) or one.package != other.package:
        return
    old_rules, new_rules = _by_name(one), _by_name(other)
    old_spans, new_spans = _spans(one, before), _spans(other, after)
    for rule in sorted({*old_rules, *new_rules}):
        if old_rules.get(rule) == new_rules.get(rule):
            continue
        old_lines, new_lines = before.splitlines(), after.splitlines()
        gone = {line for start, end in old_spans.get(rule, ()) for line in range(start, end)}
        kept = [line for number, line in enumerate(old_lines) if number not in gone]
        come = [line for start, end in new_spans.get(rule, ()) for line in new_lines[start:end]]
        place = (new_spans.get(rule) or old_spans[rule])[0][0] + 1
        shown = f"data.{'.'.join(one.package)}.{rule.replace('/', '.')} ({name}:{place})"
        yield shown, "\n".join([*kept, "", *come, ""])


def _module(name: str, text: str, tool: Path) -> ast.Module:
    with tempfile.TemporaryDirectory(prefix="extauthz-diff-") as directory:
        Path(directory, "policy.rego").write_text(text, encoding="utf-8")
        modules, _ = ast.parse(Opa(tool, Path(directory)), ["policy.rego"])
    if not modules:
        raise ConfigError(())
    return replace(modules[0], file=name)


def _by_name(module: ast.Module) -> dict[str, bytes]:
    """Rule → its definitions without their places."""
    found: dict[str, list[Any]] = {}
    for rule in module.rules:
        found.setdefault(ast.rule_name(rule), []).append(_bare(rule))
    return {name: orjson.dumps(rules, option=orjson.OPT_SORT_KEYS) for name, rules in found.items()}


def _spans(module: ast.Module, text: str) -> Spans:
    """Rule → the lines (from 0, end excluded) of each definition: to the next rule, its comments excluded."""
    lines = text.splitlines()
    starts = sorted({ast.place(rule)[0] - 1 for rule in module.rules})
    found: Spans = {}
    for rule in module.rules:
        start = ast.place(rule)[0] - 1
        end = next((later for later in starts if later > start), len(lines))
        while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
            end -= 1
        if (start, end) not in found.setdefault(ast.rule_name(rule), []):
            found[ast.rule_name(rule)].append((start, end))
    return found


def _bare(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _bare(value) for key, value in node.items() if key not in {"location", "annotations"}}
    return [_bare(one) for one in node] if isinstance(node, list) else node

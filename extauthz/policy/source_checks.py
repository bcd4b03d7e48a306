"""What is refused in the Rego of a policy bundle before OPA sees it.

OPA reads Rego with a recursive parser and matches regular expressions in time that grows with their length; a bundle
comes from outside and must not be able to hold either up. Both checks read a text once and know strings and comments.

1. Literals and expressions nest at most `MAX_NESTING` deep.
2. No regular expression repeats something that already repeats without an end (`(a+)+`), and none counts further
   than `MAX_REPEAT` in all: other readers of the same policy take exponential time for the first, OPA memory for the
   second.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from extauthz.policy.archive import BundleRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NESTING: Final = 200
MAX_REPEAT: Final = 10_000
_SKIPPED: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')
_COMMENT_OR_STRING: Final = re.compile(r'(#[^\n]*)|("(?:[^"\\\n]|\\.)*"|`[^`]*`)')
_REGEX_CALL: Final = re.compile(r"\bregex\s*\.")
_ATOM: Final = re.compile(
    r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:[a-zA-Z-]*:|P?<\w+>)|[\s\S])([*+?]\??|\{\d{1,6}(?:,\d{0,6})?\}\??)?"
)
"""One atom and its repetition."""


def check(files: Mapping[str, bytes]) -> None:
    """Every `.rego` file of `files`. Raises BundleRefused with file and line."""
    for name, content in files.items():
        if not name.endswith(".rego"):
            continue
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise BundleRefused(f"{name} is not UTF-8") from None
        _nesting(name, text)  # 1
        if _REGEX_CALL.search(_SKIPPED.sub("", text)):
            _expressions(name, text)  # 2


def _nesting(name: str, text: str) -> None:
    plain = _SKIPPED.sub(lambda found: "\n" * found[0].count("\n"), text)
    depth, line = 0, 1
    for letter in plain:
        if letter in "([{":
            depth += 1
            if depth > MAX_NESTING:
                raise BundleRefused(f"{name}:{line}: nests deeper than {MAX_NESTING}", "build large values in data")
        elif letter in ")]}":
            depth = max(0, depth - 1)
        elif letter == "\n":
            line += 1


def _expressions(name: str, text: str) -> None:
    for found in _COMMENT_OR_STRING.finditer(text):
        literal = found[2]
        if literal and (why := too_costly(_value(literal))):
            line = text.count("\n", 0, found.start()) + 1
            raise BundleRefused(f"{name}:{line}: a regular expression {why}", "write it without the inner repetition")


def _value(literal: str) -> str:
    if literal.startswith("`"):
        return literal[1:-1]
    try:
        return str(json.loads(literal))
    except ValueError:
        return literal[1:-1]


def too_costly(pattern: str) -> str:
    """Why `pattern` would cost too much as a regular expression; empty when it would not."""
    groups = [_Group()]
    product = 1
    for found in _ATOM.finditer(pattern):
        atom, repeat, last = found[1], found[2] or "", groups[-1]
        if atom.startswith("(") and not repeat:
            groups.append(_Group())
            continue
        if atom == "|":
            last.next_branch()
            continue
        endless = repeat[:1] in {"*", "+"} or (repeat[:1] == "{" and ",}" in repeat)
        if repeat[:1] == "{" and not endless:
            product *= max(1, *(int(count or 0) for count in repeat.strip("{}?").split(",")))
            if product > MAX_REPEAT:
                return f"counts further than {MAX_REPEAT}"
        fixed = not repeat and atom not in {"^", "$"}
        if atom == ")" and len(groups) > 1:
            inner = groups.pop()
            inner.next_branch()
            if endless and inner.loose:
                return "repeats what repeats without an end"
            groups[-1].add(endless=endless or inner.repeats, fixed=fixed and inner.always_fixed)
        else:
            last.add(endless=endless, fixed=fixed)
    return ""


class _Group:
    """What stands between two brackets. A branch is loose when something in it repeats without an end and nothing
    that must come once separates one round from the next."""

    __slots__ = ("_endless", "_fixed", "always_fixed", "loose", "repeats")

    def __init__(self) -> None:
        self.loose = self.repeats = self._endless = self._fixed = False
        self.always_fixed = True

    def add(self, *, endless: bool, fixed: bool) -> None:
        self._endless = self._endless or endless
        self._fixed = self._fixed or fixed

    def next_branch(self) -> None:
        self.loose = self.loose or (self._endless and not self._fixed)
        self.repeats = self.repeats or self._endless
        self.always_fixed = self.always_fixed and self._fixed
        self._endless = self._fixed = False

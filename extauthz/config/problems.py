"""Pydantic's errors in the operator's words: file, line, key, what is wrong, what to write instead.

No message repeats a value of the file on its own account; what a validator quotes is redacted when it stands under a
key that looks like a secret.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from extauthz.config.words import seconds, size
from extauthz.errors import ConfigProblem
from extauthz.strict_yaml import MAX_PROBLEMS, Node, Tree, dotted, looks_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pydantic_core import ErrorDetails

    from extauthz.config.checks import Finding
    from extauthz.config.shape import Shape

Location: TypeAlias = "tuple[str | int, ...]"

REDACTED: Final = "[redacted]"
_SECRET_LENGTH: Final = 4
"""Shorter values are no secrets, and redacting them would make messages unreadable."""
_MAX_KEYS_SHOWN: Final = 12


def in_order(problems: Iterable[ConfigProblem]) -> tuple[ConfigProblem, ...]:
    """By line, then key; each once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.key, problem.message)))


class Translator:
    """Turns errors of one file into problems."""

    def __init__(self, tree: Tree, shape: Callable[[], Shape]) -> None:
        """`shape` is called once a message needs it: a file without problems needs no schema."""
        self._tree = tree
        self._make_shape = shape

    @cached_property
    def _shape(self) -> Shape:
        return self._make_shape()

    @cached_property
    def _secrets(self) -> list[str]:
        """The longest first, so that a part of one does not hide the whole."""
        return sorted(set(_secret_texts(self._tree.root, (), self._shape.block)), key=len, reverse=True)

    def finding(self, finding: Finding) -> ConfigProblem:
        """A rule's finding as a problem."""
        return self.problem(finding.location, finding.message, finding.remedy)

    def problem(self, location: Sequence[str | int], message: str, remedy: str) -> ConfigProblem:
        """A problem at a place; the line is that of the deepest part of it that the file has."""
        key = self._redacted(dotted(location))
        return ConfigProblem(
            self._tree.file, self._tree.line(location), key, self._redacted(message), self._redacted(remedy)
        )

    def translate(self, errors: Iterable[ErrorDetails]) -> tuple[ConfigProblem, ...]:
        errors = list(islice(errors, MAX_PROBLEMS))
        # A list whose every entry is wrong is not also too short: pydantic counts only the entries that are right.
        inside = {error["loc"][:end] for error in errors for end in range(len(error["loc"]))}
        return in_order(
            self._one(error) for error in errors if error["type"] != "too_short" or error["loc"] not in inside
        )

    def _one(self, error: ErrorDetails) -> ConfigProblem:
        location, kind, context = error["loc"], error["type"], error.get("ctx", {})
        if kind == "extra_forbidden":
            return self._unknown(location)
        if kind == "missing":
            return self._missing(location)
        message, remedy = self._words(kind, location, context)
        description = _first_sentence(self._shape.description(location))
        place = [part for part, _, _ in self._tree.walk(location)]
        meaning = f"see what it is for: {description}" if description else "see `extauthz config schema`"
        return self.problem(place, message, remedy or meaning)

    def _words(self, kind: str, location: Sequence[str | int], context: dict[str, Any]) -> tuple[str, str]:
        """(message, remedy) of an error that is about a value. The kinds are pydantic's error types."""
        expected = self._shape.expected(location)
        if kind in {"value_error", "assertion_error"}:
            return _halves(str(context.get("error", "the value is not valid")))
        if kind in _LIMITS:
            return self._limit(kind, expected, context)
        if kind in {"union_tag_invalid", "union_tag_not_found"}:
            tags = ", ".join(self._shape.tags(location)) or "the known ones"
            discriminator = str(context.get("discriminator", "kind")).strip("'")
            return f"`{discriminator}` must be one of {tags}", f"set `{discriminator}`"
        if kind == "string_pattern_mismatch" and not expected.startswith(("a duration", "a size")):
            return f"the text must match {context.get('pattern', '')}", ""
        message = f"{expected} is expected" if expected else "the value is not valid"
        return message, self._closest(location) if kind in {"literal_error", "enum"} else self._retype(location)

    def _unknown(self, location: Sequence[str | int]) -> ConfigProblem:
        known = self._shape.keys(location[:-1])
        near = get_close_matches(str(location[-1]), known, n=1, cutoff=0.6)
        if near:
            remedy = f"did you mean `{near[0]}`?"
        elif known:
            shown = ", ".join(known[:_MAX_KEYS_SHOWN]) + (", …" if len(known) > _MAX_KEYS_SHOWN else "")
            remedy = f"remove it; keys here: {shown}"
        else:
            remedy = "remove it"
        return self.problem([part for part, _, _ in self._tree.walk(location)], "unknown key", remedy)

    def _missing(self, location: Sequence[str | int]) -> ConfigProblem:
        parent = [part for part, _, _ in self._tree.walk(location[:-1])]
        expected, description = self._shape.expected(location), _first_sentence(self._shape.description(location))
        remedy = f"add `{location[-1]}`" + (f", {expected}" if expected else "")
        return self.problem([*parent, location[-1]], "the key is missing", f"{remedy}. {description}".strip(" ."))

    def _limit(self, kind: str, expected: str, context: dict[str, Any]) -> tuple[str, str]:
        name, message, remedy = _LIMITS[kind]
        limit = context.get(name, 0)
        render: Callable[[Any], str] = str
        if expected.startswith("a duration"):
            render = seconds
        elif expected.startswith("a size"):
            render = size
        return message.format(render(limit)), remedy.format(render(limit))

    def _closest(self, location: Sequence[str | int]) -> str:
        """The allowed value that is nearest to the one in the file."""
        value = self._value(location)
        allowed = [choice for place in self._shape.at(location) for choice in _choices(place)]
        near = get_close_matches(value, allowed, n=1, cutoff=0.6) if isinstance(value, str) else []
        if len(allowed) == 1:
            return f"write {allowed[0]}"
        return f"did you mean `{near[0]}`?" if near else ""

    def _retype(self, location: Sequence[str | int]) -> str:
        value, expected = self._value(location), self._shape.expected(location)
        if expected == "true or false" and isinstance(value, str):
            return "write true or false, without quotes"
        if expected == "text" and isinstance(value, int | float):
            return "put quotes around it"
        if expected.startswith("a list") and isinstance(value, str | int | float):
            return "put brackets around it: [value]"
        if value is None:
            return "give it a value, or remove the key"
        return ""

    def _value(self, location: Sequence[str | int]) -> object:
        node: Node = self._tree.root
        for _, _, node in self._tree.walk(location):  # noqa: B007 - the last one counts
            pass
        return node.value

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text


_LIMITS: Final = {
    "greater_than": ("gt", "the value is not above {}", "write more than {}"),
    "greater_than_equal": ("ge", "the value is below {}", "write at least {}"),
    "less_than": ("lt", "the value is not below {}", "write less than {}"),
    "less_than_equal": ("le", "the value is above {}", "write at most {}"),
    "string_too_long": ("max_length", "the text is too long", "write at most {} characters"),
    "string_too_short": ("min_length", "the text is too short", "write {} or more characters"),
    "too_long": ("max_length", "there are too many entries", "write at most {}"),
    "too_short": ("min_length", "there are too few entries", "write {} or more"),
}
"""Pydantic's error type → (name of the limit, message, remedy)."""


def _halves(text: str) -> tuple[str, str]:
    """Our validators write `what is wrong: what to do`; a colon inside backticks is part of what they quote."""
    end = text.find(": ")
    while end >= 0 and text.count("`", 0, end) % 2:
        end = text.find(": ", end + 1)
    return (text, "") if end < 0 else (text[:end], text[end + 2 :])


def _choices(schema: dict[str, Any]) -> list[str]:
    return [str(choice) for choice in (*schema.get("enum", ()), schema.get("const")) if choice is not None]


def _first_sentence(text: str) -> str:
    return text.split("\n\n", 1)[0].replace("\n", " ").strip()


def _secret_texts(
    node: Node, location: Location, block: Callable[[Location], frozenset[str]], *, inside: bool = False
) -> Iterator[str]:
    """Texts below a key that looks like a secret; also keys there, when the secret was taken for a mapping.

    A block of the format whose key sounds like a secret (`routes[].token`) has keys of its own, which are none.
    """
    if isinstance(node.value, dict):
        known = block(location) if location and looks_secret(str(location[-1])) else frozenset()
        for key, child in node.value.items():
            secret = inside and key not in known
            if secret and len(key) >= _SECRET_LENGTH:
                yield key
            yield from _secret_texts(child, (*location, key), block, inside=secret or looks_secret(key))
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from _secret_texts(child, (*location, index), block, inside=inside)
    elif inside and len(text := str(node.value)) >= _SECRET_LENGTH and not isinstance(node.value, bool):
        yield text
        yield repr(text)[1:-1]  # as a validator quotes it

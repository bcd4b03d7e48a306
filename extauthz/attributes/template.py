"""What an HTTP source sends: a template filled from verified facts and path variables, never able to leave its place.

1. Only the variables of `settings.TEMPLATE_VARIABLE`; the origin is fixed text.
2. A variable without a value, or longer than 1,024 characters, is refused.
3. In the path of the URL, a variable must stay one segment whatever the other side decodes: no slash, backslash,
   percent sign or control character, and no segment may become `.` or `..`.
4. Everything else is percent-encoded (RFC 3986 section 2.1: only unreserved characters stand as they are), or becomes
   a JSON text in the body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from extauthz.attributes.settings import TEMPLATE_VARIABLE
from extauthz.model import Deny, deny

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.attributes.settings import HttpSource
    from extauthz.attributes.source import AttributeQuestion

    Getter = Callable[[AttributeQuestion], Any]

_LONGEST: Final = 1024
_LEAVES_SEGMENT: Final = re.compile(r"[/\\%\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Call:
    """One rendered request; equal calls have equal answers."""

    url: str
    body: bytes


class _Unusable(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.denial = deny(code, detail)


class Template:
    """The request of one HTTP source, taken apart once."""

    def __init__(self, settings: HttpSource) -> None:
        self._name = settings.name
        path, mark, query = settings.url.partition("?")
        self._path = _parts(path)
        self._query = [mark, *_parts(query)]
        self._body = [(name, _parts(text)) for name, text in settings.body.items()]
        self._post = settings.method == "POST"
        text = " ".join([settings.url, *settings.body.values()])
        names = TEMPLATE_VARIABLE.findall(text)
        self.path_variables = frozenset(name.removeprefix("path.") for name in names if name.startswith("path."))
        self._fixed = None if names else Call(settings.url, orjson.dumps(settings.body) if self._post else b"")

    def render(self, question: AttributeQuestion) -> Call | Deny:
        """`request.path_ambiguous` when the caller's path would leave its segment; `engine.attributes_unavailable`
        when a variable has no usable value."""
        if self._fixed is not None:
            return self._fixed
        try:
            url = self._rendered_path(question) + "".join(
                part if isinstance(part, str) else quote(self._value(part, question), safe="") for part in self._query
            )
            return Call(url, self._rendered_body(question) if self._post else b"")
        except _Unusable as error:
            return error.denial
        except (UnicodeError, orjson.JSONEncodeError):
            return deny("engine.attributes_unavailable", f"source {self._name}: a variable is not UTF-8")

    def _value(self, variable: tuple[str, Getter], question: AttributeQuestion) -> str:
        name, getter = variable
        value = getter(question)
        if value.__class__ is int:
            value = str(value)
        if value.__class__ is not str or not value or len(value) > _LONGEST:  # 2
            raise _Unusable("engine.attributes_unavailable", f"source {self._name}: no usable value for {name}")
        return str(value)

    def _rendered_path(self, question: AttributeQuestion) -> str:
        rendered = []
        for part in self._path:
            if isinstance(part, str):
                rendered.append(part)
                continue
            value = self._value(part, question)
            if _LEAVES_SEGMENT.search(value):  # 3
                raise self._leaves(part[0])
            rendered.append(quote(value, safe=""))  # 4
        path = "".join(rendered)
        if "/." in path and any(segment in {".", ".."} for segment in path.split("/")):  # 3
            raise self._leaves("a variable")
        return path

    def _leaves(self, name: str) -> _Unusable:
        caller = name.startswith(("path.", "resource.", "a variable"))
        code = "request.path_ambiguous" if caller else "engine.attributes_unavailable"
        return _Unusable(code, f"source {self._name}: {name} would change the path of the call")

    def _rendered_body(self, question: AttributeQuestion) -> bytes:
        return orjson.dumps(
            {
                name: "".join(part if isinstance(part, str) else self._value(part, question) for part in parts)
                for name, parts in self._body
            }
        )


def _parts(text: str) -> list[str | tuple[str, Getter]]:
    """Fixed text and variables, in order."""
    parts: list[str | tuple[str, Getter]] = []
    at = 0
    for match in TEMPLATE_VARIABLE.finditer(text):
        if match.start() > at:
            parts.append(text[at : match.start()])
        parts.append((match[1], _getter(match[1])))
        at = match.end()
    if text[at:]:
        parts.append(text[at:])
    return parts


def _getter(variable: str) -> Getter:
    kind, _, name = variable.partition(".")
    if kind == "path":
        return lambda question: question.variables.get(name)
    if kind == "resource":
        attribute = f"resource_{name}"
        return lambda question: getattr(question, attribute)
    if name.startswith("claims."):
        claim = name.removeprefix("claims.")
        return lambda question: question.subject.claims.get(claim) if question.subject else None
    if kind == "subject":
        return lambda question: getattr(question.subject, name) if question.subject else None
    return lambda question: getattr(question.workload, name) if question.workload else None

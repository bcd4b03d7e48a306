"""The `request` source: values that the caller wrote. Each is found in one place, once, and strictly read.

| from | missing | unreadable |
| --- | --- | --- |
| `header:` | `request.header_malformed` | `request.header_malformed`, twice: `request.header_duplicated` |
| `query:` | `request.query_malformed` | `request.query_malformed`, also twice |
| `path:` | `request.route_mismatch` | `request.route_mismatch` |
| `body:` | `request.body_malformed` | `request.body_malformed`, cut: `request.body_truncated` |
| `grpc:`, `host`, `method` | `request.route_mismatch` | `request.body_malformed` for frames |

Envoy joins a repeated header with commas, so a comma in a header that is no list counts as a repetition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from extauthz.attributes import body as bodies
from extauthz.attributes.values import Unfit, from_json, from_text
from extauthz.errors import ExtauthzError
from extauthz.model import Deny, deny
from extauthz.strict_json import MISSING, NotStrict, Pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from extauthz.attributes.settings import RequestField, RequestSource
    from extauthz.attributes.source import AttributeQuestion

    Pick = Callable[[AttributeQuestion], Any]
    """Gives the value or MISSING; raises Refused or Unfit."""

_MAX_PARAMETERS: Final = 256
_CODES: Final = {
    "header": "request.header_malformed",
    "query": "request.query_malformed",
    "body": "request.body_malformed",
}


class Refused(ExtauthzError):
    """Carries a denial out of a picker."""

    def __init__(self, denial: Deny) -> None:
        super().__init__(denial.code)
        self.denial = denial


class RequestValues:
    """Implements `source.AttributeSource`; never awaits."""

    awaits = False
    trusted = False

    def __init__(self, settings: RequestSource, names: Iterable[str] | None = None) -> None:
        self._settings = settings
        chosen = settings.fields if names is None else {name: settings.fields[name] for name in names}
        self.name = settings.name
        self.names = frozenset(chosen)
        sources = [rule.source.partition(":") for rule in chosen.values()]
        self.path_variables = frozenset(argument for kind, _, argument in sources if kind == "path")
        self._picks = tuple(
            (name, _PICKS[kind](rule, argument, settings), rule.required, _CODES.get(kind, "request.route_mismatch"))
            for (name, rule), (kind, _, argument) in zip(chosen.items(), sources, strict=True)
        )

    def narrow(self, names: frozenset[str]) -> RequestValues:
        return RequestValues(self._settings, sorted(names))

    def ready(self, question: AttributeQuestion) -> Mapping[str, Any] | Deny:
        values: dict[str, Any] = {}
        for name, pick, required, code in self._picks:
            try:
                value = pick(question)
            except Refused as error:
                return error.denial
            except (Unfit, NotStrict) as error:
                return deny(code, f"{self.name}.{name}: {error}")
            if value is not MISSING:
                values[name] = value
            elif required:
                return deny(code, f"{self.name}.{name}: missing")
        return values

    async def fetch(self, question: AttributeQuestion) -> Mapping[str, Any] | Deny:
        return self.ready(question)


def _header(rule: RequestField, name: str, _: RequestSource) -> Pick:
    convert = from_text(rule)
    many = rule.type == "list"

    def pick(question: AttributeQuestion) -> Any:
        request = question.request
        text = request.headers.get(name)
        if not text:
            return MISSING
        if many:
            return convert([item for part in text.split(",") if (item := part.strip(" \t"))])
        if "," in text or name in request.duplicated_headers:
            raise Refused(deny("request.header_duplicated", f"{name} came more than once, or holds a comma"))
        return convert(text)

    return pick


def _path(rule: RequestField, name: str, _: RequestSource) -> Pick:
    convert = from_text(rule)

    def pick(question: AttributeQuestion) -> Any:
        text = question.variables.get(name)
        return convert(text) if text else MISSING

    return pick


def _query(rule: RequestField, name: str, _: RequestSource) -> Pick:
    convert = from_text(rule)
    many = rule.type == "list"
    folded = name.casefold()

    def pick(question: AttributeQuestion) -> Any:
        if not question.request.query:
            return MISSING
        parameters = question.parameters
        if parameters is None:
            parameters = question.parameters = read_query(question.request.query)
        if isinstance(parameters, Deny):
            raise Refused(parameters)
        for other in parameters:
            if other != name and other.casefold() == folded:
                raise Unfit("a parameter's name differs from the expected one only in case")
        texts = parameters.get(name)
        if texts is None or texts == [""]:
            return MISSING
        if many:
            return convert(texts)
        if len(texts) > 1:
            raise Unfit("the parameter stands twice")
        return convert(texts[0])

    return pick


def read_query(query: str) -> dict[str, list[str]] | Deny:
    """Name → values (WHATWG URL section 5.1), except that nothing is repaired: a bad escape or `;` is refused."""
    parts = query.split("&")
    if ";" in query or len(parts) > _MAX_PARAMETERS:
        return deny("request.query_malformed", "the query holds a semicolon or too many parameters")
    parameters: dict[str, list[str]] = {}
    for part in parts:
        if part:
            name, _, value = part.partition("=")
            try:
                parameters.setdefault(_decoded(name), []).append(_decoded(value))
            except ValueError:  # UnicodeError among them
                return deny("request.query_malformed", "the query has a bad escape or is not UTF-8")
    return parameters


def _decoded(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    raw = unquote_to_bytes(text)
    if len(raw) != len(text.encode()) - 2 * text.count("%"):
        raise ValueError("an escape was left over")
    return raw.decode()


def _body(rule: RequestField, pointer: str, settings: RequestSource) -> Pick:
    convert = from_json(rule)
    find = Pointer(pointer).find
    bounds = (settings.max_body, settings.max_depth)

    def pick(question: AttributeQuestion) -> Any:
        document = question.document
        if document is None or question.bounds != bounds:
            document = bodies.document(question, bounds)
        if isinstance(document, Deny):
            raise Refused(document)
        value = find(document.root)
        return MISSING if value is MISSING or value is None else convert(value)

    return pick


def _grpc(rule: RequestField, what: str, _: RequestSource) -> Pick:
    convert = from_text(rule)

    def pick(question: AttributeQuestion) -> Any:
        names = bodies.grpc_names(question.request)
        if names is None:
            return MISSING
        if what != "size":
            return convert(names[what == "method"])
        size = bodies.grpc_size(question.request)
        if isinstance(size, Deny):
            raise Refused(size)
        return size

    return pick


def _method(rule: RequestField, _: str, __: RequestSource) -> Pick:
    convert = from_text(rule)
    return lambda question: convert(question.request.method) if question.request.method else MISSING


def _host(rule: RequestField, _: str, __: RequestSource) -> Pick:
    convert = from_text(rule)
    return lambda question: convert(question.request.host.lower()) if question.request.host else MISSING


_PICKS: Final[Mapping[str, Callable[[RequestField, str, RequestSource], Pick]]] = {
    "header": _header,
    "path": _path,
    "query": _query,
    "body": _body,
    "grpc": _grpc,
    "method": _method,
    "host": _host,
}

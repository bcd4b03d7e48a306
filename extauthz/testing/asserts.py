"""Assertions whose failure says what was asked, what was answered, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from extauthz.attributes.settings import SECRET_HEADERS
from extauthz.codes import CODES, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from extauthz.testing.answers import Answer, Question

_LONG: Final = 400
"""Characters of a value that are shown."""
_SUBJECT: Final = "x-extauthz-subject"
_NOT_SHOWN: Final = frozenset({"iat", "exp", "jti"})


def assert_allowed(
    answer: Answer, *, subject: str | None = None, headers: Mapping[str, str | None] | None = None
) -> None:
    """The request goes on to the service.

    `subject` is whom the service is told of (`x-extauthz-subject`). `headers` are what the service gets; a value of
    None means that it must not get the header from us.
    """
    __tracebackhide__ = True
    wanted: dict[str, str | None] = dict(headers or {})
    if subject is not None:
        wanted[_SUBJECT] = subject
    if not answer.allowed:
        _fail("allowed", f"denied at layer {answer.layer or '?'} with code {answer.code}", answer)
    for name, value in wanted.items():
        got = answer.headers.get(name.lower())
        if got != value:
            _fail(f"allowed, with {_header(name, value)}", f"allowed, with {_header(name, got)}", answer)


def assert_denied(answer: Answer, *, layer: str = "", code: str = "", status: int = 0) -> None:
    """The request is refused: at this layer, with this code, with this HTTP status, as far as they are given."""
    __tracebackhide__ = True
    if layer and layer not in set(Layer):
        raise ValueError(f"there is no layer {layer!r}; layers are {', '.join(Layer)}")
    said = {"layer": answer.layer, "code": answer.code, "status": answer.status}
    wanted = {"layer": layer, "code": code, "status": status}
    if answer.allowed or any(value and said[name] != value for name, value in wanted.items()):
        was = "allowed" if answer.allowed else _denied(answer.layer, answer.code, answer.status)
        _fail(_denied(layer, code, status), was, answer)


def explain(answer: Answer) -> str:
    """The question, the answer and the decision record as text. No token is in it."""
    return "\n".join((*_asked(answer), *_answered(answer), *_recorded(answer)))


def _fail(expected: str, was: str, answer: Answer) -> None:
    __tracebackhide__ = True
    raise AssertionError(f"expected {expected}\nbut was  {was}\n\n{explain(answer)}")


def _denied(layer: str, code: str, status: int) -> str:
    parts = (f"at layer {layer}" if layer else "", f"with code {code}" if code else "", f"HTTP {status}" * bool(status))
    return " ".join(("denied", *filter(None, parts)))


def _header(name: str, value: str | None) -> str:
    return f"no header {name}" if value is None else f"the header {name}: {value}"


def _asked(answer: Answer) -> Iterator[str]:
    question = answer.question
    by = f"route {question.route}" if question.route else "route by host, method and path"
    yield f"asked     {question.method} {question.scheme}://{question.host}{question.path} ({by})"
    yield f"  token   {_token(answer)}"
    yield f"  caller  {question.peer.id if question.peer else 'none: no client certificate'}"
    for name, value in question.headers.items():
        yield f"  header  {name}: {'…' if name in SECRET_HEADERS else _short(value)}"
    yield from _body(question)


def _token(answer: Answer) -> str:
    token = answer.question.token
    if not token:
        return "none"
    claims = answer.source.claims(token) if answer.source is not None else None
    if claims is None:
        return f"one of {len(token)} characters, not minted by these tests"
    return " ".join(f"{name}={_plain(value)}" for name, value in claims.items() if name not in _NOT_SHOWN)


def _body(question: Question) -> Iterator[str]:
    if question.body:
        yield f"  body    {_short(question.body.decode(errors='backslashreplace'))}"


def _answered(answer: Answer) -> Iterator[str]:
    if answer.allowed:
        yield "answered  allowed"
        for name, value in answer.headers.items():
            yield f"  header  {name}: {_short(value)}"
        return
    yield f"answered  denied, HTTP {answer.status}"
    yield f"  layer   {answer.layer or 'none that this version knows'}"
    yield f"  code    {answer.code}"
    yield f"  message {answer.message}"


def _recorded(answer: Answer) -> Iterator[str]:
    yield f"decision  {answer.decision_id or 'without an id'}"
    record = answer.record
    if record is None:
        yield "  record  none: with --extauthz-address, name the server's folder with --extauthz-folder"
    else:
        request, cached = record["request"], record["cached"]["decision"]
        yield f"  route   {request['route']}"
        yield f"  policy  {record['path'] or 'was not asked'}{' (answered from the cache)' if cached else ''}"
        for reason in record["result"].get("reasons", ()):
            yield from _reason(reason, answer)
    if answer.layer == Layer.ENGINE and answer.source is not None and (words := answer.source.last_words()):
        yield f"server's log\n{words}"


def _reason(reason: Mapping[str, Any], answer: Answer) -> Iterator[str]:
    code = reason["code"]
    yield f"  reason  {code}"
    if detail := reason.get("detail"):
        yield f"    detail  {detail}"
    known = CODES[code].remedy if code in CODES else ""
    if remedy := known or (answer.source.remedy(code) if answer.source is not None else ""):
        yield f"    remedy  {remedy}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) and value.isascii() and " " not in value else json.dumps(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}… ({len(text)} characters)"

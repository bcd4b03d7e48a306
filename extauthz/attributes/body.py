"""What the request's body says: one JSON document, or the frames of a gRPC message.

A body is judged only when we have seen all of it:

1. A content type, content coding or length that came twice is refused; so is a coding other than `identity`.
2. Envoy says that it cut the body, or the request announces bytes that are not there → `request.body_truncated`.
3. No body and none announced → no document; required values are then missing.
4. Another media type than JSON, a charset other than UTF-8, or a document that `strict_json` refuses
   → `request.body_malformed`. The content type is never guessed: the upstream may read the same bytes otherwise.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from extauthz import strict_json
from extauthz.model import Deny, deny
from extauthz.strict_json import MISSING, Document, NotStrict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.attributes.source import AttributeQuestion
    from extauthz.model import Request

_JSON: Final = re.compile(
    r"application/(?:[a-z0-9!#$&^_.-]{1,64}\+)?json(?:[ \t]*;[ \t]*charset=\"?utf-8\"?)?[ \t]*", re.IGNORECASE
)
_GRPC: Final = re.compile(r"application/grpc(?:\+[a-z0-9.-]{1,64})?(?:[ \t]*;.*)?", re.IGNORECASE)
_GRPC_PATH: Final = re.compile(r"/([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)/([A-Za-z_][A-Za-z0-9_]*)")
_FRAMING: Final = frozenset(
    {"content-type", "content-length", "content-encoding", "transfer-encoding", "grpc-encoding"}
)
_PREFIX: Final = 5
"""Bytes before a gRPC message: a flag and a 4-byte length."""
_NOTHING: Final = Document(MISSING)


def document(question: AttributeQuestion, bounds: tuple[int, int]) -> Document | Deny:
    """The JSON body, parsed at most once a Check; its root is MISSING when the request has no body.

    `bounds`: bytes and nesting, at most. Each source holds the body to its own.
    """
    known = question.document
    if known is not None and (question.bounds == bounds or known.__class__ is Deny):
        return known
    question.bounds = bounds
    max_bytes, max_depth = bounds
    body = question.request.body
    try:
        if known is None:
            known = _whole(question.request) or (
                strict_json.parse(body, max_bytes=max_bytes, max_depth=max_depth) if body else _NOTHING
            )
        else:
            strict_json.fits(body, max_bytes=max_bytes, max_depth=max_depth)
    except NotStrict as error:
        known = deny("request.body_malformed", str(error))
    question.document = known
    return known


def _whole(request: Request) -> Deny | None:
    """Steps 1–4; None: the body is all there and says that it is JSON, or there is none."""
    headers = request.headers
    if refused := _framing(request):
        return refused
    kind = headers.get("content-type", "")
    if not request.body:
        if kind and headers.get("content-length") != "0":
            return deny("request.body_truncated", "a body is announced and was not sent to us")
        return None  # 3
    if not _JSON.fullmatch(kind):
        return deny("request.body_malformed", "the content type is not JSON in UTF-8")  # 4
    return None


def _framing(request: Request) -> Deny | None:
    """Steps 1 and 2."""
    headers = request.headers
    if twice := request.duplicated_headers & _FRAMING:
        return deny("request.header_duplicated", f"{', '.join(sorted(twice))} came more than once")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        return deny("request.body_malformed", "an encoded body cannot be read")
    if request.body_truncated:
        return deny("request.body_truncated")
    return _length(headers, request.body)


def _length(headers: Mapping[str, str], body: bytes) -> Deny | None:
    length = headers.get("content-length")
    if length is not None:
        if not (length.isascii() and length.isdecimal()):
            return deny("request.header_malformed", "content-length is not a number")
        if length.lstrip("0") != (str(len(body)) if body else ""):
            return deny("request.body_truncated", "content-length announces another size")
    elif not body and "transfer-encoding" in headers:
        return deny("request.body_truncated", "a body is announced and was not sent to us")
    return None


def grpc_names(request: Request) -> tuple[str, str] | None:
    """Service and method of a gRPC request; None when it is none."""
    if not _GRPC.fullmatch(request.headers.get("content-type", "")):
        return None
    match = _GRPC_PATH.fullmatch(request.path)
    return (match[1], match[2]) if match and request.method == "POST" else None


def grpc_size(request: Request) -> int | Deny:
    """Bytes of all messages in a gRPC body, every frame checked (gRPC over HTTP/2: Length-Prefixed-Message)."""
    if refused := _framing(request):
        return refused
    body, at, total = request.body, 0, 0
    if not body:
        return deny("request.body_truncated", "a gRPC body was not sent to us")
    while at < len(body):
        if len(body) - at < _PREFIX or body[at] > 1:
            return deny("request.body_malformed", "a gRPC frame is malformed")
        if body[at] == 1 and request.headers.get("grpc-encoding", "identity") == "identity":
            return deny("request.body_malformed", "a gRPC frame is compressed and names no encoding")
        size = int.from_bytes(body[at + 1 : at + _PREFIX], "big")
        at += _PREFIX + size
        total += size
    if at != len(body):
        return deny("request.body_malformed", "a gRPC frame is longer than the body")
    return total

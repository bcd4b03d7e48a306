"""Envoy's words to ours: a serialized `CheckRequest` becomes a `Request`, or the reason why it cannot be judged.

1. Bytes that are not a CheckRequest, or one without an HTTP request, are refused (`request.malformed`); nothing that
   Envoy could send raises.
2. Every part is bounded before it is used: header count and bytes, path, extensions (`request.too_large`).
3. Headers come from `headers`, or from `header_map` where Envoy is told to encode raw headers; only the latter tells
   that a name came twice. `host` and `:authority` count as one, and two of them are refused.
4. The path judged is the path served: what a server behind Envoy could read in another way is refused
   (`request.path_ambiguous`). Envoy's `normalize_path`, `merge_slashes` and `path_with_escaped_slashes_action` leave
   none of these, so a refusal here also says that one of them is off.
5. A body is taken from `raw_body` (`pack_as_bytes`) or `body`, and `x-envoy-auth-partial-body` says whether it is cut.

Source: envoy/service/auth/v3/attribute_context.proto. The other direction is `check.respond`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from extauthz.check.messages import CheckRequest, DecodeError
from extauthz.model import Deny, Request, deny

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["parse"]

MAX_HEADERS: Final = 256
MAX_HEADER_BYTES: Final = 96 * 1024
"""Envoy itself takes 60 KiB unless told otherwise."""
MAX_PATH: Final = 8192
"""With the query."""
MAX_EXTENSIONS: Final = 64
MAX_NAME: Final = 8192
"""Host, id, principal and other names."""
MAX_CERTIFICATE: Final = 64 * 1024
PARTIAL_BODY: Final = "x-envoy-auth-partial-body"

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_METHOD: Final = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_PLAIN_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~:@-][A-Za-z0-9_~:@.-]*+)*+/?")
"""What most paths look like; any other one is searched for `_AMBIGUOUS`."""
_AMBIGUOUS: Final = re.compile(
    r"""//                                      # empty segment
    | /\.{1,2} (?: / | $ )                      # dot segment
    | [\\;\#]                                   # other separators: Windows', servlets', a fragment
    | [^\x21-\x7e]                              # control, space, raw non-ASCII
    | % (?! [0-9a-f]{2} )                       # not an escape
    | % (?:25)* (?: 2[ef] | 5c | [01][0-9a-f] | 7f | c[01] )   # . / \ control, overlong UTF-8; also escaped twice
    """,
    re.VERBOSE | re.IGNORECASE,
)


def parse(message: bytes) -> Request | Deny:
    """Steps 1-5 of the module's docstring. Never raises."""
    try:
        attributes = CheckRequest.FromString(message).attributes
    except DecodeError:
        return deny("request.malformed", "not a CheckRequest")  # 1
    http = attributes.request.http
    method = http.method
    if method not in _METHODS and not _METHOD.fullmatch(method):
        return deny("request.malformed", "no HTTP request, or not an HTTP method")
    source, destination = attributes.source, attributes.destination
    extensions = dict(attributes.context_extensions)
    # No part is larger than the whole: most messages need no look at their parts.
    if (len(message) > MAX_NAME or len(http.headers) > MAX_HEADERS) and (
        too_large := _too_large(attributes, http, extensions, len(message))
    ):
        return deny("request.too_large", too_large)  # 2
    duplicated: frozenset[str] = frozenset()
    headers = dict(http.headers) if http.headers else {}  # 3
    if http.HasField("header_map"):
        headers, duplicated = _raw_headers(http.header_map.headers, headers)
        if "host" in duplicated:
            return deny("request.header_duplicated", "host")
    path, _, query = http.path.partition("?")
    if not (path and _PLAIN_PATH.fullmatch(path)) and not _one_reading(path, method):  # 4
        return deny("request.path_ambiguous", "the path is not normalised")
    return Request(
        id=http.id,
        method=method,
        scheme=http.scheme,
        host=http.host,
        path=path,
        query=query or http.query,
        protocol=http.protocol,
        headers=headers,
        body=http.raw_body or http.body.encode(),  # 5
        body_truncated=headers.get(PARTIAL_BODY) == "true",
        principal=source.principal,
        certificate=source.certificate,
        source_address=_address(source.address),
        destination_principal=destination.principal,
        context_extensions=extensions,
        duplicated_headers=duplicated,
    )


def _too_large(  # noqa: PLR0911 - one return a bound
    attributes: Any, http: Any, extensions: Mapping[str, str], size: int
) -> str:
    """Which part is out of bounds; empty when none is. A message of `MAX_NAME` bytes has none but too many headers."""
    if len(http.path) > MAX_PATH:
        return f"the path is longer than {MAX_PATH}"
    if len(extensions) > MAX_EXTENSIONS:
        return f"more than {MAX_EXTENSIONS} context extensions"
    source = attributes.source
    names = (http.host, http.id, http.scheme, http.protocol, source.principal, attributes.destination.principal)
    if max(map(len, names)) > MAX_NAME or len(source.address.pipe.path) > MAX_NAME:
        return f"host, id or principal is longer than {MAX_NAME}"
    if len(source.certificate) > MAX_CERTIFICATE:
        return f"the peer certificate is longer than {MAX_CERTIFICATE}"
    if len(http.header_map.headers) > MAX_HEADERS or len(http.headers) > MAX_HEADERS:
        return f"more than {MAX_HEADERS} headers"
    if size > MAX_HEADER_BYTES and _header_bytes(http) > MAX_HEADER_BYTES:
        return f"the headers take more than {MAX_HEADER_BYTES} bytes"
    return ""


def _header_bytes(http: Any) -> int:
    size = sum(len(name) + len(value) for name, value in http.headers.items())
    return size + sum(len(h.key) + len(h.value) + len(h.raw_value) for h in http.header_map.headers)


def _one_reading(path: str, method: str) -> bool:
    return not _AMBIGUOUS.search(path) and (path.startswith("/") or (path == "*" and method == "OPTIONS"))


def _raw_headers(raw: Any, headers: dict[str, str]) -> tuple[dict[str, str], frozenset[str]]:
    """`header_map` over `headers`; values of one name joined with a comma (RFC 9110 section 5.3)."""
    joined: dict[str, str] = {}
    duplicated = set()
    for header in raw:
        name = header.key
        if not name.islower():  # Envoy's names are lower case
            name = name.lower()
        encoded = header.raw_value
        value = (encoded.decode() if encoded.isascii() else _text(encoded)) if encoded else header.value
        if name in joined:
            duplicated.add(name)
            value = f"{joined[name]},{value}"
        joined[name] = value
    if "host" in joined and ":authority" in joined:
        duplicated.add("host")
    if ":authority" in duplicated:
        duplicated.add("host")
    return (headers | joined if headers else joined), frozenset(duplicated)


def _text(raw: bytes) -> str:
    """UTF-8, else Latin-1: every value has a text, and ASCII has only one."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _address(address: Any) -> str:
    """The peer's IP address without its port, or the path of its Unix socket."""
    return address.socket_address.address or address.pipe.path  # type: ignore[no-any-return]  # upb strings

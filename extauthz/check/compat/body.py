"""`parsed_body` and `truncated_body`.

1. `x-envoy-auth-partial-body: true`: cut, nothing is parsed.
2. The content type is matched by substring, in this order: JSON, gRPC, URL-encoded form, multipart form. Anything else
   is null.
3. The text body counts, else the raw one; none is null.
4. A `content-length` larger than the body: cut, nothing is parsed.
5. A body that does not parse is `Unreadable`: the request is refused, and no policy is asked.

Only the `headers` map is read, as the plugin does: under Envoy's `encode_raw_headers` no body is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.check.compat.go_text import Unreadable, media_type, query, text, whole_number
from extauthz.check.compat.json_text import parse
from extauthz.check.compat.multipart import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from extauthz.check.compat.descriptors import Descriptors

PARTIAL: Final = "x-envoy-auth-partial-body"
_FRAME: Final = 5
"""A gRPC frame's head: compression flag, big-endian length."""
_SERVICE_AND_METHOD: Final = 2


@dataclass(slots=True)
class Body:
    """`value` is any JSON value; None when there is none, it is cut, or its content type is not read."""

    value: Any = None
    truncated: bool = False


def read(
    headers: Mapping[str, str], body: str, raw: bytes, path: Sequence[str], descriptors: Descriptors | None
) -> Body:
    """`path` is `parsed_path`. Raises Unreadable."""
    if headers.get(PARTIAL) == "true":  # 1
        return Body(truncated=True)
    kind = headers.get("content-type", "")
    if "application/json" in kind:  # 2
        return _whole(headers, body, raw, parse)
    if "application/grpc" in kind:
        return _grpc(raw, path, descriptors)
    if "x-www-form-urlencoded" in kind:
        return _whole(headers, body, raw, lambda payload: query(text(payload)))
    if "multipart/form-data" in kind:
        return _whole(headers, body, raw, lambda payload: _multipart(kind, payload))
    return Body()


def _whole(headers: Mapping[str, str], body: str, raw: bytes, read_as: Callable[[bytes], Any]) -> Body:
    payload = body.encode() or raw  # 3
    if not payload:
        return Body()
    length = headers.get("content-length")
    if length is not None and whole_number(length) > len(payload):  # 4
        return Body(truncated=True)
    return Body(read_as(payload))  # 5


def _multipart(kind: str, payload: bytes) -> dict[str, list[Any]] | None:
    """Lists of values by name; a part that says it is JSON is parsed, any other is text."""
    boundary = media_type(kind)[1].get("boundary")
    if boundary is None:
        return None
    found: dict[str, list[Any]] = {}
    for name, part, content in parts(payload, boundary):
        found.setdefault(name, []).append(parse(content) if "application/json" in part else text(content))
    return found


def _grpc(raw: bytes, path: Sequence[str], descriptors: Descriptors | None) -> Body:
    """The first message. Compressed, streamed or unknown ones are null."""
    if descriptors is None or not raw:
        return Body()
    if len(path) != _SERVICE_AND_METHOD:
        raise Unreadable("invalid parsed path")
    if len(raw) < _FRAME:
        raise Unreadable("less than 5 bytes")
    if raw[0]:
        return Body()
    end = _FRAME + int.from_bytes(raw[1:_FRAME], "big")
    if end > len(raw):
        return Body(truncated=True)
    known, value = descriptors.read_message(path[0], path[1], raw[_FRAME:end])
    return Body(value) if known else Body()

"""CheckRequests as Envoy would send them, and answers taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from extauthz.check import wire
from extauthz.check.messages import CheckRequest, CheckResponse
from extauthz.model import Deny, Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PRINCIPAL = "spiffe://bank.example/env/prod/ns/edge/sa/gateway"


def check_request(
    method: str = "GET",
    path: str = "/v1/accounts/7",
    *,
    headers: Mapping[str, str] | None = None,
    raw_headers: Iterable[tuple[str, bytes]] | None = None,
    host: str = "api.bank.example",
    extensions: Mapping[str, str] | None = None,
    **fields: Any,
) -> bytes:
    """A serialized CheckRequest. `raw_headers` fills `header_map`; `fields` are further fields of the HTTP request."""
    message = CheckRequest()
    http = message.attributes.request.http
    http.id, http.method, http.path, http.host = "1", method, path, host
    http.scheme, http.protocol = "https", "HTTP/2"
    for name, value in fields.items():
        setattr(http, name, value)
    for name, value in (headers or {}).items():
        http.headers[name] = value
    for name, raw in raw_headers or ():
        http.header_map.headers.add(key=name, raw_value=raw)
    message.attributes.source.principal = PRINCIPAL
    message.attributes.source.address.socket_address.address = "10.0.0.7"
    message.attributes.source.address.socket_address.port_value = 40123
    for name, value in (extensions or {"route": "accounts"}).items():
        message.attributes.context_extensions[name] = value
    return message.SerializeToString()


def parsed(*args: Any, **kwargs: Any) -> Request:
    """What `wire.parse` makes of `check_request(...)`; it must be accepted."""
    request = wire.parse(check_request(*args, **kwargs))
    assert isinstance(request, Request), request
    return request


def refused(message: bytes) -> Deny:
    """What `wire.parse` says to `message`; it must be refused."""
    answer = wire.parse(message)
    assert isinstance(answer, Deny)
    return answer


@dataclass(frozen=True)
class Answer:
    """A CheckResponse in plain values; `status` 0 for an allow."""

    code: int
    status: int
    headers: dict[str, str]
    removed: tuple[str, ...]
    body: str
    metadata: dict[str, Any]


def read_answer(message: bytes) -> Answer:
    answer = CheckResponse.FromString(message)
    part = answer.denied_response if answer.HasField("denied_response") else answer.ok_response
    assert all(option.append_action == 2 for option in part.headers)  # OVERWRITE_IF_EXISTS_OR_ADD, always spelt out
    names = [option.header.key for option in part.headers]
    assert len(names) == len(set(names))
    return Answer(
        code=answer.status.code,
        status=answer.denied_response.status.code,
        headers={option.header.key: option.header.value for option in part.headers},
        removed=tuple(answer.ok_response.headers_to_remove),
        body=answer.denied_response.body,
        metadata=_plain(answer.dynamic_metadata),
    )


def _plain(struct: Any) -> dict[str, Any]:
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _plain(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case "null_value":
            return None
        case kind:
            return getattr(value, kind)

"""Our decision in Envoy's words: a serialized `CheckResponse`.

1. Allow: our identity headers overwrite whatever the client sent under their names (the action is always spelt out:
   Envoy appends when it is not); every other name of ours, the fixed ones and any that the request carries, is removed.
2. Deny: the HTTP status of the layer, a JSON body `{layer, code, message, decision_id}` and, for a token, the challenge
   of RFC 6750 or, for a sign-in that is not enough, of RFC 9470. Nothing of `Reason.detail` leaves the server.
3. A caller that speaks gRPC gets the gRPC status of the layer instead.
4. Both carry dynamic metadata, for Envoy's access log.

Source: envoy/service/auth/v3/external_auth.proto; RFC 6750 section 3.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from extauthz.check.identity import OWNED, PREFIX
from extauthz.check.messages import CheckResponse
from extauthz.codes import Layer, http_status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.model import Deny, Request

__all__ = ["allow", "deny", "grpc_status", "speaks_grpc", "spoofed"]

DECISION_ID: Final = "x-extauthz-decision-id"
REALM: Final = "extauthz"
RETRY_AFTER: Final = "1"
"""Seconds after which a caller may ask again when we could not decide."""
_TOLD_LATER: Final = frozenset({"engine.overloaded"})
"""Codes of 503 whose denial says itself when to ask again (`ttl`), as every 429 does."""

# google.rpc.Code
_INVALID_ARGUMENT, _PERMISSION_DENIED, _RESOURCE_EXHAUSTED, _UNAVAILABLE, _UNAUTHENTICATED = 3, 7, 8, 14, 16
GRPC_STATUS: Final = {
    Layer.REQUEST: _INVALID_ARGUMENT,
    Layer.WORKLOAD: _PERMISSION_DENIED,
    Layer.TRANSPORT: _PERMISSION_DENIED,
    Layer.TOKEN: _UNAUTHENTICATED,
    Layer.ROLE: _PERMISSION_DENIED,
    Layer.ATTRIBUTE: _PERMISSION_DENIED,
    Layer.ENGINE: _UNAVAILABLE,
}
_OTHER_GRPC_STATUS: Final = {
    "token.api_key_route": _PERMISSION_DENIED,
    "token.rate_limited": _RESOURCE_EXHAUSTED,
    "token.exchange_refused": _PERMISSION_DENIED,
    "token.quarantined": _PERMISSION_DENIED,
    "token.break_glass": _PERMISSION_DENIED,
}
_NO_BEARER: Final = frozenset(
    {
        *("token.api_key_unknown", "token.api_key_route", "token.rate_limited", "token.exchange_refused"),
        *("token.quarantined", "token.break_glass"),
    }
)
"""About API keys, for which no authentication scheme is registered, and about a token that is good in itself."""
_NO_CREDENTIAL: Final = frozenset({"token.missing", "token.scheme"})
_BINDING: Final = frozenset({"transport.binding_mismatch", "transport.binding_missing"})
_ERRORS: Final = {"token.scope": "insufficient_scope", "token.step_up": "insufficient_user_authentication"}
"""Errors of RFC 6750 section 3.1 and RFC 9470 section 3; any other is `invalid_token`."""
_OWN_NAMES: Final = (PREFIX, "txn-token", "x-break-glass")
_OURS: Final = re.compile("extauthz|txn[-_]token|break[-_]glass")
_GRPC_MESSAGE: Final = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}~"
"""What stands as it is in `grpc-message`: printable ASCII but the percent sign."""
_NOT_QUOTABLE: Final = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")

_MAX_DEPTH: Final = 16
_BYTES: Final = tuple(bytes((value,)) for value in range(128))
_STATUS_OK: Final[bytes] = CheckResponse(status={}).SerializeToString()
# Field numbers and wire type 2 of `CheckResponse`, and of `Struct.fields` and its entries.
_DENIED, _OK, _METADATA = b"\x12", b"\x1a", b"\x22"
_HEADER, _ENTRY, _KEY, _VALUE, _STRING = b"\x12", b"\x0a", b"\x0a", b"\x12", b"\x1a"
_OVERWRITE: Final[bytes] = CheckResponse().ok_response.headers.add(append_action=2).SerializeToString()


def allow(
    request: Request,
    headers: Iterable[tuple[str, str]],
    metadata: Mapping[str, Any],
    *,
    remove: tuple[str, ...] = (),
    credential: tuple[str, str] | None = None,
) -> bytes:
    """Steps 1 and 4. `headers`: lower-case names and values to set, each name once.

    `credential`: one more header, with a secret value; it is never kept. `remove`: names to strip beside our own.
    `metadata`: JSON values.
    """
    lasting = []
    own = b""
    for pair in headers:
        if pair[0] == DECISION_ID:
            own = _header(*pair)
        else:
            lasting.append(pair)
    fresh = "" if credential is None else credential[0]
    ok = _ok_headers(tuple(lasting), remove, spoofed(request), bool(own), fresh) + own
    if credential is not None:
        ok += _header(*credential)
    return _STATUS_OK + _field(_OK, ok) + _field(_METADATA, _metadata(metadata))


def spoofed(request: Request) -> tuple[str, ...]:
    """Names of ours that the request carries: all are removed that we do not set."""
    if not _OURS.search("\n".join(request.headers)):
        return ()
    return tuple([name for name in request.headers if name.replace("_", "-").startswith(_OWN_NAMES)])


def deny(
    decision: Deny,
    decision_id: str,
    request: Request | None,
    metadata: Mapping[str, Any],
    detail: str = "message",
    step_up: str = "",
) -> bytes:
    """Steps 2-4. `request` is None when it could not be read. `detail`: what the caller learns (`RouteSettings`).

    `step_up`: what the challenge asks of the next sign-in (`authn.step_up.parameters`).
    """
    message = _utf8(decision.message) if detail == "message" else ""
    if request is not None and speaks_grpc(request):  # 3
        body = _grpc_text(decision.code, message, decision_id, detail)
        denied = _denied(decision.code, decision.layer, message, step_up, grpc=True) + _header(
            "grpc-message", quote(body, safe=_GRPC_MESSAGE)
        )
    else:
        told = {"layer": decision.layer, "code": decision.code} if detail != "none" else {}
        if detail == "message":
            told["message"] = message
        body = orjson.dumps({**told, "decision_id": decision_id}).decode()
        denied = _denied(decision.code, decision.layer, message, step_up, grpc=False)
    if decision.status == HTTPStatus.TOO_MANY_REQUESTS or decision.code in _TOLD_LATER:
        denied += _header("retry-after", str(max(1, ceil(decision.ttl or 0))))
    denied += _header(DECISION_ID, decision_id) + _field(b"\x1a", body.encode())
    return (
        _denied_status(decision.code, decision.layer) + _field(_DENIED, denied) + _field(_METADATA, _metadata(metadata))
    )


def speaks_grpc(request: Request) -> bool:
    """Whether the caller reads a gRPC status in place of an HTTP one."""
    return request.headers.get("content-type", "").startswith("application/grpc")


def _grpc_text(code: str, message: str, decision_id: str, detail: str) -> str:
    if detail == "none":
        return f"decision {decision_id}"
    return f"{code}: {message} (decision {decision_id})" if message else f"{code} (decision {decision_id})"


def grpc_status(code: str, layer: Layer) -> int:
    """What a denial with this code ends a gRPC call with (google.rpc.Code)."""
    return _OTHER_GRPC_STATUS.get(code, GRPC_STATUS[layer])


# The parts that come back from Check to Check are built once. A cached part holds no more than an answer does.


@lru_cache(maxsize=4096)
def _ok_headers(
    headers: tuple[tuple[str, str], ...],
    asked: tuple[str, ...],
    spoofed: tuple[str, ...],
    with_id: bool,  # noqa: FBT001 - a cached function is called with positions
    fresh: str,
) -> bytes:
    """`OkHttpResponse` without the decision id and the header `fresh`.

    Envoy removes after it sets: what we set must not be removed.
    """
    ok = CheckResponse().ok_response
    kept = {DECISION_ID} if with_id else set()
    kept.add(fresh)
    for name, value in headers:
        _set(ok.headers.add(append_action=2).header, name, value)
        kept.add(name)
    ok.headers_to_remove.extend(name for name in dict.fromkeys((*OWNED, *asked, *spoofed)) if name not in kept)
    return ok.SerializeToString()  # type: ignore[no-any-return]  # upb bytes


@lru_cache(maxsize=1024)
def _denied_status(code: str, layer: Layer) -> bytes:
    return CheckResponse(status={"code": grpc_status(code, layer), "message": _utf8(code)}).SerializeToString()  # type: ignore[no-any-return]  # upb bytes


@lru_cache(maxsize=1024)
def _denied(code: str, layer: Layer, message: str, step_up: str, *, grpc: bool) -> bytes:
    """`DeniedHttpResponse` without body and decision id."""
    headers = {"cache-control": "no-store", "content-type": "application/json"}
    if challenge := _challenge(code, layer, message, step_up):
        headers["www-authenticate"] = challenge
    if layer is Layer.ENGINE and code not in _TOLD_LATER:
        headers["retry-after"] = RETRY_AFTER
    if grpc:
        headers |= {"content-type": "application/grpc", "grpc-status": str(grpc_status(code, layer))}
    denied = CheckResponse().denied_response
    denied.status.code = 200 if grpc else http_status(code)
    for name, value in headers.items():
        _set(denied.headers.add(append_action=2).header, name, value)
    return denied.SerializeToString()  # type: ignore[no-any-return]  # upb bytes


@lru_cache(maxsize=4096)
def _lasting_metadata(values: tuple[tuple[str, str | bool], ...]) -> bytes:
    struct = CheckResponse().dynamic_metadata
    for name, value in values:
        _fill(struct.fields[_utf8(name)], value, 0)
    return struct.SerializeToString()  # type: ignore[no-any-return]  # upb bytes


def _any_metadata(name: str, value: Any) -> bytes:
    struct = CheckResponse().dynamic_metadata
    _fill(struct.fields[_utf8(name)], value, 0)
    return struct.SerializeToString()  # type: ignore[no-any-return]  # upb bytes


def _fill(target: Any, value: Any, depth: int) -> None:
    """A JSON value into a `google.protobuf.Value`; what is nested too deep or no JSON becomes null."""
    if isinstance(value, str):
        target.string_value = _utf8(value)
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float) and abs(value) <= sys.float_info.max:
        target.number_value = value
    elif isinstance(value, Mapping) and depth < _MAX_DEPTH:
        target.struct_value.SetInParent()
        for name, item in value.items():
            _fill(target.struct_value.fields[_utf8(name)], item, depth + 1)
    elif isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        target.list_value.SetInParent()
        for item in value:
            _fill(target.list_value.values.add(), item, depth + 1)
    else:
        target.null_value = 0


def _set(header: Any, name: str, value: str) -> None:
    header.key, header.value = _utf8(name), _utf8(value)


def _metadata(values: Mapping[str, Any]) -> bytes:
    """A Struct. The decision id is new each time and a policy's own value can be of any shape; the rest comes back."""
    lasting = []
    own = b""
    for item in values.items():
        name, value = item
        if name == "decision_id" and type(value) is str:
            own += _field(_ENTRY, _field(_KEY, b"decision_id") + _field(_VALUE, _field(_STRING, value.encode())))
        elif type(value) is str or type(value) is bool:
            lasting.append(item)
        else:
            own += _any_metadata(name, value)
    return _lasting_metadata(tuple(lasting)) + own


def _challenge(code: str, layer: Layer, message: str, step_up: str) -> str:
    """The value of `www-authenticate`; empty when the credential is not what is wrong (RFC 6750 section 3.1)."""
    if code in _NO_CREDENTIAL:
        return f'Bearer realm="{REALM}"'
    if (layer is not Layer.TOKEN and code not in _BINDING) or code in _NO_BEARER:
        return ""
    challenge = f'Bearer realm="{REALM}", error="{_ERRORS.get(code, "invalid_token")}"'
    if message:
        challenge += f', error_description="{_NOT_QUOTABLE.sub("?", message)}"'
    return challenge + step_up


def _utf8(text: str) -> str:
    """Without lone surrogates, which no protobuf string can hold."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _header(name: str, value: str) -> bytes:
    """A `HeaderValueOption` as field 2, which it is of both `OkHttpResponse` and `DeniedHttpResponse`."""
    header = _field(b"\x0a", _field(b"\x0a", name.encode()) + _field(b"\x12", value.encode()))
    return _field(_HEADER, header + _OVERWRITE)


def _field(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited field; length as varint (protobuf.dev/programming-guides/encoding)."""
    size = len(payload)
    if size < 128:  # noqa: PLR2004 - seven bits a byte
        return tag + _BYTES[size] + payload
    length = bytearray()
    while size > 127:  # noqa: PLR2004 - seven bits a byte
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return tag + bytes(length) + payload

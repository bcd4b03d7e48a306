"""opa-envoy-plugin's result → a decision with the CheckResponse that says it.

1. A boolean decides alone: the answer has no HTTP response. Only a literal `true` allows.
2. An object must have a boolean `allowed`. Anything else, and any field of a wrong type that is read (`null` is one),
   is a fault: the call ends as a gRPC error, and Envoy's own failure mode applies.
3. Read on both: `headers` and `dynamic_metadata`. Read on allow only: `response_headers_to_add`,
   `request_headers_to_remove`, `query_parameters_to_set`, `query_parameters_to_remove`. Read on deny only: `body` and
   `http_status` (403 when there is none; one that Envoy's StatusCode names). Other keys are ignored.
4. Beyond the plugin: the action of each of `headers` is spelt out (the first value overwrites, the rest append),
   because an Envoy that is not told may append to what the client sent; and a control character in a header is a fault.
   On allow a further value is marked by the deprecated `append`, the only word for it that Envoy 1.39 heeds there; on
   deny it has no mark, because Envoy adds what has none and drops what has that one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from extauthz.check.identity import PREFIX
from extauthz.check.messages import CheckResponse
from extauthz.errors import EngineFault
from extauthz.model import Allow, Deny, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DRY_RUN", "PluginAllow", "PluginDeny", "named", "read"]

_PERMISSION_DENIED: Final = 7
_FORBIDDEN: Final = 403
_ADD, _OVERWRITE = 0, 2
"""HeaderValueOption.HeaderAppendAction."""
_STATUSES: Final = frozenset(
    {100, *range(200, 209), 226, *range(300, 306), 307, 308, *range(400, 418), 421, 422, 423, 424, 426, 428, 429, 431}
    | {*range(500, 509), 510, 511}
)
"""envoy.type.v3.StatusCode without `Empty`."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_DEPTH: Final = 64
_REASONS: Final = (Reason("role.denied"),)

DRY_RUN: Final[bytes] = CheckResponse(status={}, ok_response={}).SerializeToString()
"""What a dry run answers instead of a denial."""


@dataclass(frozen=True, slots=True)
class PluginAllow(Allow):
    """`response`: a serialized CheckResponse that lacks only the decision id.

    `sets_identity`: the policy sets a header under our own prefix.
    """

    response: bytes = b""
    sets_identity: bool = False


@dataclass(frozen=True, slots=True)
class PluginDeny(Deny):
    """`metadata`: the serialized part of `response` that a dry run keeps. `http_status` is what Envoy answers with."""

    response: bytes = b""
    metadata: bytes = b""
    http_status: int = _FORBIDDEN

    @property
    def status(self) -> int:
        return self.http_status


def read(result: Any) -> PluginAllow | PluginDeny:
    """`result`: JSON as `orjson.loads` gives it. Raises EngineFault (`engine.invalid_result`)."""
    if result is True:  # 1
        return _ALLOW
    if result is False:
        return _DENY
    if not isinstance(result, dict):
        _invalid("the result is neither a boolean nor an object")
    if "allowed" not in result:  # 2
        _invalid("the result has no `allowed`")
    allowed = result["allowed"]
    if allowed is not True and allowed is not False:
        _invalid("`allowed` is not a boolean")
    said = CheckResponse()
    if "dynamic_metadata" in result:
        said.dynamic_metadata.SetInParent()
        _metadata(said.dynamic_metadata, result["dynamic_metadata"])
    metadata: bytes = said.SerializeToString()
    if allowed:
        _ok(said, result)
        names = (one.header.key.lower().replace("_", "-") for one in said.ok_response.headers)
        sets_identity = any(name.startswith(PREFIX) for name in names)
        return PluginAllow(response=said.SerializeToString(), sets_identity=sets_identity)
    status = _denied(said, result)
    return PluginDeny(_REASONS, None, said.SerializeToString(), metadata, status)


def named(decision_id: str) -> bytes:
    """The part of a CheckResponse with the decision's id; put after another part it goes before a policy's own."""
    response = CheckResponse()
    response.dynamic_metadata.fields["decision_id"].string_value = decision_id
    return response.SerializeToString()  # type: ignore[no-any-return]  # upb bytes


def _ok(said: Any, result: Mapping[str, Any]) -> None:
    said.status.code = 0
    ok = said.ok_response
    ok.SetInParent()
    said.status.SetInParent()
    _headers(ok.headers, result, "headers", overwrite=True, append=True)
    ok.headers_to_remove.extend(_names(result, "request_headers_to_remove"))
    _headers(ok.response_headers_to_add, result, "response_headers_to_add", overwrite=False)
    ok.query_parameters_to_remove.extend(_names(result, "query_parameters_to_remove"))
    wanted = result.get("query_parameters_to_set", {})
    if not isinstance(wanted, dict):
        _invalid("`query_parameters_to_set` is not an object")
    for name, value in wanted.items():
        for one in _values(value, "query_parameters_to_set"):
            ok.query_parameters_to_set.add(key=name, value=one)


def _denied(said: Any, result: Mapping[str, Any]) -> int:
    said.status.code = _PERMISSION_DENIED
    denied = said.denied_response
    _headers(denied.headers, result, "headers", overwrite=True)
    body = result.get("body", "")
    if not isinstance(body, str):
        _invalid("`body` is not a string")
    denied.body = body
    status = result.get("http_status", _FORBIDDEN)
    if type(status) is not int or status not in _STATUSES:
        _invalid("`http_status` is not a status that Envoy knows")
    denied.status.code = status
    return int(status)


def _headers(target: Any, result: Mapping[str, Any], key: str, *, overwrite: bool, append: bool = False) -> None:
    """An object, or an array of objects. `overwrite` marks the first value of a name, `append` further ones."""
    given = result.get(key, {})
    seen: set[str] = set()
    for one in given if isinstance(given, list) else [given]:
        if not isinstance(one, dict):
            _invalid(f"`{key}` is neither an object nor an array of objects")
        for name, value in one.items():
            for text in _values(value, key):
                if not name or _CONTROL.search(name) or _CONTROL.search(text):
                    _invalid(f"`{key}` has an empty name or a control character")  # 4
                option = target.add()
                option.header.key, option.header.value = name, text
                if name.lower() not in seen:
                    option.append_action = _OVERWRITE if overwrite else _ADD
                elif append:
                    option.append.value = True
                seen.add(name.lower())


def _values(value: Any, key: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        _invalid(f"a value in `{key}` is neither a string nor an array of strings")
    return values


def _names(result: Mapping[str, Any], key: str) -> list[str]:
    names = result.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        _invalid(f"`{key}` is not an array of strings")
    if any(_CONTROL.search(name) for name in names):
        _invalid(f"`{key}` has a control character")
    return names


def _metadata(target: Any, value: Any, depth: int = 0) -> None:
    """A JSON object into a Struct."""
    if not isinstance(value, dict):
        _invalid("`dynamic_metadata` is not an object")
    for name, item in value.items():
        _fill(target.fields[name], item, depth)


def _fill(target: Any, value: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        _invalid("`dynamic_metadata` is nested too deep")
    if value is None:
        target.null_value = 0
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, dict):
        target.struct_value.SetInParent()
        _metadata(target.struct_value, value, depth + 1)
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for item in value:
            _fill(target.list_value.values.add(), item, depth + 1)
    elif math.isfinite(value):
        target.number_value = value
    else:
        _invalid("`dynamic_metadata` has a number that is too large")


def _invalid(what: str) -> NoReturn:
    """`what` names keys, never values: they can come from the input."""
    raise EngineFault("engine.invalid_result", what)


_ALLOW: Final = PluginAllow(response=CheckResponse(status={}).SerializeToString())
_DENY: Final = PluginDeny(_REASONS, None, CheckResponse(status={"code": _PERMISSION_DENIED}).SerializeToString())

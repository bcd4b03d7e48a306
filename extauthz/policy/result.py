"""OPA's answer → `Allow | Deny`. Strict: nothing but a literal `true` allows, and what is not understood is a fault.

1. A bare boolean decides; a bare `false` is `role.denied`.
2. An object must have a boolean `allow`.
3. `allow: true` with reasons contradicts itself: a fault.
4. `allow: false` takes its reasons, in their order; none means `role.denied`.
5. `obligations.exchange` is an object with at most `audience`, `scopes` and `purpose`: a word that is not understood
   could have been meant to narrow.
6. `ttl` is a number of seconds, not negative. Other keys are ignored.

Whatever is read is bounded, and free of control characters: it travels in headers, JSON bodies and logs.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, NoReturn

import orjson

from extauthz.codes import POLICY_LAYERS
from extauthz.errors import EngineFault
from extauthz.model import NO_OBLIGATIONS, Allow, Decision, Deny, Exchange, Obligations, Reason

MAX_REASONS: Final = 32
MAX_TEXT: Final = 2048
MAX_HEADERS: Final = 64
MAX_HEADER_VALUE: Final = 4096
MAX_MASKS: Final = 256
MAX_SCOPES: Final = 64
MAX_METADATA: Final = 16 * 1024

_CODE: Final = re.compile(r"([a-z]+)\.[a-z0-9_]{1,64}")
_HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110 section 5.6.2, lower case
_HEADER_VALUE: Final = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?")  # RFC 9110 section 5.5, without obs-text
_MASK: Final = re.compile(r"[!-+\--~]{1,128}")  # visible ASCII without the comma that joins them
_WORD: Final = re.compile(r"[!-~]{0,512}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_ALLOW: Final = Allow()
_DENY: Final = Deny((Reason("role.denied"),))


class Frozen(dict[str, Any]):
    """A dict that nobody may change: decisions are shared by every request that meets them in the cache."""

    __slots__ = ()

    def _refuse(self, *_arguments: Any, **_named: Any) -> NoReturn:
        raise TypeError("a decision's metadata is read-only")

    __setitem__ = __delitem__ = clear = update = setdefault = pop = popitem = __ior__ = _refuse


def parse(result: Any) -> Decision:
    """The decision in `result`, a value as `orjson.loads` gives it. Raises EngineFault (`engine.invalid_result`)."""
    if result is True:  # 1
        return _ALLOW
    if result is False:
        return _DENY
    if not isinstance(result, dict):
        _invalid(f"{_kind(result)} is neither a boolean nor an object")
    allow = result.get("allow")
    if allow is not True and allow is not False:  # 2
        _invalid("allow is not a boolean")
    reasons = result.get("reasons")
    ttl = _ttl(result.get("ttl"))
    if allow:
        if reasons:  # 3
            _invalid("allow is true, and there are reasons")
        if reasons is not None and reasons != []:
            _invalid("reasons is not a list")
        obligations = result.get("obligations")
        if obligations is None:
            return _ALLOW if ttl is None else Allow(ttl=ttl)
        return Allow(_obligations(obligations), ttl)
    found = _reasons(reasons)  # 4
    return Deny(found, ttl) if found else Deny(_DENY.reasons, ttl)


def _invalid(what: str) -> NoReturn:
    """`what` names keys and kinds, never values: they can come from the input."""
    raise EngineFault("engine.invalid_result", what)


def _kind(value: Any) -> str:
    return {"NoneType": "null", "list": "a list", "str": "a string"}.get(type(value).__name__, "a number")


def _ttl(value: Any) -> float | None:  # 6
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        _invalid("ttl is not a number of seconds")
    return float(value)


def _text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT or _CONTROL.search(value):
        _invalid(f"{what} is not a plain text of at most {MAX_TEXT} characters")
    return value


def _reasons(value: Any) -> tuple[Reason, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_REASONS:
        _invalid(f"reasons is not a list of at most {MAX_REASONS}")
    return tuple(map(_reason, value))


def _reason(value: Any) -> Reason:
    if not isinstance(value, dict):
        _invalid("a reason is not an object")
    code = value.get("code")
    match = _CODE.fullmatch(code) if isinstance(code, str) else None
    if match is None:
        _invalid("a reason's code is not <layer>.<what>")
    if match[1] not in POLICY_LAYERS:
        _invalid("a reason's code names a layer that a policy cannot deny at")
    return Reason(
        match[0],
        _text(value.get("message"), "message"),
        _text(value.get("remedy"), "remedy"),
        _text(value.get("detail"), "detail"),
    )


def _obligations(value: Any) -> Obligations:
    if not isinstance(value, dict):
        _invalid("obligations is not an object")
    headers = _headers(value.get("headers"))
    mask = _mask(value.get("mask"))
    metadata = _metadata(value.get("metadata"))
    exchange = _exchange(value.get("exchange"))
    if not (headers or mask or metadata or exchange):
        return NO_OBLIGATIONS
    return Obligations(headers, mask, metadata, exchange)


def _exchange(value: Any) -> Exchange | None:  # 5
    if value is None:
        return None
    if not isinstance(value, dict) or not {"audience", "scopes", "purpose"}.issuperset(value):
        _invalid("obligations.exchange is not an object of audience, scopes and purpose")
    audience, purpose, scopes = value.get("audience", ""), value.get("purpose", ""), value.get("scopes", [])
    if not isinstance(scopes, list) or len(scopes) > MAX_SCOPES:
        _invalid(f"obligations.exchange.scopes is not a list of at most {MAX_SCOPES}")
    for text in (audience, purpose):
        if not isinstance(text, str) or not _WORD.fullmatch(text):
            _invalid("obligations.exchange.audience or purpose is not visible ASCII")
    if not all(isinstance(scope, str) and scope and _WORD.fullmatch(scope) for scope in scopes):
        _invalid("a scope in obligations.exchange is not visible ASCII")
    return Exchange(audience, tuple(scopes), purpose)


def _headers(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict) or len(value) > MAX_HEADERS:
        _invalid(f"obligations.headers is not an object of at most {MAX_HEADERS} headers")
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name):
            _invalid("a name in obligations.headers is not a lower-case header name")
        if not isinstance(text, str) or len(text) > MAX_HEADER_VALUE or not _HEADER_VALUE.fullmatch(text):
            _invalid("a value in obligations.headers is not a plain header value")
    return tuple(value.items())


def _mask(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_MASKS:
        _invalid(f"obligations.mask is not a list of at most {MAX_MASKS}")
    for name in value:
        if not isinstance(name, str) or not _MASK.fullmatch(name):
            _invalid("a name in obligations.mask is not visible ASCII without a comma")
    return tuple(value)


def _metadata(value: Any) -> Frozen:
    if value is None:
        return _NO_METADATA
    if not isinstance(value, dict):
        _invalid("obligations.metadata is not an object")
    try:
        size = len(orjson.dumps(value))
    except orjson.JSONEncodeError:  # nested deeper than orjson writes
        _invalid("obligations.metadata is nested too deep")
    if size > MAX_METADATA:
        _invalid(f"obligations.metadata is larger than {MAX_METADATA} bytes")
    frozen = _freeze(value)
    return frozen if isinstance(frozen, Frozen) else _NO_METADATA


_NO_METADATA: Final = Frozen()


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return Frozen({key: _freeze(one) for key, one in value.items()})
    if isinstance(value, list):
        return tuple(map(_freeze, value))
    return value

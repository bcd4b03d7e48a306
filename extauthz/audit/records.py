"""What goes into the chain: a decision from the trail of its Check, every other event from its facts.

Field names are those of the decision record (`telemetry.record`), which are OPA's where OPA has one. A body is a record
without the members that only the chain knows (schema, writer, seq, chain): `"event":…,"timestamp":…,…`.
A decision is never refused for its length: every part of it is bounded where it comes from. Another event is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.audit.fault import AuditError
from extauthz.model import Deny
from extauthz.telemetry import record
from extauthz.telemetry.redact import plain, redact_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.audit.mask import Masking
    from extauthz.telemetry.trail import Trail

BODY_MAX: Final = 64 * 1024
"""Bytes of an event that is not a decision."""
_TAKEN: Final = frozenset({"schema", "writer", "seq", "chain", "event", "timestamp"})
_ALLOWED: Final = b'"event":"decision.allowed","timestamp":"'
_DENIED: Final = b'"event":"decision.denied","timestamp":"'
_NO_GRANT: Final = "token.break_glass"
_MILLISECONDS: Final = len("2027-01-15T08:00:00.000")
_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.")


def schema() -> dict[str, Any]:
    """The JSON Schema of a record."""
    text = resources.files("extauthz.audit").joinpath("record.schema.json").read_bytes()
    loaded: dict[str, Any] = orjson.loads(text)
    return loaded


def timestamp(seconds: float) -> str:
    """RFC 3339, UTC, milliseconds; `seconds` since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def decision(trail: Trail, masking: Masking) -> bytes:
    """The body of a finished Check. Never raises for what a caller sent."""
    document = record.document(trail)
    time = document.pop("timestamp")
    del document["type"], document["labels"]
    allowed = trail.decision is not None and not isinstance(trail.decision, Deny)
    if (subject := trail.subject) is not None:
        tenant = subject.claims.get("tenant")
        if isinstance(tenant, str) and tenant:
            document["subject"]["tenant"] = plain(tenant, 128)
    _add_mode(document, trail)
    if masking:
        document = masking.apply(document)
    first = _ALLOWED if allowed else _DENIED
    return b'%b%b+00:00",%b' % (first, time[:_MILLISECONDS].encode(), _body(document))


def exception(trail: Trail) -> str:
    """The event beside a decision's record when a break-glass grant was shown for it; empty: none was."""
    if trail.break_glass is not None:
        return "break_glass.used"
    refused = isinstance(trail.decision, Deny) and trail.decision.code == _NO_GRANT
    return "break_glass.refused" if refused else ""


def exception_facts(trail: Trail) -> dict[str, Any]:
    """Who used it, where, and the decision that says the rest."""
    document = record.document(trail)
    named = ("decision_id", "requested_by", "revision", "subject", "workload", "action", "resource", "layer", "code")
    found = {name: document[name] for name in named}
    found["request"] = {"route": trail.route.name}
    _add_mode(found, trail)
    return found


def event(name: str, fields: Mapping[str, Any], now: float, masking: Masking) -> bytes:
    """The body of another event; `name` is `<noun>.<verb>`, `fields` are JSON values. Raises AuditError."""
    if not _SAFE.issuperset(name) or "." not in name or len(name) > 64:  # noqa: PLR2004 - the chain's own bound
        raise AuditError(f"an audit record cannot be made: {name!r} is no event")
    if taken := _TAKEN & fields.keys():
        raise AuditError(f"an audit record cannot be made: {', '.join(sorted(taken))} is the chain's own")
    document = dict(fields)
    if masking:
        document = masking.apply(document)
    try:
        body = _cut(orjson.dumps({"event": name, "timestamp": timestamp(now), **document}))
    except TypeError as error:  # orjson's own error is one
        raise AuditError(f"an audit record cannot be made: {error}") from None
    if len(body) > BODY_MAX:
        raise AuditError(f"an audit record is larger than {BODY_MAX} bytes")
    return body


def _add_mode(document: dict[str, Any], trail: Trail) -> None:
    """What makes a decision another than an ordinary one, and the trace that it belongs to."""
    document["trace_id"] = trail.trace()
    if trail.parent_id:
        document["parent_id"] = trail.parent_id
    if trail.mode:
        document["mode"] = trail.mode
    if trail.degraded:
        document["degraded"] = list(trail.degraded)
    if (failed := trail.failure) is not None:
        document["failure"] = {"cause": failed.cause, "code": plain(failed.code, 128), "plan": failed.plan}
    if (grant := trail.break_glass) is not None:
        document["break_glass"] = {
            "grant": plain(grant.grant, 128),
            "ticket": plain(grant.ticket, 128),
            "issued_by": plain(grant.issued_by),
            "until": timestamp(grant.until),
            "overridden": plain(grant.overridden, 128),
        }


def _body(document: dict[str, Any]) -> bytes:
    try:
        data = orjson.dumps(document)
    except orjson.JSONEncodeError:  # half a surrogate pair, which `plain` keeps where it is printable
        data = orjson.dumps(_encodable(document))
    return _cut(data)


def _cut(data: bytes) -> bytes:
    if b"eyJ" in data:  # the last guard: a caller put a token where none belongs
        data = redact_tokens(data.decode()).encode()
    return data[1:-1]


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(each) for each in value]
    return value

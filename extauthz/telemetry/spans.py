"""Spans of a Check as OpenTelemetry writes them: OTLP 1.x in its JSON form (opentelemetry.io/docs/specs/otlp).

Made from a finished trail, off the path. The Check is one span under the caller's; each stage that it reached is one
under that. A stage's length was measured; stages follow each other, so each begins where the one before it ended.
Attributes are names of the configuration, our own words and codes; of a caller, a request or a token there is nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.model import Deny
from extauthz.telemetry import trace_context
from extauthz.telemetry.redact import plain
from extauthz.telemetry.trail import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from extauthz.telemetry.trail import Trail

_INTERNAL: Final = 1
_SERVER: Final = 2
_CLIENT: Final = 3
_ERROR: Final = 2
_NS: Final = 1_000_000_000
_NAMES: Final = tuple((stage, f"extauthz.{stage.name.lower()}") for stage in Stage)
_SCOPE: Final = (
    b'{"resourceSpans":[{"resource":{"attributes":%b},"scopeSpans":[{"scope":{"name":"extauthz","version":%b},"spans":['
)


def spans(trail: Trail) -> bytes:
    """The spans of one Check: JSON objects with commas between them."""
    trace = trail.trace()
    own = trace_context.span_id(trail.decision_id)
    whole = int(trail.started)
    began = at = whole * _NS + round((trail.started - whole) * _NS)  # a float of so many ns would be off by 256
    parts = []
    for stage, name in _NAMES:
        if ns := trail.ns[stage]:
            kind = _CLIENT if stage is Stage.EXCHANGE and trail.exchange_cached is False else _INTERNAL
            span = trace_context.child_id(own, stage + 1)
            parts.append(orjson.dumps(_span(trace, span, own, name, kind, at, at + ns, [])))
            at += ns
    check = _span(trace, own, trail.parent_id, f"Check {trail.route.name}", _SERVER, began, at, _attributes(trail))
    if isinstance(trail.decision, Deny) and trail.decision.layer == "engine":
        check["status"] = {"code": _ERROR}
    return b",".join([orjson.dumps(check), *parts])


def message(checks: Iterable[bytes], resource: Mapping[str, str], version: str) -> bytes:
    """An ExportTraceServiceRequest with the spans of several Checks."""
    attributes = orjson.dumps([_attribute(name, value) for name, value in resource.items()])
    return _SCOPE % (attributes, orjson.dumps(version)) + b",".join(checks) + b"]}]}]}"


def _span(
    trace: str, span: str, parent: str, name: str, kind: int, start: int, end: int, attributes: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": span,
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "attributes": attributes,
    }


def _attributes(trail: Trail) -> list[dict[str, Any]]:
    decision, route = trail.decision, trail.route
    said: dict[str, Any] = {
        "extauthz.decision_id": trail.decision_id,
        "extauthz.route": route.name,
        "extauthz.service": route.service,
        "extauthz.decision": "deny" if decision is None or isinstance(decision, Deny) else "allow",
        "extauthz.engine": trail.engine,
        "extauthz.revision": plain(trail.revision),
        "extauthz.mode": trail.mode,
        "extauthz.degraded": ",".join(trail.degraded),
        "extauthz.cached.token": trail.token_cached,
        "extauthz.cached.decision": trail.decision_cached,
        "extauthz.cached.exchange": trail.exchange_cached,
    }
    if decision is None:
        said |= {"extauthz.layer": "engine", "extauthz.code": "engine.internal"}
    elif isinstance(decision, Deny):
        said |= {"extauthz.layer": decision.layer.value, "extauthz.code": plain(decision.code, 128)}
    return [_attribute(name, value) for name, value in said.items() if value not in ("", None)]


def _attribute(name: str, value: object) -> dict[str, Any]:
    """`value`: a text or a truth value."""
    kind = "boolValue" if isinstance(value, bool) else "stringValue"
    return {"key": name, "value": {kind: value}}

"""The decision record: what a Check was, who asked, what was decided and why, in one JSON line.

Its schema is `record.schema.json`; names that OPA's decision log has are used as OPA uses them (`decision_id`,
`path` is the policy entrypoint, `timestamp`, `requested_by`, `labels`, `result`, `metrics`). It never holds a token
(a digest prefix at most), a header value, a query or a body. A line is shorter than 4 KiB, so that writers that share
a pipe cannot tear it (POSIX PIPE_BUF).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.model import Deny
from extauthz.telemetry.redact import plain, redact, redact_tokens
from extauthz.telemetry.trail import NO_ROUTE, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extauthz.model import Decision, Subject, Workload
    from extauthz.telemetry.trail import ExchangeFacts, Trail

LINE_MAX: Final = 4096
"""Bytes of a line, its newline included (PIPE_BUF on Linux)."""
_REASONS: Final = 8
_STAGES: Final = tuple((stage, f"timer_{stage.name.lower()}_us") for stage in Stage)
_KEPT: Final = ("type", "decision_id", "trace_id", "timestamp", "layer", "code", "cached", "metrics")
"""What a record keeps as it is where it has to be shortened."""
_UNDECIDED: Final = {"allow": False, "status": 503}


def schema() -> dict[str, Any]:
    """The JSON Schema of a record."""
    text = resources.files("extauthz.telemetry").joinpath("record.schema.json").read_bytes()
    loaded: dict[str, Any] = orjson.loads(text)
    return loaded


def line(
    trail: Trail,
    labels: Mapping[str, str],
    *,
    full_path: bool = False,
    inputs: Callable[[bytes], Any] | None = None,
) -> bytes:
    """One record with its newline. A record that would be too long loses what is optional and says so.

    `inputs` makes of a projected input what a record may hold of it (`recorded_input`); None: nothing.
    """
    record = _record(trail, labels, full_path=full_path)
    if inputs is not None and trail.projected:
        record["input"] = inputs(trail.projected)
    data = _dumped(record)
    if "input" in record and not 0 < len(data) <= LINE_MAX:
        del record["input"]
        record["input_cut"] = True
        data = _dumped(record)
    if not 0 < len(data) <= LINE_MAX:
        data = _shortened(record)
    if b"eyJ" in data:  # a caller put a token where none belongs, for example into x-request-id
        data = redact_tokens(data.decode()).encode()
    return data


def _dumped(record: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # half a surrogate pair, which `plain` keeps where it is printable
        return b""


def comparison_line(comparison: dict[str, Any], labels: Mapping[str, str]) -> bytes:
    """One difference between two policies (`policy.rollout_difference.document`) with its newline."""
    record = {**comparison, "labels": labels}
    data = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    if len(data) > LINE_MAX:
        for name in ("live", "candidate"):
            record[name] = {key: value for key, value in record[name].items() if key in {"allow", "code", "revision"}}
        data = orjson.dumps({**record, "cut": True}, option=orjson.OPT_APPEND_NEWLINE)
    return redact_tokens(data.decode()).encode() if b"eyJ" in data else data


def document(trail: Trail) -> dict[str, Any]:
    """A record as JSON values, without labels and without a bound on its length."""
    return _record(trail, {}, full_path=False)


def _shortened(record: dict[str, Any]) -> bytes:
    result = record["result"]
    kept = {name: record[name] for name in _KEPT}
    kept |= {"cut": True, "path": plain(record["path"], 64), "result": {"allow": result["allow"], "reasons": []}}
    if "status" in result:
        kept["result"]["status"] = result["status"]
    who = record["subject"]
    kept["subject"] = who and {"type": _ascii(who["type"]), "id": _ascii(who["id"])}
    kept["workload"] = _ascii(record["workload"])
    kept |= {name: record[name] for name in ("mode", "degraded", "failure", "break_glass") if name in record}
    kept["request"] = {name: _ascii(value) for name, value in record["request"].items()}
    return orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:128]


def _record(trail: Trail, labels: Mapping[str, str], *, full_path: bool) -> dict[str, Any]:
    route = trail.route
    decision = trail.decision
    layer, code = _verdict(decision)
    us = {name: ns // 100 / 10 for stage, name in _STAGES if (ns := trail.ns[stage])}
    us["timer_check_us"] = sum(trail.ns) // 100 / 10
    record: dict[str, Any] = {
        "type": "check",
        "decision_id": trail.decision_id,
        "trace_id": trail.trace(),
        "timestamp": _timestamp(trail.started),
        "labels": labels,
        "path": route.entrypoint,
        "requested_by": plain(trail.source),
        "revision": plain(trail.revision),
        "subject": _subject(trail.subject),
        "workload": _workload(trail.workload),
        "action": route.action,
        "resource": {"type": route.resource_type, "id": plain(trail.resource_id)},
        "request": {
            "id": plain(trail.request_id, 128),
            "method": plain(trail.method, 32),
            "host": plain(trail.host),
            "route": route.name,
            "path": _path(trail, full_path=full_path),
            "transport": trail.transport,
        },
        "layer": layer,
        "code": code,
        "result": _result(decision),
        "engine": trail.engine,
        "cached": {"token": trail.token_cached, "decision": trail.decision_cached},
        "metrics": us,
    }
    if trail.exchange_cached is not None:
        record["cached"] = {**record["cached"], "exchange": trail.exchange_cached}
    if trail.exchange is not None:
        record["exchange"] = _exchange(trail.exchange)
    if trail.mode:
        record["mode"] = trail.mode
    if trail.degraded:
        record["degraded"] = trail.degraded
    if (failed := trail.failure) is not None:
        record["failure"] = {"cause": failed.cause, "code": failed.code, "plan": failed.plan}
    if (grant := trail.break_glass) is not None:
        record["break_glass"] = {
            "grant": plain(grant.grant, 128),
            "ticket": plain(grant.ticket, 128),
            "issued_by": plain(grant.issued_by, 128),
            "until": _timestamp(grant.until),
            "overridden": plain(grant.overridden, 128),
        }
    return record


def _exchange(made: ExchangeFacts) -> dict[str, str]:
    found = {
        "audience": plain(made.audience, 256),
        "actor": plain(made.actor, 256),
        "purpose": plain(made.purpose, 64),
        "token": made.digest,
        "token_id": plain(made.token_id, 128),
    }
    return {name: value for name, value in found.items() if value}


def _timestamp(seconds: float) -> str:
    """RFC 3339, UTC, microseconds."""
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1_000_000):06d}+00:00"


@lru_cache(maxsize=8)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def _verdict(decision: Decision | None) -> tuple[str, str]:
    """Layer and code; both empty for an Allow."""
    if decision is None:
        return "engine", "engine.internal"
    return (decision.layer.value, plain(decision.code, 128)) if isinstance(decision, Deny) else ("", "")


def _path(trail: Trail, *, full_path: bool) -> str:
    """The template; the path itself where the configuration wants it, or no route explains it."""
    if full_path or trail.route is NO_ROUTE or not trail.route.template:
        return redact(plain(trail.path))
    return trail.route.template


def _result(decision: Decision | None) -> dict[str, Any]:
    if decision is None:  # the Check was cancelled before anything was decided: nothing was allowed
        return {**_UNDECIDED, "reasons": [{"code": "engine.internal", "detail": "cancelled"}]}
    if not isinstance(decision, Deny):
        return {"allow": True, "masked": [plain(name, 64) for name in decision.obligations.mask[:32]]}
    reasons = []
    for reason in decision.reasons[:_REASONS]:
        entry = {"code": plain(reason.code, 128)}
        if reason.detail:
            entry["detail"] = redact(plain(reason.detail))
        reasons.append(entry)
    return {"allow": False, "status": int(decision.status), "reasons": reasons}


def _subject(subject: Subject | None) -> dict[str, Any] | None:
    if subject is None:
        return None
    who: dict[str, Any] = {"type": subject.type, "id": plain(subject.id), "credential": subject.credential}
    if subject.issuer:
        who["issuer"] = plain(subject.issuer)
    if subject.digest:
        who["token"] = subject.digest[:16]
    if subject.token_id:
        who["token_id"] = plain(subject.token_id, 128)
    if subject.purpose:
        who["purpose"] = plain(subject.purpose, 128)
    if subject.act:
        who["act"] = [plain(actor, 128) for actor in subject.act[:8]]
    return who


def _workload(workload: Workload | None) -> str:
    return plain(workload.id) if workload else ""

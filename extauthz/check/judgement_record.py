"""What is said of a background judgement: its record, its alert, and the quarantine that it began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.audit.records import timestamp
from extauthz.judgement.quarantine import tenant_of
from extauthz.telemetry.redact import plain, redact
from extauthz.telemetry.trail import NO_ROUTE

if TYPE_CHECKING:
    from extauthz.judgement.entry import Entry
    from extauthz.judgement.quarantine import Quarantine
    from extauthz.judgement.verdict import Verdict
    from extauthz.model import Subject
    from extauthz.telemetry.trail import RouteFacts

_MOST: Final = 3500
"""Bytes of a record, labels apart: a line of the records is at most 4,096."""


def record_of(entry: Entry | None, verdict: Verdict, route: RouteFacts | None) -> dict[str, Any]:
    """Names as in the decision record; `decision_id` and `trace_id` are those of the Check that let it through."""
    facts = route or NO_ROUTE
    document: dict[str, Any] = {
        "type": "judgement",
        "decision_id": verdict.decision_id,
        "trace_id": "" if entry is None else entry.trace_id,
        "timestamp": timestamp(verdict.at),
        "mode": "async",
        "path": facts.entrypoint,
        "revision": plain(verdict.revision),
        "subject": None if entry is None or entry.subject is None else _subject(entry.subject),
        "workload": "" if entry is None or entry.workload is None else plain(entry.workload.id),
        "action": facts.action,
        "resource": {"type": facts.resource_type, "id": "" if entry is None else plain(entry.resource_id)},
        "request": _request(entry, verdict, facts),
        "layer": verdict.code.partition(".")[0],
        "code": plain(verdict.code, 128),
        "result": _result(verdict),
        "engine": verdict.engine,
        "judgement": _judgement(entry, verdict),
    }
    if not document["trace_id"]:
        del document["trace_id"]
    if len(orjson.dumps(document)) > _MOST and document["subject"] is not None:
        document["subject"] = {name: document["subject"][name] for name in ("type", "id", "credential")}
        document["cut"] = True
    return document


def alert_of(entry: Entry | None, verdict: Verdict, quarantine: Quarantine | None) -> dict[str, Any]:
    """One JSON object; `decision_id` tells whether the receiver had it already."""
    event = "judgement.violation" if verdict.outcome == "denied" else "judgement.reported"
    alert: dict[str, Any] = {
        "event": event,
        "decision_id": verdict.decision_id,
        "route": verdict.route,
        "code": plain(verdict.code, 128),
        "at": timestamp(verdict.at),
        "lag": round(verdict.lag, 3),
        "workload": "" if entry is None or entry.workload is None else plain(entry.workload.id),
        "subject": None if entry is None or entry.subject is None else _subject(entry.subject),
    }
    if quarantine is not None:
        alert["quarantine"] = started_of(quarantine)
    return alert


def started_of(quarantine: Quarantine) -> dict[str, Any]:
    """The facts of `quarantine.started`: whom it covers, on which route (empty: every), until when, and why."""
    key = quarantine.key
    facts = {
        "quarantine": {
            "kind": key.kind,
            "value": plain(key.value),
            "issuer": plain(key.issuer),
            "route": key.route,
            "since": timestamp(quarantine.since),
            "until": timestamp(quarantine.until),
            "by": quarantine.by,
        }
    }
    return {**facts, "decision_id": quarantine.decision_id} if quarantine.decision_id else facts


def _subject(subject: Subject) -> dict[str, Any]:
    who: dict[str, Any] = {"type": subject.type, "id": plain(subject.id), "credential": subject.credential}
    named = {
        "issuer": plain(subject.issuer),
        "token": subject.digest[:16],
        "token_id": plain(subject.token_id, 128),
        "tenant": plain(tenant_of(subject) or "", 128),
        "act": [plain(actor, 128) for actor in subject.act[:8]],
    }
    return who | {name: value for name, value in named.items() if value}


def _request(entry: Entry | None, verdict: Verdict, facts: RouteFacts) -> dict[str, Any]:
    request: dict[str, Any] = {"id": plain(verdict.request_id, 128), "route": verdict.route or "none"}
    if entry is not None:
        request |= {"method": plain(entry.request.method, 32), "host": plain(entry.request.host)}
        request["path"] = facts.template
    return request


def _result(verdict: Verdict) -> dict[str, Any]:
    if verdict.outcome == "allowed":
        return {"allow": True}
    reason = {"code": plain(verdict.code, 128)}
    if verdict.detail:
        reason["detail"] = redact(plain(verdict.detail))
    return {"allow": False, "reasons": [reason]}


def _judgement(entry: Entry | None, verdict: Verdict) -> dict[str, Any]:
    found: dict[str, Any] = {"outcome": verdict.outcome, "lag_seconds": round(verdict.lag, 3)}
    if entry is not None:
        found["accepted"] = timestamp(entry.accepted)
    return found

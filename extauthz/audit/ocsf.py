"""A record as an event of the Open Cybersecurity Schema Framework (OCSF 1.8, https://schema.ocsf.io).

| our event | class | activity |
| --- | --- | --- |
| decision.* | API Activity (6003) | by the request's method; profiles security_control and trace |
| token.*, identity.* | Authentication (3002) | ticket, service ticket, renewal |
| break_glass.* | Authorize Session (3003) | assign privileges |
| quarantine.*, revocation.*, rotation.*, config.*, policy.* | Entity Management (3004) | what was done to the entity |
| chain.*, records.*, every other one | Base Event (0) | other |

docs/audit-ocsf.md has the table of fields. What OCSF has no place for is in `unmapped`, so nothing is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from extauthz import __version__
from extauthz.audit import index_facts as facts
from extauthz.audit.index_row import milliseconds
from extauthz.audit.ocsf_classes import API_ACTIVITY, BASE, CAPTIONS, Class, Mapped, class_of

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = "1.8.0"
_STATUSES: Final = {1: "Success", 2: "Failure", 99: "Other"}
_SEVERITIES: Final = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
_LOUD: Final = frozenset({"break_glass.used", "quarantine.started", "records.dropped", "chain.pruned"})
_PLACED: Final = frozenset(
    {"schema", "event", "timestamp", "writer", "seq", "decision_id", "trace_id", "parent_id", "code"}
    | {"subject", "workload", "action", "resource", "request", "requested_by", "path", "revision"}
)
"""Members that every class or the metadata has a place for."""


def event(record: Mapping[str, Any]) -> dict[str, Any]:
    """Never raises for what stands in a record."""
    name = facts.text(record.get("event"))
    kind = class_of(name)
    mapped = kind.map(record)
    severity = _severity(name, record)
    return {
        **_classified(kind, mapped),
        "time": milliseconds(record.get("timestamp")),
        "severity_id": severity,
        "severity": _SEVERITIES[severity],
        "status_id": mapped.status,
        "status": _STATUSES[mapped.status],
        **({"status_code": code} if (code := facts.text(record.get("code"))) else {}),
        **({"status_detail": detail} if (detail := _detail(record)) else {}),
        "message": message(record),
        "metadata": _metadata(name, record, kind),
        **mapped.members,
        "unmapped": {name: value for name, value in record.items() if name not in _PLACED},
    }


def unreadable(line: str, file: str) -> dict[str, Any]:
    """A line that is no record: nothing that is in a file is left out."""
    mapped = Mapped(99, 99)
    return {
        **_classified(BASE, mapped),
        "time": 0,
        "severity_id": 4,
        "severity": _SEVERITIES[4],
        "status_id": 2,
        "status": _STATUSES[2],
        "message": "a line of the audit trail is no record",
        "metadata": {"version": VERSION, "product": _product(), "log_name": file},
        "raw_data": line,
    }


def message(record: Mapping[str, Any]) -> str:
    """One sentence for a list."""
    subject, request = facts.subject(record), facts.part(record, "request")
    parts = [facts.text(record.get("event"))]
    if who := facts.text(subject.get("id")):
        parts.append(f"of {who}")
    if workload := facts.text(facts.workload(record)):
        parts.append(f"by {workload}")
    if route := facts.text(facts.route(record)):
        parts.append(f"on {route}")
    if path := facts.text(request.get("path")):
        parts.append(f"({facts.text(request.get('method'))} {path})")
    if code := facts.text(record.get("code")):
        parts.append(f"because of {code}")
    return " ".join(parts)


def _classified(kind: Class, mapped: Mapped) -> dict[str, Any]:
    activity = CAPTIONS.get((kind.uid, mapped.activity), "Other")
    return {
        "category_uid": kind.category,
        "category_name": kind.category_name,
        "class_uid": kind.uid,
        "class_name": kind.name,
        "activity_id": mapped.activity,
        "activity_name": activity,
        "type_uid": kind.uid * 100 + mapped.activity,
        "type_name": f"{kind.name}: {activity}",
    }


def _metadata(name: str, record: Mapping[str, Any], kind: Class) -> dict[str, Any]:
    writer, seq = facts.text(record.get("writer")), record.get("seq")
    said = {
        "uid": f"{writer}:{seq}" if writer else "",
        "correlation_uid": facts.text(record.get("trace_id")),
        "original_event_uid": facts.text(record.get("decision_id")),
        "event_code": name,
        "log_name": writer,
        "original_time": facts.text(record.get("timestamp")),
        "tenant_uid": facts.text(facts.tenant(record)),
    }
    return {
        "version": VERSION,
        "product": _product(),
        **({"profiles": ["security_control", "trace"]} if kind is API_ACTIVITY else {}),
        **({"sequence": seq} if type(seq) is int else {}),
        **{key: value for key, value in said.items() if value},
    }


def _product() -> dict[str, str]:
    return {"name": "extauthz", "vendor_name": "extauthz", "version": __version__}


def _severity(name: str, record: Mapping[str, Any]) -> int:
    if name in _LOUD or record.get("break_glass"):
        return 4
    if name == "decision.judged" and facts.part(record, "result").get("allow") is False:
        return 4
    if record.get("layer") == "engine" or record.get("failure"):
        return 3
    return 2 if name.endswith((".denied", ".refused")) else 1


def _detail(record: Mapping[str, Any]) -> str:
    reasons = facts.part(record, "result").get("reasons")
    found = [
        f"{facts.text(one.get('code'))}: {facts.text(one.get('detail'))}".rstrip(": ")
        for one in (reasons if isinstance(reasons, list) else [])
        if isinstance(one, dict)
    ]
    return "; ".join(found) or facts.text(record.get("detail"))

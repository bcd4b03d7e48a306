"""The OCSF classes that our events belong to, and what of a record is which of their attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz.audit import index_facts as facts
from extauthz.audit import ocsf_objects as objects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SUCCESS: Final = 1
FAILURE: Final = 2
OTHER: Final = 99
_METHODS: Final = {"POST": 1, "GET": 2, "HEAD": 2, "PUT": 3, "PATCH": 3, "DELETE": 4}


@dataclass(frozen=True, slots=True)
class Mapped:
    """`activity` and `status` are OCSF's numbers; `members` what this class has beside those of every event."""

    activity: int
    status: int = SUCCESS
    members: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Class:
    uid: int
    name: str
    category: int
    category_name: str
    map: Callable[[Mapping[str, Any]], Mapped]


def _decision(record: Mapping[str, Any]) -> Mapped:
    """API Activity with the security_control profile: what Envoy was told, or what was found out afterwards."""
    request, result = facts.part(record, "request"), facts.part(record, "result")
    judged = record.get("event") == "decision.judged"
    allowed = result.get("allow", record.get("event") == "decision.allowed") is True
    action, disposition = (1, 1) if allowed else (2, 2)
    if judged:
        action, disposition = (3, 17) if allowed else (3, 15)
    policy = objects.policy(record)
    status = result.get("status")
    members: dict[str, Any] = {
        "actor": objects.actor(record),
        "api": {
            "operation": facts.text(record.get("action")) or facts.text(request.get("method")) or "unknown",
            "request": {"uid": facts.text(request.get("id")) or facts.text(record.get("decision_id"))},
        },
        "src_endpoint": objects.source(record),
        "http_request": objects.http_request(request),
        "resources": objects.resources(record),
        "action_id": action,
        "action": {1: "Allowed", 2: "Denied", 3: "Observed"}[action],
        "disposition_id": disposition,
        "disposition": {1: "Allowed", 2: "Blocked", 15: "Detected", 17: "Logged"}[disposition],
        "is_alert": judged and not allowed,
    }
    if host := facts.text(request.get("host")):
        members["dst_endpoint"] = {"hostname": host}
    if policy:
        members["policy"] = policy
        members["authorizations"] = [{"decision": "allow" if allowed else "deny", "policy": policy}]
    if type(status) is int:
        members["http_response"] = {"code": status}
    if trace := facts.text(record.get("trace_id")):
        members["trace"] = {"uid": trace}
    method = facts.text(request.get("method")).upper()
    return Mapped(_METHODS.get(method, OTHER), SUCCESS if allowed else FAILURE, members)


def _authentication(record: Mapping[str, Any]) -> Mapped:
    """A token or an identity was given out, or was not."""
    name = facts.text(record.get("event"))
    noun, _, verb = name.partition(".")
    activity = {"exchanged": 4, "renewed": 5, "issued": 3, "refused": 4 if noun == "token" else 3}.get(verb, OTHER)
    protocol = (6, "OAUTH 2.0") if noun == "token" else (OTHER, "SPIFFE")
    members: dict[str, Any] = {
        "user": objects.user(record),
        "actor": objects.actor(record),
        "service": {"name": facts.audience(record) or "extauthz authority"},
        "auth_protocol_id": protocol[0],
        "auth_protocol": protocol[1],
        "is_remote": True,
        "src_endpoint": objects.source(record),
    }
    if token := objects.token(record):
        members["authentication_token"] = token
    return Mapped(activity, FAILURE if verb == "refused" else SUCCESS, members)


def _break_glass(record: Mapping[str, Any]) -> Mapped:
    """A grant gave a session what the policy refused."""
    grant = facts.part(record, "break_glass") or record
    uid = facts.text(grant.get("grant"))
    session = {
        "uid": uid or facts.text(record.get("decision_id")) or "unknown",
        "issuer": facts.text(grant.get("issued_by")),
    }
    members = {
        "user": objects.user(record),
        "actor": objects.actor(record),
        "privileges": [f"break-glass on {facts.text(facts.route(record)) or 'an unnamed route'}"],
        "session": {key: value for key, value in session.items() if value},
    }
    refused = facts.text(record.get("event")).endswith(".refused")
    return Mapped(1, FAILURE if refused else SUCCESS, members)


def _entity(record: Mapping[str, Any]) -> Mapped:
    """Keys, policies, configurations, credentials and callers as things that are managed."""
    name = facts.text(record.get("event"))
    noun, _, verb = name.partition(".")
    activity = {"started": 11, "released": 10, "added": 9, "issued": 1}.get(verb, 3)
    about = facts.part(record, "quarantine") or record
    kind = facts.text(about.get("kind")) or noun
    value = next((found for key in _NAMES if (found := facts.text(about.get(key)))), "")
    members: dict[str, Any] = {
        "entity": {"name": value or kind, "type": kind, "type_id": 5 if noun == "policy" else OTHER},
        "actor": objects.actor(record),
    }
    if comment := facts.text(record.get("reason")):
        members["comment"] = comment
    return Mapped(activity, FAILURE if verb == "refused" else SUCCESS, members)


def _base(record: Mapping[str, Any]) -> Mapped:
    return Mapped(OTHER, FAILURE if facts.text(record.get("event")) == "records.dropped" else SUCCESS)


_NAMES: Final = ("value", "name", "what", "kid", "revision", "file")
_IAM: Final = (3, "Identity & Access Management")
API_ACTIVITY: Final = Class(6003, "API Activity", 6, "Application Activity", _decision)
AUTHENTICATION: Final = Class(3002, "Authentication", *_IAM, _authentication)
AUTHORIZE_SESSION: Final = Class(3003, "Authorize Session", *_IAM, _break_glass)
ENTITY_MANAGEMENT: Final = Class(3004, "Entity Management", *_IAM, _entity)
BASE: Final = Class(0, "Base Event", 0, "Uncategorized", _base)
CLASSES: Final[Mapping[str, Class]] = {
    "decision": API_ACTIVITY,
    "token": AUTHENTICATION,
    "caller": AUTHENTICATION,
    "join_token": ENTITY_MANAGEMENT,
    "identity": AUTHENTICATION,
    "break_glass": AUTHORIZE_SESSION,
    "quarantine": ENTITY_MANAGEMENT,
    "revocation": ENTITY_MANAGEMENT,
    "rotation": ENTITY_MANAGEMENT,
    "config": ENTITY_MANAGEMENT,
    "policy": ENTITY_MANAGEMENT,
}
"""By the noun of an event; the others are base events."""
CAPTIONS: Final[Mapping[tuple[int, int], str]] = {
    (6003, 1): "Create",
    (6003, 2): "Read",
    (6003, 3): "Update",
    (6003, 4): "Delete",
    (3002, 3): "Authentication Ticket",
    (3002, 4): "Service Ticket Request",
    (3002, 5): "Service Ticket Renew",
    (3003, 1): "Assign Privileges",
    (3004, 1): "Create",
    (3004, 3): "Update",
    (3004, 9): "Disable",
    (3004, 10): "Activate",
    (3004, 11): "Deactivate",
}
"""Names of the activities, by class and number."""


def class_of(event: str) -> Class:
    return CLASSES.get(event.partition(".")[0], BASE)

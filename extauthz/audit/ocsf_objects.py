"""OCSF objects from the parts of a record. Each has what its constraints ask for, whatever the record says."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final

from extauthz.audit import index_facts as facts

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNKNOWN: Final = "unknown"
_USERS: Final = {"user": (1, "User"), "service": (4, "Service"), "workload": (4, "Service")}


def user(record: Mapping[str, Any]) -> dict[str, Any]:
    """Whom it is about: the subject, or the workload itself."""
    subject = facts.subject(record)
    kind = facts.text(subject.get("type")) or ("" if subject else "workload")
    number, word = _USERS.get(kind, (99, kind or _UNKNOWN))
    name = facts.text(subject.get("id")) or facts.text(facts.workload(record)) or _UNKNOWN
    found: dict[str, Any] = {"uid": name, "name": name, "type_id": number, "type": word}
    if issuer := facts.text(subject.get("issuer")):
        found["domain"] = issuer
    return found


def actor(record: Mapping[str, Any]) -> dict[str, Any]:
    """The subject, the workload that acts for it, and the token that said so, by its digest."""
    subject = facts.subject(record)
    found: dict[str, Any] = {"user": user(record)}
    if workload := facts.text(facts.workload(record)):
        found["app_uid"] = workload
    session = {
        "uid": facts.text(subject.get("token_id")) or facts.text(subject.get("token")),
        "credential_uid": facts.text(subject.get("token")),
        "issuer": facts.text(subject.get("issuer")),
    }
    if session["uid"]:
        found["session"] = {key: value for key, value in session.items() if value}
    return found


def source(record: Mapping[str, Any]) -> dict[str, Any]:
    """Where it came from: address and port as Envoy saw them, and the workload."""
    address, port = _address(facts.text(record.get("requested_by")))
    workload = facts.text(facts.workload(record))
    found: dict[str, Any] = {"svc_name": workload} if workload else {}
    if address:
        found["ip"] = address
    if port:
        found["port"] = port
    return found or {"name": _UNKNOWN}


def _address(text: str) -> tuple[str, int]:
    """`10.0.0.1:443`, `[2001:db8::1]:443`, `10.0.0.1`."""
    host, _, port = text.rpartition(":")
    for name, number in ((host.strip("[]"), port), (text.strip("[]"), "")):
        try:
            ipaddress.ip_address(name)
        except ValueError:
            continue
        return name, int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 0  # noqa: PLR2004
    return "", 0


def http_request(request: Mapping[str, Any]) -> dict[str, Any]:
    url = {"path": facts.text(request.get("path")) or "/", "hostname": facts.text(request.get("host"))}
    found: dict[str, Any] = {"url": {key: value for key, value in url.items() if value}}
    if method := facts.text(request.get("method")):
        found["http_method"] = method
    if uid := facts.text(request.get("id")):
        found["uid"] = uid
    return found


def resources(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    resource = facts.part(record, "resource")
    kind, uid = facts.text(resource.get("type")), facts.text(resource.get("id"))
    if not kind and not uid:
        return []
    return [{"uid": uid or kind, "role_id": 1, "role": "Target", **({"type": kind} if kind else {})}]


def policy(record: Mapping[str, Any]) -> dict[str, Any]:
    """The policy that decided; empty where none was asked."""
    name, revision = facts.text(record.get("path")), facts.text(record.get("revision"))
    if not name:
        return {}
    return {"name": name, "uid": name, "is_applied": True, **({"version": revision} if revision else {})}


def token(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was given out; its digest alone names it."""
    digest = facts.text(facts.made(record)) or facts.text(record.get("certificate"))
    if not digest:
        return {}
    kind = facts.text(record.get("kind")) or ("certificate" if record.get("certificate") else "access_token")
    found: dict[str, Any] = {"uid": digest, "type_id": 99, "type": kind}
    expires = record.get("expires_at")
    if type(expires) is int and 0 <= expires < 10**11:
        found["expiration_time"] = expires * 1000
    return found

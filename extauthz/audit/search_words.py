"""What a record says, in words that a person reads. Nothing here trusts it: every value may be anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.audit import index_facts as facts
from extauthz.codes import CODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TOLD: Final = frozenset(
    {"schema", "event", "timestamp", "writer", "seq", "chain", "decision_id", "trace_id", "parent_id", "subject"}
    | {"workload", "requested_by", "request", "action", "resource", "result", "layer", "code", "path", "revision"}
    | {"exchange", "mode", "failure", "degraded", "break_glass", "engine", "cached", "metrics"}
)


def described(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of each thing that it says; what we have no words for comes last, as JSON."""
    found = [(name, text) for name, text in _known(record) if text]
    return found + [(name, json(value)) for name, value in record.items() if name not in _TOLD]


def _known(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    request, resource = facts.part(record, "request"), facts.part(record, "resource")
    yield "when", facts.text(record.get("timestamp"))
    yield "who", who(record)
    for actor in facts.acting(record):
        yield "acting for it", actor
    yield "workload", facts.text(facts.workload(record))
    yield "from", facts.text(record.get("requested_by"))
    yield "request", _joined(request.get("method"), request.get("host"), request.get("path"))
    yield "route", _joined(facts.route(record))
    yield "action", facts.text(record.get("action"))
    yield "resource", _joined(resource.get("type"), resource.get("id"))
    yield "decision", decision(record)
    for reason in reasons(record):
        yield "reason", reason
    yield "policy", policy(record)
    yield "exchange", exchange(record)
    yield "mode", _joined(record.get("mode"), *facts.texts(record.get("degraded")))
    for name in ("failure", "break_glass", "cached", "metrics"):
        yield name.replace("_", " "), json(record[name]) if isinstance(record.get(name), dict) else ""
    yield "engine", facts.text(record.get("engine"))
    yield "trace", _joined(record.get("trace_id"), record.get("parent_id"))
    yield "chain", facts.text(record.get("chain"))


def who(record: Mapping[str, Any]) -> str:
    """`user alice of acme, jwt from https://…, token 0123…`."""
    subject = facts.subject(record)
    if not subject:
        return ""
    said = [_joined(subject.get("type"), subject.get("id"))]
    if tenant := facts.text(facts.tenant(record)):
        said[0] += f" of {tenant}"
    credential = _joined(subject.get("credential"), subject.get("issuer") and "from", subject.get("issuer"))
    said += [credential] if credential else []
    for name, word in (("token", "token"), ("token_id", "id"), ("purpose", "purpose")):
        if value := facts.text(subject.get(name)):
            said.append(f"{word} {value}")
    return ", ".join(said)


def decision(record: Mapping[str, Any]) -> str:
    """`denied with 403 by role`; empty where nothing was decided."""
    result = facts.part(record, "result")
    if result.get("allow") is True:
        return "allowed"
    code, layer = facts.text(record.get("code")), facts.text(record.get("layer"))
    if not result and not code:
        return ""
    status = result.get("status")
    word = "denied" if result else "refused"
    return word + (f" with {status}" if type(status) is int else "") + (f" by {layer}" if layer else "")


def reasons(record: Mapping[str, Any]) -> list[str]:
    """Each with the words of the catalogue."""
    told = facts.part(record, "result").get("reasons")
    given = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    if not given and record.get("code"):
        given = [{"code": record.get("code"), "detail": record.get("detail")}]
    return [_reason(facts.text(one.get("code")), facts.text(one.get("detail"))) for one in given]


def _reason(code: str, detail: str) -> str:
    known = CODES.get(code)
    words = f"{code}: {known.message} Fix: {known.remedy}" if known else code
    return f"{words} [{detail}]" if detail else words


def policy(record: Mapping[str, Any]) -> str:
    revision = record.get("revision") or record.get("policy_revision")
    return _joined(record.get("path"), revision and "at", revision)


def exchange(record: Mapping[str, Any]) -> str:
    """The token that went on, or was issued."""
    made = facts.part(record, "exchange") or record
    digest = facts.text(facts.made(record))
    if not digest:
        return ""
    said = [f"token {digest}"]
    for name, word in (("audience", "for"), ("purpose", "purpose"), ("scopes", "scopes"), ("actor", "acting")):
        if value := " ".join(facts.texts(made.get(name))):
            said.append(f"{word} {value}")
    if ancestors := facts.texts(made.get("ancestors")) or facts.texts(record.get("ancestors")):
        said.append(f"from {' ← '.join(reversed(ancestors))}")
    return ", ".join(said)


def json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()


def _joined(*parts: Any) -> str:
    return " ".join(part for part in parts if isinstance(part, str) and part)

"""OCSF: the shape of every class that we map to, required attributes and constraints of OCSF 1.8 written down here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from extauthz.audit import ocsf, records
from extauthz.audit.ocsf_classes import CAPTIONS, CLASSES
from extauthz.audit.query import Query
from extauthz.audit.search import Archive
from extauthz.check.judgement_record import started_of
from extauthz.demo.zones import EDGE
from extauthz.judgement.quarantine import Key, Quarantine
from extauthz.model import deny
from tests.support.audit_hops import NO_MASKING, NOW, Bank, alice, digest, trail

if TYPE_CHECKING:
    from pathlib import Path

_TEXT: Final = {"type": "string", "minLength": 1}
_NUMBER: Final = {"type": "integer"}


def _object(required: tuple[str, ...] = (), one_of: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """`one_of`: OCSF's at_least_one."""
    made: dict[str, Any] = {"type": "object", "properties": properties, "required": list(required)}
    return made | ({"anyOf": [{"required": [name]} for name in one_of]} if one_of else {})


_USER: Final = _object(
    (), ("account", "name", "uid"), uid=_TEXT, name=_TEXT, domain=_TEXT, type_id={"enum": [0, 1, 2, 3, 4, 99]}
)
_SESSION: Final = _object((), ("uid",), uid=_TEXT, issuer=_TEXT)
_ACTOR: Final = _object(
    (), ("process", "user", "session", "app_name", "app_uid"), user=_USER, session=_SESSION, app_uid=_TEXT
)
_ENDPOINT: Final = _object(
    (),
    ("ip", "uid", "name", "hostname", "svc_name", "instance_uid"),
    ip={"type": "string", "pattern": r"^[0-9a-f.:]+$"},
    port={"type": "integer", "minimum": 0, "maximum": 65535},
    svc_name=_TEXT,
    hostname=_TEXT,
)
_POLICY: Final = _object((), ("name", "type", "uid"), name=_TEXT, version=_TEXT)
_BASE: Final = _object(
    ("activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"),
    activity_id=_NUMBER,
    category_uid=_NUMBER,
    class_uid=_NUMBER,
    type_uid=_NUMBER,
    time={"type": "integer", "minimum": 0},
    severity_id={"enum": [0, 1, 2, 3, 4, 5, 6, 99]},
    status_id={"enum": [0, 1, 2, 99]},
    status={"enum": ["Success", "Failure", "Other"]},
    status_code=_TEXT,
    message=_TEXT,
    metadata=_object(
        ("product", "version"),
        version={"const": "1.8.0"},
        product=_object(("name", "vendor_name"), name=_TEXT, vendor_name=_TEXT),
        sequence=_NUMBER,
        profiles={"type": "array", "items": _TEXT},
    ),
    unmapped={"type": "object"},
)
SHAPES: Final[dict[int, dict[str, Any]]] = {
    0: _object(class_uid={"const": 0}, category_uid={"const": 0}, activity_id={"const": 99}),
    6003: _object(
        ("actor", "api", "src_endpoint"),
        category_uid={"const": 6},
        activity_id={"enum": [0, 1, 2, 3, 4, 99]},
        actor=_ACTOR,
        api=_object(("operation",), operation=_TEXT, request=_object(("uid",))),
        src_endpoint=_ENDPOINT,
        dst_endpoint=_ENDPOINT,
        http_request=_object(url=_object((), ("url_string", "path"), path=_TEXT)),
        http_response=_object(("code",), code=_NUMBER),
        resources={"type": "array", "items": _object((), ("name", "uid"), uid=_TEXT, role_id={"const": 1})},
        action_id={"enum": [1, 2, 3]},
        disposition_id={"enum": [1, 2, 15, 17]},
        policy=_POLICY,
        authorizations={"type": "array", "items": _object(decision=_TEXT, policy=_POLICY)},
        trace=_object(("uid",), uid=_TEXT),
        is_alert={"type": "boolean"},
    ),
    3002: _object(
        ("user",),
        ("service", "dst_endpoint"),
        category_uid={"const": 3},
        activity_id={"enum": [0, 1, 2, 3, 4, 5, 6, 7, 99]},
        user=_USER,
        actor=_ACTOR,
        src_endpoint=_ENDPOINT,
        service=_object((), ("name", "uid"), name=_TEXT),
        auth_protocol_id={"enum": [6, 99]},
        authentication_token=_object(uid=_TEXT, type_id={"enum": [0, 1, 2, 3, 4, 5, 99]}, expiration_time=_NUMBER),
    ),
    3003: _object(
        ("user",),
        ("privileges", "groups", "iam_roles"),
        category_uid={"const": 3},
        activity_id={"enum": [1, 2, 3]},
        user=_USER,
        session=_SESSION,
        privileges={"type": "array", "minItems": 1, "items": _TEXT},
    ),
    3004: _object(
        ("entity",),
        category_uid={"const": 3},
        activity_id={"enum": [*range(14), 99]},
        entity=_object((), ("name", "uid"), name=_TEXT, type=_TEXT, type_id={"enum": [0, 1, 2, 3, 4, 5, 6, 7, 99]}),
        actor=_ACTOR,
        comment=_TEXT,
    ),
}


def check(event: dict[str, Any]) -> dict[str, Any]:
    """The event, of the right shape and plain JSON."""
    Draft202012Validator(_BASE).validate(event)
    Draft202012Validator(SHAPES[event["class_uid"]]).validate(event)
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["activity_name"] == CAPTIONS.get((event["class_uid"], event["activity_id"]), "Other")
    assert json.loads(json.dumps(event)) == event
    return event


def events(bank: Bank) -> list[dict[str, Any]]:
    with Archive(bank.save()) as archive:
        archive.refresh()
        found = [match.read().record for match in archive.find(Query(order="oldest"))]
    return [check(ocsf.event(record)) for record in found if record is not None]


def test_a_transfer_through_four_zones(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    bank.signed_in()
    bank.transfer(last=deny("workload.route_denied", "route features"))
    found = events(bank)
    assert [event["class_uid"] for event in found].count(6003) == 7
    assert [event["type_uid"] for event in found].count(300204) == 3
    assert found[0]["type_uid"] == 300203
    refused = found[-1]
    assert (refused["action"], refused["disposition"], refused["status"]) == ("Denied", "Blocked", "Failure")
    assert refused["status_code"] == "workload.route_denied"
    assert refused["status_detail"] == "workload.route_denied: route features"
    assert refused["http_response"] == {"code": 403}
    assert refused["actor"]["user"]["uid"] == "alice"
    assert refused["actor"]["session"]["uid"] == "jti-T3"
    assert refused["policy"]["version"] == "policies-7"
    assert refused["metadata"]["tenant_uid"] == "acme"
    assert refused["metadata"]["uid"] == "serve-0:1"
    assert refused["src_endpoint"]["ip"] == "10.0.0.1"
    exchange = next(event for event in found if event["type_uid"] == 300204)
    assert exchange["authentication_token"]["uid"] == digest("T1")
    assert exchange["unmapped"]["actors"] == [EDGE.id]
    assert exchange["unmapped"]["ancestors"] == ["jti-T0"]


@pytest.mark.parametrize("name", records.schema()["properties"]["event"]["enum"])
def test_every_event_of_the_schema_has_a_shape(name: str) -> None:
    told = {
        "event": name,
        "timestamp": "2026-11-23T10:00:00.000+00:00",
        "writer": "serve-0",
        "seq": 4,
        "chain": "c" * 64,
    }
    event = check(ocsf.event(told))
    assert event["metadata"]["event_code"] == name
    assert (event["class_uid"] == 0) == (name.partition(".")[0] not in CLASSES)
    assert event["status_id"] == (
        2 if name.endswith((".refused", ".denied", "judged")) or name == "records.dropped" else 1
    )


def test_a_judged_violation_is_an_alert_that_denied_nothing() -> None:
    told = {"event": "decision.judged", "result": {"allow": False}, "decision_id": "d"}
    event = check(ocsf.event(told))
    assert (event["action"], event["disposition"], event["is_alert"], event["severity"]) == (
        "Observed", "Detected", True, "High",
    )  # fmt: skip


def test_break_glass_assigns_a_privilege() -> None:
    told = {
        "event": "break_glass.used",
        "subject": {"type": "user", "id": "alice"},
        "break_glass": {"grant": "G-1", "ticket": "INC-7", "issued_by": "bob"},
        "request": {"route": "read-usage"},
    }
    event = check(ocsf.event(told))
    assert event["privileges"] == ["break-glass on read-usage"]
    assert event["session"] == {"uid": "G-1", "issuer": "bob"}
    assert event["severity"] == "High"


def test_a_quarantine_deactivates_and_its_end_activates() -> None:
    made = Quarantine(Key("workload", EDGE.id), NOW, NOW + 60, "operator")
    told = {"event": "quarantine.started", **started_of(made)}
    event = check(ocsf.event(told))
    assert (event["activity_name"], event["entity"]["name"]) == ("Deactivate", EDGE.id)
    assert check(ocsf.event({**told, "event": "quarantine.released"}))["activity_name"] == "Activate"


def test_nothing_of_a_record_is_lost() -> None:
    made = trail(0.0, EDGE, "edge-in", alice("T0"), EDGE.id)
    made.mode = "degraded"
    made.degraded = ("engine",)
    made.trace()
    record = json.loads(b"{" + records.decision(made, NO_MASKING) + b"}")
    event = check(ocsf.event(record))
    assert event["unmapped"]["mode"] == "degraded"
    assert event["unmapped"]["degraded"] == ["engine"]


def test_a_line_that_is_no_record_is_an_event_as_well() -> None:
    event = check(ocsf.unreadable("{half", "serve-0-000001.jsonl"))
    assert event["raw_data"] == "{half"


@pytest.mark.parametrize(
    ("text", "ip", "port"),
    [
        ("10.0.0.1:443", "10.0.0.1", 443),
        ("10.0.0.1", "10.0.0.1", None),
        ("[2001:db8::1]:80", "2001:db8::1", 80),
        ("2001:db8::1", "2001:db8::1", None),
        ("pipe", None, None),
        ("", None, None),
    ],
)
def test_addresses(text: str, ip: str | None, port: int | None) -> None:
    event = check(ocsf.event({"event": "decision.allowed", "requested_by": text}))
    assert (event["src_endpoint"].get("ip"), event["src_endpoint"].get("port")) == (ip, port)


_VALUE: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["id", "type", "token", "url"]), inner, max_size=2)
    ),
    max_leaves=4,
)
_MEMBERS: Final = (
    "subject", "workload", "request", "requested_by", "result", "resource", "exchange", "audience", "digest", "kind", "value",
    "reason", "action", "path", "revision", "trace_id", "decision_id", "code", "detail", "seq", "writer", "timestamp",
    "break_glass", "expires_at", "certificate", "what", "tenant", "layer",
)  # fmt: skip


@given(
    st.sampled_from(sorted(records.schema()["properties"]["event"]["enum"])),
    st.dictionaries(st.sampled_from(_MEMBERS), _VALUE, max_size=10),
)
def test_no_record_breaks_the_shape(name: str, members: dict[str, Any]) -> None:
    check(ocsf.event({**members, "event": name}))


def test_times_are_the_records(tmp_path: Path) -> None:
    bank = Bank(tmp_path)
    bank.signed_in(0.0)
    [event] = events(bank)
    assert event["time"] == round(NOW * 1000)

"""Trails and records: cheap to write, whole when read, valid by the published schema."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from extauthz.codes import CODES
from extauthz.model import Allow, Deny, Obligations, Reason, Subject, Workload, deny
from extauthz.telemetry import record
from extauthz.telemetry.trail import ExchangeFacts, RouteFacts, Stage, Trail, decision_id
from tests.support.attribute_questions import request

SCHEMA = Draft202012Validator(record.schema())
ROUTE = RouteFacts(
    "create-transfer", "transfers", "/v1/transfers/{id}", "extauthz/payments/decision", "transfer.create", "transfer"
)
ALICE = Subject(
    "user",
    "alice",
    "jwt",
    issuer="https://issuer.example",
    purpose="payment",
    token_id="j-1",
    digest="0123456789abcdef" * 4,
    claims={"secret_claim": "do-not-log"},
    act=("orchestrator", "gateway"),
)
GATEWAY = Workload("spiffe://bank.example/env/prod/ns/edge/sa/gateway", "bank.example")


class Ticks:
    """Nanoseconds that a test hands out."""

    def __init__(self, *steps: int) -> None:
        self._now = 0
        self._steps = [0, *steps]

    def __call__(self) -> int:
        self._now += self._steps.pop(0)
        return self._now


def trail(decision: Allow | Deny | None, *ns: int) -> Trail:
    made = Trail(1_800_000_000.25, "grpc", Ticks(*ns))
    for stage, _ in zip(Stage, ns, strict=False):
        made.mark(stage)
    made.describe(request(b"{}", {"authorization": "Bearer s3cret"}, query="token=s3cret"))
    made.route, made.subject, made.workload, made.decision = ROUTE, ALICE, GATEWAY, decision
    made.resource_id, made.revision, made.engine = "T-1", "rev-1", "embedded"
    made.token_cached, made.decision_cached = True, False
    return made


def read(made: Trail, **options: bool) -> dict[str, Any]:
    line = record.line(made, {"zone": "edge"}, **options)
    assert line.endswith(b"}\n")
    assert len(line) <= record.LINE_MAX
    read: dict[str, Any] = orjson.loads(line)
    SCHEMA.validate(read)
    return read


def test_decision_ids_are_uuids() -> None:
    ids = [decision_id() for _ in range(200)]
    assert len(set(ids)) == 200
    for text in ids:
        assert str(uuid.UUID(text)) == text
        assert (uuid.UUID(text).version, uuid.UUID(text).variant) == (4, uuid.RFC_4122)


def test_marks_add_up_by_stage() -> None:
    made = Trail(0.0, "", Ticks(5, 7, 11))
    made.mark(Stage.PARSE)
    made.mark(Stage.POLICY)
    made.mark(Stage.POLICY)
    assert made.ns[Stage.PARSE] == 5
    assert made.ns[Stage.POLICY] == 18
    assert made.ns[Stage.TOKEN] == 0
    assert Trail(0.0).ns == [0] * len(Stage)


def test_a_record_of_an_allow() -> None:
    made = trail(Allow(Obligations(mask=("iban", "name"))), 1000, 2000, 3000, 4000, 5000, 600_000, 0, 7500)
    got = read(made)
    assert got == {
        "type": "check",
        "decision_id": made.decision_id,
        "trace_id": made.decision_id.replace("-", ""),
        "timestamp": "2027-01-15T08:00:00.250000+00:00",
        "labels": {"zone": "edge"},
        "path": "extauthz/payments/decision",
        "requested_by": "10.0.0.1",
        "revision": "rev-1",
        "subject": {
            "type": "user",
            "id": "alice",
            "credential": "jwt",
            "issuer": "https://issuer.example",
            "token": "0123456789abcdef",
            "token_id": "j-1",
            "purpose": "payment",
            "act": ["orchestrator", "gateway"],
        },
        "workload": "spiffe://bank.example/env/prod/ns/edge/sa/gateway",
        "action": "transfer.create",
        "resource": {"type": "transfer", "id": "T-1"},
        "request": {
            "id": "r-1",
            "method": "POST",
            "host": "api.bank.example",
            "route": "create-transfer",
            "path": "/v1/transfers/{id}",
            "transport": "grpc",
        },
        "layer": "",
        "code": "",
        "result": {"allow": True, "masked": ["iban", "name"]},
        "engine": "embedded",
        "cached": {"token": True, "decision": False},
        "metrics": {
            "timer_parse_us": 1.0,
            "timer_route_us": 2.0,
            "timer_workload_us": 3.0,
            "timer_token_us": 4.0,
            "timer_attributes_us": 5.0,
            "timer_policy_us": 600.0,
            "timer_respond_us": 7.5,
            "timer_check_us": 622.5,
        },
    }


def test_nothing_secret_is_in_a_record() -> None:
    line = record.line(trail(deny("token.expired")), {}, full_path=True).decode()
    assert "s3cret" not in line
    assert "do-not-log" not in line


@pytest.mark.parametrize("code", CODES)
def test_a_record_of_each_denial(code: str) -> None:
    got = read(trail(deny(code, "why")))
    assert (got["layer"], got["code"]) == (code.partition(".")[0], code)
    assert got["result"] == {
        "allow": False,
        "status": deny(code).status,
        "reasons": [{"code": code, "detail": "why"}],
    }


def test_a_check_that_nobody_decided_was_not_allowed() -> None:
    got = read(trail(None))
    assert (got["layer"], got["code"]) == ("engine", "engine.internal")
    assert got["result"]["allow"] is False


def test_an_empty_trail_is_a_record_too() -> None:
    got = read(Trail(0.0))
    assert got["subject"] is None
    assert got["request"]["route"] == "none"


def test_the_path_itself_where_it_is_wanted_or_nothing_else_is_known() -> None:
    assert read(trail(Allow()), full_path=True)["request"]["path"] == "/v1/transfers/T-1"
    made = trail(deny("request.route_unknown"))
    made.route = RouteFacts("none")
    assert read(made)["request"]["path"] == "/v1/transfers/T-1"


def test_a_record_that_is_too_long_is_cut_and_says_so() -> None:
    made = trail(Deny(tuple(Reason("role.denied", detail="\u202e" * 300) for _ in range(8))))
    got = read(made)
    assert got["cut"] is True
    assert (got["code"], got["result"]["reasons"], got["result"]["status"]) == ("role.denied", [], 403)
    assert got["subject"] == {"type": "user", "id": "alice"}


def test_a_label_that_is_no_text_costs_details_only() -> None:
    got = orjson.loads(record.line(trail(Allow()), {"zone": "\ud800"}))
    SCHEMA.validate(got)
    assert (got["cut"], got["result"]["allow"]) == (True, True)


def test_a_chain_of_actors_is_bounded() -> None:
    made = trail(Allow())
    made.subject = Subject("user", "alice", "jwt", act=tuple(f"a{number}" for number in range(50)))
    assert read(made)["subject"]["act"] == [f"a{number}" for number in range(8)]


def test_an_exchanged_token_leaves_what_may_be_said_of_it() -> None:
    made = trail(Allow())
    made.exchange = ExchangeFacts("orchestration", GATEWAY.id, "payment", "0123456789abcdef", "t-2")
    made.exchange_cached = True
    got = read(made)
    assert got["exchange"] == {
        "audience": "orchestration",
        "actor": GATEWAY.id,
        "purpose": "payment",
        "token": "0123456789abcdef",
        "token_id": "t-2",
    }
    assert got["cached"]["exchange"] is True


ANY = st.text(max_size=400) | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "So"]), max_size=400)


@given(ANY, ANY, ANY, st.lists(ANY, min_size=1, max_size=10))
def test_any_text_gives_one_valid_line(one: str, two: str, three: str, details: list[str]) -> None:
    made = trail(Deny(tuple(Reason("attribute.x", detail=detail) for detail in details)))
    made.host, made.method, made.source, made.path = one, two, three, one
    made.subject = Subject("user", three, "jwt", issuer=one, token_id=two, purpose=three)
    made.workload = Workload(one, "")
    line = record.line(made, {}, full_path=True)
    assert line.count(b"\n") == 1
    assert line.decode()[:-1].isprintable()
    assert len(line) <= record.LINE_MAX
    SCHEMA.validate(orjson.loads(line))

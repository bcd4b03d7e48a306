"""What a record says: the schema, masking, and what never gets in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz.audit import records
from extauthz.audit.chain import Chain
from extauthz.audit.fault import AuditError
from extauthz.audit.mask import MASKED, Masking
from extauthz.audit.settings import KEPT, AuditSettings
from extauthz.model import Subject, deny
from extauthz.telemetry.trail import BreakGlassFacts, ExchangeFacts, FailureFacts, Trail
from tests.support.audit import check, trail_in
from tests.support.audit import records as read

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = Masking((), (), b"k")
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def record(trail: Trail, masking: Masking = PLAIN) -> dict[str, Any]:
    line = Chain("serve-0").sealed(records.decision(trail, masking))
    found: dict[str, Any] = json.loads(line)
    jsonschema.validate(found, records.schema())
    return found


def test_a_decision_says_who_what_on_which_data_when_and_why() -> None:
    found = record(check(5, allowed=False))
    assert found["event"] == "decision.denied"
    assert found["timestamp"] == "2027-01-15T08:00:05.000+00:00"
    who = {"type": "user", "id": "user-5", "credential": "jwt", "issuer": "bank", "tenant": "acme"}
    assert found["subject"] == {**who, "token": "0123456789abcdef"}
    assert found["workload"] == "spiffe://bank.example/gateway"
    assert (found["layer"], found["code"], found["revision"]) == ("role", "role.denied", "r1")
    assert found["resource"] == {"type": "transfer", "id": "5"}
    assert found["request"]["route"] == "read-transfer"
    assert found["trace_id"] == found["decision_id"].replace("-", "")  # it began the trace
    assert "mode" not in found


def test_a_decision_that_is_no_ordinary_one_says_so() -> None:
    found = record(
        check(
            mode="break-glass",
            degraded=("engine",),
            failure=FailureFacts("engine", "engine.unavailable", "degrade"),
            break_glass=BreakGlassFacts(
                "g1", "INC-7", "spiffe://bank.example/operator", 1_800_000_900.0, "role.denied"
            ),
            exchange=ExchangeFacts("model", "spiffe://bank.example/gateway", "payment", "0" * 16, "jti"),
            trace_id="a" * 32,
            parent_id="b" * 16,
        )
    )
    assert (found["mode"], found["degraded"], found["failure"]["plan"]) == ("break-glass", ["engine"], "degrade")
    assert found["break_glass"]["until"] == "2027-01-15T08:15:00.000+00:00"
    assert (found["trace_id"], found["parent_id"]) == ("a" * 32, "b" * 16)
    assert found["exchange"]["audience"] == "model"


async def test_a_break_glass_grant_has_a_record_of_its_own(tmp_path: Path) -> None:
    grant = BreakGlassFacts("g1", "INC-7", "spiffe://bank.example/operator", 1_800_000_900.0, "role.denied")
    refused = check(3)
    refused.decision = deny("token.break_glass", "it has ended")
    async with trail_in(tmp_path) as trail:
        await trail.written(check(1, mode="break-glass", break_glass=grant), float("inf"))
        trail.add(check(2, mode="break-glass", break_glass=grant))
        trail.add(refused)
    found = [each for each in read(tmp_path) if each["event"].startswith("break_glass.")]
    assert [each["event"] for each in found] == ["break_glass.used"] * 2 + ["break_glass.refused"]
    assert (found[0]["break_glass"]["ticket"], found[0]["subject"]["id"]) == ("INC-7", "user-1")
    assert (found[2]["decision_id"], found[2]["code"]) == (refused.decision_id, "token.break_glass")
    for each in found:
        jsonschema.validate(each, records.schema())


def test_a_check_without_an_end_is_a_denial() -> None:
    found = record(Trail(1_800_000_000.0))
    assert (found["event"], found["code"], found["subject"]) == ("decision.denied", "engine.internal", None)


async def test_everything_that_is_written_is_of_the_schema(tmp_path: Path) -> None:
    async with trail_in(tmp_path, checkpoint={"records": 2}) as trail:
        for number in range(4):
            await trail.written(check(number), float("inf"))
        await trail.write("identity.issued", {"spiffe_id": "spiffe://bank.example/a"})
    schema = records.schema()
    found = read(tmp_path)
    for each in found:
        jsonschema.validate(each, schema)
    assert {"chain.opened", "chain.checkpoint", "chain.closed", "decision.allowed", "identity.issued"} <= {
        each["event"] for each in found
    }


@given(text=st.text(max_size=3000), allowed=st.booleans())
def test_nothing_that_a_caller_sends_breaks_a_record(text: str, allowed: bool) -> None:
    trail = check(allowed=allowed, path=text, host=text, request_id=text, source=text, resource_id=text)
    trail.subject = Subject(text, text, "jwt", issuer=text, act=(text,) * 8, claims={"tenant": text}, token_id=text)
    if not allowed:
        trail.decision = deny("role.denied", text)
    line = Chain("serve-0").sealed(records.decision(trail, PLAIN))
    assert line.count(b"\n") == 1
    assert json.loads(line)["decision_id"] == trail.decision_id


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_a_surrogate_pair_is_no_way_out(text: str) -> None:
    assert record(check(request_id=text, path=text))["decision_id"]


def test_no_token_gets_in() -> None:
    trail = check(request_id=JWT, resource_id=f"x{JWT}", host=f"a {JWT}")
    assert "c2lnbmF0dXJl" not in json.dumps(record(trail))
    body = records.event("token.refused", {"detail": f"got {JWT}"}, 0.0, PLAIN)
    assert b"eyJ" not in body
    assert b"[redacted jwt]" in body


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("x.y", {"x": object()}),
        ("x.y", {"x": "a" * records.BODY_MAX}),
        ("x.y", {"x": "\ud800"}),
        ("x.y", {1: 2}),
        ("x.y", {"seq": 1}),
        ("x.y", {"chain": "0"}),
        ("x.y", {"event": "z.z"}),
        ("xy", {}),
        ('x."y', {}),
        ("x.y\n", {}),
        ("x." + "y" * 80, {}),
    ],
)
def test_what_is_no_record_is_refused(event: str, fields: Any) -> None:
    with pytest.raises(AuditError):
        records.event(event, fields, 0.0, PLAIN)


def test_masked_values_are_equal_where_they_were_and_tell_nothing() -> None:
    masking = Masking(("subject.id", "subject.act", "result.reasons.detail"), ("requested_by", "request.host"), b"key")
    trail = check(3, allowed=False)
    assert trail.subject is not None
    trail.subject = Subject("user", "alice", "jwt", act=("a", "b"))
    found = record(trail, masking)
    assert found["subject"]["id"] == masking.masked("alice")
    assert found["subject"]["id"].startswith(MASKED)
    assert found["subject"]["act"] == [masking.masked("a"), masking.masked("b")]
    assert found["result"]["reasons"][0]["detail"].startswith(MASKED)
    assert "requested_by" not in found
    assert "host" not in found["request"]
    assert "alice" not in json.dumps(found)
    assert masking.masked("alice") != Masking(("x",), (), b"other").masked("alice")
    assert record(trail)["subject"]["id"] == "alice"  # what is shared was not changed


def test_masking_goes_through_any_event() -> None:
    masking = Masking(("client",), ("detail",), b"key")
    body = json.loads(
        b"{" + records.event("token.refused", {"client": "c", "detail": "d", "code": "x"}, 0.0, masking) + b"}"
    )
    assert body["client"].startswith(MASKED)
    assert "detail" not in body


@pytest.mark.parametrize("path", [*sorted(KEPT - {"result"}), "result.allow", "result"])
def test_what_a_record_proves_is_not_masked(path: str, tmp_path: Path) -> None:
    for rule in ("mask", "drop"):
        with pytest.raises(ValidationError):
            AuditSettings.model_validate({"directory": str(tmp_path), rule: [path]})


@pytest.mark.parametrize("path", ["subject", "subject.id", "workload", "request", "request.route", "resource"])
def test_what_a_record_is_found_by_may_be_masked_and_not_dropped(path: str, tmp_path: Path) -> None:
    AuditSettings.model_validate({"directory": str(tmp_path), "mask": [path]})
    with pytest.raises(ValidationError):
        AuditSettings.model_validate({"directory": str(tmp_path), "drop": [path]})


def test_settings_without_a_place_are_refused() -> None:
    with pytest.raises(ValidationError):
        AuditSettings.model_validate({"sinks": [{"kind": "stdout"}]})
    assert AuditSettings().key_file is None


async def test_a_decision_is_recorded_once(tmp_path: Path) -> None:
    async with trail_in(tmp_path) as trail:
        first, second = check(1), check(2)
        assert await trail.written(first, float("inf"))
        trail.add(first)
        trail.add(second)
        assert not await trail.written(check(3), trail._clock.monotonic() - 1)
    ids = [each["decision_id"] for each in read(tmp_path) if "decision_id" in each]
    assert ids == [first.decision_id, second.decision_id]
    assert trail.numbers()["written"] == 2
    assert not trail.healthy


async def test_old_files_go_by_the_chains_own_word(tmp_path: Path) -> None:
    async with trail_in(tmp_path, rotate={"size": "4KiB", "keep": 2}) as trail:
        for number in range(60):
            await trail.written(check(number), float("inf"))
    files = sorted(path.name for path in tmp_path.glob("serve-0-*"))
    assert len(files) == 3  # the newest, and two that are kept
    told = [each for each in read(tmp_path) if each["event"] == "chain.pruned"]
    assert not told or told[-1]["through"]["seq"] > 0
    from tests.support.audit import verified  # noqa: PLC0415 - here alone

    assert verified(tmp_path).sound
    (tmp_path / files[0]).unlink()
    assert "no record says that they were deleted" in str(verified(tmp_path).problems[0])

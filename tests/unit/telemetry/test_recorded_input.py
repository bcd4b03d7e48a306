from __future__ import annotations

import jsonschema
import orjson

from extauthz.model import Allow, deny
from extauthz.telemetry import record
from extauthz.telemetry.recorded_input import recorded_input
from extauthz.telemetry.trail import Trail

DOCUMENT = {
    "resource": {"properties": {"amount": 5, "iban": "DE1"}},
    "subject": {"id": "alice", "properties": {"roles": ["a"]}},
}


def line(document: dict, *mask: str, decision=None) -> dict:
    trail = Trail(1_800_000_000.0)
    trail.decision = decision or Allow()
    trail.projected = orjson.dumps(document)
    data = record.line(trail, {}, inputs=recorded_input(mask))
    assert len(data) <= record.LINE_MAX
    found = orjson.loads(data)
    jsonschema.validate(found, record.schema())
    return found


def test_without_a_mask_the_input_is_what_the_engine_was_asked():
    assert line(DOCUMENT)["input"] == DOCUMENT
    assert line(DOCUMENT, decision=deny("role.denied"))["input"] == DOCUMENT


def test_masked_values_can_only_be_told_to_be_equal():
    masked = recorded_input(
        ["resource.properties.iban", "subject.properties", "action.name", "resource.properties.amount.x"]
    )
    one, other = (
        masked(orjson.dumps(DOCUMENT)),
        masked(orjson.dumps({**DOCUMENT, "subject": {"properties": {"roles": ["b"]}}})),
    )
    assert one["resource"]["properties"]["iban"] == other["resource"]["properties"]["iban"]
    assert one["resource"]["properties"]["iban"].startswith("masked:")
    assert one["resource"]["properties"]["amount"] == 5
    assert one["subject"]["id"] == "alice"
    assert one["subject"]["properties"] != other["subject"]["properties"]
    again = recorded_input(["resource.properties.iban"])(orjson.dumps(DOCUMENT))
    assert again["resource"]["properties"]["iban"] != one["resource"]["properties"]["iban"]


def test_an_input_that_does_not_fit_is_left_out_and_the_rest_stays():
    found = line({"resource": {"properties": {"text": "x" * 5000}}})
    assert "input" not in found
    assert found["input_cut"] is True
    assert found["result"]["allow"] is True
    assert "cut" not in found


def test_a_token_in_an_input_is_taken_out():
    token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
    assert token not in str(line({"context": {"properties": {"note": token}}}))


def test_no_policy_asked_means_no_input():
    trail = Trail(1_800_000_000.0)
    trail.decision = deny("token.missing")
    found = orjson.loads(record.line(trail, {}, inputs=recorded_input(())))
    assert "input" not in found
    assert "input_cut" not in found

"""SECURITY-TESTS B4 and B6, and the query side of B2: what a caller writes into a request to mislead the policy.

Each attempt names the layer and the code that stop it. The plan under attack is the one of a wire transfer.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from extauthz.model import Allow, Deny, Layer, Reason, Subject, Workload
from extauthz.telemetry import record
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.trail import RouteFacts, Trail
from tests.support.attribute_questions import JSON, question, request, request_plan

if TYPE_CHECKING:
    from extauthz.attributes.plan import AttributePlan

pytestmark = pytest.mark.attack

TRANSFER: dict[str, Any] = {
    "amount": {"from": "body:/amount", "type": "number"},
    "currency": "body:/currency",
    "note": {"from": "body:/note", "required": False},
}
GOOD = b'{"amount": 10, "currency": "EUR"}'


def refused(plan: AttributePlan, code: str, **asked: Any) -> Deny:
    got = plan.collect_sync(question(request(**asked)))
    assert isinstance(got, Deny)
    assert (got.layer, got.code, got.status) == (Layer.REQUEST, code, 400)
    return got


def test_the_honest_request_is_read() -> None:
    got = request_plan(**TRANSFER).collect_sync(question(request(GOOD)))
    assert got == {"subject": {}, "resource": {"amount": 10, "currency": "EUR"}, "context": {}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount": 10, "currency": "EUR"',
        b'{"amount": 10, "amount": 1000000, "currency": "EUR"}',
        rb'{"amount": 10, "\u0061mount": 1000000, "currency": "EUR"}',
        b'{"amount": 10, "Amount": 1000000, "currency": "EUR"}',
        b'{"AMOUNT": 1000000, "currency": "EUR"}',
        b'{"amount": "10", "currency": "EUR"}',
        b'{"amount": NaN, "currency": "EUR"}',
        b'{"amount": -Infinity, "currency": "EUR"}',
        b'{"amount": 1e999, "currency": "EUR"}',
        b'{"amount": 1e-999, "currency": "EUR"}',
        b'{"amount": 9999.999999999999999999, "currency": "EUR"}',
        b'{"amount": 18446744073709551616, "currency": "EUR"}',
        b'{"amount": 9007199254740993, "currency": "EUR"}',
        b'{"amount": [10], "currency": "EUR"}',
        b'{"amount": {"amount": 10}, "currency": "EUR"}',
        b'{"amount": 10, "currency": "EUR"}{"amount": 1000000}',
        b'{"amount": 10, "currency": "EUR"}\x00',
        b'\xef\xbb\xbf{"amount": 10, "currency": "EUR"}',
        '{"amount": 10, "currency": "EUR"}'.encode("utf-16"),
        b'{"amount": 10, "currency": "\xff"}',
        rb'{"amount": 10, "currency": "EUR", "note": "\ud800"}',
        b'{"amount": 10, "currency": "' + b"E" * 300 + b'"}',
        b'{"amount": 10, "currency": "EUR", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"x":' * 10_000,
        b'{"amount": 10, "currency": "EUR", "pad": "' + b"x" * 70_000 + b'"}',
        b'{"amount": 10, // "currency"\n "currency": "EUR"}',
        b"amount=10&currency=EUR",
    ],
)
def test_bodies_that_two_readers_read_differently(body: bytes) -> None:
    denial = refused(request_plan(**TRANSFER), "request.body_malformed", body=body)
    assert "1000000" not in denial.reasons[0].detail


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; boundary=x",
        "multipart/form-data; boundary=application/json",
        "text/html; application/json",
        "application/json\x00",
    ],
)
def test_a_body_under_another_content_type(kind: str) -> None:
    fields = {name: {"from": f"body:/{name}", "required": False} for name in ("amount", "currency")}
    refused(request_plan(**fields), "request.body_malformed", body=GOOD, headers={"content-type": kind})


def test_an_encoded_body_is_not_guessed() -> None:
    packed = gzip.compress(GOOD)
    headers = JSON | {"content-encoding": "gzip"}
    refused(request_plan(**TRANSFER), "request.body_malformed", body=packed, headers=headers)
    refused(request_plan(**TRANSFER), "request.body_malformed", body=GOOD, headers=headers)


@pytest.mark.parametrize(
    "asked",
    [
        {"body": GOOD, "truncated": True},
        {"body": GOOD, "headers": JSON | {"content-length": "4096"}},
        {"body": GOOD, "headers": JSON | {"content-length": "5"}},
        {"headers": JSON | {"content-length": "33"}},
        {"headers": JSON},
        {"headers": {"transfer-encoding": "chunked"}},
        {"truncated": True},
    ],
)
def test_a_body_that_we_see_only_a_part_of(asked: dict[str, Any]) -> None:
    """Also where every field is optional: leaving the body out must not leave the policy without an amount."""
    optional = {"amount": {"from": "body:/amount", "type": "number", "required": False}}
    refused(request_plan(**TRANSFER), "request.body_truncated", **asked)
    refused(request_plan(**optional), "request.body_truncated", **asked)


@pytest.mark.parametrize("length", ["-1", "1e2", "0x21", "33, 33", "٣٣", " 33", ""])
def test_a_content_length_that_is_no_number(length: str) -> None:
    headers = JSON | {"content-length": length}
    refused(request_plan(**TRANSFER), "request.header_malformed", body=GOOD, headers=headers)


@pytest.mark.parametrize("name", ["content-type", "content-length", "content-encoding", "transfer-encoding"])
def test_framing_headers_sent_twice(name: str) -> None:
    asked = {"body": GOOD, "duplicated": frozenset({name})}
    refused(request_plan(**TRANSFER), "request.header_duplicated", **asked)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "request.body_truncated"),
        (b"\x00", "request.body_malformed"),
        (b"\x00\x00\x00\x00", "request.body_malformed"),
        (b"\x00\x00\x00\x00\x05abc", "request.body_malformed"),
        (b"\x00\xff\xff\xff\xffabc", "request.body_malformed"),
        (b"\x00\x00\x00\x00\x03abcd", "request.body_malformed"),
        (b"\x02\x00\x00\x00\x00", "request.body_malformed"),
        (b"\x80\x00\x00\x00\x00", "request.body_malformed"),
        (b"\x01\x00\x00\x00\x01x", "request.body_malformed"),
        (b"\x00\x00\x00\x00\x01x\x00\x00", "request.body_malformed"),
        (b'{"amount": 10}', "request.body_malformed"),
    ],
)
def test_grpc_frames_malformed(body: bytes, code: str) -> None:
    plan = request_plan(size={"from": "grpc:size", "type": "integer"})
    headers = {"content-type": "application/grpc"}
    refused(plan, code, body=body, headers=headers, path="/bank.v1.Scoring/Score")


def test_a_grpc_body_is_not_read_as_json() -> None:
    headers = {"content-type": "application/grpc"}
    refused(request_plan(**TRANSFER), "request.body_malformed", body=GOOD, headers=headers, path="/a.B/C")


@pytest.mark.parametrize(
    "query",
    [
        "limit=10&limit=100000",
        "limit=10&Limit=100000",
        "LIMIT=100000",
        "limit=10;limit=100000",
        "x=1;limit=100000",
        "limit=%31%3",
        "limit=%",
        "limit=%zz",
        "limit=%ff",
        "%6cimit=10&limit=20",
        "limit=10%00",
        "limit=1e9",
        "limit=+10",
        "&".join(f"p{i}=1" for i in range(300)) + "&limit=1",
        "lim\u0131t=1&limit=\u0661",
    ],
)
def test_query_parameters_that_two_readers_read_differently(query: str) -> None:
    refused(request_plan(limit={"from": "query:limit", "type": "integer"}), "request.query_malformed", query=query)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"headers": {"x-region": "eu,us"}}, "request.header_duplicated"),
        ({"headers": {"x-region": "eu"}, "duplicated": frozenset({"x-region"})}, "request.header_duplicated"),
        ({"headers": {"x-region": "eu\r\nx-admin: 1"}}, "request.header_malformed"),
        ({"headers": {"x-region": "eu\x00"}}, "request.header_malformed"),
        ({"headers": {"x-region": "e" * 10_000}}, "request.header_malformed"),
        ({"headers": {}}, "request.header_malformed"),
    ],
)
def test_headers_that_would_reach_the_policy(asked: dict[str, Any], code: str) -> None:
    denial = refused(request_plan(region="header:x-region"), code, **asked)
    assert "admin" not in denial.reasons[0].detail


# B6: what a caller writes must not become a line, a label or a terminal command.

HOSTILE = [
    'x"}\n{"type":"check","result":{"allow":true}}',
    "a\r\nb",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2028{}",
    "<script>alert(1)</script>",
    "\ud800",
    "\x00",
    "A" * 100_000,
    "\U0001f4a9" * 5_000,
    "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_records_are_one_line_each(hostile: str) -> None:
    trail = Trail(1_800_000_000.0)
    trail.describe(request(path=f"/{hostile}", method=hostile, query=f"token={hostile}"))
    trail.host = trail.request_id = trail.source = trail.resource_id = trail.revision = hostile
    trail.subject = Subject("user", hostile, "jwt", issuer=hostile, token_id=hostile, claims={"act": {"sub": hostile}})
    trail.workload = Workload(hostile, "bank.example")
    trail.decision = Deny((Reason("token.missing", detail=hostile),) * 20)
    line = record.line(trail, {}, full_path=True)
    assert line.count(b"\n") == 1
    assert len(line) <= record.LINE_MAX
    text = line.decode()[:-1]
    assert text.isprintable()
    assert "eyJ" not in text
    read = orjson.loads(line)
    assert (read["layer"], read["code"], read["result"]["allow"]) == ("token", "token.missing", False)
    assert "token=" not in text


def test_labels_of_metrics_are_never_the_callers() -> None:
    metrics = Metrics(max_policy_codes=10)
    metrics.know(["transfers"], ["bank"])
    for number in range(2_000):
        trail = Trail(0.0)
        trail.route = RouteFacts(f"route-{number}", service=f"service-{number}")
        trail.describe(request(path=f"/{number}"))
        trail.subject = Subject("user", f"user-{number}", "jwt", issuer=f"https://{number}")
        trail.decision = Deny((Reason(f"attribute.made_up_{number}"),)) if number % 2 else Allow()
        metrics.account(trail)
        metrics.jwks_fetch(f"https://{number}", "error")
    text = metrics.render().decode()
    denials = [line for line in text.splitlines() if line.startswith("extauthz_denials_total{")]
    assert len(denials) == 11  # ten codes, then `other`
    assert all('layer="attribute"' in line and 'route="other"' in line for line in denials)
    assert 'code="other"' in text
    assert text.count("extauthz_jwks_fetches_total{") == 257
    assert "user-" not in text

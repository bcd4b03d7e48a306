"""SECURITY-TESTS B3 and B5, and the header side of B1: hostile CheckRequests and requests against the wire itself."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.check import respond, wire
from extauthz.check.identity import OWNED
from extauthz.check.messages import CheckRequest
from extauthz.model import Deny, Layer, Request
from tests.support.checks import check_request, parsed, read_answer, refused

pytestmark = pytest.mark.attack

GOOD = check_request(
    "POST",
    "/v1/transfers/T-1?dry=1",
    headers={"authorization": "Bearer x", "content-type": "application/json"},
    raw_headers=[("accept", b"a"), ("accept", b"b")],
    body='{"amount": 12}',
)


def is_refused(message: bytes, code: str) -> None:
    answer = refused(message)
    assert answer.layer is Layer.REQUEST
    assert answer.code == code


@pytest.mark.parametrize(
    "path",
    [
        "//admin",
        "/v1//accounts",
        "/v1/accounts//",
        "/./admin",
        "/v1/./accounts",
        "/v1/.",
        "/../admin",
        "/v1/../admin",
        "/v1/..",
        "/v1/%2e%2e/admin",
        "/v1/%2E%2E/admin",
        "/v1/.%2e/admin",
        "/v1/%2e",
        "/v1%2faccounts",
        "/v1%2Faccounts",
        "/v1/%252e%252e/admin",
        "/v1/%25252fadmin",
        "/v1\\admin",
        "/v1/..\\admin",
        "/v1%5cadmin",
        "/v1%5C..%5Cadmin",
        "/v1;a=b/admin",
        "/v1/..;/admin",
        "/public/..;a=b/admin",
        "/v1#/admin",
        "/v1/%00",
        "/v1/a%00.json",
        "/v1/%0d%0ax: y",
        "/v1/%7f",
        "/v1/a\tb",
        "/v1/a b",
        "/v1/a\x00",
        "/v1/a\r\nx: y",
        "/v1/\x7f",
        "/v1/é",
        "/v1/\uff0e\uff0e/admin",
        "/v1/%c0%ae%c0%ae/admin",
        "/v1/%C0%AFadmin",
        "/v1/%c1%9cadmin",
        "/v1/%",
        "/v1/%4",
        "/v1/%zz",
        "/v1/%u002e/admin",
        "v1/accounts",
        "",
        "*",
        "http://other/v1",
        "?path=/v1",
    ],
)
def test_a_path_with_two_readings_is_not_judged(path):
    is_refused(check_request("GET", path), "request.path_ambiguous")


def test_what_hides_behind_the_query_is_no_path():
    request = parsed(path="/v1/accounts?/../admin")
    assert (request.path, request.query) == ("/v1/accounts", "/../admin")


@pytest.mark.parametrize("cut", range(1, len(GOOD), 7))
def test_a_cut_check_request_is_refused_or_read_never_more(cut):
    answer = wire.parse(GOOD[:cut])
    if isinstance(answer, Deny):
        assert answer.layer is Layer.REQUEST
        assert answer.code in {"request.malformed", "request.path_ambiguous"}
    else:
        assert answer.path in {"/v1/transfers/T-1", *("/v1/transfers/T-1"[:n] for n in range(1, 17))}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",
        b"\xff" * 100,
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\x0a\x00",
        b"\x0b" * 1000,
        b'{"attributes": {}}',
        random.Random(1).randbytes(4096),  # noqa: S311 - the same every time
        b"\x0a\x02\x22\x00" * 10_000,
    ],
    ids=["empty", "zero", "ff", "long length", "endless varint", "no request", "groups", "json", "random", "repeated"],
)
def test_bytes_that_are_no_check_request(message):
    is_refused(message, "request.malformed")


def test_deep_metadata_cannot_exhaust_the_stack():
    value = b"\x08\x00"
    for _ in range(5000):
        listed = b"\x0a" + _varint(len(value)) + value
        value = b"\x32" + _varint(len(listed)) + listed
    entry = b"\x0a\x01k\x12" + _varint(len(value)) + value
    struct = b"\x0a" + _varint(len(entry)) + entry
    filters = b"\x0a\x01f\x12" + _varint(len(struct)) + struct
    metadata = b"\x0a" + _varint(len(filters)) + filters
    attributes = b"\x5a" + _varint(len(metadata)) + metadata
    is_refused(b"\x0a" + _varint(len(attributes)) + attributes, "request.malformed")


def test_text_that_is_not_utf_8():
    broken = GOOD.replace(b"Bearer x", b"Bearer \xff")
    is_refused(broken, "request.malformed")


def test_four_mebibytes_of_headers():
    is_refused(check_request(headers={f"x-{i}": "v" * 16_000 for i in range(250)}), "request.too_large")


def test_a_hundred_thousand_headers():
    is_refused(check_request(headers={f"h{i}": "" for i in range(100_000)}), "request.too_large")


def test_a_hundred_thousand_raw_headers_of_one_name():
    is_refused(check_request(raw_headers=[("x", b"1")] * 100_000), "request.too_large")


def test_an_endless_path():
    is_refused(check_request(path="/a" * 1_000_000), "request.too_large")


def test_a_certificate_of_a_mebibyte():
    message = CheckRequest.FromString(GOOD)
    message.attributes.source.certificate = "A" * 1024 * 1024
    is_refused(message.SerializeToString(), "request.too_large")


@pytest.mark.parametrize(
    "raw",
    [
        [("host", b"api.bank.example"), ("host", b"evil.example")],
        [("Host", b"api.bank.example"), ("HOST", b"evil.example")],
        [(":authority", b"api.bank.example"), ("host", b"evil.example")],
        [(":authority", b"a"), (":authority", b"b")],
    ],
)
def test_two_hosts(raw):
    is_refused(check_request(raw_headers=raw), "request.header_duplicated")


def test_a_request_header_cannot_pass_for_an_extension_or_a_principal():
    request = parsed(headers={"route": "public", "x-route": "public", "principal": "spiffe://bank.example/admin"})
    assert request.context_extensions == {"route": "accounts"}
    assert request.principal.endswith("/sa/gateway")


@pytest.mark.parametrize(
    "name",
    [
        "x-extauthz-subject",
        "x-extauthz-anything-new",
        "X-Extauthz-Subject",
        "x_extauthz_subject",
        "x-extauthz_subject",
        "x_extauthz-mask",
    ],
)
def test_a_spoofed_identity_header_never_reaches_the_upstream(name):
    request = parsed(raw_headers=[(name, b"eve"), ("accept", b"*/*")])
    answer = read_answer(respond.allow(request, [("x-extauthz-tenant", "acme")], {}))
    assert name.lower() in answer.removed
    assert set(OWNED) - {"x-extauthz-tenant"} <= set(answer.removed)


@given(st.binary(max_size=600))
def test_random_bytes_are_a_request_or_a_refusal(message):
    _is_answered(message)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=400)
def test_damaged_bytes_are_a_request_or_a_refusal(damage):
    message = bytearray(GOOD)
    for place, value in damage:
        message[place] = value
    _is_answered(bytes(message))


def _is_answered(message: bytes) -> None:
    answer = wire.parse(message)
    if isinstance(answer, Deny):
        assert answer.layer is Layer.REQUEST
        assert answer.code in {
            "request.malformed",
            "request.path_ambiguous",
            "request.too_large",
            "request.header_duplicated",
        }
    else:
        assert isinstance(answer, Request)
        assert answer.path.startswith("/") or answer.path == "*"


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)

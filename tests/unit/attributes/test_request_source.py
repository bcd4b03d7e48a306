"""The request source: where values stand, what is missing, what is refused."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz import strict_json
from extauthz.attributes import body as bodies
from extauthz.attributes.settings import AttributesSettings
from extauthz.codes import CODES
from extauthz.model import Deny
from tests.support.attribute_questions import JSON, question, request, request_plan


def collect(fields: dict[str, Any], *, variables: dict[str, str] | None = None, **asked: Any) -> dict[str, Any] | str:
    """The resource's properties, or the code of the denial."""
    got = request_plan(**fields).collect_sync(question(request(**asked), variables=variables))
    assert got is not None
    if isinstance(got, Deny):
        assert got.reasons[0].detail or got.code == "request.body_truncated"
        return got.code
    assert got["subject"] == got["context"] == {}
    return got["resource"]


def optional(source: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"from": source, "type": kind, "required": False, **more}


def required(source: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"from": source, "type": kind, **more}


def test_every_place_at_once() -> None:
    fields = {
        "region": "header:x-region",
        "tags": required("header:x-tags", "list"),
        "id": "path:transfer_id",
        "dry": required("query:dry-run", "boolean"),
        "ids": required("query:id", "list"),
        "amount": required("body:/amount", "number"),
        "iban": "body:/to/iban",
        "rows": required("body:/rows", "list"),
        "verb": "method",
        "site": "host",
    }
    got = collect(
        fields,
        variables={"transfer_id": "T-1"},
        body=b'{"amount": 1200.5, "to": {"iban": "DE89"}, "rows": ["a", 1, true]}',
        headers=JSON | {"x-region": "eu", "x-tags": "a, b ,,c"},
        query="dry-run=true&id=1&id=%C3%A9+x",
    )
    assert got == {
        "region": "eu",
        "tags": ["a", "b", "c"],
        "id": "T-1",
        "dry": True,
        "ids": ["1", "é x"],
        "amount": 1200.5,
        "iban": "DE89",
        "rows": ["a", 1, True],
        "verb": "POST",
        "site": "api.bank.example",
    }


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("header:x-a", "request.header_malformed"),
        ("query:a", "request.query_malformed"),
        ("path:a", "request.route_mismatch"),
        ("body:/a", "request.body_malformed"),
        ("grpc:service", "request.route_mismatch"),
        ("grpc:method", "request.route_mismatch"),
    ],
)
def test_what_is_missing(source: str, code: str) -> None:
    assert collect({"a": required(source)}) == code
    assert collect({"a": optional(source)}) == {}
    if not source.startswith(("grpc", "path")):
        empty: dict[str, Any] = {"headers": {"x-a": ""}, "query": "a="}
        assert collect({"a": required(source)}, **empty) == code
        assert collect({"a": optional(source)}, **empty) == {}


def test_null_is_missing_and_false_is_not() -> None:
    assert collect({"a": optional("body:/a")}, body=b'{"a": null}') == {}
    assert collect({"a": required("body:/a")}, body=b'{"a": null}') == "request.body_malformed"
    assert collect({"a": required("body:/a", "boolean")}, body=b'{"a": false}') == {"a": False}
    assert collect({"a": required("body:/a", "integer")}, body=b'{"a": 0}') == {"a": 0}
    assert collect({"a": required("body:/a")}, body=b'{"a": ""}') == {"a": ""}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "0", 0),
        ("integer", "-12", -12),
        ("integer", "9007199254740991", 2**53 - 1),
        ("number", "1200.50", 1200.5),
        ("number", "-3", -3),
        ("boolean", "false", False),
        ("string", "ünï", "ünï"),
    ],
)
def test_text_that_fits(kind: str, text: str, value: object) -> None:
    got = collect({"a": required("header:x-a", kind)}, headers={"x-a": text})
    assert got == {"a": value}
    assert type(got["a"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "1.0"),
        ("integer", "01"),
        ("integer", "+1"),
        ("integer", " 1"),
        ("integer", "1_000"),
        ("integer", "\u0661"),
        ("integer", "0x10"),
        ("integer", "9007199254740992"),
        ("integer", "9" * 40),
        ("number", "1e3"),
        ("number", ".5"),
        ("number", "5."),
        ("number", "NaN"),
        ("number", "inf"),
        ("number", "\uff11"),
        ("number", "1234567890123456.123456789"),
        ("boolean", "True"),
        ("boolean", "1"),
        ("boolean", "yes"),
        ("string", "a\x00b"),
        ("string", "a\x7f"),
        ("string", "a\nb"),
        ("string", "x" * 257),
        ("string", "\ud800"),
    ],
)
def test_text_that_does_not_fit(kind: str, text: str) -> None:
    for need in (required, optional):
        assert collect({"a": need("header:x-a", kind)}, headers={"x-a": text}) == "request.header_malformed"
        assert collect({"a": need("path:a", kind)}, variables={"a": text}) == "request.route_mismatch"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", "1"),
        ("string", '["a"]'),
        ("string", rf'"{"x" * 257}"'),
        ("string", r'"\ud800"'),
        ("number", '"5"'),
        ("number", "true"),
        ("number", "9007199254740992"),
        ("integer", "1.0"),
        ("integer", "true"),
        ("boolean", "1"),
        ("boolean", '"true"'),
        ("list", '"a"'),
        ("list", "{}"),
        ("list", "[[]]"),
        ("list", "[null]"),
        ("list", '[{"a":1}]'),
        ("list", "[" + "1," * 64 + "1]"),
        ("list", rf'["{"x" * 257}"]'),
        ("list", "[9007199254740992]"),
    ],
)
def test_json_that_does_not_fit(kind: str, value: str) -> None:
    for need in (required, optional):
        code = collect({"a": need("body:/a", kind)}, body=f'{{"a": {value}}}'.encode())
        assert code == "request.body_malformed"


def test_bounds_are_the_rules_own() -> None:
    assert collect({"a": required("header:x-a", max_length=3)}, headers={"x-a": "abc"}) == {"a": "abc"}
    assert collect({"a": required("header:x-a", max_length=3)}, headers={"x-a": "abcd"}) == "request.header_malformed"
    many = required("query:a", "list", max_items=2)
    assert collect({"a": many}, query="a=1&a=2") == {"a": ["1", "2"]}
    assert collect({"a": many}, query="a=1&a=2&a=3") == "request.query_malformed"


def test_the_body_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    parse = strict_json.parse

    def counting(body: bytes, **bounds: int) -> strict_json.Document:
        parsed.append(body)
        return parse(body, **bounds)

    monkeypatch.setattr("extauthz.strict_json.parse", counting)
    got = collect({"a": "body:/a", "b": "body:/b"}, body=b'{"a": "1", "b": "2"}')
    assert got == {"a": "1", "b": "2"}
    assert len(parsed) == 1


def test_a_route_without_body_fields_never_reads_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extauthz.strict_json.parse", None)
    assert collect({"a": "header:x-a"}, body=b"{", headers=JSON | {"x-a": "1"}) == {"a": "1"}


def test_the_stricter_of_two_bounds_holds() -> None:
    asked = question(request(b'{"a": [[1]]}'))
    assert isinstance(bodies.document(asked, (100, 10)), strict_json.Document)
    refused = bodies.document(asked, (100, 2))
    assert isinstance(refused, Deny)
    assert refused.code == "request.body_malformed"
    assert bodies.document(asked, (100, 10)) is refused


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/vnd.bank.v1+json",
    ],
)
def test_media_types_that_are_json(kind: str) -> None:
    assert collect({"a": "body:/a"}, body=b'{"a": "1"}', headers={"content-type": kind}) == {"a": "1"}


def test_a_body_that_nobody_announced_is_no_body() -> None:
    fields = {"a": optional("body:/a")}
    assert collect(fields, method="GET") == {}
    assert collect(fields, headers={"content-length": "0"} | JSON) == {}


def test_grpc_names_and_size() -> None:
    fields = {
        "service": "grpc:service",
        "method": "grpc:method",
        "size": required("grpc:size", "integer"),
    }
    body = b"\x00\x00\x00\x00\x03abc" + b"\x01\x00\x00\x00\x01z"
    headers = {"content-type": "application/grpc+proto", "grpc-encoding": "gzip"}
    got = collect(fields, body=body, headers=headers, path="/bank.v1.Scoring/Score")
    assert got == {"service": "bank.v1.Scoring", "method": "Score", "size": 4}


@pytest.mark.parametrize(
    ("path", "kind", "method"),
    [
        ("/bank.v1.Scoring/Score/x", "application/grpc", "POST"),
        ("/bank.v1.Scoring", "application/grpc", "POST"),
        ("//Score", "application/grpc", "POST"),
        ("/bank..v1/Score", "application/grpc", "POST"),
        ("/bank.v1.Scoring/Score", "application/grpc-web", "POST"),
        ("/bank.v1.Scoring/Score", "application/json", "POST"),
        ("/bank.v1.Scoring/Score", "application/grpc", "GET"),
    ],
)
def test_what_is_no_grpc(path: str, kind: str, method: str) -> None:
    got = collect({"a": "grpc:method"}, headers={"content-type": kind}, path=path, method=method)
    assert got == "request.route_mismatch"


@pytest.mark.parametrize(
    "picker",
    [
        "header:authorization",
        "header:cookie",
        "header:dpop",
        "header:x-extauthz-subject",
        "header:x-forwarded-client-cert",
        "header:X-Region",
        "cookie:sid",
        "body:amount",
        "body:",
        "body:/a~2",
        "env:HOME",
        "",
    ],
)
def test_pickers_that_the_configuration_refuses(picker: str) -> None:
    source = {"kind": "request", "name": "asked", "fields": {"a": {"from": picker}}}
    with pytest.raises(ValidationError, match=r"fields\.a\.from"):
        AttributesSettings.model_validate({"sources": [source]})


FIELDS = {
    "header": optional("header:x-a", "number"),
    "list": optional("header:x-l", "list"),
    "query": optional("query:a", "integer"),
    "path": optional("path:a", "boolean"),
    "body": optional("body:/a/0", "list"),
    "size": optional("grpc:size", "integer"),
    "service": optional("grpc:service"),
    "host": optional("host"),
}
PLAN = request_plan(**FIELDS)
TEXT = st.text(max_size=20) | st.text(string.printable, max_size=20) | st.sampled_from(["a=1", "a", "1", "true", "%"])
KINDS = st.sampled_from(["application/json", "application/grpc", "text/plain", "", "application/json;charset=utf-16"])


@given(
    body=st.binary(max_size=60) | st.sampled_from([b"{}", b'{"a":[[1]]}', b'{"a":["x"]}', b"\0\0\0\0\1x", b"["]),
    kind=KINDS | TEXT,
    header=TEXT,
    query=TEXT,
    variable=TEXT,
    path=TEXT | st.just("/a.B/C"),
    length=st.none() | TEXT,
    truncated=st.booleans(),
)
def test_any_request_is_read_or_denied(
    body: bytes, kind: str, header: str, query: str, variable: str, path: str, length: str | None, truncated: bool
) -> None:
    headers = {"content-type": kind, "x-a": header, "x-l": header}
    if length is not None:
        headers["content-length"] = length
    asked = request(body, headers, path=path, query=query, truncated=truncated)
    got = PLAN.collect_sync(question(asked, variables={"a": variable}))
    if isinstance(got, Deny):
        assert got.code in CODES
        assert got.code.startswith("request.")
    else:
        assert got is not None
        assert set(got["resource"]) <= set(FIELDS)

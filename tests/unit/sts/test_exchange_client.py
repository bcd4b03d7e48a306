"""The client half: what is sent, and that an answer is a token, a refusal, or a fault."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.errors import OutboundError
from extauthz.outbound import Response
from extauthz.sts.answers import ACCESS_TOKEN, JWT, TRANSACTION_TOKEN, Issued, Refused
from extauthz.sts.client import ExchangeClient, read

URL = "https://authority.bank.example/token"
GOOD = {
    "access_token": "a.b.c",
    "issued_token_type": ACCESS_TOKEN,
    "token_type": "Bearer",
    "expires_in": 60,
    "scope": "a b",
}


@dataclass
class Wanted:
    audience: str = "https://model.bank.example"
    scopes: tuple[str, ...] = ("b", "a")
    purpose: str = "payment"
    lifetime: float | None = 90.5
    kind: str = "access_token"


@dataclass
class Answering:
    status: int = 200
    body: Any = field(default_factory=lambda: GOOD)
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, method: str, url: str, **more: Any) -> Response:
        self.sent.append({"method": method, "url": url, **more})
        return response(self.status, self.body)


def response(status: int, body: Any) -> Response:
    return Response(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


async def test_question_and_answer():
    post = Answering()
    answer = await ExchangeClient(URL, post).exchange("s.u.b", Wanted(), timeout=0.3)
    assert answer == Issued("a.b.c", ACCESS_TOKEN, "Bearer", 60, frozenset({"a", "b"}))
    [sent] = post.sent
    assert (sent["method"], sent["url"], sent["timeout"]) == ("POST", URL, 0.3)
    assert parse_qs(sent["content"].decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": ["s.u.b"],
        "subject_token_type": [ACCESS_TOKEN],
        "requested_token_type": [ACCESS_TOKEN],
        "audience": ["https://model.bank.example"],
        "scope": ["b a"],
        "purpose": ["payment"],
        "lifetime": ["90"],
    }
    assert "a.b.c" not in repr(answer)


async def test_the_trace_goes_on():
    post, header = Answering(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await ExchangeClient(URL, post).exchange("s.u.b", Wanted(), timeout=0.3, traceparent=header)
    await ExchangeClient(URL, post).exchange("s.u.b", Wanted(), timeout=0.3)
    assert [sent["headers"].get("traceparent") for sent in post.sent] == [header, None]


async def test_what_is_not_wanted_is_not_said():
    post = Answering()
    await ExchangeClient(URL, post).exchange("s", Wanted(scopes=(), purpose="", lifetime=None), timeout=1)
    assert parse_qs(post.sent[0]["content"].decode()).keys().isdisjoint({"scope", "purpose", "lifetime"})
    await ExchangeClient(URL, post).exchange("s", Wanted(lifetime=0.2), timeout=1)
    assert parse_qs(post.sent[1]["content"].decode())["lifetime"] == ["1"]


async def test_transaction_token():
    body = {**GOOD, "issued_token_type": TRANSACTION_TOKEN, "token_type": "N_A"}
    answer = await ExchangeClient(URL, Answering(body=body)).exchange("s", Wanted(kind="transaction_token"), timeout=1)
    assert isinstance(answer, Issued)
    assert answer.token_type == "N_A"
    with pytest.raises(OutboundError):
        await ExchangeClient(URL, Answering()).exchange("s", Wanted(kind="transaction_token"), timeout=1)


@pytest.mark.parametrize("error", ["invalid_request", "invalid_target", "invalid_scope", "invalid_client"])
async def test_refusals(error):
    answer = read(response(400, {"error": error, "error_description": "no [exchange.scope]"}), ACCESS_TOKEN)
    assert answer == Refused(error, "no [exchange.scope]")
    assert read(response(400, {"error": error, "error_description": "a\r\nb"}), ACCESS_TOKEN) == Refused(error, "")
    assert read(response(400, {"error": error, "error_description": 7}), ACCESS_TOKEN) == Refused(error, "")


async def test_out_of_order_is_later_whatever_the_body():
    for body in (b"<html>", {"error": "x"}, b""):
        answer = read(response(503, body), ACCESS_TOKEN)
        assert isinstance(answer, Refused)
        assert answer.error == "temporarily_unavailable"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"[]"),
        (200, b'{"access_token":"a","access_token":"b"}'),
        (200, {**GOOD, "access_token": ""}),
        (200, {**GOOD, "access_token": "a b"}),
        (200, {**GOOD, "access_token": "a\r\nx-evil: 1"}),
        (200, {**GOOD, "access_token": "a" * 8193}),
        (200, {**GOOD, "access_token": ["a"]}),
        (200, {**GOOD, "token_type": "DPoP"}),
        (200, {**GOOD, "token_type": "N_A"}),
        (200, {**GOOD, "token_type": None}),
        (200, {**GOOD, "issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}),
        (200, {**GOOD, "issued_token_type": TRANSACTION_TOKEN, "token_type": "N_A"}),
        (200, {**GOOD, "issued_token_type": []}),
        (200, {**GOOD, "expires_in": 0}),
        (200, {**GOOD, "expires_in": "60"}),
        (200, {**GOOD, "expires_in": True}),
        (200, {**GOOD, "expires_in": 86401}),
        (200, {**GOOD, "expires_in": None}),
        (200, {**GOOD, "scope": "a  b"}),
        (200, {**GOOD, "scope": ["a"]}),
        (200, {**GOOD, "padding": "x" * 20_000}),
        (201, GOOD),
        (302, GOOD),
        (400, GOOD),
        (400, {"error": "made_up"}),
        (400, {"error": []}),
        (404, b"<html>"),
        (500, {"error": None}),
    ],
)
def test_answers_that_cannot_be_used(status, body):
    with pytest.raises(OutboundError) as caught:
        read(response(status, body), ACCESS_TOKEN)
    assert "a.b.c" not in str(caught.value)


def test_jwt_is_an_access_token():
    assert isinstance(
        read(response(200, {**GOOD, "issued_token_type": JWT, "token_type": "bearer"}), ACCESS_TOKEN), Issued
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "error"]), inner, max_size=5),
    max_leaves=8,
)


@given(st.sampled_from([200, 400, 401, 500, 503]), JSON | st.binary(max_size=40))
def test_any_answer(status, body):
    with contextlib.suppress(OutboundError):
        assert isinstance(read(response(status, body), ACCESS_TOKEN), Issued | Refused)

from __future__ import annotations

from urllib.parse import unquote

import pytest

from extauthz.check import respond
from extauthz.check.messages import CheckRequest, CheckResponse
from extauthz.check.wire import parse
from extauthz.demo.dev_ca import DevCa
from extauthz.errors import ExtauthzError
from extauthz.model import Deny, Reason
from extauthz.testing import Peer, Question
from extauthz.testing.answers import read

ID = "5f0c0b0e-0000-4000-8000-000000000001"
TENANT = Deny((Reason("attribute.tenant_mismatch", "Another tenant's.", "Pay from your own.", "subject acme"),))


def _request(**headers):
    request = parse(Question("POST", "/v1/payments", headers=headers).message())
    assert not isinstance(request, Deny)
    return request


def test_a_question_is_what_envoy_asks():
    ca = DevCa("bank.example")
    peer = Peer("spiffe://bank.example/ns/web", ca.svid("spiffe://bank.example/ns/web"))
    asked = Question("GET", "/a?b=1", "pay.example", "http", "pay", "t.o.k", peer, {"X-One": "1"}, b"\xff")
    attributes = CheckRequest.FromString(asked.message()).attributes
    http = attributes.request.http
    assert (http.method, http.path, http.host, http.scheme, http.raw_body) == (
        "GET",
        "/a?b=1",
        "pay.example",
        "http",
        b"\xff",
    )
    assert dict(http.headers) == {"authorization": "Bearer t.o.k", "x-one": "1"}
    assert dict(attributes.context_extensions) == {"route": "pay"}
    assert attributes.source.principal == peer.id
    assert unquote(attributes.source.certificate).encode() == peer.identity.certificate


def test_a_question_without_a_peer_names_none():
    attributes = CheckRequest.FromString(Question("GET", "/").message()).attributes
    assert (attributes.source.principal, attributes.source.certificate) == ("", "")
    assert not attributes.context_extensions


def test_an_allow_is_read():
    headers = [("x-extauthz-subject", "alice"), ("x-extauthz-decision-id", ID)]
    message = respond.allow(_request(), headers, {"decision_id": ID, "n": {"a": [1, "b"]}}, remove=("authorization",))
    answer = read(Question("POST", "/"), message)
    assert (answer.allowed, answer.status, answer.layer, answer.code) == (True, 200, "", "")
    assert answer.headers["x-extauthz-subject"] == "alice"
    assert "authorization" in answer.removed
    assert answer.decision_id == ID
    assert answer.metadata == {"decision_id": ID, "n": {"a": [1.0, "b"]}}
    assert answer.record is None


@pytest.mark.parametrize(("kind", "status"), [("application/json", 403), ("application/grpc", 200)])
def test_a_denial_is_read_whatever_the_caller_speaks(kind, status):
    message = respond.deny(TENANT, ID, _request(**{"content-type": kind}), {})
    answer = read(Question("POST", "/"), message)
    assert (answer.allowed, answer.status) == (False, status)
    assert (answer.layer, answer.code) == ("attribute", "attribute.tenant_mismatch")
    assert "Another tenant's." in answer.message
    assert answer.decision_id == ID


def test_another_server_s_denial_has_no_layer():
    message = CheckResponse(status={"code": 7}, denied_response={"status": {"code": 403}, "body": "nope"})
    answer = read(Question("GET", "/"), message.SerializeToString())
    assert (answer.allowed, answer.status, answer.layer, answer.message) == (False, 403, "", "")


def test_what_is_no_answer_is_refused():
    with pytest.raises(ExtauthzError, match="is this the address of a Check server"):
        read(Question("GET", "/"), b"\xff\xff\xff")


def test_a_token_is_not_in_what_is_printed():
    assert "t.o.k" not in repr(read(Question("GET", "/", token="t.o.k"), b""))

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from extauthz.testing import Answer, Question, assert_allowed, assert_denied, explain

ID = "5f0c0b0e-0000-4000-8000-000000000001"
TOKEN = "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"
RECORD = {
    "path": "payments/decision",
    "request": {"route": "create-payment"},
    "cached": {"decision": False, "token": True},
    "result": {"allow": False, "reasons": [{"code": "attribute.tenant_mismatch", "detail": "subject acme"}]},
}


class Source:
    def __init__(self, record: dict[str, Any] | None = RECORD, claims: dict[str, Any] | None = None) -> None:
        self._record, self._claims = record, claims

    def record(self, decision_id: str) -> dict[str, Any] | None:
        assert decision_id == ID
        return self._record

    def claims(self, token: str) -> dict[str, Any] | None:
        assert token == TOKEN
        return self._claims

    def remedy(self, code: str) -> str:
        return f"remedy of {code}"

    def last_words(self) -> str:
        return "    opa ended"


ASKED = Question(
    "POST", "/v1/payments", token=TOKEN, headers={"x-api-key": "s3cret", "accept": "json"}, body=b'{"amount":1}'
)
DENIED = Answer(
    question=ASKED,
    allowed=False,
    status=403,
    layer="attribute",
    code="attribute.tenant_mismatch",
    message="Another tenant's.",
    headers={"x-extauthz-decision-id": ID},
    removed=frozenset(),
    body="{}",
    metadata={},
    source=Source(claims={"sub": "alice", "roles": ["clerk"], "exp": 7, "jti": "j"}),
)
ALLOWED = replace(
    DENIED,
    allowed=True,
    status=200,
    layer="",
    code="",
    message="",
    headers={"x-extauthz-decision-id": ID, "x-extauthz-subject": "alice"},
    source=Source({**RECORD, "result": {"allow": True}, "cached": {"decision": True}}),
)


def _failure(assertion, *arguments, **expected) -> str:
    with pytest.raises(AssertionError) as caught:
        assertion(*arguments, **expected)
    return str(caught.value)


def test_what_is_as_expected_passes():
    assert_allowed(ALLOWED)
    assert_allowed(ALLOWED, subject="alice", headers={"X-Extauthz-Tenant": None})
    assert_denied(DENIED)
    assert_denied(DENIED, layer="attribute", code="attribute.tenant_mismatch", status=403)


def test_a_denial_that_was_not_expected_says_all_there_is():
    text = _failure(assert_allowed, DENIED)
    for part in (
        "expected allowed\nbut was  denied at layer attribute with code attribute.tenant_mismatch\n",
        "POST https://localhost/v1/payments",
        'token   sub=alice roles=["clerk"]\n',
        "caller  none",
        'body    {"amount":1}',
        "answered  denied, HTTP 403",
        "message Another tenant's.",
        f"decision  {ID}",
        "route   create-payment",
        "policy  payments/decision\n",
        "detail  subject acme",
        "remedy  remedy of attribute.tenant_mismatch",
    ):
        assert part in text


@pytest.mark.parametrize("answer", [ALLOWED, DENIED])
def test_no_credential_is_in_the_text(answer):
    text = explain(answer)
    assert TOKEN not in text
    assert "s3cret" not in text
    assert "header  accept: json" in text


def test_an_allow_that_was_not_expected():
    text = _failure(assert_denied, ALLOWED, layer="attribute", code="attribute.tenant_mismatch")
    assert "expected denied at layer attribute with code attribute.tenant_mismatch\nbut was  allowed" in text
    assert "answered from the cache" in text
    assert "not minted by these tests" in text


@pytest.mark.parametrize(
    "wrong", [{"layer": "role"}, {"code": "attribute.amount"}, {"status": 401}, {"layer": "role", "status": 403}]
)
def test_another_denial_than_expected(wrong):
    text = _failure(assert_denied, DENIED, **wrong)
    assert text.startswith("expected denied ")
    assert "but was  denied at layer attribute with code attribute.tenant_mismatch HTTP 403" in text


def test_another_subject_or_header_than_expected():
    assert "but was  allowed, with the header x-extauthz-subject: alice" in _failure(
        assert_allowed, ALLOWED, subject="bob"
    )
    text = _failure(assert_allowed, ALLOWED, headers={"x-extauthz-mask": "iban"})
    assert "expected allowed, with the header x-extauthz-mask: iban\nbut was  allowed, with no header" in text
    assert "expected allowed, with no header" in _failure(assert_allowed, ALLOWED, headers={"x-extauthz-subject": None})


def test_a_layer_that_there_is_not_is_a_mistake_of_the_test():
    with pytest.raises(ValueError, match="there is no layer 'tenant'; layers are request,"):
        assert_denied(DENIED, layer="tenant")


def test_our_own_codes_bring_their_remedy():
    reasons = {**RECORD, "result": {"allow": False, "reasons": [{"code": "token.expired"}]}}
    assert "remedy  Ask for a new token." in explain(replace(DENIED, source=Source(reasons)))


def test_an_engine_s_failure_shows_the_log():
    assert "opa ended" in explain(replace(DENIED, layer="engine", code="engine.unavailable"))
    assert "opa ended" not in explain(DENIED)


def test_without_a_record_the_text_says_how_to_get_one():
    assert "--extauthz-folder" in explain(replace(DENIED, source=Source(None)))
    assert "--extauthz-folder" in explain(replace(DENIED, source=None))


def test_long_values_are_cut():
    text = explain(replace(DENIED, question=replace(ASKED, body=b"\xff" + b"x" * 5000)))
    assert "\\xff" in text
    assert "(5004 characters)" in text
    assert "x" * 500 not in text

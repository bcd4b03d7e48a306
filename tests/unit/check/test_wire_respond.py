import json

import pytest

from extauthz.check import respond
from extauthz.check.identity import OWNED
from extauthz.codes import CODES, Layer, http_status
from extauthz.model import Deny, Reason, deny
from tests.support.checks import parsed, read_answer

ID = "0123456789abcdef01234567"


def test_an_allow_sets_our_headers_and_removes_the_others_of_ours():
    headers = [("x-extauthz-subject", "alice"), ("x-extauthz-decision-id", ID), ("x-tenant", "acme")]
    answer = read_answer(respond.allow(parsed(), headers, {"decision_id": ID}, remove=("authorization",)))
    assert (answer.code, answer.status) == (0, 0)
    assert answer.headers == dict(headers)
    assert set(answer.removed) == (set(OWNED) | {"authorization"}) - set(dict(headers))


def test_without_headers_every_header_of_ours_is_removed():
    assert set(read_answer(respond.allow(parsed(), [], {})).removed) == set(OWNED)


def test_what_is_set_is_never_removed_because_envoy_removes_last():
    request = parsed(headers={"x-extauthz-subject": "eve", "x-extauthz-new": "1"})
    answer = read_answer(respond.allow(request, [("x-extauthz-new", "2")], {}, remove=("x-extauthz-new",)))
    assert "x-extauthz-new" not in answer.removed
    assert answer.headers["x-extauthz-new"] == "2"


def test_answers_that_share_parts_do_not_mix():
    one = read_answer(respond.allow(parsed(), [("x-extauthz-subject", "a")], {"cached": True}))
    two = read_answer(respond.allow(parsed(), [("x-extauthz-subject", "b")], {"cached": False}))
    again = read_answer(respond.allow(parsed(), [("x-extauthz-subject", "a")], {"cached": True}))
    assert one == again
    assert two.headers == {"x-extauthz-subject": "b"}
    assert (one.metadata, two.metadata) == ({"cached": True}, {"cached": False})


def test_metadata_takes_every_json_value():
    values = {
        "decision_id": ID,
        "route": "accounts",
        "cached": False,
        "policy": {"n": 1.5, "i": 3, "null": None, "list": [1, {"a": "b"}], "text": "é", "empty": {}, "none": []},
    }
    assert read_answer(respond.allow(parsed(), [], values)).metadata == values


def test_metadata_that_is_no_json_or_too_deep_is_dropped():
    deep: dict = {}
    inner = deep
    for _ in range(100):
        inner["a"] = {}
        inner = inner["a"]
    answer = read_answer(respond.allow(parsed(), [], {"big": 10**400, "odd": object(), "bad": "\ud800"}))
    assert answer.metadata == {"big": None, "odd": None, "bad": "?"}
    assert read_answer(respond.allow(parsed(), [], {"deep": deep})).metadata["deep"]["a"]["a"]


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_denial_has_the_status_of_its_layer_and_says_which(code):
    decision = deny(code, "for operators only")
    answer = read_answer(respond.deny(decision, ID, parsed(), {"layer": decision.layer.value, "decision_id": ID}))
    others = {
        "token.api_key_route": 7,
        "token.rate_limited": 8,
        "token.exchange_refused": 7,
        "token.quarantined": 7,
        "token.break_glass": 7,
    }
    assert answer.code == others.get(code, respond.GRPC_STATUS[decision.layer])
    assert answer.status == http_status(code)
    body = json.loads(answer.body)
    assert body == {
        "layer": decision.layer.value,
        "code": code,
        "message": CODES[code].message,
        "decision_id": ID,
    }
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-extauthz-decision-id"] == ID
    assert ("retry-after" in answer.headers) == (decision.layer is Layer.ENGINE or code == "token.rate_limited")
    no_bearer = code in {
        "token.api_key_unknown",
        "token.api_key_route",
        "token.rate_limited",
        "token.exchange_refused",
        "token.quarantined",
        "token.break_glass",
    }
    assert ("www-authenticate" in answer.headers) == (
        (decision.layer is Layer.TOKEN and not no_bearer) or code.startswith("transport.binding_")
    )
    assert answer.metadata == {"layer": decision.layer.value, "decision_id": ID}
    assert "operators" not in answer.body + str(answer.headers)


@pytest.mark.parametrize(("ttl", "seconds"), [(None, "1"), (0.2, "1"), (17.5, "18")])
def test_who_asks_too_often_learns_when_to_come_back(ttl, seconds):
    decision = Deny((Reason("token.rate_limited"),), ttl=ttl)
    answer = read_answer(respond.deny(decision, ID, parsed(), {}))
    assert (answer.status, answer.headers["retry-after"]) == (429, seconds)


@pytest.mark.parametrize(
    ("code", "challenge"),
    [
        ("token.missing", 'Bearer realm="extauthz"'),
        ("token.scheme", 'Bearer realm="extauthz"'),
        (
            "token.expired",
            'Bearer realm="extauthz", error="invalid_token", error_description="The token has expired."',
        ),
        (
            "token.scope",
            (
                'Bearer realm="extauthz", error="insufficient_scope", '
                'error_description="The token lacks a scope that the route needs."'
            ),
        ),
    ],
)
def test_a_token_denial_challenges_as_rfc_6750_says(code, challenge):
    assert read_answer(respond.deny(deny(code), ID, parsed(), {})).headers["www-authenticate"] == challenge


@pytest.mark.parametrize(
    ("layer", "grpc"),
    [("request.malformed", 3), ("token.expired", 16), ("role.denied", 7), ("engine.unavailable", 14)],
)
def test_a_grpc_caller_gets_a_grpc_status(layer, grpc):
    request = parsed("POST", headers={"content-type": "application/grpc+proto"})
    answer = read_answer(respond.deny(deny(layer), ID, request, {}))
    assert (answer.code, answer.status) == (grpc, 200)
    assert answer.headers["grpc-status"] == str(grpc)
    assert answer.headers["content-type"] == "application/grpc"
    assert answer.headers["grpc-message"].startswith(layer)
    assert ID in answer.headers["grpc-message"]


def test_an_unreadable_request_is_denied_too():
    assert read_answer(respond.deny(deny("request.malformed"), ID, None, {})).status == 400


def test_a_policys_message_cannot_break_out_of_body_or_headers():
    decision = Deny((Reason("token.purpose", message='a"\\\r\nx-evil: 1\ud800 é%'),))
    plain = read_answer(respond.deny(decision, ID, parsed(), {}))
    assert json.loads(plain.body)["message"] == 'a"\\\r\nx-evil: 1? é%'
    assert plain.headers["www-authenticate"].endswith('error_description="a????x-evil: 1? ?%"')
    grpc = read_answer(respond.deny(decision, ID, parsed(headers={"content-type": "application/grpc"}), {}))
    assert grpc.headers["grpc-message"].isascii()
    assert "%0D%0A" in grpc.headers["grpc-message"]
    assert "\n" not in grpc.headers["grpc-message"]

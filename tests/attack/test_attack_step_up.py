"""Ways around a stronger or more recent sign-in (RFC 9470)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from extauthz.authn import step_up
from extauthz.authn.held import Verified
from extauthz.authn.settings import TokenRule
from extauthz.check import respond
from extauthz.model import deny
from tests.support import parts
from tests.support.bank import AUDIENCE as ORCHESTRATION
from tests.support.bank import open_bank, route
from tests.support.certs import TestCa, assert_denied
from tests.support.checks import parsed, read_answer
from tests.support.introspection import TOKEN, active, desk
from tests.support.introspection import rule as asking
from tests.support.tokens import AUDIENCE, EPOCH, JWKS_URL, Issuer, bench

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack

HONEST = Issuer()
THIEF = TestCa().leaf("spiffe://bank.example/env/prod/ns/edge/sa/thief")


def rule(**changes: Any) -> TokenRule:
    return TokenRule.model_validate({"issuers": ("main",), "audiences": (AUDIENCE,), **changes})


STRONG = rule(acr=("phr", "phrh"), max_age="5m")
GOOD = {"acr": "phr", "auth_time": EPOCH - 60}


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="says-nothing"),
        pytest.param({"acr": "phr"}, id="time-missing"),
        pytest.param({"auth_time": EPOCH - 60}, id="strength-missing"),
        pytest.param({**GOOD, "acr": "pwd"}, id="too-weak"),
        pytest.param({**GOOD, "acr": "PHR"}, id="other-case"),
        pytest.param({**GOOD, "acr": "phr phrh"}, id="list-as-text"),
        pytest.param({**GOOD, "acr": ["phr"]}, id="list"),
        pytest.param({**GOOD, "acr": None}, id="null"),
        pytest.param({**GOOD, "auth_time": EPOCH - 330}, id="too-old"),
        pytest.param({**GOOD, "auth_time": EPOCH + 31}, id="in-the-future"),
        pytest.param({**GOOD, "auth_time": str(EPOCH)}, id="time-as-text"),
        pytest.param({**GOOD, "auth_time": float(EPOCH)}, id="time-as-fraction"),
        pytest.param({**GOOD, "auth_time": True}, id="time-true"),
        pytest.param({**GOOD, "auth_time": -1}, id="time-negative"),
        pytest.param({"amr": ["phr"], "ACR": "phr", "auth_time": EPOCH - 60}, id="other-claims"),
    ],
)
async def test_a_sign_in_that_is_not_enough_is_stepped_up(claims: dict[str, Any]) -> None:
    used = bench({JWKS_URL: HONEST.jwks()})
    token = HONEST.token(**claims)
    for _ in range(2):
        assert_denied(await used.verifier.verify(token, STRONG, None), "token.step_up")
    opaque = desk({TOKEN: active(**claims)}, settings=None)
    strong = asking("opaque", acr=("phr", "phrh"), max_age="5m")
    for _ in range(2):
        assert_denied(await opaque.verifier.verify(TOKEN, strong, None), "token.step_up")


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTROSPECTION_SECRET", "x")


async def test_the_age_of_the_sign_in_is_asked_on_every_hit() -> None:
    used = bench({JWKS_URL: HONEST.jwks()})
    token = HONEST.token(**GOOD, exp=EPOCH + 1800)
    assert await used.code(token, STRONG) == "ok"
    used.clock.advance(300 - 60 + 29.9)  # the issuer's leeway
    assert isinstance(used.verifier.cached(token, STRONG, None), Verified)
    used.clock.advance(0.1)
    assert_denied(used.verifier.cached(token, STRONG, None), "token.step_up")
    assert await used.code(token) == "ok"  # a route that asks for less


async def test_the_age_of_a_sign_in_behind_an_opaque_token_is_asked_on_every_hit() -> None:
    used = desk({TOKEN: active(auth_time=EPOCH - 325)}, cache_ttl="10s")
    strong = asking("opaque", max_age="5m")
    assert await used.code(rule=strong) == "ok"
    used.clock.advance(5)
    assert_denied(used.verifier.cached(TOKEN, strong, None), "token.step_up")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({}, "ok"),
        ({"acr": "pwd"}, "token.step_up"),
        ({"auth_time": EPOCH - 3600}, "token.step_up"),
    ],
)
async def test_an_issuer_that_is_asked_can_take_strength_away(answer: dict[str, Any], code: str) -> None:
    token = HONEST.token(**GOOD)
    used = desk({token: {"active": True, "token_type": "Bearer", **answer}}, jwts=HONEST)
    assert await used.code(token, asking("always", acr=("phr",), max_age="5m")) == code


async def test_an_issuer_that_is_asked_cannot_give_strength() -> None:
    token = HONEST.token(acr="pwd")
    used = desk({token: {"active": True, "token_type": "Bearer", "acr": "phr"}}, jwts=HONEST)
    assert await used.code(token, asking("always", acr=("phr",))) == "token.step_up"
    assert used.issuer.calls == []


async def test_a_thief_is_not_told_how_to_step_up() -> None:
    used = bench({JWKS_URL: HONEST.jwks()})
    token = HONEST.token(cnf={"x5t#S256": THIEF.x5t})
    assert await used.code(token, STRONG) == "transport.binding_mismatch"


@pytest.mark.parametrize("header", ["acr", "x-acr", "acr-values", "x-extauthz-acr", "auth-time", "x-auth-time"])
async def test_a_header_of_the_client_proves_nothing(header: str, tmp_path: Path) -> None:
    parts.require_opa()
    parts.require_embedded()
    strong = route(
        "create-transfer",
        token={"issuers": ["main"], "audiences": [ORCHESTRATION], "acr": ["phr", "phrh"], "max_age": "5m"},
    )
    bank = await open_bank(tmp_path, routes=[strong])
    try:
        value = "phr" if "acr" in header else str(EPOCH)
        answer = await bank.ask(headers={header: value})
        assert (answer.status, answer.layer, answer.code) == (401, "token", "token.step_up")
        assert answer.headers["www-authenticate"] == (
            'Bearer realm="extauthz", error="insufficient_user_authentication", '
            'error_description="The sign-in is too weak or too long ago.", acr_values="phr phrh", max_age="300"'
        )
        assert (await bank.ask(bank.token(**GOOD))).status == 200
    finally:
        await bank.close()


@pytest.mark.parametrize("value", ['a"b', "a b", "a\\b", "a\r\nb", "", "ä", "x" * 257])
def test_a_value_that_would_break_the_challenge_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="acr"):
        rule(acr=(value,))


@pytest.mark.parametrize("age", ["500ms", "1500ms", 0])
def test_ages_are_whole_seconds(age: Any) -> None:
    with pytest.raises(ValueError, match="max_age"):
        rule(max_age=age)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (None, ""),
        (rule(), ""),
        (rule(acr=("a", "b")), ', acr_values="a b"'),
        (rule(max_age="1h"), ', max_age="3600"'),
        (STRONG, ', acr_values="phr phrh", max_age="300"'),
    ],
)
def test_the_challenge_says_what_the_rule_asks(asked: TokenRule | None, told: str) -> None:
    assert step_up.parameters(asked) == told
    message = respond.deny(deny(step_up.CODE), "i" * 36, parsed(), {}, "none", told)
    challenge = read_answer(message).headers["www-authenticate"]
    assert challenge == f'Bearer realm="extauthz", error="insufficient_user_authentication"{told}'

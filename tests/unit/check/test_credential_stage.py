"""Step 4: exactly the kind of credential that a route names is looked at."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.authn.api_key import ApiKeys
from extauthz.authn.api_key_settings import ApiKeySettings
from extauthz.authn.bearer import BearerVerifier
from extauthz.authn.held import Verified
from extauthz.check.credential import CredentialStage
from extauthz.check.routes import RouteSettings
from extauthz.clock import ManualClock
from extauthz.model import Deny, Subject, Workload
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.trail import Trail
from tests.support.checks import parsed
from tests.support.introspection import ALWAYS, OPAQUE, TOKEN, desk
from tests.support.tokens import EPOCH, JWKS_URL, RULE, Issuer, bench

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from extauthz.authn.settings import TokenRule

HONEST = Issuer()
GATEWAY = Workload("spiffe://bank.example/env/prod/ns/edge/sa/gateway", "bank.example", service="gateway")


class Keys:
    """Stands in for API keys: who asks about which route."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def verify(self, _request: Any, route: str) -> Subject:
        self.asked.append(route)
        return Subject("service", "nightly", "api_key")


def route(credential: str = "jwt", token: TokenRule | None = None, **changes: Any) -> RouteSettings:
    return RouteSettings.model_validate(
        {
            "name": "accounts",
            "credential": credential,
            "token": token,
            "action": "account.read",
            "resource": {"type": "account"},
            "policy": "extauthz/decision",
            **changes,
        }
    )


def ask(
    stage: CredentialStage, asked: RouteSettings, headers: dict[str, str], workload: Any = GATEWAY, left: float = 5
) -> Any:
    return stage.verify(parsed(headers=headers), asked, workload, left, Trail(EPOCH, ""))


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that never suspends."""
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    return ended.value.value


def stage_of(verifier: BearerVerifier, keys: Any = None) -> CredentialStage:
    clock = ManualClock()
    return CredentialStage(verifier, keys or ApiKeys(ApiKeySettings(), clock), clock, Metrics(version="0"))


async def test_each_kind_is_judged_by_its_own() -> None:
    keys = Keys()
    stage = stage_of(BearerVerifier(bench({JWKS_URL: HONEST.jwks()}).verifier), keys)
    headers = {"authorization": f"Bearer {HONEST.token()}", "x-api-key": "xak_1"}
    assert (await ask(stage, route(token=RULE), headers)).credential == "jwt"
    assert (await ask(stage, route("api_key"), headers)).credential == "api_key"
    assert (await ask(stage, route("workload"), headers)).credential == "workload"
    assert await ask(stage, route("none"), headers) is None
    assert keys.asked == ["accounts"]


@pytest.mark.attack
@pytest.mark.parametrize(
    ("asked", "headers", "workload", "code"),
    [
        (route(token=RULE), {"x-api-key": "xak_1"}, GATEWAY, "token.missing"),
        (route(token=RULE), {}, GATEWAY, "token.missing"),
        (route("api_key"), {"authorization": f"Bearer {HONEST.token()}"}, GATEWAY, "token.missing"),
        (route("workload"), {"authorization": f"Bearer {HONEST.token()}"}, None, "workload.missing"),
    ],
)
async def test_no_credential_stands_in_for_another(
    asked: RouteSettings, headers: dict[str, str], workload: Any, code: str
) -> None:
    stage = stage_of(BearerVerifier(bench({JWKS_URL: HONEST.jwks()}).verifier))
    refused = await ask(stage, asked, headers, workload)
    assert isinstance(refused, Deny)
    assert refused.code == code


async def test_what_is_known_never_suspends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTROSPECTION_SECRET", "x")
    token = HONEST.token()
    used = desk({TOKEN: {**json.loads(OPAQUE_ANSWER)}, token: {"active": True, "token_type": "Bearer"}}, jwts=HONEST)
    stage = stage_of(used.verifier)
    for value, rule in ((TOKEN, OPAQUE), (token, OPAQUE), (token, ALWAYS)):
        headers = {"authorization": f"Bearer {value}"}
        assert isinstance(await ask(stage, route(token=rule), headers), Subject)
        assert at_once(ask(stage, route(token=rule), headers)).id == "alice"
    assert at_once(ask(stage, route("workload"), {})).id == GATEWAY.id
    assert len(used.issuer.calls) == 2


OPAQUE_ANSWER = json.dumps(
    {
        "active": True,
        "sub": "alice",
        "aud": "payments",
        "exp": EPOCH + 300,
        "iat": EPOCH - 10,
        "token_type": "Bearer",
    }
)


async def test_a_trail_says_whether_the_token_was_known_and_never_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTROSPECTION_SECRET", "x")
    used = desk({TOKEN: json.loads(OPAQUE_ANSWER)})
    stage = stage_of(used.verifier)
    request = parsed(headers={"authorization": f"Bearer {TOKEN}"})
    seen = []
    for _ in range(2):
        trail = Trail(EPOCH, "")
        subject = await stage.verify(request, route(token=OPAQUE), GATEWAY, 5, trail)
        assert isinstance(subject, Subject)
        seen.append(trail.token_cached)
    assert seen == [False, True]
    assert subject.digest == hashlib.sha256(TOKEN.encode()).hexdigest()[:16]
    assert isinstance(used.verifier.cached(TOKEN, OPAQUE, None), Verified)


async def test_a_check_without_time_left_is_no_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTROSPECTION_SECRET", "x")
    stage = stage_of(desk().verifier)
    refused = await ask(stage, route(token=OPAQUE), {"authorization": f"Bearer {TOKEN}"}, left=-1)
    assert isinstance(refused, Deny)
    assert refused.code == "engine.deadline"

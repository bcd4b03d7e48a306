"""Asking an issuer about tokens: what is asked, what is believed, for how long, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.authn.access import AccessSettings, Gate
from extauthz.authn.held import Verified
from extauthz.authn.introspection import WAITING
from extauthz.authn.introspection_client import IntrospectionClient
from extauthz.authn.settings import IntrospectionSettings
from extauthz.endpoint import BreakerSettings
from extauthz.errors import ConfigError
from extauthz.model import Deny, Subject
from tests.support.introspection import ALWAYS, OPAQUE, SECRET, TOKEN, URL, active, desk, respond, rule, until
from tests.support.tokens import EPOCH, ISSUER, Issuer, issuer_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.introspection import Desk

SIGNED = Issuer()
FAILURES = BreakerSettings().failures
PAUSE = 2 * BreakerSettings().pause
"""Seconds: no second pause of a breaker is longer."""


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTROSPECTION_SECRET", SECRET)


async def subject(used: Desk, token: str = TOKEN, asked: Any = OPAQUE) -> Any:
    answer = await used.verifier.verify(token, asked, None)
    assert isinstance(answer, Verified), answer
    return answer.subject


async def test_an_active_opaque_token_becomes_a_subject() -> None:
    used = desk()
    who = await subject(used)
    assert (who.type, who.id, who.credential, who.issuer) == ("user", "alice", "opaque", ISSUER)
    assert who.scopes == {"transfers:write", "transfers:read"}
    assert who.claims["tenant"] == "acme"
    assert who.expires_at == EPOCH + 300
    (call,) = used.issuer.calls
    assert call == {
        "token": TOKEN,
        "token_type_hint": "access_token",
        "scheme": "Basic",
        "pair": "ext+authz:s3cret%2Bwith%2Fsigns%3Dand+space",  # RFC 6749 section 2.3.1
    }
    assert used.asked == [True]


async def test_what_is_active_is_believed_for_its_time() -> None:
    used = desk(cache_ttl="5s")
    first = await used.verifier.verify(TOKEN, OPAQUE, None)
    hit = used.verifier.cached(TOKEN, OPAQUE, None)
    assert isinstance(first, Verified)
    assert isinstance(hit, Verified)
    assert (first.cached, hit.cached) == (False, True)
    used.clock.advance(4.9)
    assert isinstance(used.verifier.cached(TOKEN, OPAQUE, None), Verified)
    used.clock.advance(0.1)
    assert used.verifier.cached(TOKEN, OPAQUE, None) is None
    used.issuer.known.clear()
    assert await used.code() == "token.inactive"


async def test_nothing_is_believed_where_the_time_is_zero() -> None:
    used = desk(cache_ttl=0, negative_ttl=0)
    assert [await used.code(), await used.code()] == ["ok", "ok"]
    assert len(used.issuer.calls) == 2


async def test_what_is_not_active_is_believed_shorter() -> None:
    used = desk({}, negative_ttl="2s")
    assert [await used.code(), await used.code()] == ["token.inactive"] * 2
    assert len(used.issuer.calls) == 1
    used.issuer.known[TOKEN] = active()
    used.clock.advance(2)
    assert await used.code() == "ok"


async def test_checks_that_need_the_same_answer_share_one_question() -> None:
    used = desk()
    gate = asyncio.Event()
    used.issuer.before = gate.wait
    checks = [used.start(rule=one) for one in (OPAQUE, ALWAYS) for _ in range(5)]
    await until(lambda: used.issuer.running == 1)
    checks.pop().cancel()  # who goes away takes nobody's answer along
    gate.set()
    assert await asyncio.gather(*checks) == ["ok"] * 9
    assert len(used.issuer.calls) == 1


@pytest.mark.parametrize(
    ("changes", "settings", "code"),
    [
        ({"sub": ...}, {}, "token.claims"),
        ({"sub": ...}, {"clients": True}, "ok"),
        ({"sub": ..., "client_id": ...}, {"clients": True}, "token.claims"),
        ({"aud": ...}, {}, "token.claims"),
        ({"aud": ...}, {"missing_audience": "accept"}, "ok"),
        ({"aud": "reports"}, {"missing_audience": "accept"}, "token.audience"),
        ({"token_type": ...}, {}, "token.type"),
        ({"token_type": ...}, {"types": ["bearer", "absent"]}, "ok"),
        ({"token_type": ..., "typ": "Bearer"}, {}, "ok"),
        ({"iss": ...}, {}, "ok"),
        ({"jti": ...}, {"required_claims": ["jti"]}, "token.claims"),
        ({"exp": ...}, {}, "token.claims"),
        ({"scope": ...}, {}, "ok"),
        ({"aud": ["reports", "payments"]}, {}, "ok"),
    ],
)
async def test_what_an_answer_must_say_is_a_setting(
    changes: dict[str, Any], settings: dict[str, Any], code: str
) -> None:
    assert await desk({TOKEN: active(**changes)}, **settings).code() == code


async def test_a_token_of_a_client_speaks_for_a_service() -> None:
    used = desk({TOKEN: active(sub=..., client_id="batch")}, clients=True)
    who = await subject(used)
    assert (who.type, who.id) == ("service", "batch")


async def test_scopes_are_in_scope_whatever_the_jwts_of_the_issuer_call_them() -> None:
    asked = {"url": URL, "client": {"id": "c", "secret_env": "INTROSPECTION_SECRET"}}
    used = desk(settings=issuer_settings(scope_claim="scp", introspection=asked))
    assert (await subject(used)).scopes == {"transfers:write", "transfers:read"}


async def test_a_jwt_is_verified_here_and_not_asked_about() -> None:
    used = desk(jwts=SIGNED)
    assert await used.code(SIGNED.token()) == "ok"
    assert used.issuer.calls == []


async def test_always_asks_about_jwts_as_well() -> None:
    token = SIGNED.token()
    used = desk({token: {"active": True, "token_type": "Bearer"}}, jwts=SIGNED)
    who = await subject(used, token, ALWAYS)
    assert (who.id, who.credential, who.claims["roles"]) == ("alice", "jwt", ["teller"])
    assert isinstance(used.verifier.cached(token, ALWAYS, None), Verified)
    assert len(used.issuer.calls) == 1
    used.clock.advance(6)
    used.issuer.known.clear()
    assert await used.code(token, ALWAYS) == "token.inactive"
    assert await used.code(token, OPAQUE) == "ok"  # a route that does not ask


async def test_an_answer_narrows_a_jwt() -> None:
    token = SIGNED.token()
    answer = {"active": True, "token_type": "Bearer", "scope": "transfers:read admin", "exp": EPOCH + 20}
    used = desk({token: answer}, jwts=SIGNED)
    who = await subject(used, token, ALWAYS)
    assert who.scopes == {"transfers:read"}
    assert who.claims["scopes"] == ["transfers:read"]
    assert who.expires_at == EPOCH + 20
    writing = rule("always", scopes=("transfers:write",))
    assert await used.code(token, writing) == "token.scope"


async def test_an_answer_adds_what_a_jwt_is_silent_about() -> None:
    """Such as an issuer whose JWTs are kept short."""
    token = SIGNED.token(roles=..., tenant="acme")
    answer = {"active": True, "token_type": "Bearer", "roles": ["teller"], "tenant": "globex"}
    used = desk({token: answer}, jwts=SIGNED)
    who = await subject(used, token, ALWAYS)
    assert (who.claims["roles"], who.claims["tenant"]) == (["teller"], "acme")


async def test_a_rule_that_never_asks_refuses_opaque_tokens() -> None:
    used = desk()
    assert await used.code(rule=rule("never")) == "token.malformed"
    assert used.issuer.calls == []


async def test_without_an_issuer_to_ask_an_opaque_token_is_refused() -> None:
    assert await desk().code(rule=rule("opaque", issuers=())) == "token.malformed"
    assert await desk().code(rule=rule("opaque", issuers=("other",))) == "token.malformed"


async def test_what_does_not_begin_like_a_token_of_the_issuer_is_not_asked_about() -> None:
    used = desk({"xat_1": active()}, prefix="xat_")
    assert [await used.code("xat_1"), await used.code("other")] == ["ok", "token.malformed"]
    assert len(used.issuer.calls) == 1


async def test_an_issuer_that_fails_again_and_again_is_left_alone_for_a_moment() -> None:
    used = desk()
    used.issuer.fallback = respond({}, 503)
    for number in range(FAILURES + 3):
        assert await used.code(f"token-{number}") == "engine.introspection_unavailable"
    assert len(used.issuer.calls) == FAILURES
    used.clock.advance(PAUSE)
    assert await used.code() == "engine.introspection_unavailable"
    assert await used.code("another") == "engine.introspection_unavailable"
    assert len(used.issuer.calls) == FAILURES + 1  # one try a pause
    used.issuer.fallback = None
    used.clock.advance(PAUSE)
    assert [await used.code(), await used.code("another")] == ["ok", "token.inactive"]
    assert used.asked == [False] * (FAILURES + 1) + [True] * 2


async def test_what_is_known_serves_on_while_the_issuer_is_away() -> None:
    used = desk(cache_ttl="10s")
    assert await used.code() == "ok"
    used.issuer.fallback = respond({}, 503)
    used.clock.advance(9)
    assert await used.code() == "ok"
    used.clock.advance(1)
    assert await used.code() == "engine.introspection_unavailable"


async def test_questions_are_bounded_and_so_are_those_that_wait() -> None:
    used = desk(max_concurrent=2, timeout="10s")
    gate = asyncio.Event()
    used.issuer.before = gate.wait
    most = 2 * (1 + WAITING)
    checks = [used.start(f"token-{number}") for number in range(most + 5)]
    await until(lambda: used.issuer.running == 2 and sum(check.done() for check in checks) == 5)
    assert [await check for check in checks[most:]] == ["engine.introspection_unavailable"] * 5
    gate.set()
    assert await asyncio.gather(*checks[:most]) == ["token.inactive"] * most
    assert used.issuer.peak == 2


async def test_a_slow_issuer_ends_with_its_timeout_or_with_the_check() -> None:
    used = desk(timeout="20ms")
    used.issuer.before = asyncio.Event().wait
    assert await used.code() == "engine.introspection_unavailable"
    patient = desk(timeout="10s")
    patient.issuer.before = asyncio.Event().wait
    assert await patient.code(left=0.01) == "engine.deadline"
    assert await patient.code(left=0) == "engine.deadline"
    await patient.close()


async def test_a_question_that_is_dropped_is_no_answer() -> None:
    used = desk(timeout="10s")
    used.issuer.before = asyncio.Event().wait
    check = used.start()
    await until(lambda: used.issuer.running == 1)
    (flight,) = used.introspector._flights.values()
    flight.cancel()
    assert await check == "engine.introspection_unavailable"


async def test_the_http_api_takes_opaque_tokens_by_the_same_rules() -> None:
    used = desk({TOKEN: active(scope="extauthz.operate"), "weak": active()})
    settings = AccessSettings(token=rule("opaque", scopes=("extauthz.operate",)))
    gate = Gate(settings, used.verifier)
    admitted = await gate.admit([f"Bearer {TOKEN}"], unix=False)
    refused = await gate.admit(["Bearer weak"], unix=True)
    assert isinstance(admitted, Subject)
    assert isinstance(refused, Deny)
    assert (admitted.id, refused.code) == ("alice", "token.scope")


def by_file(path: Path, content: bytes) -> dict[str, Any]:
    path.write_bytes(content)
    return {"id": "c", "secret_file": path}


def client(settings: dict[str, Any]) -> IntrospectionClient:
    return IntrospectionClient(
        IntrospectionSettings.model_validate({"url": URL, "client": settings}), desk().outbound.send
    )


@pytest.mark.parametrize(
    "settings",
    [
        lambda path: {"id": "c", "secret_file": path / "absent"},
        lambda path: by_file(path / "empty", b"\n"),
        lambda path: by_file(path / "huge", b"x" * 4097),
        lambda path: by_file(path / "binary", b"\xff\xfe"),
        lambda _: {"id": "c", "secret_env": "EXTAUTHZ_NO_SUCH_VARIABLE"},
    ],
)
def test_a_secret_that_cannot_be_had_is_said_at_once(settings: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        client(settings(tmp_path))
    assert caught.value.problems[0].remedy


async def test_line_ends_around_a_secret_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"abc\r\n")
    asked = {"url": URL, "client": {"id": "c", "secret_file": tmp_path / "secret"}}
    used = desk(settings=issuer_settings(introspection=asked))
    assert await used.code() == "ok"
    assert used.issuer.calls[0]["pair"] == "c:abc"


@pytest.mark.parametrize(
    "changes",
    [
        {"cache_ttl": "11s"},
        {"cache_ttl": "1s", "negative_ttl": "2s"},
        {"url": "http://issuer.example/introspect"},
        {"url": "http://127.0.0.1/introspect", "client": "mtls"},
        {"client": {"id": "c"}},
        {"client": {"id": "c", "secret_env": "A", "secret_file": "b"}},
        {"prefix": "with space"},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    base = {"url": URL, "client": {"id": "c", "secret_env": "A"}}
    IntrospectionSettings.model_validate(base)
    with pytest.raises(ValueError, match="validation error"):
        IntrospectionSettings.model_validate({**base, **changes})

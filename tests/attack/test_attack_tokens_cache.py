"""Attacks on the verified-token cache: SECURITY-TESTS A 16 (and 18 on a hit)."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.authn.settings import RevocationSettings, TokenRule, VerifierSettings
from extauthz.authn.tokens import Verified
from extauthz.model import Workload
from tests.support.certs import TestCa, assert_denied
from tests.support.tokens import AUDIENCE, EPOCH, JWKS_URL, RULE, Bench, Issuer, bench, generate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack

HONEST = Issuer()
CA = TestCa()
OWN = CA.leaf("spiffe://bank.example/env/prod/ns/edge/sa/gateway")
THIEF = CA.leaf("spiffe://bank.example/env/prod/ns/edge/sa/thief")


def rule(**changes: Any) -> TokenRule:
    return TokenRule.model_validate({"issuers": ("main",), "audiences": (AUDIENCE,), **changes})


async def warm(token: str, **options: Any) -> Bench:
    """A verifier that has this token in its cache."""
    used = bench({JWKS_URL: HONEST.jwks()}, **options)
    assert await used.code(token) == "ok"
    hit = used.verifier.cached(token, RULE, None)
    assert isinstance(hit, Verified)
    assert hit.cached
    return used


@pytest.mark.parametrize(
    ("other", "code"),
    [
        pytest.param(rule(audiences=("reports",)), "token.audience", id="A16-other-audience"),
        pytest.param(rule(issuers=()), "token.issuer", id="A16-no-issuers"),
        pytest.param(rule(types=("txntoken+jwt",)), "token.type", id="A16-other-type"),
        pytest.param(rule(purposes=("marketing",)), "token.purpose", id="A16-other-purpose"),
        pytest.param(rule(scopes=("transfers:admin",)), "token.scope", id="A16-more-scopes"),
        pytest.param(rule(binding="required"), "transport.binding_missing", id="A16-binding"),
    ],
)
async def test_no_hit_across_routes(other: TokenRule, code: str) -> None:
    token = HONEST.token()
    used = await warm(token)
    assert used.verifier.cached(token, other, None) is None
    assert_denied(await used.verifier.verify(token, other, None), code)
    assert isinstance(used.verifier.cached(token, RULE, None), Verified)


async def test_a16_equal_rules_share_an_entry() -> None:
    token = HONEST.token()
    used = await warm(token)
    assert isinstance(used.verifier.cached(token, rule(), None), Verified)


@pytest.mark.parametrize("change", [1, -2], ids=["A16-one-character-more", "A16-one-character-less"])
async def test_no_hit_for_another_token(change: int) -> None:
    token = HONEST.token()
    used = await warm(token)
    other = token + "A" if change > 0 else token[:change]
    assert used.verifier.cached(other, RULE, None) is None


async def test_a16_expiry_is_asked_on_every_hit() -> None:
    token = HONEST.token(exp=EPOCH + 60)
    used = await warm(token)
    used.clock.advance(60 + 29.9)
    assert isinstance(used.verifier.cached(token, RULE, None), Verified)
    used.clock.advance(0.1)
    assert_denied(used.verifier.cached(token, RULE, None), "token.expired")
    assert_denied(await used.verifier.verify(token, RULE, None), "token.expired")


async def test_a16_a_clock_set_back_is_noticed_on_a_hit() -> None:
    token = HONEST.token(nbf=EPOCH)
    used = await warm(token)
    used.clock.epoch -= 60
    assert_denied(used.verifier.cached(token, RULE, None), "token.not_yet_valid")


async def test_a18_binding_is_asked_on_every_hit() -> None:
    token = HONEST.token(cnf={"x5t#S256": OWN.x5t})
    used = bench({JWKS_URL: HONEST.jwks()})
    own = Workload("spiffe://bank.example/a", "bank.example", certificate_sha256=OWN.x5t)
    thief = Workload("spiffe://bank.example/a", "bank.example", certificate_sha256=THIEF.x5t)
    assert await used.code(token, RULE, own) == "ok"
    assert isinstance(used.verifier.cached(token, RULE, own), Verified)
    for peer in (thief, None, Workload("spiffe://bank.example/a", "bank.example")):
        assert_denied(used.verifier.cached(token, RULE, peer), "transport.binding_mismatch")
    assert isinstance(used.verifier.cached(token, RULE, own), Verified)


async def test_a18_the_thief_comes_first() -> None:
    """A token that is first seen from the wrong peer is cached without that peer gaining anything."""
    token = HONEST.token(cnf={"x5t#S256": OWN.x5t})
    used = bench({JWKS_URL: HONEST.jwks()})
    thief = Workload("spiffe://bank.example/a", "bank.example", certificate_sha256=THIEF.x5t)
    for _ in range(2):
        assert_denied(await used.verifier.verify(token, RULE, thief), "transport.binding_mismatch")


TOKEN = HONEST.token(sub="alice", jti="t-9")
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()


@pytest.mark.parametrize(
    "revoked",
    [
        pytest.param({"jti": ["t-9"]}, id="A16-revoked-jti"),
        pytest.param({"sub": ["alice"]}, id="A16-revoked-sub"),
        pytest.param({"sub": {"alice": EPOCH - 10}}, id="A16-revoked-sub-until-iat"),
        pytest.param({"kid": ["key-1"]}, id="A16-revoked-kid"),
        pytest.param({"token": [DIGEST]}, id="A16-revoked-digest"),
    ],
)
async def test_revocation_reaches_cached_tokens(revoked: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "revoked.json"
    file.write_text("{}")
    used = await warm(TOKEN, revocations=RevocationSettings(file=file))
    file.write_text(json.dumps(revoked))
    assert used.revocations.reload()
    for _ in range(2):
        assert_denied(used.verifier.cached(TOKEN, RULE, None), "token.revoked")
        assert_denied(await used.verifier.verify(TOKEN, RULE, None), "token.revoked")
    fresh = bench({JWKS_URL: HONEST.jwks()}, revocations=RevocationSettings(file=file))
    assert_denied(await fresh.verifier.verify(TOKEN, RULE, None), "token.revoked")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"jti": ["t-8"], "sub": ["bob"], "kid": ["key-2"]}, id="A16-others-revoked"),
        pytest.param({"sub": {"alice": EPOCH - 11}}, id="A16-earlier-tokens-revoked"),
    ],
)
async def test_a16_revocation_of_others_keeps_the_hit(other: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "revoked.json"
    file.write_text("{}")
    used = await warm(TOKEN, revocations=RevocationSettings(file=file))
    file.write_text(json.dumps(other))
    assert used.revocations.reload()
    assert isinstance(used.verifier.cached(TOKEN, RULE, None), Verified)


async def test_a16_a_withdrawn_key_ends_its_entries() -> None:
    token = HONEST.token()
    used = await warm(token)
    used.server.documents[JWKS_URL] = Issuer(kid="key-2").jwks()
    used.clock.advance(300)
    await used.store.refresh_due()
    assert used.verifier.cached(token, RULE, None) is None
    assert_denied(await used.verifier.verify(token, RULE, None), "token.key_unknown")


async def test_a16_an_unchanged_key_set_keeps_its_entries() -> None:
    token = HONEST.token(exp=EPOCH + 900)
    used = await warm(token)
    used.clock.advance(300)
    await used.store.refresh_due()
    assert len(used.server.calls) == 2
    assert isinstance(used.verifier.cached(token, RULE, None), Verified)


async def test_a16_the_key_behind_a_kid_is_exchanged() -> None:
    """Same kid, other key: the old token is forged from now on, cached or not."""
    token = HONEST.token()
    used = await warm(token)
    used.server.documents[JWKS_URL] = Issuer().jwks()
    used.clock.advance(300)
    await used.store.refresh_due()
    assert_denied(await used.verifier.verify(token, RULE, None), "token.signature")


LIMITS = VerifierSettings(cache_entries=16, refused_entries=16)


async def test_a16_garbage_does_not_evict() -> None:
    token = HONEST.token()
    used = await warm(token, limits=LIMITS)
    forger = Issuer(key=generate("ES256"))
    for number in range(100):
        assert_denied(await used.verifier.verify(forger.token(jti=str(number)), RULE, None), "token.signature")
    assert isinstance(used.verifier.cached(token, RULE, None), Verified)


async def test_a16_one_client_with_many_tokens_does_not_evict_the_hot_set() -> None:
    token = HONEST.token()
    used = await warm(token, limits=LIMITS)
    for number in range(100):
        assert await used.code(HONEST.token(sub="mallory", jti=f"m-{number}")) == "ok"
    assert isinstance(used.verifier.cached(token, RULE, None), Verified)
    assert len(used.verifier._good) <= 16


async def test_a16_a_forgery_is_remembered_briefly() -> None:
    forged = Issuer(key=generate("ES256")).token()
    used = bench({JWKS_URL: HONEST.jwks()})
    assert_denied(await used.verifier.verify(forged, RULE, None), "token.signature")
    assert_denied(used.verifier.cached(forged, RULE, None), "token.signature")
    used.clock.advance(5)
    assert used.verifier.cached(forged, RULE, None) is None


async def test_a16_a_remembered_forgery_ends_with_the_key_set() -> None:
    """A token that was early, signed by a key that replaces another under the same kid, is not refused for longer."""
    rotated = Issuer()
    used = bench({JWKS_URL: HONEST.jwks()}, limits=VerifierSettings.model_validate({"refused_ttl": "60s"}))
    assert_denied(await used.verifier.verify(rotated.token(), RULE, None), "token.signature")
    used.server.documents[JWKS_URL] = rotated.jwks()
    used.clock.advance(31)
    await used.store.source("main").refresh()
    assert await used.code(rotated.token()) == "ok"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(HONEST.token(exp=EPOCH - 60), id="A16-expired"),
        pytest.param(HONEST.token(nbf=EPOCH + 60), id="A16-early"),
        pytest.param(HONEST.token(aud="reports"), id="A16-audience"),
        pytest.param("garbage", id="A16-garbage"),
    ],
)
async def test_other_refusals_are_not_remembered(token: str) -> None:
    used = bench({JWKS_URL: HONEST.jwks()})
    first = await used.verifier.verify(token, RULE, None)
    assert_denied(first, first.code if not isinstance(first, Verified) else "")
    assert used.verifier.cached(token, RULE, None) is None

"""Attacks on keys and their sources: SECURITY-TESTS A 2, 4 and 15."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from extauthz.authn.settings import TokenRule
from tests.support.certs import assert_denied
from tests.support.tokens import (
    AUDIENCE,
    JWKS_URL,
    RULE,
    Issuer,
    b64,
    bench,
    compact,
    generate,
    issuer_settings,
    public_jwk,
    raw_sign,
)

pytestmark = pytest.mark.attack

HONEST = Issuer()
RSA = Issuer(algorithm="RS256")
ALL = ["ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"]


def signed_as(issuer: Issuer, alg: str) -> str:
    """A token whose header says `alg`, signed as `alg` with whatever key the issuer has."""
    signed = f"{b64(compact(issuer.header(alg=alg)))}.{b64(compact(issuer.claims()))}"
    return f"{signed}.{b64(raw_sign(issuer.key, alg, signed.encode()))}"


@pytest.mark.parametrize(
    ("issuer", "alg", "allowed"),
    [
        pytest.param(HONEST, "ES384", ALL, id="A02-P256-as-ES384"),
        pytest.param(HONEST, "ES512", ALL, id="A02-P256-as-ES512"),
        pytest.param(HONEST, "RS256", ALL, id="A02-EC-as-RSA"),
        pytest.param(HONEST, "EdDSA", ALL, id="A02-EC-as-EdDSA"),
        pytest.param(RSA, "ES256", ALL, id="A02-RSA-as-EC"),
        pytest.param(RSA, "RS512", ALL, id="A02-RS512-not-allowed"),
        pytest.param(RSA, "PS256", ["RS256"], id="A02-PSS-not-allowed"),
        pytest.param(RSA, "RS256", ["PS256"], id="A02-PKCS1-not-allowed"),
    ],
)
async def test_algorithm_is_pinned_per_issuer_and_key(issuer: Issuer, alg: str, allowed: list[str]) -> None:
    used = bench({JWKS_URL: {"keys": [issuer.jwk()]}}, issuer_settings(algorithms=allowed))
    assert_denied(await used.verifier.verify(signed_as(issuer, alg), RULE, None), "token.algorithm")


async def test_a02_algorithm_is_pinned_by_the_key_itself() -> None:
    used = bench({JWKS_URL: {"keys": [RSA.jwk(alg="RS256")]}}, issuer_settings(algorithms=ALL))
    assert_denied(await used.verifier.verify(signed_as(RSA, "PS256"), RULE, None), "token.algorithm")
    assert await used.code(signed_as(RSA, "RS256")) == "ok"


WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak on purpose
SMALL_E = rsa.generate_private_key(3, 2048)


def altered(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in (HONEST.jwk() | members).items() if value is not ...}


@pytest.mark.parametrize(
    "jwk",
    [
        pytest.param(public_jwk(WEAK, kid="key-1"), id="A02-RSA-1024"),
        pytest.param(public_jwk(SMALL_E, kid="key-1") | {"e": "Aw"}, id="A02-RSA-exponent-3"),
        pytest.param(altered(x=b64(b"\x01" * 32)), id="A02-off-curve"),
        pytest.param(altered(x=b64(bytes(32)), y=b64(bytes(32))), id="A02-point-zero"),
        pytest.param(altered(x=b64(b"\xff" * 32)), id="A02-beyond-the-field"),
        pytest.param(altered(crv="P-384"), id="A02-curve-mismatch"),
        pytest.param(altered(crv="secp256k1"), id="A02-unknown-curve"),
        pytest.param(altered(x=altered()["x"] + "="), id="A02-padded-coordinate"),
        pytest.param(altered(x="AA" + altered()["x"][:-2]), id="A02-shifted-coordinate"),
        pytest.param(altered(use="enc"), id="A02-use-enc"),
        pytest.param(altered(key_ops=["sign"]), id="A02-key-ops-sign"),
        pytest.param(altered(key_ops="verify"), id="A02-key-ops-string"),
        pytest.param(altered(alg="HS256"), id="A02-alg-HS256"),
        pytest.param(altered(alg="ES384"), id="A02-alg-other"),
        pytest.param({"kty": "oct", "k": b64(b"secret"), "kid": "key-1"}, id="A02-oct"),
        pytest.param(altered(d=b64(b"x" * 32)), id="A02-private"),
        pytest.param(altered(k=b64(b"x" * 32)), id="A02-symmetric-member"),
        pytest.param(altered(kty="ec"), id="A02-kty-case"),
        pytest.param({"kid": "key-1"}, id="A02-empty"),
        pytest.param({"kty": "OKP", "crv": "Ed25519", "x": b64(b"x" * 31), "kid": "key-1"}, id="A02-short-ed25519"),
        pytest.param({"kty": "OKP", "crv": "X25519", "x": b64(b"x" * 32), "kid": "key-1"}, id="A02-x25519"),
    ],
)
async def test_bad_keys_are_ignored_one_by_one(jwk: dict[str, Any]) -> None:
    other = Issuer(kid="key-2")
    used = bench({JWKS_URL: {"keys": [jwk, other.jwk()]}}, issuer_settings(algorithms=ALL))
    assert_denied(await used.verifier.verify(HONEST.token(), RULE, None), "token.key_refused")
    assert await used.code(other.token()) == "ok"


async def test_a02_one_kid_for_two_keys_names_neither() -> None:
    used = bench({JWKS_URL: {"keys": [HONEST.jwk(), Issuer().jwk(), Issuer(kid="key-2").jwk()]}})
    assert_denied(await used.verifier.verify(HONEST.token(), RULE, None), "token.key_refused")


async def test_a02_the_same_key_twice_is_one_key() -> None:
    assert await bench({JWKS_URL: {"keys": [HONEST.jwk(), HONEST.jwk()]}}).code(HONEST.token()) == "ok"


OTHER_URL = "https://other.example/jwks"


def two_issuers() -> tuple[Issuer, Issuer, Any]:
    other = Issuer(issuer="https://other.example", kid="key-1")
    used = bench(
        {JWKS_URL: HONEST.jwks(), OTHER_URL: other.jwks()},
        issuer_settings(),
        issuer_settings(name="other", issuer=other.issuer, jwks={"url": OTHER_URL}),
    )
    return HONEST, other, used


BOTH = TokenRule(issuers=("main", "other"), audiences=(AUDIENCE,))


@pytest.mark.parametrize(
    ("kid", "code"),
    [
        pytest.param("key-1", "token.signature", id="A04-same-kid"),
        pytest.param(..., "token.signature", id="A04-no-kid"),
        pytest.param("other-key", "token.key_unknown", id="A04-kid-of-the-other"),
    ],
)
async def test_an_issuer_cannot_speak_for_another(kid: Any, code: str) -> None:
    """Keys are never a union: `other` signs a token that names `main`."""
    honest, other, used = two_issuers()
    forged = other.sign(other.header(kid=kid), other.claims(iss=honest.issuer))
    assert_denied(await used.verifier.verify(forged, BOTH, None), code)
    assert set(used.server.calls) == {JWKS_URL}  # the signer's own keys were not even asked for
    assert await used.code(other.token(), BOTH) == "ok"


async def test_a04_an_issuer_that_the_route_does_not_name() -> None:
    _, other, used = two_issuers()
    assert_denied(await used.verifier.verify(other.token(), RULE, None), "token.issuer")
    assert used.server.calls == []


def unknown(number: int) -> str:
    return HONEST.sign(HONEST.header(kid=f"unknown-{number}"))


@pytest.mark.parametrize("healthy", [True, False], ids=["A15-issuer-up", "A15-issuer-down"])
async def test_unknown_kid_flood(healthy: bool) -> None:
    """One fetch per cool-down, whatever it brings; a real rotation is picked up after it."""
    used = bench({JWKS_URL: HONEST.jwks()})
    assert await used.code(HONEST.token()) == "ok"
    assert len(used.server.calls) == 1
    used.server.documents[JWKS_URL] = HONEST.jwks() if healthy else 503
    for round_ in range(3):
        used.clock.advance(31)
        for burst in range(4):
            answers = await asyncio.gather(
                *(used.verifier.verify(unknown(burst * 50 + n), RULE, None) for n in range(50))
            )
            for answer in answers:
                assert_denied(answer, "token.key_unknown")
        assert len(used.server.calls) == 2 + round_
    assert await used.code(HONEST.token(jti="new")) == "ok"  # known keys served on
    assert len(used.server.calls) == 4

    rotated = Issuer(kid="key-2")
    used.server.documents[JWKS_URL] = {"keys": [HONEST.jwk(), rotated.jwk()]}
    assert_denied(await used.verifier.verify(rotated.token(), RULE, None), "token.key_unknown")  # still cooling down
    used.clock.advance(31)
    assert await used.code(rotated.token()) == "ok"
    assert len(used.server.calls) == 5


async def test_a15_cool_down_is_claimed_before_the_fetch() -> None:
    """While a slow fetch is under way the others wait for it, and none starts a second one, not even after it."""
    used = bench({JWKS_URL: HONEST.jwks()})
    gate, reached = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await gate.wait()

    used.server.before = hold
    waiting = [asyncio.create_task(used.verifier.verify(unknown(n), RULE, None)) for n in range(20)]  # noqa: TID251 - a test
    await reached.wait()
    waiting[0].cancel()  # a caller that gives up takes nothing from the others
    gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    for answer in answers[1:]:
        assert_denied(answer, "token.key_unknown")
    assert_denied(await used.verifier.verify(unknown(99), RULE, None), "token.key_unknown")
    assert len(used.server.calls) == 1


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(503, id="A15-unavailable"),
        pytest.param(302, id="A15-redirect"),
        pytest.param(b"<html>", id="A15-html"),
        pytest.param([], id="A15-array"),
        pytest.param({"keys": {}}, id="A15-keys-object"),
        pytest.param({"keys": [1]}, id="A15-key-number"),
        pytest.param({"keys": [{}] * 65}, id="A15-too-many"),
        pytest.param(b'{"keys":[],"keys":[]}', id="A15-duplicate-member"),
        pytest.param(b" " * (2 * 1024 * 1024), id="A15-huge"),
        pytest.param(OSError("boom"), id="A15-fault"),
    ],
)
async def test_hostile_key_sets_change_nothing(document: Any) -> None:
    used = bench({JWKS_URL: document})
    assert_denied(await used.verifier.verify(HONEST.token(), RULE, None), "token.keys_unavailable")
    used.server.documents[JWKS_URL] = HONEST.jwks()
    used.clock.advance(31)
    assert await used.code(HONEST.token()) == "ok"
    used.server.documents[JWKS_URL] = document
    used.clock.advance(300)
    await used.store.refresh_due()
    assert len(used.server.calls) == 3
    assert await used.code(HONEST.token(jti="t-2", exp=1_800_000_900)) == "ok"


async def test_a15_an_empty_set_distrusts_all() -> None:
    used = bench({JWKS_URL: {"keys": []}})
    assert_denied(await used.verifier.verify(HONEST.token(), RULE, None), "token.key_unknown")


async def test_a15_stale_keys_end() -> None:
    """The issuer is down: known keys serve for refresh + stale_if_error (5m + 1h), also from the cache, no longer."""
    used = bench({JWKS_URL: HONEST.jwks()}, issuer_settings(max_lifetime="1d"))
    token = HONEST.token(exp=1_800_000_000 + 80_000)
    assert await used.code(token) == "ok"
    used.server.documents[JWKS_URL] = 503
    used.clock.advance(3500)
    assert await used.code(token) == "ok"
    used.clock.advance(500)
    assert used.verifier.cached(token, RULE, None) is None
    assert_denied(await used.verifier.verify(token, RULE, None), "token.keys_unavailable")
    used.server.documents[JWKS_URL] = HONEST.jwks()
    used.clock.advance(31)
    assert await used.code(token) == "ok"


DISCOVERY_URL = "https://issuer.example/.well-known/openid-configuration"
METADATA = {"issuer": "https://issuer.example", "jwks_uri": JWKS_URL}


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({**METADATA, "issuer": "https://issuer.example/"}, id="A08-metadata-issuer-slash"),
        pytest.param({**METADATA, "issuer": "https://evil.example"}, id="A08-metadata-issuer-other"),
        pytest.param({"jwks_uri": JWKS_URL}, id="A08-metadata-issuer-missing"),
        pytest.param({**METADATA, "jwks_uri": "https://evil.example/jwks"}, id="A05-jwks-uri-elsewhere"),
        pytest.param({**METADATA, "jwks_uri": "http://issuer.example/jwks"}, id="A05-jwks-uri-http"),
        pytest.param({**METADATA, "jwks_uri": "file:///etc/passwd"}, id="A05-jwks-uri-file"),
        pytest.param({**METADATA, "jwks_uri": "https://u:p@issuer.example/jwks"}, id="A05-jwks-uri-userinfo"),
        pytest.param({**METADATA, "jwks_uri": 5}, id="A05-jwks-uri-number"),
        pytest.param([], id="A13-metadata-array"),
    ],
)
async def test_hostile_discovery(metadata: Any) -> None:
    forger = Issuer(key=generate("ES256"))
    used = bench(
        {
            DISCOVERY_URL: metadata,
            JWKS_URL: HONEST.jwks(),
            "https://evil.example/jwks": forger.jwks(),
            "http://issuer.example/jwks": forger.jwks(),
        },
        issuer_settings(jwks={"discovery": True}),
    )
    assert_denied(await used.verifier.verify(forger.token(), RULE, None), "token.keys_unavailable")
    assert used.server.calls == [DISCOVERY_URL]

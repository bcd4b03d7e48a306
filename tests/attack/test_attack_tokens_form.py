"""Attacks on a token's form: SECURITY-TESTS A 1, 3, 5, 6, 11, 12, 13, 14. Every one is signed or forged for real."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from extauthz.authn.settings import JwksSettings
from tests.support.certs import assert_denied
from tests.support.tokens import EPOCH, JWKS_URL, RULE, Bench, Issuer, b64, bench, compact, generate, issuer_settings

pytestmark = pytest.mark.attack

HONEST = Issuer()


def good_bench(issuer: Issuer = HONEST, **settings: Any) -> Bench:
    return bench({JWKS_URL: issuer.jwks()}, issuer_settings(**settings))


async def refused(token: str, code: str, bench_: Bench | None = None) -> Bench:
    used = bench_ or good_bench()
    assert_denied(await used.verifier.verify(token, RULE, None), code)
    return used


async def test_the_honest_token_passes() -> None:
    assert await good_bench().code(HONEST.token()) == "ok"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", " none"], ids=lambda alg: f"A01-none-{alg!r}")
@pytest.mark.parametrize("signature", ["", b64(b"x")], ids=["empty", "junk"])
async def test_unsecured(alg: str, signature: str) -> None:
    token = f"{b64(compact(HONEST.header(alg=alg)))}.{b64(compact(HONEST.claims()))}.{signature}"
    await refused(token, "token.algorithm" if signature else "token.malformed")


def public_key_spellings() -> dict[str, bytes]:
    key = HONEST.key.public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "pem": pem,
        "pem-stripped": pem.strip(),
        "pem-leading-space": b"\n \t" + pem,
        "der": key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "ssh": key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "point": key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        "jwk": compact(HONEST.jwk()),
    }


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512", "hs256"])
@pytest.mark.parametrize("spelling", public_key_spellings(), ids=lambda name: f"A01-hmac-{name}")
async def test_public_key_as_hmac_secret(alg: str, spelling: str) -> None:
    signed = f"{b64(compact(HONEST.header(alg=alg)))}.{b64(compact(HONEST.claims()))}"
    digest = {"384": hashlib.sha384, "512": hashlib.sha512}.get(alg[2:], hashlib.sha256)
    mac = hmac.new(public_key_spellings()[spelling], signed.encode(), digest).digest()
    await refused(f"{signed}.{b64(mac)}", "token.algorithm")


@pytest.mark.parametrize(
    ("kid", "code"),
    [
        pytest.param("../../../../dev/null", "token.key_unknown", id="A03-path-traversal"),
        pytest.param("' OR '1'='1", "token.key_unknown", id="A03-sql"),
        pytest.param("${jndi:ldap://x}", "token.key_unknown", id="A03-expression"),
        pytest.param("key-1\r\nX-Admin: 1", "token.malformed", id="A03-crlf"),
        pytest.param("key-1\x00", "token.malformed", id="A03-nul"),
        pytest.param("", "token.malformed", id="A03-empty"),
        pytest.param("k" * 257, "token.malformed", id="A03-long"),
        pytest.param(1, "token.malformed", id="A03-number"),
        pytest.param(None, "token.malformed", id="A03-null"),
        pytest.param(["key-1"], "token.malformed", id="A03-array"),
        pytest.param({"$ne": ""}, "token.malformed", id="A03-object"),
        pytest.param(True, "token.malformed", id="A03-bool"),
    ],
)
async def test_kid(kid: Any, code: str) -> None:
    await refused(HONEST.sign(HONEST.header(kid=kid)), code)


async def test_a03_kid_missing_with_several_keys() -> None:
    """A03-missing: no kid never means "try them all"."""
    documents = {JWKS_URL: {"keys": [HONEST.jwk(), Issuer(kid="key-2").jwk()]}}
    await refused(HONEST.sign(HONEST.header(kid=...)), "token.key_unknown", bench(documents))


async def test_kid_missing_with_one_key_is_unambiguous() -> None:
    assert await good_bench().code(HONEST.sign(HONEST.header(kid=...))) == "ok"


async def test_a03_kid_duplicated() -> None:
    """A03-duplicate member: two readers could pick two keys."""
    await refused(HONEST.sign(b'{"alg":"ES256","typ":"at+jwt","kid":"key-1","kid":"evil"}'), "token.malformed")


ATTACKER = Issuer(kid="evil")


@pytest.mark.parametrize(
    "parameter",
    [
        pytest.param({"jku": "https://evil.example/jwks"}, id="A05-jku"),
        pytest.param({"jku": JWKS_URL}, id="A05-jku-own"),
        pytest.param({"x5u": "https://evil.example/chain.pem"}, id="A05-x5u"),
        pytest.param({"jwk": ATTACKER.jwk()}, id="A05-jwk"),
        pytest.param({"x5c": ["MIIB"]}, id="A05-x5c"),
        pytest.param({"jwk": None}, id="A05-jwk-null"),
    ],
)
async def test_keys_from_the_token(parameter: dict[str, Any]) -> None:
    used = await refused(ATTACKER.sign(ATTACKER.header(**parameter)), "token.header_refused")
    assert used.server.calls == []  # no socket was opened, not even to the honest issuer


@pytest.mark.parametrize(
    "parameter",
    [
        pytest.param({"crit": ["exp-ext"], "exp-ext": 1}, id="A06-crit-unknown"),
        pytest.param({"crit": []}, id="A06-crit-empty"),
        pytest.param({"crit": ["exp-ext", "exp-ext"], "exp-ext": 1}, id="A06-crit-duplicate"),
        pytest.param({"crit": ["alg"]}, id="A06-crit-registered"),
        pytest.param({"crit": "b64"}, id="A06-crit-string"),
        pytest.param({"crit": None}, id="A06-crit-null"),
        pytest.param({"b64": False, "crit": ["b64"]}, id="A06-b64-false"),
        pytest.param({"b64": False}, id="A06-b64-not-critical"),
        pytest.param({"b64": True}, id="A06-b64-true"),
        pytest.param({"zip": "DEF"}, id="A12-zip"),
        pytest.param({"enc": "A256GCM"}, id="A12-enc"),
        pytest.param({"p2c": 2_000_000_000, "p2s": "x"}, id="A12-p2c"),
        pytest.param({"epk": {}, "apu": "x"}, id="A12-epk"),
        pytest.param({"cty": "JWT"}, id="A12-nested"),
    ],
)
async def test_refused_parameters(parameter: dict[str, Any]) -> None:
    await refused(HONEST.sign(HONEST.header(**parameter)), "token.header_refused")


@pytest.mark.parametrize("alg", ["RSA-OAEP", "dir", "PBES2-HS256+A128KW", "ECDH-ES"], ids=lambda alg: f"A12-jwe-{alg}")
async def test_encryption_algorithms(alg: str) -> None:
    await refused(HONEST.sign(HONEST.header(alg=alg)), "token.algorithm")


def deep(levels: int) -> bytes:
    return compact(HONEST.claims())[:-1] + b',"x":' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(HONEST.token(pad="x" * 8192), "token.too_large", id="A11-token-8KiB"),
        pytest.param("x" * 8193, "token.too_large", id="A11-garbage-8KiB"),
        pytest.param(HONEST.sign(HONEST.header(pad="x" * 1024)), "token.too_large", id="A11-header"),
        pytest.param(HONEST.sign(claims=deep(12)), "token.malformed", id="A11-depth"),
        pytest.param(HONEST.sign(claims=deep(1500)), "token.malformed", id="A11-depth-recursion"),
        pytest.param(HONEST.token(**{f"c{n}": 1 for n in range(64)}), "token.malformed", id="A11-claims"),
        pytest.param(HONEST.token(x=[1] * 600), "token.malformed", id="A11-values"),
        pytest.param("a.b.c.d.e", "token.malformed", id="A12-five-parts"),
        pytest.param("a.b", "token.malformed", id="A12-two-parts"),
        pytest.param("", "token.malformed", id="A12-empty"),
        pytest.param("..", "token.malformed", id="A12-dots"),
        pytest.param('{"payload":"e30","signatures":[]}', "token.malformed", id="A13-json-general"),
        pytest.param('{"payload":"e30","protected":"e30","signature":"AA"}', "token.malformed", id="A13-json-flat"),
        pytest.param(HONEST.token() + "=", "token.malformed", id="A13-padded-signature"),
        pytest.param(HONEST.token().replace(".", "=.", 1), "token.malformed", id="A13-padded-header"),
        pytest.param(HONEST.token().replace(".", "\n.", 1), "token.malformed", id="A13-newline"),
        pytest.param(HONEST.token() + "é", "token.malformed", id="A13-not-ascii"),
        pytest.param(HONEST.token() + "\ud800", "token.malformed", id="A13-surrogate"),
        pytest.param(HONEST.sign(claims=b'{"iss":"\xff"}'), "token.malformed", id="A13-utf8"),
        pytest.param(HONEST.sign(claims=b'{"iss":"\\ud800"}'), "token.malformed", id="A13-lone-surrogate"),
        pytest.param(HONEST.sign(claims=b"\xef\xbb\xbf{}"), "token.malformed", id="A13-bom"),
        pytest.param(HONEST.sign(claims=b"[]"), "token.malformed", id="A13-array"),
        pytest.param(HONEST.sign(claims=b'"x"'), "token.malformed", id="A13-string"),
        pytest.param(HONEST.sign(claims=b"{}{}"), "token.malformed", id="A13-two-objects"),
        pytest.param(HONEST.sign(header=b"null"), "token.malformed", id="A13-header-null"),
        pytest.param(HONEST.sign(claims=b'{"iss":1e999}'), "token.malformed", id="A13-overflow"),
        pytest.param(HONEST.sign(claims=b'{"exp":NaN}'), "token.malformed", id="A10-NaN"),
        pytest.param(HONEST.sign(claims=b'{"exp":-Infinity}'), "token.malformed", id="A10-infinity"),
        pytest.param(HONEST.sign(claims=b'{"exp":' + b"9" * 40 + b"}"), "token.malformed", id="A10-huge"),
    ],
)
async def test_form(token: str, code: str) -> None:
    await refused(token, code)


@pytest.mark.parametrize("name", ["iss", "sub", "exp", "aud"], ids=lambda name: f"A13-duplicate-{name}")
async def test_duplicate_claims(name: str) -> None:
    claims = compact(HONEST.claims())
    twice = claims[:-1] + b"," + compact({name: HONEST.claims()[name]})[1:]
    await refused(HONEST.sign(claims=twice), "token.malformed")


async def test_a13_second_spelling_of_a_signature() -> None:
    """A13-trailing bits: 64 bytes leave four unused bits; setting one would make a second token of the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = HONEST.token()
    other = token[:-1] + alphabet[alphabet.index(token[-1]) | 1]
    assert base64.urlsafe_b64decode(other.split(".")[2] + "==") == base64.urlsafe_b64decode(token.split(".")[2] + "==")
    await refused(other, "token.malformed")


async def test_a13_standard_base64_alphabet() -> None:
    """A13: `+` and `/` are another alphabet."""
    token = HONEST.token(pad="\u00fb\u00ff\u00fe~~~???")
    assert "_" in token.rpartition(".")[0] or "-" in token.rpartition(".")[0]
    head, _, signature = token.rpartition(".")
    await refused(head.replace("_", "/").replace("-", "+") + "." + signature, "token.malformed")


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(HONEST.token().rpartition(".")[0], "token.malformed", id="A14-signature-cut"),
        pytest.param(HONEST.token().rpartition(".")[0] + ".", "token.malformed", id="A14-signature-empty"),
        pytest.param(HONEST.token().rpartition(".")[0] + "." + b64(bytes(64)), "token.signature", id="A14-zeros"),
        pytest.param(HONEST.token().rpartition(".")[0] + "." + b64(b"\xff" * 64), "token.signature", id="A14-ones"),
        pytest.param(HONEST.token()[:-46], "token.signature", id="A14-half"),
    ],
)
async def test_signature_missing_or_trivial(token: str, code: str) -> None:
    await refused(token, code)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": EPOCH - 1000}, id="A14-expired"),
        pytest.param({"aud": "elsewhere"}, id="A14-audience"),
        pytest.param({"sub": ...}, id="A14-no-sub"),
        pytest.param({"cnf": {"jkt": "x"}}, id="A14-cnf"),
        pytest.param({"exp": "soon"}, id="A14-malformed"),
    ],
)
async def test_claims_are_not_read_before_the_signature(claims: dict[str, Any]) -> None:
    """What a forger writes is never judged: every such token is refused for its signature alone."""
    forger = Issuer(key=generate("ES256"))
    await refused(forger.token(**claims), "token.signature")


async def test_a14_payload_swapped_under_a_good_signature() -> None:
    """A14."""
    header, _, signature = HONEST.token().split(".")
    forged = f"{header}.{b64(compact(HONEST.claims(sub='admin')))}.{signature}"
    await refused(forged, "token.signature")


async def test_a02_signature_in_der_instead_of_r_and_s() -> None:
    """A02: a DER signature is longer and has many spellings."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature  # noqa: PLC0415 - used here only

    signed, _, signature = HONEST.token().rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    await refused(f"{signed}.{b64(der)}", "token.signature")


def test_a01_settings_offer_no_symmetric_algorithm() -> None:
    """A01: the configuration cannot even spell HS256 or none."""
    for algorithm in ("HS256", "none", "ES256K"):
        with pytest.raises(ValueError, match="Input should be"):
            issuer_settings(algorithms=[algorithm])
    with pytest.raises(ValueError, match="at least 1 item"):
        issuer_settings(algorithms=[])
    with pytest.raises(ValueError, match="exactly one"):
        JwksSettings.model_validate({"url": JWKS_URL, "discovery": True})

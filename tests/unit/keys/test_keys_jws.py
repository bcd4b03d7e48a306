"""JWKs, thumbprints and signatures of every kind of key, against the verifier and against PyJWT."""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from extauthz.authn import jwk as verifier
from extauthz.authn.jose import ALGORITHMS, Unverified, parse
from extauthz.keys.algorithms import KINDS, algorithm_of
from extauthz.keys.jwk import public_jwk, thumbprint
from extauthz.keys.jws import JwsKey
from extauthz.keys.signer import KeyFault

KEYS = {name: JwsKey(kind.generate()) for name, kind in KINDS.items()}
CLAIMS = {"iss": "https://authority.example", "sub": "alice", "exp": 1_800_000_300, "roles": ["teller"], "ü": "é"}


def test_a_thumbprint_is_that_of_rfc_7638() -> None:
    """Section 3.1's example."""
    key = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n"
        "3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZH"
        "zu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8"
        "awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_a_thumbprint_is_that_of_rfc_8037() -> None:
    """Appendix A.3's example."""
    public = ed25519.Ed25519PublicKey.from_public_bytes(
        base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    )
    assert thumbprint(public_jwk(public)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_key_publishes_what_verifiers_take(algorithm: str) -> None:
    published = KEYS[algorithm].jwk()
    assert published["alg"] == algorithm
    assert published["kid"] == KEYS[algorithm].id == thumbprint(published)
    assert not verifier.PRIVATE & published.keys()
    assert "use" not in published
    found = verifier.parse(published, ALGORITHMS)
    assert isinstance(found, verifier.Key)
    assert list(found.checks) == [algorithm]


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_signature_verifies_here_and_elsewhere(algorithm: str) -> None:
    key = KEYS[algorithm]
    token = key.sign(CLAIMS, typ="at+jwt")
    read = parse(token)
    assert isinstance(read, Unverified)
    assert (read.header.alg, read.header.kid, read.header.typ) == (algorithm, key.id, "at+jwt")
    public = verifier.parse(key.jwk(), ALGORITHMS)
    assert isinstance(public, verifier.Key)
    assert public.verifies(algorithm, read.signature, read.signed)
    assert not public.verifies(algorithm, read.signature, read.signed + b"x")
    options = {"verify_exp": False}
    assert jwt.decode(token, jwt.PyJWK(key.jwk()), algorithms=[algorithm], options=options) == CLAIMS


def test_the_header_holds_three_members_and_follows_the_type() -> None:
    key = KEYS["ES256"]
    for typ in ["at+jwt", "JWT", "txntoken+jwt", "at+jwt"] + [f"t{n}" for n in range(40)]:
        header = json.loads(base64.urlsafe_b64decode(key.sign({}, typ=typ).partition(".")[0] + "=="))
        assert header == {"alg": "ES256", "kid": key.id, "typ": typ}
    assert len(key._headers) <= 16


@pytest.mark.parametrize("claims", [{"a": object()}, {"a": 2**80}, {1: "a"}, {"a": {"b": b"bytes"}}])
def test_claims_that_are_not_json_are_a_fault_without_their_values(claims: dict) -> None:
    with pytest.raises(KeyFault, match="not JSON") as caught:
        KEYS["ES256"].sign(claims, typ="JWT")
    assert "bytes" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
        x25519.X25519PrivateKey.generate(),
    ],
    ids=["P-521", "RSA-2048", "X25519"],
)
def test_other_kinds_of_key_sign_nothing(key: object) -> None:
    with pytest.raises(KeyFault):
        algorithm_of(key)  # type: ignore[arg-type]


def test_a_key_of_another_kind_has_no_jwk() -> None:
    with pytest.raises(KeyFault):
        public_jwk(x25519.X25519PrivateKey.generate().public_key())
    assert public_jwk(ec.generate_private_key(ec.SECP521R1()).public_key())["crv"] == "P-521"


def test_a_key_shows_nothing_of_itself() -> None:
    key = KEYS["ES256"]
    assert repr(key) == f"JwsKey(ES256, {key.id})"


class _Broken(ec.EllipticCurvePrivateKey):
    """An HSM whose session is gone."""

    curve = ec.SECP256R1()
    key_size = 256
    _public = ec.generate_private_key(ec.SECP256R1()).public_key()

    def public_key(self):
        return self._public

    def sign(self, *_):
        raise ValueError("session closed: pin 1234")

    exchange = private_bytes = private_numbers = __copy__ = __deepcopy__ = sign


def test_a_key_that_does_not_sign_is_a_fault() -> None:
    with pytest.raises(KeyFault, match="does not sign") as caught:
        JwsKey(_Broken()).sign({}, typ="JWT")
    assert "1234" not in str(caught.value)

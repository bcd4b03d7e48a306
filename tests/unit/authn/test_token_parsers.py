"""Whatever comes in, a parser answers or refuses; and what we accept, PyJWT accepts."""

from __future__ import annotations

import asyncio
import json
import string
from typing import Any

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extauthz.authn import jose, json_object, jwks
from extauthz.authn.extract import bearer
from extauthz.authn.tokens import Verified
from extauthz.model import Deny
from tests.support.certs import peer_request
from tests.support.tokens import AUDIENCE, EPOCH, ISSUER, JWKS_URL, RULE, Issuer, b64, bench, compact, issuer_settings

HONEST = Issuer()
TOKEN = HONEST.token()
B64 = string.ascii_letters + string.digits + "-_"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(max_size=200) | st.text(B64 + ".=", max_size=200))
@example("...")
@example("e30.e30.AA")
def test_any_text_is_a_token_or_refused(text: str) -> None:
    assert isinstance(jose.parse(text), jose.Unverified | Deny)


@given(JSON, JSON, st.binary(max_size=70))
def test_any_json_is_a_token_or_refused(header: Any, claims: Any, signature: bytes) -> None:
    token = ".".join(map(b64, [compact(header), compact(claims), signature]))
    assert isinstance(jose.parse(token), jose.Unverified | Deny)


@given(st.binary(max_size=60))
def test_base64url_has_one_spelling(raw: bytes) -> None:
    assert jose.decode(b64(raw).encode()) == raw


@given(st.text(B64 + "=+/\n ", max_size=12).map(str.encode))
def test_decoded_base64url_encodes_to_itself(encoded: bytes) -> None:
    raw = jose.decode(encoded)
    assert raw is None or b64(raw).encode() == encoded


@given(JSON | st.dictionaries(st.text(max_size=6), JSON, max_size=5))
def test_strict_json_agrees_with_json(value: Any) -> None:
    raw = json.dumps(value).encode()
    found = json_object.parse_object(raw, max_depth=64, max_values=1000)
    if found is not None:
        assert found == value == json.loads(raw)
        json.dumps(found, ensure_ascii=False).encode()


@given(st.binary(max_size=80) | st.text('{}[]",:\\u d8019.eE-+ \n', max_size=60).map(str.encode))
@example(b'{"a":1e400}')
@example(b'{"a":' * 40)
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    found = json_object.parse_object(raw, max_depth=6, max_values=100)
    assert found is None or found == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b' {"a": [1, {"b": 2}]} ', {"a": [1, {"b": 2}]}),
        (b'{"a":9223372036854775807}', {"a": 9223372036854775807}),
        (b'{"a":10000000000000000000}', None),
        (b'{"a":1.5}', {"a": 1.5}),
        (b'{"a":[[[]]]}', None),
        (b'{"a":[1,2,3,4,5,6,7,8]}', None),
        (b'{"\\ud83d\\ude00":1}', {"\U0001f600": 1}),
        (b'{"\\ud83d":1}', None),
        (b"", None),
    ],
)
def test_bounds_of_strict_json(raw: bytes, found: Any) -> None:
    assert json_object.parse_object(raw, max_depth=3, max_values=8) == found


@given(st.text(max_size=60) | st.builds("{} {}".format, st.sampled_from(["Bearer", "bearer", "B"]), st.text()))
def test_any_header_is_a_token_or_refused(value: str) -> None:
    found = bearer(peer_request(headers={"authorization": value}))
    assert isinstance(found, Deny) or found == value[7:]


@given(st.binary(max_size=80) | st.builds(lambda keys: compact({"keys": keys}), st.lists(JSON, max_size=4)))
def test_any_bytes_are_a_key_set_or_refused(raw: bytes) -> None:
    assert isinstance(jwks.parse(raw, ["ES256"], "main"), jwks.KeySet | str)


MEMBERS = ["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops"]


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON | st.sampled_from(["EC", "RSA", "OKP", "P-256", "AQAB"])))
def test_any_altered_key_is_used_or_not(members: dict[str, Any]) -> None:
    found = jwks.parse(compact({"keys": [HONEST.jwk() | members]}), ["ES256", "RS256", "EdDSA"], "main")
    assert isinstance(found, jwks.KeySet | str)


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from(B64 + "."))
def test_no_single_change_survives(position: int, character: str) -> None:
    changed = TOKEN[:position] + character + TOKEN[position + 1 :]

    async def verify() -> Verified | Deny:
        return await bench({JWKS_URL: HONEST.jwks()}).verifier.verify(changed, RULE, None)

    answer = asyncio.run(verify())
    assert isinstance(answer, Deny) == (changed != TOKEN)


ISSUERS = {name: Issuer(algorithm=name) for name in ("ES256", "ES384", "ES512", "RS256", "PS384", "EdDSA")}
CLAIMS = st.fixed_dictionaries(
    {
        "iss": st.sampled_from([ISSUER, ISSUER, ISSUER + "/", 1]),
        "aud": st.sampled_from([AUDIENCE, [AUDIENCE, "b"], ["b"], "b", [], None, [1]]),
        "exp": st.sampled_from([EPOCH + 60, EPOCH + 60, EPOCH - 60, "x", float(EPOCH)]),
        "sub": st.sampled_from(["alice", "bob", "", 5]),
    },
    optional={"nbf": st.sampled_from([EPOCH, EPOCH + 60]), "extra": JSON},
)


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(ISSUERS)), CLAIMS, st.sampled_from(sorted(ISSUERS)), st.sampled_from(["at+jwt", "JWT", 1])
)
def test_what_we_accept_pyjwt_accepts(signer: str, claims: dict[str, Any], published: str, typ: Any) -> None:
    """PyJWT is the oracle for signature, issuer, audience and claims; time is ours (it cannot be given a clock)."""
    token = ISSUERS[signer].sign(ISSUERS[signer].header(typ=typ), ISSUERS[signer].claims(**claims))
    jwk = ISSUERS[published].jwk()
    used = bench({JWKS_URL: {"keys": [jwk]}}, issuer_settings(algorithms=sorted(ISSUERS)))
    answer = asyncio.run(used.verifier.verify(token, RULE, None))
    key = jwt.PyJWK({**jwk, "alg": published})
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    try:
        expected = jwt.decode(token, key, [published], options=options, audience=AUDIENCE, issuer=ISSUER)
    except jwt.PyJWTError:
        assert isinstance(answer, Deny)
        return
    times_are_right = claims["exp"] == EPOCH + 60 and type(claims["exp"]) is int and claims.get("nbf") != EPOCH + 60
    if isinstance(answer, Verified):
        assert (answer.subject.id, answer.subject.issuer) == (expected["sub"], expected["iss"])
        assert times_are_right
        assert typ == "at+jwt"
    elif times_are_right and typ == "at+jwt" and expected["sub"]:
        # We refuse what PyJWT lets through only for a form that is stricter than JSON.
        assert answer.code == "token.malformed"

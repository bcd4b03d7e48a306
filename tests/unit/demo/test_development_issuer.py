"""The development issuer: what it signs, and what it refuses to exchange."""

from __future__ import annotations

import hashlib

import httpx
import jwt
import pytest

from extauthz.clock import ManualClock, SystemClock
from extauthz.demo.issuer import MAX_HOPS, SIGN_IN, app, hop_claims, user_claims
from extauthz.demo.services.hop import ACCESS_TOKEN, EXCHANGE
from extauthz.demo.tokens import Mint, new_key
from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION
from extauthz.errors import ExtauthzError

SECRET = "a secret of the test"
ISSUER = "http://127.0.0.1:9999"


@pytest.fixture
def clock():
    # PyJWT reads the machine's time when it verifies.
    return ManualClock(epoch=SystemClock().now())


@pytest.fixture
def key(tmp_path):
    file = tmp_path / "issuer.key"
    file.write_bytes(new_key())
    return file


@pytest.fixture
def mint(key, clock):
    return Mint(ISSUER, key.read_bytes(), clock)


@pytest.fixture
async def client(key, clock):
    settings = {
        "issuer": ISSUER,
        "key_file": str(key),
        "edge_audience": EDGE.audience,
        "clients": [
            {
                "id": EDGE.id,
                "secret_sha256": hashlib.sha256(SECRET.encode()).hexdigest(),
                "certificate_sha256": "thumb",
                "audience": EDGE.audience,
                "reaches": [ORCHESTRATION.audience],
            }
        ],
    }
    transport = httpx.ASGITransport(app=app(settings, clock))
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as http:
        yield http


def _auth(secret=SECRET, name=EDGE.id):
    return (name.replace(":", "%3A").replace("/", "%2F"), secret)


async def _exchange(client, token, *, audience=ORCHESTRATION.audience, auth=None, **more):
    form = {
        "grant_type": EXCHANGE,
        "subject_token": token,
        "subject_token_type": ACCESS_TOKEN,
        "audience": audience,
        **more,
    }
    return await client.post("/token", data=form, auth=auth or _auth())


async def test_discovery_leads_to_the_keys(client):
    document = (await client.get("/.well-known/openid-configuration")).json()
    assert document["issuer"] == ISSUER
    keys = (await client.get(document["jwks_uri"])).json()["keys"]
    assert [key["kid"] for key in keys] == ["development-1"]
    assert all("d" not in key for key in keys)


async def test_a_user_token_is_an_access_token(client, mint):
    answer = await client.post("/token", data={"grant_type": SIGN_IN, "user": "alice"})
    token = answer.json()["access_token"]
    assert answer.headers["cache-control"] == "no-store"
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = mint.verify(token, EDGE.audience)
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= claims.keys()
    assert (claims["tenant"], claims["purpose"]) == ("acme", "payment")


async def test_an_exchange_narrows(client, mint):
    user = mint.sign(user_claims("alice", EDGE.audience), lifetime=30)
    answer = await _exchange(client, user)
    claims = mint.verify(answer.json()["access_token"], ORCHESTRATION.audience)
    assert claims["sub"] == "alice"
    assert claims["act"] == {"sub": EDGE.id}
    assert claims["cnf"] == {"x5t#S256": "thumb"}
    assert claims["exp"] <= mint.verify(user, EDGE.audience)["exp"]


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"audience": MODEL.audience}, 400, "invalid_target"),
        ({"auth": ("nobody", SECRET)}, 401, "invalid_client"),
        ({"auth": _auth("guess")}, 401, "invalid_client"),
        ({"subject_token_type": "urn:x"}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_what_is_not_exchanged(client, mint, change, status, error):
    answer = await _exchange(client, mint.sign(user_claims("alice", EDGE.audience)), **change)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_tokens_for_others_forged_and_expired_are_not_exchanged(client, mint, clock):
    claims = user_claims("alice", EDGE.audience)
    for token in (
        mint.sign({**claims, "aud": MODEL.audience}),
        Mint(ISSUER, new_key(), clock).sign(claims),
        mint.sign(claims, lifetime=-1),
        "not a token",
    ):
        answer = await _exchange(client, token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_chain_of_actors_is_bounded(client, mint):
    claims = user_claims("alice", EDGE.audience)
    for _ in range(MAX_HOPS):
        claims = {**claims, "act": hop_claims(claims, {"id": EDGE.id, "certificate_sha256": "t"}, "x")["act"]}
    answer = await _exchange(client, mint.sign(claims))
    assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    "content",
    [b"", b"grant_type=a&grant_type=b", b"&&", b"\xff=1", b"a=1&" * 40, b"x" * 20000],
)
async def test_forms_that_are_not_read(client, content):
    answer = await client.post("/token", content=content)
    assert answer.status_code in {400, 413}
    assert "error" in answer.json()


async def test_an_unknown_user_is_refused(client):
    answer = await client.post("/token", data={"grant_type": SIGN_IN, "user": "root"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_verification_fails_with_our_error(mint):
    with pytest.raises(ExtauthzError):
        mint.verify("x.y.z", "anybody")

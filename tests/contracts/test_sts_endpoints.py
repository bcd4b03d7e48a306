"""The token service over HTTP: status, headers and bodies as the RFCs have them, and tokens that others accept."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from starlette.applications import Starlette

from extauthz.authn.settings import TokenRule
from extauthz.errors import ExtauthzError
from extauthz.model import Workload
from extauthz.sts.answers import ACCESS_TOKEN, CLIENT_CREDENTIALS, EXCHANGE, JWT, SIGN_IN, TRANSACTION_TOKEN
from extauthz.sts.endpoints import routes
from extauthz.sts.subject import own_issuer
from tests.support import tokens
from tests.support.sts import (
    DOMAIN,
    FEATURES,
    GATEWAY,
    MODEL,
    OPAQUE,
    SCORER,
    STS,
    TRANSMITTER,
    Desk,
    chosen_client,
    desk,
    encoded,
)
from tests.support.tokens import AUDIENCE, EPOCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FORM = {"content-type": "application/x-www-form-urlencoded"}


class Http:
    """Requests to the endpoints; `client` is whose certificate they come with."""

    def __init__(self, bench: Desk, peer: tuple[str, int] | None = ("192.0.2.1", 1)) -> None:
        self.client: Any = GATEWAY
        transport = httpx.ASGITransport(Starlette(routes=routes(bench.service, chosen_client(self))), client=peer)
        self._http = httpx.AsyncClient(transport=transport, base_url=STS)

    async def post(self, path: str, content: bytes | None = None, **fields: Any) -> httpx.Response:
        return await self._http.post(path, content=encoded(**fields) if content is None else content, headers=FORM)

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self._http.request(method, path, **more)

    async def exchange(self, token: str, audience: str = MODEL, **fields: Any) -> httpx.Response:
        usual = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
        return await self.post("/token", **{**usual, "audience": audience, **fields})

    async def close(self) -> None:
        await self._http.aclose()


@pytest.fixture
def bench() -> Desk:
    return desk()


@pytest.fixture
async def http(bench: Desk) -> AsyncIterator[Http]:
    made = Http(bench)
    yield made
    await made.close()


def no_store(response: httpx.Response) -> bool:
    return response.headers["cache-control"] == "no-store" and response.headers["pragma"] == "no-cache"


async def test_exchange_answer(bench, http):
    """RFC 8693 section 2.2.1."""
    answer = await http.exchange(bench.user_token(), scope="transfers:read")
    assert answer.status_code == 200
    assert no_store(answer)
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"access_token", "issued_token_type", "token_type", "expires_in", "scope"}
    assert (body["issued_token_type"], body["token_type"]) == (ACCESS_TOKEN, "Bearer")
    assert (body["expires_in"], body["scope"]) == (300, "transfers:read")


async def test_transaction_token_answer(bench, http):
    body = (await http.exchange(bench.user_token(), DOMAIN, requested_token_type=TRANSACTION_TOKEN)).json()
    assert (body["token_type"], body["issued_token_type"]) == ("N_A", TRANSACTION_TOKEN)
    assert "refresh_token" not in body
    header = jwt.get_unverified_header(body["access_token"])
    assert header.keys() == {"alg", "kid", "typ"}
    assert header["typ"] == "txntoken+jwt"


async def test_errors(bench, http):
    """RFC 6749 section 5.2, RFC 8693 section 2.2.2."""
    token = bench.user_token()
    cases = [
        (await http.exchange(token, MODEL + "x"), 400, "invalid_target"),
        (await http.exchange(token, scope="admin"), 400, "invalid_scope"),
        (await http.exchange("x"), 400, "invalid_request"),
        (await http.exchange(token, actor_token="x"), 400, "invalid_request"),
        (await http.exchange(token, grant_type="password"), 400, "unsupported_grant_type"),
        (await http.post("/token", b"a=1&a=2"), 400, "invalid_request"),
        (await http.post("/token", b""), 400, "unsupported_grant_type"),
        (await http.post("/token", b"a=" + b"1" * 40_000), 400, "invalid_request"),
        (await http.post("/token?grant_type=x", b"a=1"), 400, "invalid_request"),
        (await http.send("POST", "/token", json={"grant_type": EXCHANGE}), 400, "invalid_request"),
        (await http.post("/introspect", b"x=1"), 400, "invalid_request"),
        (await http.post("/revoke", b"x=1"), 400, "invalid_request"),
    ]
    http.client = None
    cases += [(await http.post(path, token=token), 401, "invalid_client") for path in ("/introspect", "/revoke")]
    cases += [(await http.exchange(token), 401, "invalid_client")]
    for answer, status, error in cases:
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert no_store(answer)
        assert answer.json().keys() == {"error", "error_description"}
        assert token not in answer.text


@pytest.mark.parametrize("path", ["/token", "/introspect", "/revoke", "/events"])
async def test_post_only(http, path):
    for method in ("GET", "PUT", "DELETE"):
        assert (await http.send(method, path)).status_code == 405


async def test_faults_say_later(bench, http):
    token = (await http.exchange(bench.user_token())).json()["access_token"]
    bench.store.down = True
    http.client = SCORER
    answers = [await http.post(path, token=token) for path in ("/introspect", "/revoke")]
    answers.append(await http.exchange(token))
    events = {"content-type": "application/secevent+jwt"}
    answers.append(await http.send("POST", "/events", content=event(bench), headers=events))
    http.client = ExtauthzError("the registration cannot be looked up")
    answers.append(await http.exchange(token))
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"] == "temporarily_unavailable"


async def test_introspection_and_revocation(bench, http):
    """RFC 7662 section 2.2, RFC 7009 section 2.2."""
    token = (await http.exchange(bench.user_token(), OPAQUE)).json()["access_token"]
    assert (await http.post("/introspect", token=token)).json() == {"active": False}
    http.client = FEATURES
    answer = await http.post("/introspect", token=token)
    assert no_store(answer)
    body = answer.json()
    assert (body["active"], body["token_type"], body["aud"], body["iss"]) == (True, "Bearer", OPAQUE, STS)
    assert (body["exp"], body["sub"], body["client_id"]) == (EPOCH + 300, "alice", GATEWAY.spiffe_id)
    for _ in range(2):
        answer = await http.post("/revoke", token=token, token_type_hint="access_token")
        assert (answer.status_code, answer.content) == (200, b"")
    assert (await http.post("/introspect", token=token)).json() == {"active": False}
    assert (await http.post("/revoke", token="unknown")).status_code == 200


def event(bench: Desk, **changes: Any) -> str:
    claims = {
        "iss": TRANSMITTER,
        "aud": STS,
        "iat": EPOCH,
        "jti": "e-1",
        "sub_id": {"format": "iss_sub", "iss": TRANSMITTER, "sub": "alice"},
        "events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}},
        **changes,
    }
    return bench.transmitter.sign(bench.transmitter.header(typ="secevent+jwt"), claims)


async def test_events(bench, http):
    """RFC 8935 sections 2.2 and 2.3."""
    http.client = None
    headers = {"content-type": "application/secevent+jwt", "accept": "application/json"}
    for _ in range(2):
        answer = await http.send("POST", "/events", content=event(bench), headers=headers)
        assert (answer.status_code, answer.content) == (202, b"")
    wrong = await http.send("POST", "/events", content=event(bench, aud="other"), headers=headers)
    assert (wrong.status_code, wrong.json()["err"]) == (400, "invalid_audience")
    assert wrong.json().keys() == {"err", "description"}
    for content, kind in ((event(bench), "application/jwt"), ("\u00e4".encode(), headers["content-type"])):
        answer = await http.send("POST", "/events", content=content, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["err"]) == (400, "invalid_request")


async def test_metadata_and_keys(bench, http):
    """RFC 8414 section 3, RFC 7517."""
    http.client = None
    documents = [
        (await http.send("GET", f"/.well-known/{name}")).json()
        for name in ("oauth-authorization-server", "openid-configuration")
    ]
    assert documents[0] == documents[1]
    assert documents[0]["issuer"] == STS
    keys = (await http.send("GET", "/jwks.json")).json()["keys"]
    assert [key["kid"] for key in keys] == [bench.signer.keys[0].id]
    assert not any("d" in key for key in keys)


async def test_sign_in_only_from_this_machine(bench):
    fields = {"grant_type": SIGN_IN, "username": "alice", "audience": AUDIENCE}
    for peer, status in ((("127.0.0.1", 1), 200), (("::1", 1), 200), (None, 200), (("192.0.2.1", 1), 400)):
        http = Http(bench, peer)
        http.client = None
        assert (await http.post("/token", **fields)).status_code == status
        await http.close()
    http = Http(desk(development={"users": {"alice": {"audiences": [AUDIENCE]}}, "from_anywhere": True}))
    assert (await http.post("/token", **fields)).status_code == 200
    await http.close()


async def test_workload_token(http):
    answer = await http.post("/token", grant_type=CLIENT_CREDENTIALS, audience=MODEL, scope="health")
    assert answer.json()["scope"] == "health"


# ------------------------------------------------------------------ others read what we issue


async def test_check_server_accepts_the_token_from_its_holder_only(bench, http):
    """The other side of the same product: verified by `authn.tokens`, from the published keys."""
    answer = (await http.exchange(bench.user_token(), requested_token_type=JWT)).json()
    assert answer["issued_token_type"] == JWT
    issued = answer["access_token"]
    issuer = own_issuer(bench.settings)
    document = (await http.send("GET", "/jwks.json")).json()
    check = tokens.bench({f"{STS}/jwks.json": document}, issuer)
    rule = TokenRule(issuers=(issuer.name,), audiences=(MODEL,), binding="required", purposes=("payment",))
    caller = Workload(GATEWAY.spiffe_id, "bank.example", certificate_sha256=GATEWAY.certificate_sha256)
    assert await check.code(issued, rule, caller) == "ok"
    verified = await check.verifier.verify(issued, rule, caller)
    subject = verified.subject  # type: ignore[union-attr]  # it has been accepted
    assert (subject.type, subject.id, subject.act, subject.ancestors) == (
        "user",
        "alice",
        (GATEWAY.spiffe_id,),
        ("t-1",),
    )
    thief = Workload(SCORER.spiffe_id, "bank.example", certificate_sha256=SCORER.certificate_sha256)
    assert await check.code(issued, rule, thief) == "transport.binding_mismatch"
    other = TokenRule(issuers=(issuer.name,), audiences=(OPAQUE,))
    assert await check.code(issued, other, caller) == "token.audience"
    await check.store.close()


async def test_pyjwt_accepts_the_token(bench, http):
    """RFC 9068 section 4, by a library that others wrote."""
    issued = (await http.exchange(bench.user_token())).json()["access_token"]
    keys = jwt.PyJWKSet.from_dict((await http.send("GET", "/jwks.json")).json())
    header = jwt.get_unverified_header(issued)
    claims = jwt.decode(
        issued,
        keys[header["kid"]],
        algorithms=["ES256"],
        audience=MODEL,
        issuer=STS,
        options={
            "verify_exp": False,
            "verify_iat": False,
            "require": ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"],
        },
    )
    assert header["typ"] == "at+jwt"
    assert claims["act"] == {"sub": GATEWAY.spiffe_id}
    payload = issued.split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))) == claims

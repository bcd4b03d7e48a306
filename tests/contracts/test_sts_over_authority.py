"""Three hops through a running authority: real SVIDs, mTLS, the client half that a Check server uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.outbound import Outbound
from extauthz.sts.answers import ACCESS_TOKEN, EXCHANGE, JWT, SIGN_IN, Issued, Refused
from extauthz.sts.client import ExchangeClient
from tests.support.authority import audit_text, entry, running
from tests.support.sts import claims_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.authority import RunningAuthority, Svid

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
STS = "https://authority.bank.example"
ENTRIES = [
    entry("gateway", audiences=["edge"], exchange_to=["orchestrator"]),
    entry("orchestrator", audiences=["orchestrator"], exchange_to=["model"]),
    entry("model", audiences=["model"]),
]
SETTINGS = {
    "issuer": STS,
    "purposes": {"payment": ["fraud-scoring"]},
    "development": {
        "users": {
            "alice": {
                "audiences": ["edge"],
                "scopes": ["transfers:write", "scores:read"],
                "purposes": ["payment"],
                "claims": {"tenant": "acme"},
            }
        }
    },
}


@dataclass(frozen=True)
class Question:
    audience: str
    scopes: tuple[str, ...] = ()
    purpose: str = ""
    lifetime: float | None = None
    kind: str = "access_token"


async def ask(authority: RunningAuthority, svid: Svid, token: str, question: Question) -> Issued | Refused:
    outbound = Outbound([authority.url], verify=authority.tls(await authority.trust_pem(), svid))
    try:
        return await ExchangeClient(f"{authority.url}/token", outbound).exchange(token, question, timeout=10)
    finally:
        await outbound.close()


async def sign_in(authority: RunningAuthority) -> str:
    async with authority.client() as http:
        answer = await http.post("/token", data={"grant_type": SIGN_IN, "username": "alice", "audience": "edge"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def introspected(authority: RunningAuthority, svid: Svid, token: str) -> Any:
    async with authority.client(svid) as http:
        return (await http.post("/introspect", data={"token": token})).json()


async def test_chain_narrows_and_ends_with_its_root(tmp_path: Path) -> None:
    async with running(tmp_path, entries=ENTRIES, sts=SETTINGS) as authority:
        gateway, middle, model = [await authority.attest(name) for name in ("gateway", "orchestrator", "model")]
        user = await sign_in(authority)
        first = await ask(authority, gateway, user, Question("orchestrator", lifetime=120))
        assert isinstance(first, Issued)
        second = await ask(authority, middle, first.token, Question("model", ("scores:read",), "fraud-scoring"))
        assert isinstance(second, Issued)
        claims = claims_of(second.token)
        assert claims["act"] == {"sub": middle.spiffe_id, "act": {"sub": gateway.spiffe_id}}
        assert claims["ancestors"] == [claims_of(user)["jti"], claims_of(first.token)["jti"]]
        assert claims["cnf"] == {"x5t#S256": middle.x5t}
        assert claims["exp"] <= claims_of(first.token)["exp"] <= claims_of(user)["exp"]
        assert (claims["scope"], claims["purpose"], claims["tenant"]) == ("scores:read", "fraud-scoring", "acme")
        assert await introspected(authority, model, second.token) == {**claims, "active": True, "token_type": "Bearer"}

        wider = await ask(authority, middle, first.token, Question("model", ("admin",)))
        assert isinstance(wider, Refused)
        assert wider.error == "invalid_scope"
        stolen = await ask(authority, model, first.token, Question("model"))
        assert isinstance(stolen, Refused)
        assert stolen.error == "invalid_target"

        async with authority.client(gateway) as http:
            assert (await http.post("/revoke", data={"token": user})).status_code == 200
        assert await introspected(authority, model, second.token) == {"active": False}
        late = await ask(authority, middle, first.token, Question("model"))
        assert isinstance(late, Refused)
        assert "token.revoked" in late.description
        records = audit_text(tmp_path)
        assert not any(token in records for token in (user, first.token, second.token))


async def test_jwt_svid_of_the_authority_is_an_actor_token(tmp_path: Path) -> None:
    async with running(tmp_path, entries=ENTRIES, sts=SETTINGS) as authority:
        gateway, middle = [await authority.attest(name) for name in ("gateway", "orchestrator")]
        user = await sign_in(authority)
        form = {
            "grant_type": EXCHANGE,
            "subject_token": user,
            "subject_token_type": ACCESS_TOKEN,
            "audience": "orchestrator",
            "actor_token_type": JWT,
        }

        async def with_actor(svid: Svid, audience: str) -> int:
            async with authority.client(svid) as http:
                actor = (await http.post("/v1/jwt-svid", json={"audience": [audience]})).json()["token"]
            async with authority.client(gateway) as http:
                return (await http.post("/token", data={**form, "actor_token": actor})).status_code

        assert await with_actor(gateway, STS) == 200
        assert await with_actor(gateway, "other") == 400
        assert await with_actor(middle, STS) == 400


async def test_renewed_workload_is_bound_to_what_it_shows(tmp_path: Path) -> None:
    async with running(tmp_path, entries=ENTRIES, sts=SETTINGS) as authority:
        gateway = await authority.attest("gateway")
        user = await sign_in(authority)
        renewed = await authority.renew(gateway)
        for svid in (gateway, renewed):
            answer = await ask(authority, svid, user, Question("orchestrator"))
            assert isinstance(answer, Issued)
            assert claims_of(answer.token)["cnf"] == {"x5t#S256": svid.x5t}

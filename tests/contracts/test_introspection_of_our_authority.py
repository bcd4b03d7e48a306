"""Our Check side asks our own authority about tokens: mTLS with an attested identity, over real TLS."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.authn.bearer import BearerVerifier
from extauthz.authn.held import Verified
from extauthz.authn.keys import KeyStore
from extauthz.authn.revocation import Revocations
from extauthz.authn.settings import IdentitySettings, IssuerSettings, RevocationSettings, TokenRule
from extauthz.authn.tokens import TokenVerifier
from extauthz.check.own_identity import ServerIdentity
from extauthz.clock import ManualClock
from extauthz.model import Workload
from extauthz.outbound import Outbound
from extauthz.sts.answers import SIGN_IN
from extauthz.tasks import Tasks
from tests.support import authority as authorities
from tests.support import parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.authority import RunningAuthority

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
OPAQUE, SIGNED = "model", "orchestrator"
"""Audiences; the authority issues opaque tokens for the first and JWTs for the second."""
USERS = {
    "alice": {
        "audiences": [OPAQUE, SIGNED],
        "scopes": ["scores:read"],
        "acr": ["pwd", "phr"],
        "claims": {"tenant": "acme", "roles": ["analyst"]},
    }
}
SERVED = authorities.entry("zone", audiences=[OPAQUE, SIGNED])
"""The workload that our Check server is, in front of both services."""


@dataclass
class Zone:
    authority: RunningAuthority
    verifier: BearerVerifier
    clock: ManualClock

    async def sign_in(self, audience: str, svid: Any = None, **form: str) -> str:
        form = {"grant_type": SIGN_IN, "username": "alice", "audience": audience, **form}
        async with self.authority.client(svid) as http:
            answer = await http.post("/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def revoke(self, token: str, svid: Any) -> None:
        async with self.authority.client(svid) as http:
            answer = await http.post("/revoke", data={"token": token})
        assert answer.status_code == 200, answer.text

    async def code(self, token: str, rule: TokenRule, workload: Workload | None = None) -> str:
        return getattr(await self.verifier.verify(token, rule, workload), "code", "ok")


def rule(audience: str, introspect: str, **changes: Any) -> TokenRule:
    return TokenRule.model_validate(
        {"issuers": ["authority"], "audiences": [audience], "introspect": introspect, **changes}
    )


@asynccontextmanager
async def zone_of(authority: RunningAuthority, entry: str, directory: Path) -> AsyncIterator[Zone]:
    """A verifier whose own identity is that of `entry`, from files."""
    svid = await authority.attest(entry)
    files = {name: directory / f"{entry}-{name}.pem" for name in ("certificate", "private_key", "trust_bundle")}
    files["certificate"].write_text(svid.chain)
    key = svid.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files["private_key"].write_bytes(key)
    files["trust_bundle"].write_text(await authority.trust_pem())
    clock = ManualClock(epoch=time.time_ns() / 1e9)
    identity = ServerIdentity(IdentitySettings.model_validate(files), clock)
    await identity.start()
    issuer = IssuerSettings.model_validate(
        {
            "name": "authority",
            "issuer": authority.url,
            "algorithms": ["ES256"],
            "jwks": {"url": f"{authority.url}/jwks.json"},
            "introspection": {
                "url": f"{authority.url}/introspect",
                "client": "mtls",
                "prefix": "xat_",
                "timeout": "5s",
            },
        }
    )
    own = Outbound([f"{authority.url}/introspect", *issuer.outbound_urls], verify=identity.context)
    revocations, tasks = Revocations(RevocationSettings()), Tasks()
    keys = KeyStore([issuer], own, clock)
    tokens = TokenVerifier([issuer], keys, revocations, clock)
    made = BearerVerifier.of(
        [issuer], tokens, revocations, clock, tasks, send=own.send, own=own.send, asked=lambda _seconds, _good: None
    )
    try:
        yield Zone(authority, made, clock)
    finally:
        await tasks.close()
        await keys.close()
        await own.close()
        await identity.close()


def config(directory: Path) -> Path:
    parts.require_embedded()
    file = authorities.write_config(directory, entries=[*authorities.ENTRIES, SERVED])
    tree = yaml.safe_load(file.read_text())
    tree["authority"]["sts"] |= {"opaque_audiences": [OPAQUE], "development": {"users": USERS}}
    file.write_text(yaml.safe_dump(tree))
    return file


@pytest.fixture
async def authority(tmp_path: Path) -> AsyncIterator[RunningAuthority]:
    async with authorities.started(config(tmp_path)) as running:
        yield running


@pytest.fixture
async def zone(authority: RunningAuthority, tmp_path: Path) -> AsyncIterator[Zone]:
    async with zone_of(authority, "zone", tmp_path) as made:
        yield made


async def test_an_opaque_token_is_introspected_and_its_revocation_arrives(zone: Zone) -> None:
    opaque = rule(OPAQUE, "opaque", acr=["phr"], max_age="5m")
    token = await zone.sign_in(OPAQUE, acr="phr")
    assert token.startswith("xat_")
    answer = await zone.verifier.verify(token, opaque, None)
    assert isinstance(answer, Verified), answer
    who = answer.subject
    assert (who.id, who.credential, who.audience, who.claims["tenant"]) == ("alice", "opaque", (OPAQUE,), "acme")
    assert await zone.code(await zone.sign_in(OPAQUE, acr="pwd"), opaque) == "token.step_up"
    assert await zone.code("xat_" + "A" * 43, opaque) == "token.inactive"
    reply = await zone.authority.operator("POST", "/revoke", {"kind": "jti", "value": who.token_id, "reason": "test"})
    assert reply.status_code == 200, reply.text
    assert await zone.code(token, opaque) == "ok"
    zone.clock.advance(5)
    assert await zone.code(token, opaque) == "token.inactive"


async def test_jwts_are_asked_about_as_well_where_a_route_wants_it(zone: Zone) -> None:
    always = rule(SIGNED, "always")
    token = await zone.sign_in(SIGNED)
    assert token.count(".") == 2
    assert await zone.code(token, always) == "ok"
    answer = zone.verifier.cached(token, always, None)
    assert isinstance(answer, Verified)
    revoked = {"kind": "jti", "value": answer.subject.token_id, "reason": "test"}
    assert (await zone.authority.operator("POST", "/revoke", revoked)).status_code == 200
    zone.clock.advance(5)
    assert await zone.code(token, always) == "token.inactive"
    assert await zone.code(token, rule(SIGNED, "opaque")) == "ok"  # a route that learns of it otherwise


@pytest.mark.attack
async def test_a18_a_bound_opaque_token_is_for_its_holder(zone: Zone) -> None:
    holder = await zone.authority.attest("gateway")
    token = await zone.sign_in(OPAQUE, holder)
    opaque = rule(OPAQUE, "opaque")
    assert await zone.code(token, opaque) == "transport.binding_mismatch"
    thief = Workload("spiffe://bank.example/thief", "bank.example", certificate_sha256="A" * 43)
    assert await zone.code(token, opaque, thief) == "transport.binding_mismatch"


@pytest.mark.attack
async def test_a19_the_authority_tells_only_whom_the_token_is_for(authority: RunningAuthority, tmp_path: Path) -> None:
    async with zone_of(authority, "introspector", tmp_path) as stranger:
        token = await stranger.sign_in(OPAQUE)
        assert await stranger.code(token, rule(OPAQUE, "opaque")) == "token.inactive"


@pytest.mark.fault
async def test_an_authority_that_is_gone_is_no_way_in(tmp_path: Path) -> None:
    opaque = rule(OPAQUE, "opaque")
    async with AsyncExitStack() as kept:
        async with authorities.started(config(tmp_path)) as running:
            zone = await kept.enter_async_context(zone_of(running, "zone", tmp_path))
            token = await zone.sign_in(OPAQUE)
            assert await zone.code(token, opaque) == "ok"
        assert await zone.code(token, opaque) == "ok"
        zone.clock.advance(5)
        assert await zone.code(token, opaque) == "engine.introspection_unavailable"

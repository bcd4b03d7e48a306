"""Our side of OAuth against a certified OpenID provider that others wrote (npm's `oidc-provider`), over real sockets."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from extauthz.authn.bearer import BearerVerifier
from extauthz.authn.held import Verified
from extauthz.authn.introspection import Introspector
from extauthz.authn.keys import KeyStore
from extauthz.authn.revocation import Revocations
from extauthz.authn.settings import IssuerSettings, RevocationSettings, TokenRule
from extauthz.authn.tokens import TokenVerifier
from extauthz.clock import ManualClock
from extauthz.outbound import Outbound
from extauthz.tasks import Tasks
from tests.support import oidc_provider, pages, parts
from tests.support.bank import GATEWAY, open_bank, route
from tests.support.certs import HOUR
from tests.support.oidc_provider import JWT_API, OPAQUE_API, SOURCES, Provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.model import Subject

PAGE = Path(__file__).parents[2] / "docs" / "bring-your-own-idp.md"
PEOPLE = {
    "alice": {"roles": ["wire-operator"], "tenant": "acme", "region": "eu", "purpose": "payment"},
    "bob": {"roles": ["teller"]},
}


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    parts.require_oidc_provider()
    directory = tmp_path / "provider"
    directory.mkdir()
    async with oidc_provider.running(directory, PEOPLE) as running:
        yield running


def issuer_of(provider: Provider, secret: Path, **changes: Any) -> dict[str, Any]:
    """The entry of `issuers` that the page shows, for this provider."""
    secret.write_text(provider.secrets["extauthz"] + "\n")
    (shown,) = (block.text for block in pages.blocks(PAGE) if block.what == "oidc-provider")
    entry: dict[str, Any] = yaml.safe_load(shown.replace("https://idp.bank.example", provider.issuer))
    entry["introspection"] |= {"client": {"id": "extauthz", "secret_file": str(secret)}, **changes}
    return entry


@dataclass
class Ours:
    verifier: BearerVerifier
    clock: ManualClock

    async def subject(self, token: str, rule: TokenRule) -> Subject:
        answer = await self.verifier.verify(token, rule, None)
        assert isinstance(answer, Verified), answer
        return answer.subject

    async def code(self, token: str, rule: TokenRule) -> str:
        return getattr(await self.verifier.verify(token, rule, None), "code", "ok")


@pytest.fixture
async def ours(provider: Provider, tmp_path: Path) -> AsyncIterator[Ours]:
    """The clock starts now and stands still, so that what is cached stays so until a test moves it."""
    issuer = IssuerSettings.model_validate(issuer_of(provider, tmp_path / "secret"))
    clock = ManualClock(epoch=time.time_ns() / 1e9)
    outbound = Outbound([*issuer.outbound_urls, *issuer.introspection_urls])
    revocations = Revocations(RevocationSettings())
    keys = KeyStore([issuer], outbound, clock)
    tasks = Tasks()
    introspector = Introspector(issuer, outbound.send, revocations, clock, tasks)
    yield Ours(BearerVerifier(TokenVerifier([issuer], keys, revocations, clock), [introspector]), clock)
    await tasks.close()
    await keys.close()
    await outbound.close()


def rule(audience: str, **changes: Any) -> TokenRule:
    return TokenRule.model_validate({"issuers": ["idp"], "audiences": [audience], **changes})


OPAQUE = rule(OPAQUE_API, introspect="opaque")


async def test_opaque_tokens_are_introspected(provider: Provider, ours: Ours) -> None:
    token = (await provider.sign_in("alice", OPAQUE_API))["access_token"]
    assert "." not in token
    who = await ours.subject(token, OPAQUE)
    assert (who.type, who.id, who.credential, who.issuer) == ("user", "alice", "opaque", provider.issuer)
    assert who.audience == (OPAQUE_API,)
    assert who.scopes == {"transfers:read"}
    assert who.claims["roles"] == ["wire-operator"]
    assert isinstance(ours.verifier.cached(token, OPAQUE, None), Verified)


async def test_opaque_tokens_of_clients_speak_for_a_service(provider: Provider, ours: Ours) -> None:
    who = await ours.subject(await provider.client_token(OPAQUE_API), OPAQUE)
    assert (who.type, who.id, who.credential) == ("service", "batch", "opaque")


async def test_jwts_are_verified_with_discovered_keys(provider: Provider, ours: Ours) -> None:
    token = (await provider.sign_in("alice", JWT_API))["access_token"]
    who = await ours.subject(token, rule(JWT_API))
    assert (who.id, who.credential, who.audience) == ("alice", "jwt", (JWT_API,))
    machine = await ours.subject(await provider.client_token(JWT_API), rule(JWT_API))
    assert machine.id == "batch"


@pytest.mark.attack
async def test_a07_tokens_of_other_kinds_and_audiences_are_refused(provider: Provider, ours: Ours) -> None:
    signed_in = await provider.sign_in("alice", OPAQUE_API)
    assert await ours.code(signed_in["access_token"], rule(JWT_API, introspect="opaque")) == "token.audience"
    # The provider says `active: true` of a refresh token, too.
    assert await ours.code(signed_in["refresh_token"], OPAQUE) == "token.type"
    assert await ours.code(signed_in["id_token"], OPAQUE) == "token.type"
    assert await ours.code("never-issued-by-anybody", OPAQUE) == "token.inactive"
    assert await ours.code(signed_in["access_token"], rule(OPAQUE_API)) == "token.malformed"
    assert (
        await ours.code(signed_in["access_token"], rule(OPAQUE_API, introspect="opaque", scopes=["x"])) == "token.scope"
    )


async def test_always_is_for_issuers_that_answer_about_jwts(provider: Provider, ours: Ours) -> None:
    """This one does not (it keeps no JWTs) and says 400: no answer, no way in; opaque tokens are as good as before."""
    token = (await provider.sign_in("alice", JWT_API))["access_token"]
    assert await ours.code(token, rule(JWT_API, introspect="always")) == "engine.introspection_unavailable"
    opaque = (await provider.sign_in("alice", OPAQUE_API))["access_token"]
    assert await ours.code(opaque, rule(OPAQUE_API, introspect="always")) == "ok"


async def test_a_revocation_at_the_provider_takes_effect_within_the_cache_ttl(provider: Provider, ours: Ours) -> None:
    token = (await provider.sign_in("alice", OPAQUE_API))["access_token"]
    assert await ours.code(token, OPAQUE) == "ok"
    await provider.revoke(token)
    ours.clock.advance(4.9)
    assert await ours.code(token, OPAQUE) == "ok"
    ours.clock.advance(0.1)
    assert await ours.code(token, OPAQUE) == "token.inactive"


@pytest.mark.parametrize("api", [JWT_API, OPAQUE_API], ids=["jwt", "opaque"])
async def test_a_stronger_sign_in_is_asked_for_and_then_accepted(provider: Provider, ours: Ours, api: str) -> None:
    strong = rule(api, introspect="opaque", acr=["phr"], max_age="5m")
    weak = (await provider.sign_in("alice", api))["access_token"]
    assert await ours.code(weak, rule(api, introspect="opaque")) == "ok"
    assert await ours.code(weak, strong) == "token.step_up"
    stepped_up = (await provider.sign_in("alice", api, acr="phr"))["access_token"]
    assert await ours.code(stepped_up, strong) == "ok"
    recent = rule(api, introspect="opaque", max_age="1s")
    assert await ours.code(stepped_up, recent) == "ok"
    ours.clock.advance(32)  # the rule's second, and the issuer's leeway of 30
    assert await ours.code(stepped_up, recent) == "token.step_up"


async def test_a_wrong_client_secret_is_no_answer(provider: Provider, tmp_path: Path) -> None:
    settings = issuer_of(provider, tmp_path / "secret")
    (tmp_path / "secret").write_text("wrong")
    issuer = IssuerSettings.model_validate(settings)
    clock, tasks, outbound = ManualClock(epoch=time.time_ns() / 1e9), Tasks(), Outbound(issuer.introspection_urls)
    introspector = Introspector(issuer, outbound.send, Revocations(RevocationSettings()), clock, tasks)
    token = (await provider.sign_in("alice", OPAQUE_API))["access_token"]
    refused = await introspector.verify(token, OPAQUE, None, clock.monotonic() + 5)
    assert getattr(refused, "code", "") == "engine.introspection_unavailable"
    await tasks.close()
    await outbound.close()


@pytest.mark.opa
@pytest.mark.embedded
async def test_a_whole_check_asks_for_a_step_up_and_then_lets_in(provider: Provider, tmp_path: Path) -> None:
    parts.require_opa()
    parts.require_embedded()
    token_rule = {
        "issuers": ["idp"],
        "audiences": [OPAQUE_API],
        "scopes": ["transfers:write"],
        "introspect": "opaque",
        "acr": ["phr"],
        "max_age": "10m",
    }
    directory = tmp_path / "bank"
    directory.mkdir()
    bank = await open_bank(
        directory,
        issuers=[issuer_of(provider, tmp_path / "secret")],
        routes=[route("create-transfer", token=token_rule)],
    )
    try:
        now = time.time_ns() / 1e9
        bank.clock.epoch = now
        bank._leaves[GATEWAY] = bank.ca.leaf(GATEWAY, not_before=now - 60, not_after=now + HOUR)
        weak = (await provider.sign_in("alice", OPAQUE_API, scope="transfers:write"))["access_token"]
        challenged = await bank.ask(weak, budget=5)
        assert (challenged.status, challenged.code) == (401, "token.step_up")
        challenge = challenged.headers["www-authenticate"]
        assert 'error="insufficient_user_authentication"' in challenge
        assert 'acr_values="phr", max_age="600"' in challenge
        signed_in = await provider.sign_in("alice", OPAQUE_API, acr="phr", scope="transfers:write")
        allowed = await bank.ask(signed_in["access_token"], budget=5)
        assert (allowed.code, allowed.headers.get("x-extauthz-subject")) == ("", "alice")
        told = json.dumps([allowed.metadata, challenged.metadata, challenged.body])
    finally:
        await bank.close()
    recorded = told + "".join(path.read_text() for path in directory.rglob("*.jsonl"))
    for secret in (weak, signed_in["access_token"], provider.secrets["extauthz"]):
        assert secret not in recorded


def test_the_lock_pins_every_package_by_its_hash_and_names_no_registry() -> None:
    packages = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    assert len(packages) > 1
    for name, package in packages.items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-")
        assert not package.get("hasInstallScript")

"""Attacks on asynchronous routes: nobody fills the queue, frames a victim, or gets out of a quarantine with words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.judgement.quarantine import OPERATOR, Key, Quarantine
from tests.support import compat_cases, parts
from tests.support.bank import GATEWAY, TRANSFER, Bank, open_bank, route
from tests.support.certs import TestCa
from tests.support.engines import eventually
from tests.support.tokens import Issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.attack, pytest.mark.opa, pytest.mark.embedded]
VIOLATION = {**TRANSFER, "tenant": "initech"}
PARTNER = "https://partner.example"
ORCHESTRATOR = "spiffe://bank.example/env/prod/ns/orchestration/sa/orchestrator"


def issuer(name: str, url: str, keys: str) -> dict[str, Any]:
    claims = {"roles": "roles", "tenant": "tenant", "region": "region"}
    return {"name": name, "issuer": url, "algorithms": ["ES256"], "jwks": {"file": keys}, "claims": claims}


def config(by: str, **more: Any) -> dict[str, Any]:
    rule = {"quarantine": {"by": by, "strikes": 1, "duration": "4m", **more}}
    token = {"issuers": ["main", "partner"], "audiences": ["https://orchestration.bank.example"]}
    callers = [GATEWAY, ORCHESTRATOR]
    return {
        "judgement": {"queue": {"kind": "sqlite", "path": "./judgement.sqlite"}},
        "issuers": [
            issuer("main", "https://issuer.example", "jwks.json"),
            issuer("partner", PARTNER, "partner.json"),
        ],
        "routes": [
            route("create-transfer", evaluation="async", judgement=rule, token=token, workloads=callers),
        ],
    }


class Two:
    """A bank that trusts two issuers."""

    def __init__(self, bank: Bank, partner: Issuer) -> None:
        self.bank = bank
        self.partner = partner

    def partner_token(self, **claims: Any) -> str:
        named = {
            "iss": PARTNER,
            "aud": "https://orchestration.bank.example",
            "roles": ["wire-operator"],
            "region": "eu",
        }
        return self.partner.token(**{**named, **claims})

    async def judged(self, count: int) -> list[dict[str, Any]]:
        file = self.bank.directory / "records.jsonl"

        def found() -> list[dict[str, Any]]:
            if not file.exists():
                return []
            return [record for record in self.bank.records() if record["type"] == "judgement"]

        await eventually(lambda: len(found()) >= count)
        return found()


@pytest.fixture
async def two(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    parts.require_opa()
    parts.require_embedded()
    by, more = getattr(request, "param", ("tenant", {}))
    partner = Issuer()
    (tmp_path / "partner.json").write_text(json.dumps(partner.jwks()))
    bank = await open_bank(tmp_path, **config(by, **more))
    yield Two(bank, partner)
    await bank.close()


async def test_one_tenant_cannot_put_another_into_quarantine(two: Two) -> None:
    """Acme names globex in everything that it writes itself; the verified claim alone is held against it."""
    bank = two.bank
    headers = {"x-extauthz-tenant": "globex", "x-tenant": "globex"}
    body = {**VIOLATION, "tenant": "globex"}
    assert (await bank.ask(bank.token(tenant="acme"), body=body, headers=headers)).status == 200
    (record,) = await two.judged(1)
    assert record["judgement"]["outcome"] == "denied"
    assert (await bank.ask(bank.token(tenant="acme"))).code == "attribute.tenant_quarantined"
    assert (await bank.ask(bank.token(tenant="globex", sub="carol"))).status == 200


async def test_an_issuer_cannot_have_another_issuers_tenant_refused(two: Two) -> None:
    """The partner's issuer signs `tenant: acme` for whom it likes: it is the partner's acme that is confined."""
    bank = two.bank
    assert (await bank.ask(two.partner_token(tenant="acme"), body=VIOLATION)).status == 200
    await two.judged(1)
    assert (await bank.ask(two.partner_token(tenant="acme"))).code == "attribute.tenant_quarantined"
    assert (await bank.ask(bank.token(tenant="acme"))).status == 200


@pytest.mark.parametrize("two", [("workload", {}), ("token", {}), ("tenant", {})], indirect=True)
async def test_what_is_not_proven_leaves_no_strike(two: Two) -> None:
    """Forged tokens, forged certificates, somebody else's name: refused at once, and held against nobody."""
    bank = two.bank
    forged = Issuer().token(aud="https://orchestration.bank.example", roles=["wire-operator"], tenant="acme")
    refused = [
        await bank.ask(forged, body=VIOLATION),
        await bank.ask("", body=VIOLATION),
        await bank.ask(caller="", body=VIOLATION),
        await bank.ask(caller=GATEWAY.replace("prod", "staging"), body=VIOLATION),
    ]
    stranger = TestCa()
    bank._leaves[GATEWAY], honest = stranger.leaf(ORCHESTRATOR), bank.leaf(GATEWAY)
    refused.append(await bank.ask(body=VIOLATION, headers={"x-forwarded-client-cert": f"URI={GATEWAY}"}))
    bank._leaves[GATEWAY] = honest
    assert all(answer.status in {401, 403} for answer in refused), [answer.code for answer in refused]
    assert (await bank.ask()).status == 200
    records = await two.judged(1)
    assert [record["judgement"]["outcome"] for record in records] == ["allowed"]
    assert (await bank.ask()).status == 200


@pytest.mark.parametrize("two", [("workload", {})], indirect=True)
async def test_a_workload_in_quarantine_is_refused_with_any_token_and_others_are_not(two: Two) -> None:
    bank = two.bank
    assert (await bank.ask(body=VIOLATION)).status == 200
    await two.judged(1)
    for token in (bank.token(), bank.token(sub="bob", jti="other"), two.partner_token(), ""):
        answer = await bank.ask(token, headers={"x-extauthz-mode": "open", "x-extauthz-workload": ORCHESTRATOR})
        assert (answer.status, answer.code) == (403, "workload.quarantined")
    assert (await bank.ask(caller=ORCHESTRATOR)).status == 200


@pytest.mark.parametrize("two", [("token", {})], indirect=True)
async def test_a_token_in_quarantine_stays_there_however_it_is_sent(two: Two) -> None:
    bank = two.bank
    token = bank.token()
    assert (await bank.ask(token, body=VIOLATION)).status == 200
    await two.judged(1)
    for headers in ({}, {"authorization": f"bearer {token}"}, {"authorization": f"BEARER {token}"}):
        assert (await bank.ask("" if headers else token, headers=headers)).code == "token.quarantined"
    assert (await bank.ask(token, caller=ORCHESTRATOR)).code == "token.quarantined"


async def test_a_client_cannot_say_that_it_was_judged(two: Two) -> None:
    """`x-extauthz-mode` is ours: what a client sends never reaches the upstream."""
    answer = await two.bank.ask(headers={"x-extauthz-mode": "sync"})
    assert answer.headers["x-extauthz-mode"] == "async"
    assert "x-extauthz-subject" in answer.headers


async def test_one_caller_cannot_get_more_than_its_bound_into_an_entry(two: Two) -> None:
    """A body beyond the bound is judged at once, and refused like any other."""
    answer = await two.bank.ask(body={**VIOLATION, "note": "x" * 70_000})
    assert (answer.status, answer.code) in {(403, "attribute.tenant_mismatch"), (400, "request.body_malformed")}


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (Key("workload", GATEWAY), "workload.quarantined"),
        (Key("tenant", "acme"), "attribute.tenant_quarantined"),
    ],
)
async def test_a_compatible_policy_is_no_way_around_a_quarantine(tmp_path: Path, key: Key, code: str) -> None:
    parts.require_opa()
    parts.require_embedded()
    entrypoint = compat_cases.ENTRYPOINT
    bank = await open_bank(
        tmp_path,
        judgement={"queue": {"kind": "sqlite", "path": "./judgement.sqlite"}},
        policy={
            "engine": "embedded",
            "path": str(compat_cases.POLICY),
            "compat": "opa-envoy-plugin",
            "opa_envoy_plugin": {"path": entrypoint},
        },
        routes=[route("create-transfer", attributes=[], policy=entrypoint, forward_token=False)],
    )
    now = bank.clock.now()
    office = bank.app._active.office
    await office._queue.confine(Quarantine(key, now, now + 60, OPERATOR))
    await eventually(lambda: sum(office.confined.numbers.values()) == 1)
    assert (await bank.ask()).code == code
    await bank.close()

"""Ways to a grant's power without the grant: SECURITY-TESTS A, for the one token that overrides a refusal.

Every attacker here is refused by the policy and carries a good credential of its own where nothing else is said. Each
must still be refused, and never with more rights than before; `control` is the honest grant that each case changes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support import parts
from tests.support.api_keys import KEY, row
from tests.support.api_keys import write as write_api_keys
from tests.support.bank import GATEWAY, Bank, open_bank, route
from tests.support.break_glass import HEADER, Signer
from tests.support.tokens import EPOCH, ISSUER, Issuer, b64, compact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.attack, pytest.mark.opa, pytest.mark.embedded]

SIGNER = Signer()
STRANGER = Signer(Issuer(issuer="break-glass", kid="oncall-lead"))
"""The right name, another key."""


def without(route: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in route.items() if name not in names}


BY_WORKLOAD = without(
    route(
        "by-workload",
        match={"path": "/v1/by-workload", "methods": ["POST"]},
        credential="workload",
        break_glass=True,
    ),
    "token",
)
RATES = without(
    route("rates", match={"path": "/v1/rates"}, public=True, credential="api_key", attributes=[]), "token", "workloads"
)


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    write_api_keys(tmp_path / "api-keys.yaml", row())
    opened = await open_bank(
        tmp_path,
        break_glass=SIGNER.write(tmp_path),
        api_keys={"file": "api-keys.yaml"},
        routes=[
            route("create-transfer", break_glass=True),
            route("closed", match={"path": "/v1/closed", "methods": ["POST"]}, break_glass=True),
            route("plain", match={"path": "/v1/plain", "methods": ["POST"]}),
            RATES,
            BY_WORKLOAD,
        ],
    )
    yield opened
    await opened.close()


async def ask(bank: Bank, grant: str, *, token: str | None = None, **changes: Any) -> Any:
    headers = {HEADER: grant, **changes.pop("headers", {})}
    return await bank.ask(bank.token(roles=[]) if token is None else token, headers=headers, **changes)


def unsigned(algorithm: str) -> str:
    header = SIGNER.issuer.header(typ="break-glass+jwt", alg=algorithm)
    return f"{b64(compact(header))}.{b64(compact(SIGNER.claims()))}."


def with_public_key_as_secret() -> str:
    """HS256 keyed with the public key that everybody may know (CVE-2022-29217)."""
    public = SIGNER.issuer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = SIGNER.issuer.header(typ="break-glass+jwt", alg="HS256")
    signed = f"{b64(compact(header))}.{b64(compact(SIGNER.claims()))}"
    return f"{signed}.{b64(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"


def tampered() -> str:
    header, payload, signature = SIGNER.grant().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{header}.{b64(compact({**claims, 'exp': EPOCH + 3000}))}.{signature}"


FORGED = {
    "another-subject": SIGNER.grant(sub="bob"),
    "another-issuers-alice": SIGNER.grant(sub_iss="https://other.example"),
    "nobodys-alice": SIGNER.grant(sub_iss=...),
    "another-route": SIGNER.grant(routes=["closed"]),
    "wildcard": SIGNER.grant(routes=["*"]),
    "prefix": SIGNER.grant(routes=["create-"]),
    "no-route": SIGNER.grant(routes=[]),
    "route-as-text": SIGNER.grant(routes="create-transfer"),
    "many-routes": SIGNER.grant(routes=["create-transfer"] * 33),
    "expired": SIGNER.grant(iat=EPOCH - 100, nbf=EPOCH - 100, exp=EPOCH),
    "expired-a-second-ago": SIGNER.grant(iat=EPOCH - 100, nbf=EPOCH - 100, exp=EPOCH - 1),
    "not-yet-valid": SIGNER.grant(nbf=EPOCH + 60),
    "of-the-future": SIGNER.grant(iat=EPOCH + 60, nbf=EPOCH + 60, exp=EPOCH + 120),
    "too-long": SIGNER.grant(exp=EPOCH - 10 + 3601),
    "kept-for-later": SIGNER.grant(iat=EPOCH - 90_000, exp=EPOCH + 60),
    "backdated-start": SIGNER.grant(nbf=EPOCH - 4000),
    "never-ends": SIGNER.grant(exp=...),
    "never-began": SIGNER.grant(nbf=...),
    "never-issued": SIGNER.grant(iat=...),
    "time-as-text": SIGNER.grant(exp=str(EPOCH + 60)),
    "time-as-fraction": SIGNER.grant(exp=EPOCH + 60.5),
    "time-true": SIGNER.grant(iat=True),
    "no-ticket": SIGNER.grant(ticket=...),
    "empty-ticket": SIGNER.grant(ticket=""),
    "ticket-with-a-line": SIGNER.grant(ticket="INC-1\nallowed"),
    "no-reason": SIGNER.grant(reason=...),
    "no-id": SIGNER.grant(jti=...),
    "no-subject": SIGNER.grant(sub=...),
    "another-claim": SIGNER.grant(only_for="GET"),
    "no-use": SIGNER.grant(uses=0),
    "negative-uses": SIGNER.grant(uses=-1),
    "uses-true": SIGNER.grant(uses=True),
    "wrong-issuer": SIGNER.grant(iss=ISSUER),
    "no-issuer": SIGNER.grant(iss=...),
    "another-installation": SIGNER.grant(aud="bank.example/staging"),
    "no-audience": SIGNER.grant(aud=...),
    "audience-list": SIGNER.grant(aud=["bank.example/prod"]),
    "access-token-type": SIGNER.grant({"typ": "at+jwt"}),
    "no-type": SIGNER.grant({"typ": ...}),
    "plain-jwt": SIGNER.grant({"typ": "JWT"}),
    "another-key": STRANGER.grant(),
    "no-kid": SIGNER.grant({"kid": ...}),
    "unknown-kid": SIGNER.grant({"kid": "somebody"}),
    "kid-as-path": SIGNER.grant({"kid": "../../etc/passwd"}),
    "key-in-header": STRANGER.grant({"jwk": STRANGER.issuer.jwk()}),
    "key-by-url": STRANGER.grant({"jku": "https://evil.example/keys"}),
    "critical": SIGNER.grant({"crit": ["exp"]}),
    "none": unsigned("none") + "AA",
    "None-without-signature": unsigned("None"),
    "hs256-public-key": with_public_key_as_secret(),
    "other-algorithm": SIGNER.grant({"alg": "EdDSA"}),
    "tampered": tampered(),
    "signature-cut": SIGNER.grant().rpartition(".")[0] + ".",
    "padding": SIGNER.grant() + "=",
    "garbage": "let me in",
    "empty": "",
    "oversize": SIGNER.grant(reason="x" * 5000),
    "oversize-and-plain": "a" * 5000,
    "two-in-one-header": f"{SIGNER.grant()},{SIGNER.grant(jti='grant-2')}",
    "bearer": f"Bearer {SIGNER.grant()}",
}


async def test_control_the_honest_grant_opens_the_route(bank: Bank) -> None:
    assert (await ask(bank, SIGNER.grant())).status == 200


async def test_no_other_grant_opens_it(bank: Bank) -> None:
    found = {}
    for name, grant in FORGED.items():
        answer = await ask(bank, grant)
        found[name] = (answer.status, answer.layer, answer.code)
    assert found == dict.fromkeys(FORGED, (403, "token", "token.break_glass"))
    await bank.close()
    why = {record["result"]["reasons"][0]["detail"].partition(" (refused before: ")[0] for record in bank.records()}
    assert len(why) > 20, "an operator reads what was wrong"


async def test_an_access_token_is_no_grant(bank: Bank) -> None:
    answer = await ask(bank, bank.token())
    assert answer.code == "token.break_glass"


async def test_a_grant_is_no_access_token(bank: Bank) -> None:
    for headers in ({}, {HEADER: SIGNER.grant()}):
        answer = await bank.ask(SIGNER.grant(), headers=headers)
        assert (answer.status, answer.code) == (401, "token.issuer")


async def test_a_grant_of_the_token_issuers_key_is_no_grant(bank: Bank) -> None:
    """The issuer of access tokens cannot issue exceptions as well."""
    header = bank.issuer.header(typ="break-glass+jwt")
    answer = await ask(bank, bank.issuer.sign(header, SIGNER.claims()))
    assert answer.code == "token.break_glass"
    answer = await ask(bank, bank.issuer.sign({**header, "kid": "oncall-lead"}, SIGNER.claims()))
    assert answer.code == "token.break_glass"


@pytest.mark.parametrize(
    ("status", "code", "changes"),
    [
        (401, "token.missing", {"token": ""}),
        (401, "token.signature", {"token": "stripped"}),
        (401, "token.expired", {"claims": {"exp": EPOCH - 60, "iat": EPOCH - 100}}),
        (401, "token.audience", {"claims": {"aud": "somebody-else"}}),
        (403, "workload.missing", {"caller": ""}),
        (403, "workload.route_denied", {"caller": GATEWAY.replace("gateway", "thief")}),
        (403, "workload.trust_domain", {"caller": GATEWAY.replace("bank.example", "evil.example")}),
        (400, "request.path_ambiguous", {"path": "/v1//transfers"}),
    ],
)
async def test_it_never_stands_in_for_who_asks(bank: Bank, status: int, code: str, changes: dict[str, Any]) -> None:
    """From outside with a grant and no credential, or with one that is not good: steps 1 to 4 stand."""
    if "claims" in changes:
        changes = {"token": bank.token(roles=[], **changes["claims"])}
    if changes.get("token") == "stripped":
        head, payload, _ = bank.token().split(".")
        changes = {"token": f"{head}.{payload}.{b64(b'0' * 64)}"}
    answer = await ask(bank, SIGNER.grant(), **changes)
    assert (answer.status, answer.code) == (status, code)


async def test_a_stolen_grant_is_worth_nothing_beside_another_credential(bank: Bank) -> None:
    answer = await ask(bank, SIGNER.grant(), token=bank.token(sub="mallory", roles=[]))
    assert answer.code == "token.break_glass"


async def test_a_revoked_grant_is_refused_at_once_and_for_good(bank: Bank) -> None:
    grant = SIGNER.grant()
    assert (await ask(bank, grant)).status == 200
    (bank.directory / "revoked.json").write_text(json.dumps({"jti": ["grant-1"]}))
    active = bank.app._active
    assert active is not None
    assert active.revocations.reload()
    for _ in range(2):
        assert (await ask(bank, grant)).code == "token.break_glass"
    assert (await ask(bank, SIGNER.grant(jti="grant-2"))).status == 200, "another one still holds"


async def test_a_revoked_key_ends_all_its_grants(bank: Bank) -> None:
    (bank.directory / "revoked.json").write_text(json.dumps({"kid": ["oncall-lead"]}))
    active = bank.app._active
    assert active is not None
    assert active.revocations.reload()
    assert (await ask(bank, SIGNER.grant())).code == "token.break_glass"


async def test_a_grant_for_one_use_is_used_once_also_over_a_reload(bank: Bank) -> None:
    grant = SIGNER.grant(uses=1)
    assert (await ask(bank, grant)).status == 200
    assert (await ask(bank, grant)).code == "token.break_glass"
    assert not await bank.reload()
    assert (await ask(bank, grant)).code == "token.break_glass"


async def test_two_headers_are_no_header(bank: Bank) -> None:
    """Envoy joins them with a comma where it does not send them raw; where it does, the name is told as duplicated."""
    for value in (f"{SIGNER.grant()},{SIGNER.grant()}", f"{SIGNER.grant()}, ", f",{SIGNER.grant()}"):
        assert (await ask(bank, value)).code == "token.break_glass"


async def test_an_api_key_cannot_carry_one(bank: Bank) -> None:
    """Not where the route says so (the configuration is refused), and on no route beside a token either."""
    answer = await bank.ask(
        "",
        caller="",
        path="/v1/rates",
        route="rates",
        headers={"x-api-key": KEY, HEADER: SIGNER.grant(routes=["rates"])},
    )
    assert answer.status != 200
    assert answer.code != "token.break_glass"
    problems = await refused(bank, routes=[{**RATES, "break_glass": True}])
    assert any("no API key" in problem for problem in problems), problems


async def test_nor_anybody_anonymous_nor_a_route_that_is_judged_later(bank: Bank) -> None:
    open_to_all = {**RATES, "credential": "none", "break_glass": True}
    assert any("no anonymous" in problem for problem in await refused(bank, routes=[open_to_all]))
    later = route("create-transfer", break_glass=True, evaluation="async")
    assert any("evaluation: sync" in problem for problem in await refused(bank, routes=[later]))


async def refused(bank: Bank, **changes: Any) -> list[str]:
    """The problems for which a configuration with these changes is refused."""
    from extauthz.config import inspect  # noqa: PLC0415 - one test's
    from tests.support.bank import settings, write_files  # noqa: PLC0415 - the same

    write_files(bank.directory, bank.issuer, settings("embedded", break_glass=SIGNER.write(bank.directory), **changes))
    return [f"{problem.message}: {problem.remedy}" for problem in inspect(bank.directory / "extauthz.yaml").problems]


async def test_a_workloads_grant_is_not_a_users_and_the_other_way_round(bank: Bank) -> None:
    of_gateway = SIGNER.grant(sub=GATEWAY, sub_iss=..., routes=["create-transfer", "by-workload"])
    at = {"path": "/v1/by-workload", "route": "by-workload"}
    assert (await ask(bank, of_gateway, token="", **at)).status == 200
    assert (await ask(bank, of_gateway)).code == "token.break_glass", "alice came through the gateway"
    posing = bank.token(sub=GATEWAY, roles=[])
    assert (await ask(bank, of_gateway, token=posing)).code == "token.break_glass"
    of_alice = SIGNER.grant(routes=["by-workload"])
    assert (await ask(bank, of_alice, token="", **at)).code == "token.break_glass"


async def test_a_grant_does_not_reach_a_route_without_the_word(bank: Bank) -> None:
    answer = await ask(bank, SIGNER.grant(routes=["plain"]), path="/v1/plain", route="plain")
    assert answer.status == 403
    assert answer.layer in {"role", "attribute"}


async def test_the_upstream_never_sees_it_and_cannot_be_told_a_mode(bank: Bank) -> None:
    spoofed = {"x-extauthz-mode": "break-glass", "x-break_glass": "1"}
    answer = await bank.ask(headers={HEADER: SIGNER.grant(), **spoofed})
    assert answer.status == 200
    assert {HEADER, *spoofed} <= set(answer.removed)
    opened = await ask(bank, SIGNER.grant(), headers=spoofed)
    assert opened.headers["x-extauthz-mode"] == "break-glass"
    assert {HEADER, "x-break_glass"} <= set(opened.removed)


async def test_no_grant_is_written_down(bank: Bank, caplog: pytest.LogCaptureFixture) -> None:
    for grant in (SIGNER.grant(), STRANGER.grant()):
        await ask(bank, grant)
        await bank.close()
        left = (bank.directory / "records.jsonl").read_text() + caplog.text
        assert not any(part in left for part in grant.split("."))
        break

"""Key sources: files, discovery, the background refresh."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from extauthz.authn.keys import KeyStore
from extauthz.authn.settings import IssuerSettings
from extauthz.authn.tokens import TokenVerifier, Verified
from extauthz.clock import ManualClock
from extauthz.errors import ConfigError
from extauthz.outbound import Outbound
from tests.support.tokens import EPOCH, JWKS_URL, RULE, CountingServer, Issuer, bench, issuer_settings

if TYPE_CHECKING:
    from pathlib import Path

HONEST = Issuer()
DISCOVERY_URL = "https://issuer.example/.well-known/openid-configuration"


@pytest.mark.parametrize(
    "algorithm", ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
)
async def test_every_algorithm_verifies(algorithm: str) -> None:
    issuer = Issuer(algorithm=algorithm)
    used = bench({JWKS_URL: issuer.jwks()}, issuer_settings(algorithms=[algorithm]))
    assert await used.code(issuer.token()) == "ok"


async def test_keys_from_a_file_rotate_without_restart(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(HONEST.jwks()))
    used = bench({}, issuer_settings(jwks={"file": file}))
    assert await used.code(HONEST.token()) == "ok"
    rotated = Issuer(kid="key-2")
    file.write_text(json.dumps(rotated.jwks()))
    assert await used.code(rotated.token()) == "ok"  # an unknown kid looks at the file
    assert await used.code(HONEST.token()) == "token.key_unknown"


async def test_a_file_is_looked_at_in_the_background(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(HONEST.jwks()))
    used = bench({}, issuer_settings(jwks={"file": file}))
    token = HONEST.token()
    assert await used.code(token) == "ok"
    file.write_text('{"keys": []}')
    used.clock.advance(2)
    await used.store.refresh_due()
    assert used.verifier.cached(token, RULE, None) is None
    assert await used.code(token) == "token.key_unknown"


@pytest.mark.parametrize("broken", ["{", "[]", '{"keys": 1}', None])
async def test_a_broken_key_file_changes_nothing(broken: str | None, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(HONEST.jwks()))
    used = bench({}, issuer_settings(jwks={"file": file}))
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    for _ in range(2):
        used.clock.advance(2)
        await used.store.refresh_due()
        assert used.store.status()[0]["problem"]
        assert await used.code(HONEST.token()) == "ok"
    file.write_text(json.dumps(HONEST.jwks()))
    used.clock.advance(2)
    await used.store.refresh_due()
    assert used.store.status() == [{"issuer": "main", "usable": True, "keys": 1, "problem": ""}]


@pytest.mark.parametrize("content", ["{", '{"keys": {}}', None])
def test_a_key_file_must_be_usable_at_start(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "jwks.json").write_text(content)
    with pytest.raises(ConfigError, match=r"jwks\.json"):
        bench({}, issuer_settings(jwks={"file": tmp_path / "jwks.json"}))


async def test_discovery() -> None:
    used = bench(
        {
            DISCOVERY_URL: {"issuer": "https://issuer.example", "jwks_uri": "https://keys.example/all", "more": 1.5},
            "https://keys.example/all": HONEST.jwks(),
        },
        issuer_settings(jwks={"discovery": True, "origins": ["https://keys.example"]}),
    )
    assert await used.code(HONEST.token()) == "ok"
    assert used.server.calls == [DISCOVERY_URL, "https://keys.example/all"]


async def test_background_refresh_picks_up_a_rotation() -> None:
    server = CountingServer({JWKS_URL: HONEST.jwks()})
    clock = ManualClock()
    ticks: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(_: float) -> None:
        await ticks.get()

    settings = issuer_settings()
    store = KeyStore([settings], Outbound([JWKS_URL], transport=server.transport), clock, sleep)
    source = store.source("main")
    assert source.current() is None
    assert not source.status()["usable"]
    store.start()
    while source.current() is None:  # noqa: ASYNC110 - the store has no event to wait for, and needs none
        await asyncio.sleep(0)
    before = source.current()
    rotated = Issuer(kid="key-2")
    server.documents[JWKS_URL] = rotated.jwks()
    clock.advance(300)
    ticks.put_nowait(None)
    while source.current() is before:  # noqa: ASYNC110 - the same
        await asyncio.sleep(0)
    assert source.fetches == 2
    await store.close()


async def test_one_slow_issuer_delays_no_other() -> None:
    other = Issuer(issuer="https://other.example")
    used = bench(
        {JWKS_URL: HONEST.jwks(), "https://other.example/jwks": other.jwks()},
        issuer_settings(),
        issuer_settings(name="other", issuer=other.issuer, jwks={"url": "https://other.example/jwks"}),
    )
    gate = asyncio.Event()

    async def hold_the_first() -> None:
        if used.server.calls[-1] == JWKS_URL:
            await gate.wait()

    used.server.before = hold_the_first
    refresh = asyncio.get_running_loop().create_task(used.store.refresh_due())
    rule = RULE.model_copy(update={"issuers": ("main", "other")})
    assert await used.code(other.token(), rule) == "ok"
    gate.set()
    await refresh
    assert await used.code(HONEST.token(), rule) == "ok"


async def test_the_time_spent_waiting_is_reported() -> None:
    used = bench({JWKS_URL: HONEST.jwks()})

    async def slow() -> None:
        used.clock.advance(0.25)

    used.server.before = slow
    first = await used.verifier.verify(HONEST.token(), RULE, None)
    assert isinstance(first, Verified)
    assert first.upstream_seconds == 0.25
    second = await used.verifier.verify(HONEST.token(jti="t-2"), RULE, None)
    assert isinstance(second, Verified)
    assert (second.cached, second.upstream_seconds) == (False, 0.0)


async def test_signatures_in_a_thread() -> None:
    from extauthz.authn.settings import VerifierSettings  # noqa: PLC0415 - used here only

    used = bench({JWKS_URL: HONEST.jwks()}, limits=VerifierSettings(offload=True))
    assert await used.code(HONEST.token()) == "ok"
    assert await used.code(HONEST.token()[:-8] + "AAAAAAAA") == "token.signature"


def test_an_issuer_is_listed_once() -> None:
    for changes in ({"name": "main", "issuer": "https://b.example"}, {"name": "b"}):
        with pytest.raises(ConfigError, match="listed twice"):
            bench({}, issuer_settings(), issuer_settings(**changes))


def test_an_issuer_needs_its_source() -> None:
    used = bench({})
    with pytest.raises(ConfigError, match="no key source"):
        TokenVerifier([issuer_settings(name="other")], used.store, used.revocations, used.clock)


async def test_mapped_claims() -> None:
    settings = issuer_settings(
        claims={"roles": "realm_access.roles", "region": "https://bank.example/region", "level": "acr", "none": "a.b"},
        scope_claim="scp",
        purpose_claim="urn:purpose",
        subject_type_claim="kind",
    )
    used = bench({JWKS_URL: HONEST.jwks()}, settings)
    token = HONEST.token(
        **{
            "realm_access": {"roles": ["teller"]},
            "https://bank.example/region": "eu",
            "acr": None,
            "a": "text",
            "scp": ["b", "a"],
            "urn:purpose": "audit",
            "kind": "service",
        }
    )
    answer = await used.verifier.verify(token, RULE, None)
    assert isinstance(answer, Verified)
    subject = answer.subject
    assert (subject.type, subject.id, subject.credential, subject.token_id) == ("service", "alice", "jwt", "t-1")
    assert (subject.purpose, subject.scopes, subject.audience) == ("audit", {"a", "b"}, ("payments",))
    assert subject.expires_at == EPOCH + 300
    assert subject.claims == {
        "roles": ["teller"],
        "region": "eu",
        "issuer": "https://issuer.example",
        "scopes": ["a", "b"],
        "purpose": "audit",
    }
    assert await used.code(HONEST.token(kind="admin")) == "token.claims"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jwks": {}}, "exactly one of"),
        ({"jwks": {"url": "http://issuer.example/jwks"}}, "plain http"),
        ({"jwks": {"url": "ftp://issuer.example/jwks"}}, "not an http"),
        ({"jwks": {"url": "https://u:p@issuer.example/jwks"}}, "no credentials"),
        ({"jwks": {"discovery": True}, "issuer": "issuer"}, "not an http"),
        ({"claims": {"scopes": "x"}}, "filled by extauthz"),
        ({"leeway": "6m"}, "less than or equal"),
        ({"types": []}, "at least 1"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        issuer_settings(**changes)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/jwks", "http://localhost/jwks", "http://[::1]/jwks"])
def test_plain_http_to_loopback(url: str) -> None:
    assert isinstance(issuer_settings(jwks={"url": url}), IssuerSettings)
    assert issuer_settings(jwks={"url": "http://far.example/jwks", "unsafe_http": True}).outbound_urls


async def test_each_fetch_is_told_with_its_outcome() -> None:
    told: list[tuple[str, str]] = []
    server = CountingServer({JWKS_URL: HONEST.jwks()})
    clock = ManualClock()
    outbound = Outbound([JWKS_URL], transport=server.transport)
    store = KeyStore([issuer_settings()], outbound, clock, fetched=lambda *fetch: told.append(fetch))
    await store.source("main").refresh()
    server.documents[JWKS_URL] = 500
    clock.advance(60)
    await store.source("main").refresh()
    assert told == [("main", "ok"), ("main", "error")]
    await store.close()

"""The law of routes with effects: while it is not known what has been revoked, they deny; the others go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from extauthz.clock import SystemClock
from extauthz.store.opening import open_store
from extauthz.store.revocations import RevocationLog
from extauthz.store.settings import RedisStoreSettings
from tests.support import parts
from tests.support.bank import open_bank, route
from tests.support.engines import eventually
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
DOWN = "http://127.0.0.1:9/v1/revocations"
ROUTES = [
    route("create-transfer", effects=["money"], on_failure="closed"),
    route("read-transfer", match={"path": "/v1/read", "methods": ["POST"]}),
]
READ = {"path": "/v1/read", "route": "read-transfer"}


@pytest.fixture(autouse=True)
def needed() -> None:
    parts.require_opa()
    parts.require_embedded()


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    made = RedisServer(durable=True)
    await made.start()
    yield made
    made.close()


async def test_a_source_that_was_never_heard(tmp_path) -> None:
    bank = await open_bank(tmp_path, revocation={"feed": {"url": DOWN, "timeout": "100ms"}}, routes=ROUTES)
    refused = await bank.ask()
    assert (refused.status, refused.code) == (503, "engine.revocations_stale")
    assert refused.headers["retry-after"]
    assert (await bank.ask(**READ)).status == 200
    metrics = bank.app.metrics().decode()
    assert "extauthz_revocations_stale 1.0" in metrics
    assert 'code="engine.revocations_stale"' in metrics
    await bank.close()


async def test_a_revocation_through_redis_and_a_silence_after_it(server, tmp_path) -> None:
    source = {"url": server.url, "timeout": "200ms"}
    store = open_store(RedisStoreSettings(kind="redis", url=server.url), SystemClock())
    bank = await open_bank(tmp_path, revocation={"redis": source}, routes=ROUTES)
    token = bank.token(jti="j-1")
    assert (await bank.ask(token)).status == 200
    until = bank.clock.now() + 3600
    await RevocationLog(store, bank.clock).revoke("jti", "j-1", until=until, reason="test")
    await eventually(lambda: revoked(bank, token))
    assert (await bank.ask()).status == 200
    server.kill()
    bank.clock.advance(61)
    assert (await bank.ask()).code == "engine.revocations_stale"
    assert (await bank.ask(token, **READ)).code == "token.revoked"
    assert (await bank.ask(**READ)).status == 200
    assert await bank.app.reload() == []
    assert (await bank.ask(token, **READ)).code == "token.revoked", "a reload takes nothing back"
    assert (await bank.ask()).code == "engine.revocations_stale"
    await server.start()
    await eventually(lambda: served(bank))
    assert (await bank.ask(token)).code == "token.revoked"
    await store.close()
    await bank.close()


async def revoked(bank, token: str) -> bool:
    return (await bank.ask(token)).code == "token.revoked"


async def served(bank) -> bool:
    return (await bank.ask()).status == 200

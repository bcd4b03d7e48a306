"""The same evidence at several replicas of the authority at once: exactly one of them issues. SECURITY-TESTS C."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from extauthz.clock import ManualClock
from extauthz.store.opening import open_store
from extauthz.store.settings import RedisStoreSettings, SqliteStoreSettings
from tests.support.attestation import ACCOUNT, Cloud, Desk, cluster, desk, keys_of, kubernetes, service_account
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.attack

PROD = cluster()
IRELAND = Cloud()
REPLICAS = 3
AT_ONCE = 5


@pytest.fixture(params=["sqlite", "redis"])
async def replicas(request, tmp_path) -> AsyncIterator[list[Desk]]:
    server = None
    if request.param == "redis":
        server = RedisServer()
        await server.start()
        settings = RedisStoreSettings(kind="redis", url=server.url, timeout="10s")
    else:
        settings = SqliteStoreSettings(kind="sqlite", path=tmp_path / "store.db", timeout="10s")
    stores = [open_store(settings, ManualClock()) for _ in range(REPLICAS)]
    pem = tmp_path / "cloud.pem"
    pem.write_bytes(IRELAND.pem)
    attestors = (
        kubernetes(),
        {"kind": "instance", "certificates": {"eu-west-1": str(pem)}, "accounts": [ACCOUNT]},
        {"kind": "join_token"},
    )
    yield [desk(*attestors, documents=keys_of(PROD), store=store) for store in stores]
    for store in stores:
        await store.close()
    if server is not None:
        server.close()


async def codes(replicas: list[Desk], evidence: str, attestor: str) -> list[str]:
    return sorted(
        await asyncio.gather(*(replica.code(evidence, attestor) for replica in replicas for _ in range(AT_ONCE)))
    )


async def test_one_wins(replicas) -> None:
    losers = REPLICAS * AT_ONCE - 1
    token = service_account(PROD)
    assert await codes(replicas, token, "kubernetes") == [*["attestation.replayed"] * losers, "ok"]
    assert await codes(replicas, IRELAND.evidence(), "instance") == [*["attestation.replayed"] * losers, "ok"]
    join = await replicas[0].attestors.issue_join_token("gateway", 60.0)
    assert await codes(replicas, join, "join_token") == [*["attestation.join_token"] * losers, "ok"]

"""Replicas of the authority over the stores that they really share: a SQLite file, a Redis server."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.ca.certificate_authority import CertificateAuthority, Issued, Spec
from extauthz.ca.settings import CaSettings, SigningSettings
from extauthz.ca.state import SETS
from extauthz.clock import SystemClock
from extauthz.keys.protector import KeyProtector
from extauthz.keys.provider import EncryptedKeys
from extauthz.store.opening import open_store
from extauthz.store.settings import RedisStoreSettings, SqliteStoreSettings
from tests.support.ca import DOMAIN, ID, csr, facts
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from extauthz.store.store import Store

PROTECTOR = KeyProtector(b"a passphrase for tests")


class Site:
    """Three replicas, each with its own connection."""

    def __init__(self, stores: list[Store]) -> None:
        self.stores = stores
        clock = SystemClock()
        self.replicas = [
            CertificateAuthority(
                DOMAIN, store, EncryptedKeys(PROTECTOR), clock, CaSettings(), SigningSettings(), tick_every=2
            )
            for store in stores
        ]

    async def at(self, sequence: int) -> None:
        """Until every replica has this trust sequence, which only the log can tell them of in time."""
        async with asyncio.timeout(20):
            for replica in self.replicas:
                while (known := replica.trust().sequence) != sequence:
                    await replica.wait(known, 20)


@pytest.fixture(params=["sqlite", "redis"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    settings: Any
    server = RedisServer() if request.param == "redis" else None
    if server is not None:
        await server.start()
        settings = RedisStoreSettings(kind="redis", url=server.url, timeout="10s")
    else:
        settings = SqliteStoreSettings(kind="sqlite", path=tmp_path / "store.db", timeout="10s")
    made = Site([open_store(settings, SystemClock()) for _ in range(3)])
    try:
        await asyncio.gather(*(replica.start() for replica in made.replicas))
        yield made
    finally:
        for replica in made.replicas:
            await replica.close()
        for store in made.stores:
            await store.close()
        if server is not None:
            server.close()


async def test_they_have_one_set_of_keys(site: Site) -> None:
    first, *others = site.replicas
    for other in others:
        assert other.trust() == first.trust()
        assert other.signer.jwks() == first.signer.jwks()


async def test_what_one_does_the_others_do_at_once(site: Site) -> None:
    first, second, third = site.replicas
    compromised = await first.rotate("x509", compromised=True)
    await site.at(compromised.sequence)
    issued = await third.x509(csr(), Spec(ID))
    assert isinstance(issued, Issued)
    assert issued.authority == compromised.next
    facts(issued.certificate)
    waiting = await second.rotate("jwt")
    await site.at(waiting.sequence)
    assert waiting.next in [key["kid"] for key in third.signer.jwks()["keys"]]


async def test_a_race_of_operators_makes_one_new_key(site: Site) -> None:
    rotated = await asyncio.gather(*(replica.rotate(name) for replica in site.replicas for name in SETS))
    assert len({(one.set, one.next) for one in rotated}) == 2
    await site.at(max(one.sequence for one in rotated))
    assert len({replica.state().model_dump_json() for replica in site.replicas}) == 1
    assert all(len(site.replicas[0].state().slots(name)) == 2 for name in SETS)


async def test_no_private_key_is_in_the_file(site: Site, tmp_path: Path) -> None:
    keys = [site.replicas[0]._rotation.active(name).key.private_key for name in SETS]
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        for key in keys:
            secret = key.private_numbers().private_value.to_bytes(32)  # type: ignore[union-attr]
            assert secret not in content
            assert base64.b64encode(secret)[4:-4] not in content

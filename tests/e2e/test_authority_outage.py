"""The authority is away: what was issued serves on until it ends, then refusals say why, and it comes back by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from bench import rotation
from bench.short_lives import Lives
from extauthz.clock import SystemClock
from extauthz.demo.zones import EDGE

if TYPE_CHECKING:
    from extauthz.demo.load import Load

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.opa, pytest.mark.fault, pytest.mark.timeout(400)]

LIVES = Lives(svid=60, exchanged=25)
SERVES_ON = 6.0
"""Seconds. Less than is left of the exchanged tokens, which are made when the load begins."""
CLEAN = {
    *rotation.HONEST_DENIALS,
    "engine.exchange_unavailable",
    "engine.identity_unavailable",
    "transport.certificate_expired",
}
OF_THE_CLIENT = {"0"}
"""No answer: the edge's own certificate has ended, and the client refuses it."""


def _sound(load: Load, failed: set[str]) -> bool:
    return not load.hung and not load.wrong and load.denied.keys() <= CLEAN and load.failed.keys() <= failed


async def _served(load: Load, count: int, seconds: float) -> bool:
    """Whether so many more transfers are allowed within this time."""
    before = load.allowed
    for _ in range(int(seconds / 0.1)):
        if load.allowed >= before + count:
            return True
        await asyncio.sleep(0.1)
    return False


async def test_transfers_go_on_until_credentials_end_and_again_when_it_is_back(parts: None) -> None:
    async with rotation.warm(lives=LIVES) as (platform, lab), rotation.loaded(lab, per_token=0) as load:
        assert await _served(load, 10, 60)
        await platform.kill("authority")
        shown = x509.load_der_x509_certificate(await rotation.served(lab, EDGE))
        before = load.allowed
        await asyncio.sleep(SERVES_ON)
        assert load.allowed > before + 5
        assert not rotation.failures(load), "what was issued serves on"

        # Tokens end first, then certificates.
        left = shown.not_valid_after_utc.timestamp() - SystemClock().now()
        await asyncio.sleep(max(0.0, left - 2))
        assert load.denied["engine.exchange_unavailable"] > 0
        assert _sound(load, set()), (load.denied, load.failed)
        await asyncio.sleep(8)
        allowed = load.allowed
        await asyncio.sleep(3)
        assert load.allowed == allowed, "nothing outlives its credentials"
        assert _sound(load, OF_THE_CLIENT), (load.denied, load.failed)

        await platform.restart("authority")
        assert await _served(load, 20, 90), (load.denied, load.failed)
        load.denied.clear()
        load.failed.clear()
        assert await _served(load, 20, 30)
        assert not rotation.failures(load), "it is back for good"
        assert platform.tracebacks() == []

"""The authority is away: what was issued serves on until it ends, then refusals say why, and it comes back by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from bench import rotation
from bench.short_lives import Lives

if TYPE_CHECKING:
    from extauthz.demo.load import Load

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.opa, pytest.mark.fault, pytest.mark.timeout(400)]

LIVES = Lives(svid=40, exchanged=25)
SERVES_ON = 6.0
"""Seconds: less than what is left of any token or certificate when the authority ends (a token is renewed ahead)."""


def _unclean(load: Load) -> Counter[str]:
    """What is neither an answer of the service nor a denial with its code."""
    return Counter({code: n for code, n in load.denied.items() if "." not in code}) + load.failed


async def _more(load: Load, count: int, seconds: float) -> bool:
    before = load.allowed
    for _ in range(int(seconds / 0.1)):
        if load.allowed >= before + count:
            return True
        await asyncio.sleep(0.1)
    return False


async def _denied(load: Load, seconds: float) -> bool:
    for _ in range(int(seconds / 0.1)):
        if rotation.failures(load):
            return True
        await asyncio.sleep(0.1)
    return False


async def test_transfers_go_on_until_credentials_end_and_again_when_it_is_back(parts: None) -> None:
    async with rotation.warm(lives=LIVES) as (platform, lab), rotation.loaded(lab, per_token=0) as load:
        assert await _more(load, 10, 60)
        await platform.kill("authority")
        assert await _more(load, 10, SERVES_ON)
        served = load.allowed
        assert not rotation.failures(load), "what was issued must serve on"

        assert await _denied(load, 90), "credentials end"
        await asyncio.sleep(LIVES.svid)  # certificates as well
        assert load.allowed >= served
        assert load.hung == 0
        assert load.wrong == []
        assert not _unclean(load), (load.denied, load.failed)
        unexpected = {code for code in load.denied if code not in rotation.HONEST_DENIALS and code not in EXPECTED}
        assert not unexpected, load.denied

        await platform.restart("authority")
        assert await _more(load, 20, 90), (load.denied, load.failed)
        load.denied.clear()
        load.failed.clear()
        assert await _more(load, 20, 30)
        assert not rotation.failures(load), "recovered for good"
        assert platform.tracebacks() == []


EXPECTED = {
    "engine.exchange_unavailable",
    "engine.identity_unavailable",
    "transport.certificate_expired",
    "transport.certificate_untrusted",
}

"""The whole demonstration platform, five Envoys with agents, under load: everything rotates; the authority goes away.

The platform, the load and the figures are those of `bench.rotation`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from cryptography import x509

from bench import rotation
from bench.short_lives import Lives
from extauthz.clock import SystemClock
from extauthz.demo.zones import EDGE
from tests.faults.lab import now
from tests.faults.rows import Family, Scenario

if TYPE_CHECKING:
    from collections import Counter

    from extauthz.demo.load import Load
    from tests.faults.lab import Lab
    from tests.faults.rows import Row

LIVES: Final = Lives(svid=60, exchanged=25)
SERVES_ON: Final = 6.0
EXPECTED: Final = frozenset(
    {
        *rotation.HONEST_DENIALS,
        "engine.exchange_unavailable",
        "engine.identity_unavailable",
        "engine.revocations_stale",  # the authority tells what has been revoked, too
        "transport.certificate_expired",
    }
)
OF_THE_CLIENT: Final = "0"
"""No answer: the edge's own certificate has ended, and the client refuses it."""


async def rotations(_: Lab, row: Row) -> None:
    result = await rotation.rotate(rotation.SHORT)
    row.requests = result.requests
    row.wrong = result.failures["allowed but forbidden"]
    row.lost = result.failures.total() - row.wrong
    row.hold(not result.failures, f"failures: {dict(result.failures)}")
    row.hold(not result.tracebacks, f"tracebacks: {result.tracebacks}")
    seen = result.seen.rotations
    row.facts |= {
        "leaf_rotations": seen.leaves,
        "ca_rotations": seen.authorities,
        "signing_rotations": seen.signing,
        "agent_restarts": result.restarts,
    }
    row.operator = "/v1/status of the authority; extauthz_certificate_not_after_seconds"
    wanted = rotation.SHORT
    enough = seen.leaves >= wanted.leaves and seen.authorities >= wanted.authorities and seen.signing >= wanted.signing
    row.hold(enough, "not everything has rotated")


async def authority_down(_: Lab, row: Row) -> None:
    async with rotation.warm(lives=LIVES) as (platform, lab), rotation.loaded(lab, per_token=0) as load:
        row.hold(await _served(load, 10, 60), "transfers were not served before the fault")
        await platform.kill("authority")
        gone = now()
        shown = x509.load_der_x509_certificate(await rotation.served(lab, EDGE))
        await asyncio.sleep(SERVES_ON)
        row.hold(not rotation.failures(load), f"what was issued did not serve on: {dict(rotation.failures(load))}")
        row.facts["issued_tokens_serve_s"] = round(await _first(load, "engine.exchange_unavailable", gone), 1)
        left = shown.not_valid_after_utc.timestamp() - SystemClock().now()
        await asyncio.sleep(max(0.0, left + 6))
        allowed = load.allowed
        await asyncio.sleep(3)
        row.hold(load.allowed == allowed, "something outlives its credentials")
        _clean(row, load)
        back = now()
        await platform.restart("authority")
        row.hold(await _served(load, 20, 90), "not recovered")
        row.recovered = now() - back
        row.codes.update(load.denied)
        row.requests = load.total
        row.wrong, row.lost = len(load.wrong), load.hung + _lost(load.failed)
        row.hold(not platform.tracebacks(), f"tracebacks: {platform.tracebacks()}")
    row.operator = "extauthz_certificate_not_after_seconds; agent's log"


def _lost(failed: Counter[str]) -> int:
    """Answers in nobody's words. A client that refuses an ended certificate got none, rightly."""
    return sum(count for status, count in failed.items() if status != OF_THE_CLIENT)


def _clean(row: Row, load: Load) -> None:
    row.hold(not load.wrong, f"wrongly allowed: {load.wrong[:3]}")
    row.hold(not load.hung, f"{load.hung} requests hung")
    row.hold(load.denied.keys() <= EXPECTED, f"refused with {sorted(load.denied.keys() - EXPECTED)}")
    row.hold(not _lost(load.failed), f"failed: {dict(load.failed)}")


async def _first(load: Load, code: str, since: float) -> float:
    """Seconds until the code is seen."""
    while not load.denied[code] and now() < since + 60:  # noqa: ASYNC110 - others' doing
        await asyncio.sleep(0.1)
    return now() - since


async def _served(load: Load, count: int, seconds: float) -> bool:
    """Whether so many more transfers are allowed within this time."""
    before, end = load.allowed, now() + seconds
    while now() < end:
        if load.allowed >= before + count:
            return True
        await asyncio.sleep(0.1)
    return False


FAMILIES: Final = (
    Family(
        "identities",
        None,
        (
            Scenario(
                "authority-down",
                "the authority killed, until all that it issued has ended",
                "SVIDs and tokens serve to their end; then refusals name it; recovery without a restart",
                authority_down,
            ),
            Scenario(
                "rotation",
                "CA, signing key and leaf certificates rotate, an agent is killed",
                "zero failed handshakes, zero failed verifications",
                rotations,
            ),
        ),
    ),
)

"""How long a revocation takes on the whole platform: from the operator's word to the first refusal by an Envoy.

Part of `python -m bench.patterns --revocation 100`. Each time a new credential is used until everything about it is
cached; it is revoked through the authority's operator socket; then it is used again and again, on an open connection.
The clock starts before the authority is told and stops when the refusal has come back.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from bench.credentials import Bound, Certificate, Hybrid, Opaque, RolesAndAttributes, RolesOnly
from extauthz.demo.lab import Lab
from extauthz.demo.platform import Platform
from extauthz.demo.runner import Runner
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from bench.pattern import Pattern

MEASURED: Final[tuple[type[Pattern[Any]], ...]] = (RolesOnly, RolesAndAttributes, Opaque, Hybrid, Certificate, Bound)
AIM: Final = 1.0
"""Seconds, p99."""
_PATIENCE: Final = 15.0
_OK: Final = range(200, 300)


async def delay(pattern: Pattern[Any]) -> tuple[float, float]:
    """Seconds until the refusal came back, and of these until the authority had answered."""
    held = await pattern.get()
    for _ in range(2):
        if (answer := await pattern.use(held)).status not in _OK:
            raise ExtauthzError(f"{pattern.name}: a good credential is refused with {answer.code}")
    started = time.monotonic()
    await pattern.revoke(held)
    told = time.monotonic()
    while (answer := await pattern.use(held)).status in _OK:
        if time.monotonic() - started > _PATIENCE:
            raise ExtauthzError(f"{pattern.name}: still served {_PATIENCE:g} s after it was revoked")
    if answer.layer not in {"token", "workload"}:
        raise ExtauthzError(f"{pattern.name}: refused with {answer.code or answer.status}, not as revoked")
    return time.monotonic() - started, told - started


async def run(count: int) -> None:
    async with Platform() as platform:
        lab = Lab(platform)
        try:
            await Runner(platform, lab).warm_up()
            print(f"{count} revocations each: operator's word to the first refusal by Envoy, milliseconds")
            print("| credential | zone | p50 | p99 | max | of these the authority, p50 |")
            print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
            for kind in MEASURED:
                pattern = kind(lab, lab)
                await pattern.prepare()
                taken = []
                for _ in range(count):
                    await asyncio.sleep(random.expovariate(1 / 0.05))
                    taken.append(await delay(pattern))
                _show(pattern, [whole for whole, _ in taken], [told for _, told in taken])
        finally:
            await lab.close()


def _show(pattern: Pattern[Any], whole: list[float], told: list[float]) -> None:
    p99 = statistics.quantiles(whole, n=100, method="inclusive")[98] if len(whole) > 1 else whole[0]
    figures = [statistics.median(whole), p99, max(whole), statistics.median(told)]
    shown = " | ".join(f"{1000 * value:.0f}" for value in figures)
    print(f"| {pattern.name} | {pattern.zone.name} | {shown} |", flush=True)
    if p99 > AIM:
        print(f"patterns: {pattern.name}: p99 is above {AIM:g} s", file=sys.stderr)

"""One client fills every cache with keys that nobody asks for again, while others go on with theirs."""

from __future__ import annotations

import asyncio
import secrets
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from tests.faults.lab import Plan, rss
from tests.faults.load import p99
from tests.faults.oracle import Kind
from tests.faults.people import REFUSED, bearer
from tests.faults.rows import Family, Scenario
from tests.faults.setup import TENANT
from tests.faults.storms import tokens

if TYPE_CHECKING:
    from tests.faults.lab import Lab
    from tests.faults.rows import Row

HOT: Final = 40
"""Tokens of the hot set."""
PLACES: Final = 1000
"""Entries that the token cache and the decision cache may have."""
FLOOD: Final = 6000
RATE: Final = 500.0
SECONDS: Final = 8.0
GROWTH: Final = 64 * 1024 * 1024
"""Bytes by which the server's memory may grow in the flood."""
CACHES: Final = ("token", "decision")


async def flood(lab: Lab, row: Row) -> None:
    """Hot: 40 users. Flood: from one client a new token and a new tenant with every request."""
    hot = cycle(await asyncio.to_thread(lambda: list(tokens(lab.people, HOT))))
    unique = iter(await asyncio.to_thread(lambda: list(tokens(lab.people, FLOOD, sub="flooder"))))
    mine = Kind("hot", "read", "allow", f"/read/{TENANT}", lambda: bearer(next(hot)))
    async with lab.load([mine], RATE / 4, in_turn=True) as load:
        await asyncio.sleep(SECONDS)
    row.take(load.answers)
    calm = await _rates(lab, sum(1 for one in load.answers if one.of == "allowed"))
    memory = rss(lab.server.workers())
    quiet = p99(load.answers)
    strange = [_unique(unique, secrets.token_hex(3)) for _ in range(3000)]
    mixed = [kind for at in range(0, len(strange), 3) for kind in (mine, *strange[at : at + 3])]
    before = await _hits(lab)
    async with lab.load(mixed, RATE, in_turn=True) as load:
        await asyncio.sleep(SECONDS)
        grown = rss(lab.server.workers()) - memory
    row.take(load.answers)
    row.codes.update(one.label for one in load.answers)
    after = await _hits(lab)
    asked = sum(1 for one in load.answers if one.kind is mine and one.of == "allowed")
    for cache in CACHES:
        rate = (after[cache] - before[cache]) / max(asked, 1)
        row.facts[f"hot_{cache}_hit_rate"] = f"{min(calm[cache], 1):.2f} → {min(rate, 1):.2f}"
        row.hold(rate >= 0.9, f"the flood took the hot set out of the {cache} cache: hit rate {rate:.2f}")
        entries = await lab.server.metric("extauthz_cache_entries", cache=cache)
        row.hold(entries <= PLACES, f"the {cache} cache has {entries:.0f} entries")
    row.facts["unique_keys"] = sum(1 for one in load.answers if one.kind is not mine)
    row.facts["memory_mib"] = f"{memory / 2**20:.0f}, grown by {grown / 2**20:.1f}"
    row.facts["p99_ms"] = f"{quiet * 1e3:.1f} steady, {p99(a for a in load.answers if a.kind is mine) * 1e3:.1f} in it"
    row.operator = "extauthz_cache_entries, extauthz_cache_requests_total"
    row.hold(grown < GROWTH, f"memory grew by {grown / 2**20:.0f} MiB")


def _unique(tokens: Any, tenant: str) -> Kind:
    """A tenant that nobody else names, with a token that comes once: refused, and remembered nowhere for long."""
    return Kind("unique", "read", "policy", f"/read/t-{tenant}", lambda: bearer(next(tokens)), REFUSED)


async def _hits(lab: Lab) -> dict[str, float]:
    return {
        cache: await lab.server.metric("extauthz_cache_requests_total", cache=cache, outcome="hit") for cache in CACHES
    }


async def _rates(lab: Lab, asked: int) -> dict[str, float]:
    return {cache: hits / max(asked, 1) for cache, hits in (await _hits(lab)).items()}


def _small(_: Lab, tree: dict[str, Any]) -> None:
    tree["verifier"] = {"cache_entries": PLACES}
    tree["policy"]["cache"] = {"max_entries": PLACES}


FAMILIES: Final = (
    Family(
        "floods",
        Plan(("read",), adjust=_small),
        (
            Scenario(
                "cache-flood",
                "memory pressure: one client floods the caches with unique keys",
                "memory bounded; the hot set of the others stays (hit rate ≥ 0.9)",
                flood,
            ),
        ),
    ),
)

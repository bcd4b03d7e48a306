"""The store of revocations cannot be reached: what is known serves for `max_age`, then critical routes deny."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from extauthz.clock import SystemClock
from extauthz.store.opening import open_store
from extauthz.store.revocations import RevocationLog
from extauthz.store.settings import RedisStoreSettings
from tests.faults.issuers import served
from tests.faults.lab import Plan, now
from tests.faults.oracle import Kind
from tests.faults.people import IDENTITY, bearer
from tests.faults.rows import Family, Scenario, course
from tests.faults.setup import TENANT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.lab import Lab
    from tests.faults.rows import Row

MAX_AGE: Final = 2.0
"""Seconds, in place of the 60 s that are shipped."""
STALE: Final = "engine.revocations_stale"
PROMISE: Final = "the last snapshot serves for max_age; then critical → 503 engine.revocations_stale; others go on"


async def revoke(lab: Lab, jti: str) -> None:
    """As the authority does it, straight into the store."""
    if lab.redis is None:
        raise ValueError("the plan has no redis")
    store = open_store(RedisStoreSettings(kind="redis", url=lab.redis.url), SystemClock())
    try:
        await RevocationLog(store, SystemClock()).revoke("jti", jti, until=SystemClock().now() + 3600, reason="faults")
    finally:
        await store.close()


def revoked(lab: Lab, route: str, jti: str) -> Kind:
    token = lab.people.token(jti=jti)
    return Kind(f"{route} revoked", route, "identity", f"/{route}/{TENANT}", lambda: bearer(token), IDENTITY)


async def partition(
    lab: Lab, row: Row, fault: Callable[[], Awaitable[object]], repair: Callable[[], Awaitable[object]]
) -> None:
    known = secrets.token_hex(8)
    await revoke(lab, known)
    await asyncio.sleep(1)
    kinds = [*lab.people.kinds("pay", "read"), revoked(lab, "pay", known), revoked(lab, "read", known)]

    async def sign() -> str:
        stale = await lab.server.metric("extauthz_revocations_stale")
        return "extauthz_revocations_stale" if stale else ""

    seen = await course(lab, row, fault=fault, repair=repair, sign=sign, kinds=kinds, during=MAX_AGE + 3)
    refused = [one.sent for one in seen.during if one.code == STALE and one.kind.must == "allow"]
    row.hold(refused, f"pay was never refused with {STALE}")
    if refused:
        row.facts["served_on_s"] = round(min(refused) - seen.during[0].sent, 1)
    others = {code for code in seen.codes("pay") if not code.startswith("200")} - {STALE}
    row.hold(not others, f"pay was refused with {', '.join(sorted(others))}")
    served(row, seen, "read")
    row.facts["next_revocation_s"] = round(await _reaches(lab, row), 2)


async def _reaches(lab: Lab, row: Row) -> float:
    """Seconds from a new revocation to the first refusal."""
    jti = secrets.token_hex(8)
    token = lab.people.token(jti=jti)
    kind = Kind("pay, revoked now", "pay", "allow", f"/pay/{TENANT}", lambda: bearer(token))
    async with lab.load([kind], rate=50) as load:
        await load.good()
        begun = now()
        await revoke(lab, jti)
        for _ in range(200):
            await asyncio.sleep(0.05)
            if found := [one.sent for one in load.answers if one.code == "token.revoked"]:
                return max(0.0, min(found) - begun)
    row.hold(False, "a revocation did not reach the server after the partition")
    return 0.0


async def stopped(lab: Lab, row: Row) -> None:
    redis = lab.redis
    if redis is None:
        raise ValueError("the plan has no redis")

    async def fault() -> None:
        redis.pause()

    async def repair() -> None:
        redis.resume()

    await partition(lab, row, fault, repair)


async def cut(lab: Lab, row: Row) -> None:
    proxy = lab.proxies["redis"]

    async def fault() -> None:
        proxy.cut()

    async def repair() -> None:
        proxy.join()

    await partition(lab, row, fault, repair)


def _redis(lab: Lab, tree: dict[str, Any]) -> None:
    url = f"unix://{lab.proxies['redis'].listen}"
    tree["revocation"] = {"redis": {"url": url, "timeout": "300ms"}, "max_age": f"{MAX_AGE:g}s"}


FAMILIES: Final = (
    Family(
        "revocations",
        Plan(("pay", "read"), redis=True, adjust=_redis),
        (
            Scenario("revocations-stopped", "Redis stopped (SIGSTOP)", PROMISE, stopped),
            Scenario("revocations-cut", "network to Redis drops everything", PROMISE, cut, core=True),
        ),
    ),
)

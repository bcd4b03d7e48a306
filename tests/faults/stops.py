"""Servers that end: politely, one after the other under load, and without a word."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final

from tests.faults.issuers import served
from tests.faults.lab import Plan, now, send
from tests.faults.load import until
from tests.faults.rows import Family, Scenario, course, nothing

if TYPE_CHECKING:
    from extauthz.demo.processes import Part
    from tests.faults.lab import Lab, Server
    from tests.faults.rows import Row

RESTARTS: Final = "extauthz_worker_restarts_total"


async def deploy(lab: Lab, row: Row) -> None:
    """A deploy wave: every server gets SIGTERM and is started again while the other one serves."""
    drained: list[float] = []

    async def fault() -> None:
        for server in lab.servers:
            begun = now()
            os.kill(server.part.pid, signal.SIGTERM)
            row.hold(await _ended(server.part), "a server did not end after SIGTERM")
            drained.append(now() - begun)
            await server.start()
            await asyncio.sleep(1)

    async def sign() -> str:
        return "log: draining" if any("draining for at most" in server.log() for server in lab.servers) else ""

    seen = await course(lab, row, fault=fault, repair=nothing, sign=sign, during=0.2)
    served(row, seen, "pay", "read")
    row.facts["drains"] = f"{len(drained)}, longest {max(drained, default=0):.1f} s"


async def _ended(part: Part) -> bool:
    return await until(lambda: not part.running, 15)


async def killed(lab: Lab, row: Row) -> None:
    """One of two servers dies with all its processes; what it was answering is asked of the other one."""

    async def fault() -> None:
        await asyncio.to_thread(lab.server.part.kill)
        await asyncio.sleep(2)

    async def sign() -> str:
        page = await lab.server.get("/healthz")
        return "/healthz of the server, cluster.extauthz.membership_healthy of Envoy" if page is None else ""

    seen = await course(lab, row, fault=fault, repair=lab.server.start, sign=sign, during=0.5)
    served(row, seen, "pay", "read")


async def alone(lab: Lab, row: Row) -> None:
    """The only server dies: Envoy refuses everything, in our words, until it is back."""

    async def fault() -> None:
        await asyncio.to_thread(lab.server.part.kill)

    async def sign() -> str:
        return "/healthz of the server" if await lab.server.get("/healthz") is None else ""

    seen = await course(lab, row, fault=fault, repair=lab.server.start, sign=sign, during=1.5)
    row.hold(seen.codes("pay")["engine.unavailable"], "pay was never refused with engine.unavailable")


async def worker(lab: Lab, row: Row) -> None:
    """A worker process dies; its parent starts another one."""
    before = await lab.server.metric(RESTARTS)

    async def fault() -> None:
        send(lab.server.workers()[:1], signal.SIGKILL)

    async def sign() -> str:
        return RESTARTS if await _restarts(lab.server) > before else ""

    await course(lab, row, fault=fault, repair=nothing, sign=sign, during=1.0)


async def _restarts(server: Server) -> float:
    return await server.metric(RESTARTS)


FAMILIES: Final = (
    Family(
        "two servers",
        Plan(("pay", "read"), replicas=2),
        (
            Scenario(
                "sigterm",
                "SIGTERM under load, a deploy wave over two servers",
                "drain: zero failed Checks (Envoy: gRPC health checks and a retry on the other server)",
                deploy,
                core=True,
            ),
            Scenario("sigkill-one", "one of two servers killed (SIGKILL)", "Envoy asks the other one", killed),
        ),
    ),
    Family(
        "one server",
        Plan(("pay", "read")),
        (
            Scenario(
                "worker-killed", "the worker process killed (SIGKILL)", "503 engine.unavailable; restarted", worker
            ),
            Scenario("sigkill-only", "the only server killed (SIGKILL)", "503 engine.unavailable in our words", alone),
        ),
    ),
)

"""OPA is killed, stopped, slow, wrong, or dies again and again."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

from tests.faults.lab import Plan, send
from tests.faults.rows import Family, Scenario, course, nothing
from tests.faults.web import Asked, Said, Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.lab import Lab, Server
    from tests.faults.rows import Course, Row

ROUTES: Final = ("pay", "read")
PROMISE: Final = "inside the deadline: critical → 503 engine.*; degrade → the last good policy; then by itself again"
FAULTS: Final = "extauthz_engine_faults_total"


async def faults(server: Server) -> float:
    return await server.metric(FAULTS)


async def counted(server: Server) -> Callable[[], Awaitable[str]]:
    """A sign: the metric of engine faults has grown."""
    before = await faults(server)

    async def sign() -> str:
        return FAULTS if await faults(server) > before else ""

    return sign


def closed(row: Row, seen: Course, codes: set[str]) -> None:
    """The critical route was refused with one of these, and with nothing else of ours."""
    found = {code for code in seen.codes("pay") if not code.startswith("200")}
    row.hold(found & codes, f"pay was never refused with {' or '.join(sorted(codes))}")
    row.hold(found <= codes, f"pay was refused with {', '.join(sorted(found - codes))}")


async def killed(lab: Lab, row: Row) -> None:
    async def fault() -> None:
        send(lab.server.opa(), signal.SIGKILL)
        await asyncio.sleep(0)

    seen = await course(lab, row, fault=fault, repair=nothing, sign=await counted(lab.server), during=1.0)
    closed(row, seen, {"engine.unavailable", "engine.deadline"})


async def stopped(lab: Lab, row: Row) -> None:
    pids = lab.server.opa()

    async def fault() -> None:
        send(pids, signal.SIGSTOP)

    async def repair() -> None:
        send(pids, signal.SIGCONT)

    seen = await course(lab, row, fault=fault, repair=repair, sign=await counted(lab.server))
    closed(row, seen, {"engine.unavailable", "engine.deadline"})


async def dies_again(lab: Lab, row: Row) -> None:
    """What the kernel's OOM killer does to an OPA that is too large: SIGKILL, as soon as it is back."""
    deaths = 0

    async def fault() -> None:
        nonlocal deaths
        for _ in range(40):
            if pids := lab.server.opa():
                send(pids, signal.SIGKILL)
                deaths += 1
            await asyncio.sleep(0.1)

    seen = await course(lab, row, fault=fault, repair=nothing, sign=await counted(lab.server), during=0.5)
    closed(row, seen, {"engine.unavailable", "engine.deadline"})
    row.facts["killed"] = deaths
    row.hold(deaths > 1, "OPA was not started again")


async def slow(lab: Lab, row: Row) -> None:
    proxy = lab.proxies["opa"]

    async def fault() -> None:
        proxy.delay = 0.5

    async def repair() -> None:
        proxy.delay = 0.0

    seen = await course(lab, row, fault=fault, repair=repair, sign=await counted(lab.server))
    closed(row, seen, {"engine.deadline", "engine.unavailable"})


GARBAGE: Final[tuple[Said, ...]] = (
    Said(body=b"<html>allowed</html>", headers={"content-type": "text/html"}),
    Said(raw=b"\x00\x01\x02 allow allow allow\r\n\r\n"),
    Said(raw=b'HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n{"result": {"allow": true}'),
    Said(body={"result": {"allow": "true"}}),
    Said(body={"result": 1}),
    Said(body={"result": [True]}),
    Said(body={"result": {"allow": True, "reasons": [{"code": "role.denied"}]}}),
    Said(body={"allow": True}),
    Said(500, {"code": "internal_error", "result": {"allow": True}}),
    Said(body=b'{"result": {"allow": true' + b" " * 300_000 + b"}}"),
)


async def garbage(lab: Lab, row: Row) -> None:
    turn = 0

    def answer(_: Asked) -> Said:
        nonlocal turn
        turn += 1
        return GARBAGE[turn % len(GARBAGE)]

    proxy, fake = lab.proxies["opa"], Service(answer, lab.folder / "fake-opa.sock")
    await fake.up()
    real = proxy.target

    async def fault() -> None:
        proxy.target = lab.folder / "fake-opa.sock"
        proxy.sever()

    async def repair() -> None:
        proxy.target = real
        fake.down()
        proxy.sever()

    seen = await course(lab, row, fault=fault, repair=repair, sign=await counted(lab.server))
    fake.down()
    closed(row, seen, {"engine.unavailable", "engine.invalid_result", "engine.undefined", "engine.deadline"})
    row.facts["garbage"] = f"{len(GARBAGE)} sorts, from a fake OPA"
    allowed = [
        one for one in seen.during if one.kind.must == "allow" and one.kind.route == "pay" and one.of == "allowed"
    ]
    row.facts["allowed_meanwhile"] = len(allowed)


FAMILIES: Final = (
    Family(
        "engine",
        Plan(ROUTES),
        (
            Scenario("opa-killed", "OPA killed (SIGKILL)", PROMISE, killed, core=True),
            Scenario("opa-stopped", "OPA stopped (SIGSTOP)", PROMISE, stopped, core=True),
            Scenario("opa-dies-again", "OPA killed as often as it starts (OOM)", PROMISE, dies_again),
        ),
    ),
    Family(
        "engine behind a proxy",
        Plan(ROUTES, opa="own"),
        (
            Scenario("opa-slow", "every answer of OPA 500 ms late", PROMISE, slow),
            Scenario("opa-garbage", "OPA answers garbage", PROMISE, garbage, core=True),
        ),
    ),
)

"""OPA is killed, stopped, slow, wrong, or dies again and again."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Final

from tests.faults.lab import Plan, send
from tests.faults.rows import Family, Scenario, course, nothing
from tests.faults.web import Asked, Said, Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.lab import Lab, Server
    from tests.faults.rows import Course, Row

ROUTES: Final = ("pay", "report", "ping", "hint")
TRANSITIONS: Final = "extauthz_breaker_transitions_total"
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
    """The critical route was refused with one of these, and with nothing else of ours; the others went by their plan:
    `report` by the last good policy, `ping` unasked, `hint` to be judged later."""
    planned(row, seen)
    found = {code for code in seen.codes("pay") if not code.startswith("200")}
    row.hold(found & codes, f"pay was never refused with {' or '.join(sorted(codes))}")
    row.hold(found <= codes, f"pay was refused with {', '.join(sorted(found - codes))}")


def planned(row: Row, seen: Course) -> None:
    for route, mode in (("report", "degraded"), ("ping", "open"), ("hint", "async")):
        refused = {code: count for code, count in seen.codes(route).items() if not code.startswith("200")}
        row.hold(not refused, f"{route} was refused in spite of its plan: {refused}")
        row.hold(seen.codes(route)[f"200 {mode}"], f"{route} was never answered with x-extauthz-mode: {mode}")


async def killed(lab: Lab, row: Row) -> None:
    async def fault() -> None:
        send(lab.server.opa(), signal.SIGKILL)
        await asyncio.sleep(0)

    seen = await course(lab, row, fault=fault, repair=nothing, sign=await counted(lab.server), during=1.0)
    closed(row, seen, {"engine.unavailable", "engine.deadline"})


async def transitions(lab: Lab) -> tuple[float, float]:
    """How often OPA's breaker has opened, and tried again."""
    opened = await lab.server.metric(TRANSITIONS, endpoint="opa", to="open")
    return opened, await lab.server.metric(TRANSITIONS, endpoint="opa", to="half_open")


async def breaker(lab: Lab, row: Row, before: tuple[float, float]) -> None:
    """It has opened, it has tried again, and it is closed."""
    opened, tried = (new - old for new, old in zip(await transitions(lab), before, strict=True))
    state = await lab.server.metric("extauthz_breaker_state", endpoint="opa")
    row.facts["breaker"] = f"opened {opened:.0f}, tried again {tried:.0f}, {'closed' if not state else 'NOT CLOSED'}"
    row.hold(opened and tried and not state, f"the breaker: {row.facts['breaker']}")


async def stopped(lab: Lab, row: Row) -> None:
    pids = lab.server.opa()

    before = await transitions(lab)

    async def fault() -> None:
        send(pids, signal.SIGSTOP)

    async def repair() -> None:
        send(pids, signal.SIGCONT)

    seen = await course(lab, row, fault=fault, repair=repair, sign=await counted(lab.server))
    closed(row, seen, {"engine.unavailable", "engine.deadline"})
    await breaker(lab, row, before)


async def dies_again(lab: Lab, row: Row) -> None:
    """What the kernel's OOM killer does to an OPA that is too large: SIGKILL, as soon as it is back."""
    deaths = 0

    before = await transitions(lab)

    async def fault() -> None:
        nonlocal deaths
        for _ in range(40):
            if pids := lab.server.opa():
                send(pids, signal.SIGKILL)
                deaths += 1
            await asyncio.sleep(0.1)

    async def repair() -> None:
        """The killing ends."""

    seen = await course(lab, row, fault=fault, repair=repair, sign=await counted(lab.server), during=0.0)
    closed(row, seen, {"engine.unavailable", "engine.deadline"})
    await breaker(lab, row, before)
    row.facts["killed"] = deaths
    row.hold(deaths > 1, "OPA was not started again")


async def slow(lab: Lab, row: Row) -> None:
    proxy = lab.proxies["opa"]

    before = await transitions(lab)

    async def fault() -> None:
        proxy.delay = 0.5

    async def repair() -> None:
        proxy.delay = 0.0

    seen = await course(lab, row, fault=fault, repair=repair, sign=await counted(lab.server))
    closed(row, seen, {"engine.deadline", "engine.unavailable"})
    await breaker(lab, row, before)


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
    pay = {code for code in seen.codes("pay") if not code.startswith("200")}
    known = {"engine.unavailable", "engine.invalid_result", "engine.undefined", "engine.deadline"}
    row.hold(pay, "pay was never refused")
    row.hold(pay <= known, f"pay was refused with {', '.join(sorted(pay - known))}")
    row.facts["garbage"] = f"{len(GARBAGE)} sorts, from a fake OPA"


def queue(lab: Lab, tree: dict[str, Any]) -> None:
    """Where the requests of asynchronous routes wait."""
    file = {"kind": "sqlite", "path": str(lab.folder / f"queue-{len(lab.servers)}.db")}
    tree["judgement"] = {"queue": file, "timeout": "2s", "lease": "4s"}


FAMILIES: Final = (
    Family(
        "engine",
        Plan(ROUTES, adjust=queue),
        (
            Scenario("opa-killed", "OPA killed (SIGKILL)", PROMISE, killed, core=True),
            Scenario("opa-stopped", "OPA stopped (SIGSTOP)", PROMISE, stopped, core=True),
            Scenario("opa-dies-again", "OPA killed as often as it starts (OOM)", PROMISE, dies_again),
        ),
    ),
    Family(
        "engine behind a proxy",
        Plan(ROUTES, opa="own", adjust=queue),
        (
            Scenario("opa-slow", "every answer of OPA 500 ms late", PROMISE, slow),
            Scenario("opa-garbage", "OPA answers garbage", PROMISE, garbage),
        ),
    ),
)

"""OPA killed, paused, talking nonsense: what each failure plan makes of it, on real parts, and that it ends by itself.

SECURITY-TESTS D 1. The OPA is one of the operator's own, so that it stays away as long as a test wants.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.clock import SystemClock
from extauthz.errors import EngineFault
from extauthz.policy.loader import load
from extauthz.policy.opa_process import OpaProcess
from tests.support import parts
from tests.support.bank import POLICIES, TRANSFER, Answer, Bank, Ticking, open_bank, route
from tests.support.certs import EPOCH
from tests.support.engines import eventually, stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.fault, pytest.mark.opa, pytest.mark.embedded]
PLANS = ("closed", "degrade", "open")
AWAY = {"engine.unavailable", "engine.deadline"}
BREAKER = {"failures": 3, "pause": "50ms", "longest_pause": "200ms"}


@dataclass
class Scene:
    """A server with one route for each plan, and the OPA that it asks."""

    bank: Bank
    opa: OpaProcess
    undo: AsyncExitStack
    gone: bool = field(default=False)

    async def ask(self, plan: str, **more: Any) -> Answer:
        return await self.bank.ask(path=f"/v1/{plan}", route=plan, **more)

    async def bad(self, plan: str) -> Answer:
        """A request that the policy denies."""
        return await self.ask(plan, token=self.bank.token(tenant="globex"))

    async def paused(self) -> None:
        assert self.opa.pid is not None
        await stop(self.opa.pid)

    async def resumed(self) -> None:
        assert self.opa.pid is not None
        os.kill(self.opa.pid, signal.SIGCONT)

    async def killed(self) -> None:
        assert self.opa.pid is not None
        os.kill(self.opa.pid, signal.SIGKILL)
        await self.opa.stop()

    async def started(self) -> None:
        await self.opa.start()

    async def garbage(self) -> None:
        """Something else listens where OPA was."""
        await self.killed()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n<h1>{"result": true}')
            writer.close()

        path = self.opa.address.removeprefix("unix://")
        Path(path).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(answer, path)
        self.undo.callback(server.close)
        self._nonsense = server

    async def sane(self) -> None:
        self._nonsense.close()
        Path(self.opa.address.removeprefix("unix://")).unlink(missing_ok=True)
        await self.opa.start()

    async def metric(self, line: str) -> bool:
        return line in self.bank.app.metrics().decode()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    tool = parts.require_opa()
    parts.require_embedded()
    async with AsyncExitStack() as undo:
        directory = undo.enter_context(tempfile.TemporaryDirectory(prefix="opa-"))
        opa = OpaProcess(tool, load(POLICIES).bundle(), Path(directory), clock=SystemClock())
        await opa.start()
        undo.push_async_callback(opa.stop)
        bank = await open_bank(
            tmp_path,
            clock=Ticking(EPOCH),
            server={"admission": {"enabled": False}},  # a busy machine is no business of this test
            policy={
                "engine": "sidecar",
                "path": str(POLICIES),
                "cache": {"enabled": False},
                "sidecar": {"supervise": False, "address": opa.address, "breaker": BREAKER},
            },
            routes=[
                route(
                    plan,
                    match={"path": f"/v1/{plan}", "methods": ["POST"]},
                    on_failure="closed" if plan == "closed" else {"engine": plan},
                )
                for plan in PLANS
            ],
        )
        undo.push_async_callback(bank.close)
        yield Scene(bank, opa, undo)


async def healthy(scene: Scene) -> bool:
    """Every route is decided by OPA again."""
    answers = [await scene.ask(plan) for plan in PLANS]
    return all(one.status == 200 and "x-extauthz-mode" not in one.headers for one in answers)


@pytest.mark.parametrize(("begin", "end"), [("killed", "started"), ("paused", "resumed"), ("garbage", "sane")])
async def test_each_plan_holds_while_opa_is_away_and_ends_with_it(scene: Scene, begin: str, end: str) -> None:
    assert await healthy(scene)
    assert [(await scene.bad(plan)).code for plan in PLANS] == ["attribute.tenant_mismatch"] * 3
    await getattr(scene, begin)()
    try:
        for _ in range(4):  # before and after the breaker opens
            closed = await scene.ask("closed")
            assert (closed.status, closed.layer) == (503, "engine")
            assert closed.code in AWAY
            degraded = await scene.ask("degrade")
            assert (degraded.status, degraded.headers.get("x-extauthz-mode")) == (200, "degraded")
            assert (await scene.bad("degrade")).code == "attribute.tenant_mismatch"
            opened = await scene.ask("open", headers={"x-extauthz-mode": "async"})
            assert (opened.status, opened.headers.get("x-extauthz-mode")) == (200, "open")
            for plan in PLANS:  # who is not known is let in by no plan
                assert (await scene.ask(plan, token="a.b.c")).code == "token.malformed"
                assert (await scene.ask(plan, caller="")).code == "workload.missing"
        assert (await scene.bank.app.status())["breakers"] == ["opa"]
        assert await scene.metric('extauthz_breaker_transitions_total{endpoint="opa",to="open"}')
        assert await scene.metric('extauthz_failure_plans_total{cause="engine",plan="degrade",route="degrade"}')
        assert await scene.metric('extauthz_failure_plans_total{cause="engine",plan="open",route="open"}')
    finally:
        await getattr(scene, end)()
    await eventually(lambda: healthy(scene))
    assert [(await scene.bad(plan)).code for plan in PLANS] == ["attribute.tenant_mismatch"] * 3
    assert (await scene.bank.app.status())["breakers"] == []
    assert await scene.metric('extauthz_breaker_state{endpoint="opa"} 0.0')


async def test_the_record_says_which_plan_took_whose_place(scene: Scene) -> None:
    await scene.killed()
    for plan in PLANS:
        await scene.ask(plan)
    await scene.bank.close()
    closed, degraded, opened = scene.bank.records()
    assert closed["code"] == "engine.unavailable"
    assert not {"mode", "failure", "degraded"} & set(closed)
    assert degraded["mode"] == "degraded"
    assert degraded["degraded"] == ["engine"]
    assert degraded["failure"] == {"cause": "engine", "code": "engine.unavailable", "plan": "degrade"}
    assert (degraded["engine"], degraded["revision"]) == ("fallback", load(POLICIES).revision)
    assert opened["mode"] == "open"
    assert opened["failure"] == {"cause": "engine", "code": "engine.unavailable", "plan": "open"}


async def test_with_an_open_breaker_the_answer_is_immediate_and_says_so(scene: Scene) -> None:
    await scene.killed()
    for _ in range(3):
        await scene.ask("closed")
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(scene.ask("closed", body=TRANSFER | {"amount": n})) for n in range(1, 30)]
    assert {task.result().code for task in asked} == {"engine.unavailable"}
    await scene.bank.close()
    details = [record["result"]["reasons"][0]["detail"] for record in scene.bank.records()]
    assert sum("its breaker is open" in detail for detail in details) >= 28  # all but a probe


async def test_callers_in_haste_and_denials_open_no_breaker(scene: Scene) -> None:
    for _ in range(6):
        await scene.ask("closed")
    for number in range(10):
        assert (await scene.bad("closed")).code == "attribute.tenant_mismatch"
        hasty = await scene.ask("closed", budget=0.0001 * number)
        assert hasty.status in {200, 503}
        assert hasty.code in {"", *AWAY}
    assert (await scene.bank.app.status())["breakers"] == []
    assert await healthy(scene)


@pytest.mark.parametrize("code", ["engine.undefined", "engine.invalid_result", "engine.internal"])
async def test_a_wrong_answer_is_refused_by_every_plan_though_another_policy_is_there(scene: Scene, code: str) -> None:
    class Wrong:
        revision = "r"

        async def evaluate(self, _query: object) -> None:
            raise EngineFault(code)

        async def close(self) -> None: ...

    scene.bank.use_engine(Wrong())
    assert [(await scene.ask(plan)).code for plan in PLANS] == [code] * 3

"""The sidecar engine's breaker, bulkhead and retries: what opens it, what never does, and who is refused at once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.breaker import State
from extauthz.endpoint import BreakerSettings, Endpoint
from extauthz.errors import EngineFault
from extauthz.model import Allow
from extauthz.policy.settings import SidecarSettings
from extauthz.policy.sidecar import SidecarEngine
from tests.support.engines import CLOCK, FakeOpa, eventually, http, ok, question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVAL_ERROR = http(b'{"errors": [{"code": "eval_conflict_error"}]}', status=b"500 Internal Server Error")
BROKEN = http(b"{}", status=b"503 Service Unavailable")


@asynccontextmanager
async def asking(**settings: Any) -> AsyncIterator[tuple[SidecarEngine, FakeOpa, Endpoint]]:
    breaker = {"failures": 2, "pause": "20ms", "longest_pause": "20ms", "retries": 0, **settings.pop("breaker", {})}
    async with FakeOpa() as fake:
        chosen = SidecarSettings(supervise=False, address=fake.address, timeout="500ms", **settings)
        endpoint = Endpoint("opa", BreakerSettings(**breaker), CLOCK, timeout=chosen.timeout)
        engine = SidecarEngine(fake.address, settings=chosen, clock=CLOCK, revision="r", endpoint=endpoint)
        try:
            yield engine, fake, endpoint
        finally:
            await engine.close()


async def fault(engine: SidecarEngine, **named: Any) -> EngineFault:
    with pytest.raises(EngineFault) as caught:
        await engine.evaluate(question("a/b", **named))
    return caught.value


async def never(writer: asyncio.StreamWriter) -> None:
    """No answer for as long as the connection lasts."""
    await writer.wait_closed()


@pytest.mark.parametrize(
    "bad", [None, BROKEN, b"SSH-2.0\r\n\r\n", http(b"[]")], ids=["closes", "503", "SSH", "no object"]
)
async def test_failures_open_it_and_one_answer_closes_it(bad: bytes | None) -> None:
    async with asking() as (engine, fake, endpoint):
        fake.script = [bad, bad]
        assert [(await fault(engine)).code for _ in range(2)] == ["engine.unavailable"] * 2
        assert endpoint.breaker.state is State.OPEN
        refused = await fault(engine)
        assert (refused.code, "breaker is open" in refused.detail) == ("engine.unavailable", True)
        assert len(fake.questions) == 2
        await eventually(lambda: not endpoint.refuses())
        assert (await engine.evaluate(question("a/b"))).decision == Allow()
        assert endpoint.breaker.state is State.CLOSED


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (ok({"result": False}), ""),
        (ok({}), "engine.undefined"),
        (ok({"result": 5}), "engine.invalid_result"),
        (EVAL_ERROR, "engine.invalid_result"),
        (http(b"{}", status=b"400 Bad Request"), "engine.internal"),
        (http(b'{"result":true}' + b" " * 300_000), "engine.invalid_result"),
    ],
    ids=["denial", "undefined", "no decision", "evaluation fails", "our question", "too large"],
)
async def test_an_answer_never_opens_it(answer: bytes, code: str) -> None:
    async with asking(breaker={"failures": 1}) as (engine, fake, endpoint):
        fake.script = [answer] * 5
        for _ in range(5):
            if code:
                assert (await fault(engine)).code == code
            else:
                await engine.evaluate(question("a/b"))
        assert endpoint.breaker.state is State.CLOSED


async def test_a_caller_in_haste_never_opens_it_and_a_hanging_opa_does() -> None:
    async with asking(breaker={"failures": 1}) as (engine, fake, endpoint):
        await engine.evaluate(question("a/b"))
        fake.script = [never] * 10
        for _ in range(5):
            assert (await fault(engine, seconds=0.005)).code == "engine.deadline"
        assert endpoint.breaker.state is State.CLOSED
        assert (await fault(engine)).code == "engine.deadline"  # 500 ms, where it needs one
        assert endpoint.breaker.state is State.OPEN


async def test_while_the_probe_is_out_all_others_are_refused() -> None:
    async with asking() as (engine, fake, endpoint):
        fake.script = [BROKEN, BROKEN]
        for _ in range(2):
            await fault(engine)
        await eventually(lambda: not endpoint.refuses())
        go = asyncio.Event()

        async def slow(writer: asyncio.StreamWriter) -> None:
            await go.wait()
            writer.write(ok({"result": True}))

        fake.script = [slow]
        async with asyncio.TaskGroup() as group:
            probe = group.create_task(engine.evaluate(question("a/b")))
            await eventually(lambda: len(fake.questions) == 3)
            assert {(await fault(engine)).code for _ in range(10)} == {"engine.unavailable"}
            go.set()
        assert probe.result().decision == Allow()
        assert len(fake.questions) == 3


async def test_a_full_queue_is_refused_at_once_and_is_no_failure() -> None:
    async with asking(pool=1, queue=1, breaker={"failures": 1}) as (engine, fake, endpoint):
        go = asyncio.Event()

        async def slow(writer: asyncio.StreamWriter) -> None:
            await go.wait()
            writer.write(ok({"result": True}))

        fake.script = [slow]
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(engine.evaluate(question("a/b"))) for _ in range(2)]
            await eventually(lambda: len(fake.questions) == 1)
            refused = await fault(engine)
            assert (refused.code, refused.detail) == ("engine.unavailable", "too many questions wait for OPA")
            go.set()
        assert [task.result().decision for task in waiting] == [Allow(), Allow()]
        assert endpoint.breaker.state is State.CLOSED


async def test_a_connection_that_fails_is_tried_again_and_nonsense_is_not() -> None:
    async with asking(breaker={"failures": 100, "retries": 2}) as (engine, fake, _):
        fake.script = [None, None]
        assert (await engine.evaluate(question("a/b"))).decision == Allow()
        assert len(fake.questions) == 3
        fake.script = [BROKEN]
        assert (await fault(engine)).code == "engine.unavailable"
        assert len(fake.questions) == 4
        fake.script = [never]
        assert (await fault(engine, seconds=0.05)).code == "engine.deadline"
        assert len(fake.questions) == 5


async def test_its_health_is_asked_also_while_it_is_left_alone() -> None:
    async with asking(breaker={"failures": 1, "pause": "60s", "longest_pause": "60s"}) as (engine, fake, endpoint):
        fake.script = [BROKEN]
        await fault(engine)
        assert await engine.ready()
        assert endpoint.breaker.state is State.OPEN

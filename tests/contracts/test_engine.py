"""What every engine promises, held over the sidecar, the embedded one, and the cache around each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest

from extauthz.errors import EngineFault
from extauthz.model import Allow, Deny
from tests.support.engines import (
    CONTRACT,
    FakeOpa,
    cached,
    embedded,
    eventually,
    http,
    ok,
    question,
    sidecar,
    stop,
    write_policy,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from extauthz.policy.engine import Engine

from extauthz.policy.settings import SidecarSettings
from extauthz.policy.sidecar import SidecarEngine
from tests.support.engines import CLOCK, LIMITED

KINDS = [
    pytest.param("sidecar", marks=pytest.mark.opa),
    pytest.param("embedded", marks=pytest.mark.embedded),
    pytest.param("cached-sidecar", marks=pytest.mark.opa),
    pytest.param("cached-embedded", marks=pytest.mark.embedded),
]


@pytest.fixture(params=KINDS)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    policy = write_policy(tmp_path / "policy", CONTRACT)
    async with contextlib.AsyncExitStack() as stack:
        if request.param.endswith("sidecar"):
            made: Engine = (await stack.enter_async_context(sidecar(policy)))[0]
        else:
            made = await stack.enter_async_context(embedded(policy))
        if request.param.startswith("cached"):
            made = cached(made)
        yield made
        await made.close()


async def fault(engine: Engine, *arguments, **named) -> str:
    with pytest.raises(EngineFault) as caught:
        await engine.evaluate(question(*arguments, **named))
    return caught.value.code


async def test_a_bare_true_allows(engine):
    evaluation = await engine.evaluate(question("contract/echo", {"result": True}))
    assert evaluation.decision == Allow()
    assert evaluation.revision == engine.revision
    assert len(engine.revision) == 32
    assert not evaluation.cached


async def test_an_allow_brings_its_obligations(engine):
    result = {"allow": True, "ttl": 5, "obligations": {"headers": {"x-a": "b"}, "mask": ["iban"], "metadata": {"n": 1}}}
    decision = (await engine.evaluate(question("contract/echo", {"result": result}))).decision
    assert isinstance(decision, Allow)
    assert decision.obligations.headers == (("x-a", "b"),)
    assert decision.obligations.mask == ("iban",)
    assert decision.obligations.metadata == {"n": 1}
    assert decision.ttl == 5


async def test_a_denial_brings_its_reasons_in_order(engine):
    reasons = [
        {"code": "attribute.tenant_mismatch", "message": "no", "remedy": "ask", "detail": "why"},
        {"code": "role.denied"},
    ]
    result = {"allow": False, "reasons": reasons}
    decision = (await engine.evaluate(question("contract/echo", {"result": result}))).decision
    assert isinstance(decision, Deny)
    assert [one.code for one in decision.reasons] == ["attribute.tenant_mismatch", "role.denied"]
    assert decision.reasons[0].remedy == "ask"
    assert decision.status == 403


async def test_a_bare_false_and_an_empty_denial_are_role_denied(engine):
    for result in (False, {"allow": False}, {"allow": False, "reasons": []}):
        decision = (await engine.evaluate(question("contract/echo", {"result": result}))).decision
        assert isinstance(decision, Deny)
        assert decision.code == "role.denied"


async def test_undefined_is_a_fault(engine):
    assert await fault(engine, "contract/echo", {}) == "engine.undefined"
    assert await fault(engine, "contract/no_such_rule", {}) == "engine.undefined"
    assert await fault(engine, "no/such/package", {}) == "engine.undefined"


@pytest.mark.parametrize(
    "result",
    [
        1, "true", None, [], [True], {}, {"allow": "true"}, {"allow": 1}, {"allow": None}, {"allow": [True]},
        {"allow": True, "reasons": [{"code": "role.denied"}]}, {"allow": False, "reasons": [{"code": "engine.internal"}]},
        {"allow": False, "reasons": ["role.denied"]}, {"allow": True, "ttl": "5s"}, {"allow": True, "ttl": -1},
        {"allow": True, "obligations": {"headers": {"x-a": "b\r\nx-evil: 1"}}}, {"allow": True, "obligations": []},
    ],
    ids=repr,
)  # fmt: skip
async def test_what_is_no_decision_is_a_fault(engine, result):
    assert await fault(engine, "contract/echo", {"result": result}) == "engine.invalid_result"


async def test_a_policy_that_contradicts_itself_is_a_fault(engine):
    assert await fault(engine, "contract/conflict", {"one": True, "two": True}) == "engine.invalid_result"


async def test_a_package_is_no_decision(engine):
    assert await fault(engine, "other") == "engine.invalid_result"


async def test_an_oversized_result_is_a_fault(engine):
    assert await fault(engine, "contract/big", {}) == "engine.invalid_result"
    assert (await engine.evaluate(question("contract/echo", {"result": True}))).decision == Allow()


async def test_data_files_stand_at_the_path_of_their_directory(engine):
    assert (await engine.evaluate(question("contract/table", {"role": "clerk"}))).decision == Allow()
    assert isinstance((await engine.evaluate(question("contract/table", {"role": "guest"}))).decision, Deny)


async def test_tests_are_not_served(engine):
    assert await fault(engine, "contract_test/test_never_served", {}) == "engine.undefined"


async def test_the_deadline_is_kept_and_the_engine_lives_on(engine):
    assert await fault(engine, "contract/slow", {}, seconds=0.1) == "engine.deadline"
    assert (await engine.evaluate(question("contract/echo", {"result": True}))).decision == Allow()


async def test_a_deadline_in_the_past_is_kept(engine):
    assert await fault(engine, "contract/echo", {"result": True}, seconds=-1) == "engine.deadline"


async def test_many_questions_at_once_each_get_their_own_answer(engine):
    async def ask(number: int) -> None:
        tenants = {"subject": {"tenant": f"t{number}"}, "resource": {"tenant": f"t{number - number % 2}"}}
        evaluation = await engine.evaluate(question("contract/tenant", tenants, ttl=60))
        assert isinstance(evaluation.decision, Deny if number % 2 else Allow)

    await asyncio.gather(*map(ask, range(64)))
    await asyncio.gather(*map(ask, range(64)))


async def test_a_cancelled_question_leaves_no_answer_for_another(engine):
    async def ask(number: int) -> None:
        result = {"allow": True, "obligations": {"metadata": {"number": number}}}
        evaluation = await engine.evaluate(question("contract/echo", {"result": result}, ttl=60))
        assert evaluation.decision.obligations.metadata == {"number": number}

    for batch in range(8):
        running = [asyncio.get_running_loop().create_task(ask(batch * 100 + n)) for n in range(16)]
        await asyncio.sleep(0.0005 * batch)
        for task in running[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in outcomes), outcomes
        await ask(batch)


async def test_it_is_ready_until_it_is_closed(engine):
    assert await engine.ready()
    await engine.close()
    assert not await engine.ready()
    assert await fault(engine, "contract/echo", {"result": True}) == "engine.unavailable"


@pytest.fixture(params=["sidecar", "cached-sidecar"])
async def process(request, tmp_path):
    policy = write_policy(tmp_path / "policy", CONTRACT)
    async with sidecar(policy) as (made, opa):
        engine = cached(made) if request.param.startswith("cached") else made
        yield engine, opa
        await engine.close()


@pytest.mark.opa
@pytest.mark.fault
async def test_a_killed_opa_is_a_fault_and_comes_back(process):
    engine, opa = process
    under_way = asyncio.get_running_loop().create_task(engine.evaluate(question("contract/slow", {})))
    await asyncio.sleep(0.1)
    killed = opa.pid
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(EngineFault) as caught:
        await under_way
    assert caught.value.code == "engine.unavailable"
    await eventually(engine.ready)
    assert opa.pid not in (None, killed)
    assert (await engine.evaluate(question("contract/echo", {"result": True}))).decision == Allow()


@pytest.mark.opa
@pytest.mark.fault
async def test_a_stopped_opa_costs_no_more_than_the_deadline(process):
    engine, opa = process
    assert (await engine.evaluate(question("contract/echo", {"result": True}))).decision == Allow()
    await stop(opa.pid)
    try:
        faults = await asyncio.gather(
            *(fault(engine, "contract/echo", {"result": True, "n": n}, seconds=0.2) for n in range(20))
        )
    finally:
        os.kill(opa.pid, signal.SIGCONT)
    assert set(faults) == {"engine.deadline"}

    async def answered() -> bool:
        try:
            evaluation = await engine.evaluate(question("contract/echo", {"result": False}))
        except EngineFault as error:
            met.add((error.code, "breaker" in error.detail))
            return False
        assert evaluation.decision.code == "role.denied"
        return True

    met: set[tuple[str, bool]] = set()
    await eventually(answered)  # the breaker has to close first
    assert met <= {("engine.unavailable", True)}


@pytest.fixture(params=["sidecar", "cached-sidecar"])
async def fake(request):
    async with FakeOpa() as server:
        settings = SidecarSettings(supervise=False, address=server.address, pool=2, breaker={"retries": 0}, **LIMITED)
        made = SidecarEngine(server.address, settings=settings, clock=CLOCK, revision="r1")
        engine = cached(made) if request.param.startswith("cached") else made
        yield engine, server
        await engine.close()


GARBAGE = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/1.0": b'HTTP/1.0 200 OK\r\ncontent-length: 15\r\n\r\n{"result":true}',
    "no framing": b'HTTP/1.1 200 OK\r\n\r\n{"result":true}',
    "two lengths": http(b'{"result":true}', headers=b"content-length: 15\r\n"),
    "length and chunked": http(b'{"result":true}', headers=b"transfer-encoding: chunked\r\n"),
    "gzip": http(b'{"result":true}', headers=b"content-encoding: gzip\r\n"),
    "a second answer": ok({"result": True}) + ok({"result": True}),
    "bytes after the answer": ok({"result": True}) + b"x",
    "not JSON": http(b"<html>result: true</html>"),
    "half JSON": http(b'{"result":true'),
    "no object": http(b"true"),
    "an error": http(b'{"code":"x"}', status=b"500 Internal Server Error"),
    "not found": http(b'{"result":true}', status=b"404 Not Found"),
    "a redirect": http(b'{"result":true}', status=b"302 Found"),
    "closed": None,
}  # fmt: skip


@pytest.mark.fault
@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_from_opa_is_unavailable_never_an_allow(fake, answer):
    engine, server = fake
    server.script = [answer]
    assert await fault(engine, "a/b", {}) == "engine.unavailable"
    server.script = [ok({"result": True})]
    assert (await engine.evaluate(question("a/b"))).decision == Allow()


@pytest.mark.fault
async def test_an_oversized_answer_is_not_read(fake):
    engine, server = fake
    server.script = [
        http(b'{"result":true}' + b" " * 70_000),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffff\r\n",
    ]
    assert await fault(engine, "a/b", {}) == "engine.invalid_result"
    assert await fault(engine, "a/b", {"n": 1}) == "engine.invalid_result"


@pytest.mark.fault
async def test_a_stale_connection_is_tried_once_more_and_only_once(fake):
    engine, server = fake
    await engine.evaluate(question("a/b"))
    server.script = [None, ok({"result": True})]
    assert (await engine.evaluate(question("a/b"))).decision == Allow()
    assert (len(server.questions), server.connections) == (3, 2)
    server.script = [None, None, ok({"result": True})]
    assert await fault(engine, "a/b", {}) == "engine.unavailable"
    assert len(server.questions) == 5


@pytest.mark.fault
async def test_a_late_answer_meets_no_later_question(fake):
    engine, server = fake
    go = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(ok({"result": True}))

    server.script = [late, ok({"result": False})]
    assert await fault(engine, "a/b", {}, seconds=0.05) == "engine.deadline"
    go.set()
    assert (await engine.evaluate(question("a/b"))).decision.code == "role.denied"
    assert server.connections == 2

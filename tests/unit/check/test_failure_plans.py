"""What a route's failure plan makes of each part that is away, and of parts that only answer badly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.authn.revocation import Revocations
from extauthz.check.failure_settings import FailurePlan, plan_of
from extauthz.errors import EngineFault
from extauthz.model import Subject, away, deny
from tests.support import parts
from tests.support.bank import Bank, Ticking, open_bank, route
from tests.support.certs import EPOCH
from tests.support.engines import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
POLICY = """package probe

# METADATA
# entrypoint: true
default decision := {"allow": false, "reasons": [{"code": "attribute.tier"}]}

decision := {"allow": true} if {
	input.resource.properties.tier == "gold"
	not input.context.degraded
}

decision := {"allow": true, "obligations": {"metadata": {"without": input.context.degraded}}} if {
	input.context.degraded
	input.resource.properties.zone == "eu-1"
}
"""
PLANS = ("closed", "degrade", "open")
GOLD = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"tier":"gold"}'
NOBODY = None
AWAY = {
    "closes": b"",
    "fails": b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    "hangs": NOBODY,
}
BAD = {
    "breaks on this id": b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
    "knows nothing": b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    "refuses": b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
    "talks nonsense": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 6\r\n\r\n<html>",
    "leaves it out": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    "says too much": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999\r\n\r\n",
    "packs it": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
}


class Source:
    """A server whose answer a test chooses."""

    def __init__(self) -> None:
        self.answer: bytes | None = GOLD
        self.url = ""
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Source]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/tier"
        try:
            yield self
        finally:
            server.close()
            for writer in self._open:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        await reader.readuntil(b"\r\n\r\n")
        if self.answer is not NOBODY:
            writer.write(self.answer)
            writer.close()


def probe(plan: str, **changes: Any) -> dict[str, Any]:
    on_failure: Any = {"attributes": plan, **({} if plan == "degrade" else {"engine": plan, "introspection": plan})}
    return route(
        plan,
        match={"path": f"/v1/{plan}", "methods": ["POST"]},
        attributes=[
            {"source": "tier", "to": {"resource.properties.tier": "tier"}},
            {"source": "here", "to": {"resource.properties.zone": "zone"}},
        ],
        policy="probe/decision",
        on_failure=on_failure,
        **changes,
    )


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    async with Source().serving() as made:
        yield made


@pytest.fixture
async def bank(tmp_path: Path, source: Source) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "probe.rego").write_text(POLICY)
    tier = {
        "kind": "http",
        "name": "tier",
        "url": source.url,
        "timeout": "300ms",
        "fields": {"tier": {"from": "/tier"}},
    }
    opened = await open_bank(
        tmp_path,
        clock=Ticking(EPOCH),
        attributes={"sources": [tier, {"kind": "static", "name": "here", "values": {"zone": "eu-1"}}]},
        policy={"engine": "embedded", "path": str(tmp_path / "policy")},
        outbound={"breaker": {"failures": 1000, "retries": 2}},  # the server here closes kept-open connections
        server={"admission": {"enabled": False}, "max_deadline": "10s"},
        routes=[probe(plan) for plan in PLANS],
    )
    yield opened
    await opened.close()


async def ask(bank: Bank, plan: str, **more: Any) -> Any:
    return await bank.ask(path=f"/v1/{plan}", route=plan, budget=5.0, **more)


@pytest.mark.parametrize("answer", AWAY.values(), ids=AWAY)
async def test_a_source_that_is_away(bank: Bank, source: Source, answer: bytes | None) -> None:
    for plan in PLANS:
        assert (await ask(bank, plan)).status == 200
    source.answer = answer
    closed, degraded, opened = [await ask(bank, plan) for plan in PLANS]
    assert (closed.status, closed.code) == (503, "engine.attributes_unavailable")
    assert (degraded.status, degraded.headers["x-extauthz-mode"]) == (200, "degraded")
    assert degraded.metadata["policy"]["without"] == ["attributes"]
    assert degraded.metadata["mode"] == "degraded"
    assert (opened.status, opened.headers["x-extauthz-mode"]) == (200, "open")
    source.answer = GOLD

    async def as_before() -> bool:  # nothing of it is kept
        again = [await ask(bank, plan) for plan in PLANS]
        return all((one.status, one.headers.get("x-extauthz-mode")) == (200, None) for one in again)

    await eventually(as_before)
    await bank.close()
    records = {record["request"]["route"]: record for record in bank.records()[3:6]}
    failure = {"cause": "attributes", "code": "engine.attributes_unavailable"}
    assert records["degrade"]["failure"] == {**failure, "plan": "degrade"}
    assert records["degrade"]["degraded"] == ["attributes"]
    assert records["open"]["failure"] == {**failure, "plan": "open"}
    assert "failure" not in records["closed"]


@pytest.mark.attack
@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
async def test_a_source_that_answers_badly_is_not_away(bank: Bank, source: Source, answer: bytes) -> None:
    """A caller may have had a hand in what it answers: no plan is opened by that."""
    source.answer = answer
    for plan in PLANS:
        got = await ask(bank, plan)
        assert (got.status, got.code) == (503, "engine.attributes_unavailable")


class Faulty:
    """An engine that always fails in one way."""

    revision = "r"

    def __init__(self, code: str) -> None:
        self._code = code

    async def evaluate(self, _query: object) -> None:
        raise EngineFault(self._code)

    async def ready(self) -> bool:
        return False

    async def close(self) -> None: ...


@pytest.mark.parametrize("code", ["engine.unavailable", "engine.deadline"])
async def test_an_engine_that_is_away(bank: Bank, code: str) -> None:
    bank.use_engine(Faulty(code))
    closed, opened = await ask(bank, "closed"), await ask(bank, "open")
    assert (closed.status, closed.code) == (503, code)
    assert (opened.status, opened.headers["x-extauthz-mode"]) == (200, "open")
    assert opened.metadata["mode"] == "open"


@pytest.mark.parametrize("code", ["engine.undefined", "engine.invalid_result", "engine.internal"])
async def test_an_answer_that_cannot_be_used_is_refused_by_every_plan(bank: Bank, code: str) -> None:
    bank.use_engine(Faulty(code))
    for plan in PLANS:
        got = await ask(bank, plan)
        assert (got.status, got.code) == (503, code)


@pytest.mark.parametrize("code", ["engine.introspection_unavailable", "engine.deadline"])
async def test_an_issuer_that_cannot_be_asked(bank: Bank, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    active = bank.app._active
    assert active is not None
    answer: Any = away(code)

    async def verify(*_: object) -> Subject:
        return answer

    monkeypatch.setattr(active.pipeline._credentials, "verify", verify)
    closed, opened = await ask(bank, "closed"), await ask(bank, "open")
    assert (closed.status, closed.code) == (503, code)
    assert (opened.status, opened.headers["x-extauthz-mode"]) == (200, "open")
    assert "x-extauthz-subject" not in opened.headers
    answer = deny("engine.introspection_unavailable", "answered without a literal `active`")
    assert (await ask(bank, "open")).code == "engine.introspection_unavailable"


async def test_unknown_revocations(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    bank.write(
        attributes={"sources": [{"kind": "static", "name": "here", "values": {"zone": "eu-1", "tier": "gold"}}]},
        policy={"engine": "embedded", "path": str(bank.directory / "policy")},
        routes=[
            route(
                name,
                match={"path": f"/v1/{name}", "methods": ["POST"]},
                attributes=[{"source": "here", "to": {"resource.properties.tier": "tier"}}],
                policy="probe/decision",
                **more,
            )
            for name, more in {
                "closed": {"on_failure": {"revocations": "closed"}},
                "open": {"on_failure": {"revocations": "open"}},
                "usual": {},
                "money": {"effects": ["money"]},
            }.items()
        ],
    )
    assert await bank.reload() == []
    assert "x-extauthz-mode" not in (await ask(bank, "open")).headers
    monkeypatch.setattr(Revocations, "stale", property(lambda _: True))
    for plan in ("closed", "money"):
        assert (await ask(bank, plan)).code == "engine.revocations_stale"
    for plan in ("open", "usual"):
        opened = await ask(bank, plan)
        assert (opened.status, opened.headers["x-extauthz-subject"]) == (200, "alice")
        assert "x-extauthz-mode" not in opened.headers  # it is judged as ever
    assert (await ask(bank, "open", token="a.b.c")).code == "token.malformed"


def test_a_single_word_means_all_causes_that_know_it() -> None:
    assert plan_of("degrade", effects=False) == FailurePlan(
        engine="degrade", attributes="degrade", revocations="open", audit="open"
    )
    assert set(plan_of("open", effects=False).model_dump().values()) == {"open"}
    assert set(plan_of("closed", effects=False).model_dump().values()) == {"closed"}
    assert set(plan_of(None, effects=True).model_dump().values()) == {"closed"}
    assert plan_of(FailurePlan(engine="open"), effects=False).audit == "open"

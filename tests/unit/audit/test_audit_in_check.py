"""Checks of a whole worker leave audit records: before the answer where the route says so, and no allow without one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import parts
from tests.support.audit import records, verified
from tests.support.bank import open_bank, route

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.bank import Bank

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
ROUTES = [
    route("create-transfer", effects=["money"], audit="written"),
    route("read-transfer", match={"path": "/v1/read", "methods": ["POST"]}, effects=["money"]),
    route("list-transfers", match={"path": "/v1/list", "methods": ["POST"]}),
]
READ = {"path": "/v1/read", "route": "read-transfer"}
LIST = {"path": "/v1/list", "route": "list-transfers"}


@pytest.fixture(autouse=True)
def needed() -> None:
    parts.require_opa()
    parts.require_embedded()


def told(directory: Path) -> list[dict[str, Any]]:
    return [each for each in records(directory / "audit") if each["event"].startswith("decision.")]


async def opened(directory: Path, **audit: Any) -> Bank:
    return await open_bank(directory, audit={"directory": "audit", **audit}, routes=ROUTES)


async def test_a_written_record_is_there_when_the_answer_is(tmp_path: Path) -> None:
    bank = await opened(tmp_path, mask=["subject.id"])
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = await bank.ask(headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert answer.status == 200
    (record,) = told(tmp_path)
    assert (record["event"], record["request"]["route"]) == ("decision.allowed", "create-transfer")
    assert record["decision_id"] == answer.metadata["decision_id"]
    assert (record["trace_id"], record["subject"]["tenant"]) == (trace, "acme")
    assert record["subject"]["id"].startswith("masked:")
    assert (await bank.ask(bank.token(exp=1))).status == 401
    assert (await bank.ask(**LIST)).status == 200
    await bank.close()
    assert [each["event"] for each in told(tmp_path)] == ["decision.allowed", "decision.denied", "decision.allowed"]
    assert told(tmp_path)[1]["code"] == "token.expired"
    assert verified(tmp_path / "audit").sound


@pytest.mark.fault
async def test_without_a_record_there_is_no_allow_where_the_plan_is_closed(tmp_path: Path) -> None:
    bank = await opened(tmp_path)
    assert (await bank.ask()).status == 200
    in_the_way = tmp_path / "audit" / ".serve-0.head"
    in_the_way.mkdir()  # the chain cannot be signed
    for _ in range(2):
        refused = await bank.ask()
        assert (refused.status, refused.code) == (503, "engine.audit_unavailable")
        assert refused.headers["retry-after"]
    assert (await bank.ask(**READ)).code == "engine.audit_unavailable"  # buffered, and the trail is not healthy
    assert (await bank.ask(**LIST)).status == 200  # without effects it goes on
    page = bank.app.metrics().decode()
    assert "extauthz_audit_healthy 0.0" in page
    in_the_way.rmdir()
    active = bank.app._active
    assert active is not None
    assert active.audit is not None
    while not active.audit.healthy:  # noqa: ASYNC110 - a thread finds out
        await asyncio.sleep(0.01)
    assert (await bank.ask()).status == 200
    assert "extauthz_audit_healthy 1.0" in bank.app.metrics().decode()
    await bank.close()
    codes = [each["code"] for each in told(tmp_path)]
    assert codes.count("engine.audit_unavailable") == 3  # refusals are recorded once it works again
    assert verified(tmp_path / "audit").sound


async def test_a_trail_outlives_reloads_and_follows_its_settings(tmp_path: Path) -> None:
    bank = await opened(tmp_path)
    assert (await bank.ask()).status == 200
    first = bank.app._active
    assert first is not None
    bank.write(audit={"directory": "audit"}, routes=[route("create-transfer", audit="written"), *ROUTES[1:]])
    assert await bank.reload() == []
    second = bank.app._active
    assert second is not None
    assert second is not first
    assert second.audit is first.audit
    bank.write(audit={"directory": "audit", "mask": ["subject.id"]}, routes=ROUTES)
    assert await bank.reload() == []
    third = bank.app._active
    assert third is not None
    assert third.audit is not None
    assert third.audit.writer == "serve-1"  # the former one still takes what comes late
    assert (await bank.ask()).status == 200
    await bank.close()
    assert third.audit.numbers()["written"] == 1


async def test_a_server_whose_trail_cannot_be_opened_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file")
    with pytest.raises(Exception, match="audit directory") as caught:
        await opened(tmp_path)
    assert type(caught.value).__name__ == "AuditError"

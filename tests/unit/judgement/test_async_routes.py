"""Asynchronous routes on real parts in one process: let through at once, judged later, and what follows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from extauthz.app import Application
from extauthz.audit.fault import AuditError
from extauthz.audit.records import schema as audit_schema
from extauthz.errors import EngineFault
from tests.support import parts
from tests.support.bank import GATEWAY, TRANSFER, Bank, open_bank, route
from tests.support.engines import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
OTHER = {**TRANSFER, "tenant": "globex"}
"""A transfer of another tenant than the subject's: the policy refuses it."""
QUARANTINE = {"by": "token", "strikes": 2, "window": "60s", "duration": "2m"}


def background(**judgement: Any) -> dict[str, Any]:
    """Configuration in which the transfer is judged in the background."""
    rule = judgement.pop("rule", {"quarantine": QUARANTINE})
    return {
        "judgement": {"queue": {"kind": "sqlite", "path": "./judgement.sqlite"}, **judgement},
        "routes": [route("create-transfer", evaluation="async", judgement=rule)],
    }


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    opened = await open_bank(tmp_path, **background())
    yield opened
    await opened.close()


def judged(bank: Bank) -> list[dict[str, Any]]:
    if not (bank.directory / "records.jsonl").exists():
        return []
    return [record for record in bank.records() if record["type"] == "judgement"]


async def test_a_request_goes_on_at_once_and_is_judged_later(bank: Bank) -> None:
    answer = await bank.ask()
    assert (answer.status, answer.headers["x-extauthz-mode"]) == (200, "async")
    assert answer.headers["x-extauthz-subject"] == "alice"
    await eventually(lambda: len(judged(bank)) == 1)
    record = judged(bank)[0]
    assert record["decision_id"] == answer.metadata["decision_id"]
    assert (record["result"], record["judgement"]["outcome"]) == ({"allow": True}, "allowed")
    assert record["revision"]


async def test_the_same_caller_asks_again_and_the_answers_are_never_mixed(bank: Bank) -> None:
    token = bank.token()
    answers = [await bank.ask(token) for _ in range(3)]
    assert [answer.headers["x-extauthz-mode"] for answer in answers] == ["async"] * 3
    await eventually(lambda: len(judged(bank)) == 3)
    assert {record["decision_id"] for record in judged(bank)} == {answer.metadata["decision_id"] for answer in answers}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"token": ""}, "token.missing"),
        ({"caller": ""}, "workload.missing"),
        ({"caller": GATEWAY.replace("gateway", "stranger")}, "workload.route_denied"),
    ],
)
async def test_strangers_are_refused_at_once_and_fill_no_queue(bank: Bank, change: dict[str, Any], code: str) -> None:
    answer = await bank.ask(**change)
    assert answer.code == code
    assert (await bank.ask()).status == 200
    await eventually(lambda: len(judged(bank)) == 1)


async def test_violations_put_the_token_into_quarantine_until_its_time(bank: Bank) -> None:
    token, honest = bank.token(jti="bad"), bank.token(jti="good")
    for _ in range(2):
        assert (await bank.ask(token, body=OTHER)).status == 200
        bank.clock.advance(1)
    await eventually(lambda: len(judged(bank)) == 2)
    assert {record["code"] for record in judged(bank)} == {"attribute.tenant_mismatch"}
    refused = await bank.ask(token)
    assert (refused.status, refused.layer, refused.code) == (403, "token", "token.quarantined")
    assert (await bank.ask(honest)).status == 200
    metrics = bank.app.metrics().decode()
    assert 'extauthz_judgements_total{route="create-transfer",verdict="denied"} 2.0' in metrics
    assert 'extauthz_quarantines{kind="token"} 1.0' in metrics
    bank.clock.advance(121)
    assert (await bank.ask(token)).status == 200


async def test_strikes_outside_the_window_lead_to_nothing(bank: Bank) -> None:
    for _ in range(3):
        assert (await bank.ask(body=OTHER)).status == 200
        bank.clock.advance(61)
    await eventually(lambda: len(judged(bank)) == 3)
    assert 'extauthz_quarantines{kind="token"} 0.0' in bank.app.metrics().decode()


@pytest.mark.parametrize("by", ["workload", "tenant"])
async def test_whom_the_route_names_is_refused_by_its_layer(tmp_path: Path, by: str) -> None:
    rule = {"quarantine": {**QUARANTINE, "by": by, "strikes": 1, "scope": "everywhere"}}
    config = background(rule=rule)
    config["routes"].append(route("other", match={"path": "/v1/other", "methods": ["POST"]}))
    bank = await open_bank(tmp_path, **config)
    assert (await bank.ask(body=OTHER)).status == 200
    await eventually(lambda: len(judged(bank)) == 1)
    expected = "workload.quarantined" if by == "workload" else "attribute.tenant_quarantined"
    refused = await bank.ask(route="other", path="/v1/other")
    assert (refused.status, refused.code) == (403, expected)
    if by == "tenant":
        assert (await bank.ask(bank.token(tenant="globex"), body=OTHER)).status == 200
    await bank.close()


async def test_a_quarantine_survives_a_restart(bank: Bank, tmp_path: Path) -> None:
    token = bank.token()
    for _ in range(2):
        await bank.ask(token, body=OTHER)
    await eventually(lambda: len(judged(bank)) == 2)
    await bank.app.stop()
    bank.app = Application(bank.run_dir, transport="test", clock=bank.clock)
    await bank.app.start()
    assert (await bank.ask(token)).code == "token.quarantined"


@pytest.mark.parametrize(("plan", "status", "mode"), [("sync", 200, None), ("refuse", 503, None)])
async def test_a_full_queue_follows_the_route(tmp_path: Path, plan: str, status: int, mode: None) -> None:
    bank = await open_bank(tmp_path, **background(rule={"when_full": plan}, max_entry="1KiB"))
    large = {**TRANSFER, "note": "x" * 2000}
    answer = await bank.ask(body=large)
    assert (answer.status, answer.headers.get("x-extauthz-mode")) == (status, mode)
    if plan == "refuse":
        assert (answer.layer, answer.code) == ("engine", "engine.queue_full")
    else:
        denied = await bank.ask(body={**OTHER, "note": "x" * 2000})
        assert denied.code == "attribute.tenant_mismatch"
    await bank.close()


async def test_no_credential_is_at_rest(bank: Bank, tmp_path: Path) -> None:
    office = bank.app._active.office
    office.use(_Nobody())
    token = bank.token()
    secrets = {"cookie": "session=s3cr3t-cookie", "x-api-key": "s3cr3t-key", "proxy-authorization": "Basic czNjcjN0"}
    assert (await bank.ask(token, headers={**secrets, "x-anything": "s3cr3t-other"})).status == 200
    content = b"".join(file.read_bytes() for file in tmp_path.glob("judgement.sqlite*"))
    assert b"create-transfer" in content
    assert token.encode() not in content
    for part in token.split("."):
        assert part.encode() not in content
    assert b"s3cr3t" not in content
    assert b"czNjcjN0" not in content


class _Nobody:
    """A desk at which nothing is judged."""

    async def judge(self, entry: Any) -> None:
        return None


async def test_a_route_that_has_gone_is_reported(bank: Bank) -> None:
    bank.app._active.office.use(_Nobody())
    answer = await bank.ask()
    config = background()
    config["routes"][0]["name"] = "renamed"
    bank.write(**config)
    assert await bank.reload() == []
    bank.clock.advance(60)  # what nobody judged waits for its next attempt
    await eventually(lambda: len(judged(bank)) == 1)
    record = judged(bank)[0]
    assert (record["decision_id"], record["code"]) == (answer.metadata["decision_id"], "request.route_unknown")
    assert record["judgement"]["outcome"] == "reported"


async def test_what_waits_is_judged_by_the_configuration_now_active(bank: Bank) -> None:
    bank.app._active.office.use(_Nobody())
    await bank.ask()
    bank.write(**background(rule={}))
    assert await bank.reload() == []
    bank.clock.advance(60)
    await eventually(lambda: len(judged(bank)) == 1)
    assert judged(bank)[0]["judgement"]["outcome"] == "allowed"


class _Away:
    """An engine that does not answer."""

    revision = "r"

    async def evaluate(self, query: Any) -> Any:
        raise EngineFault("engine.unavailable")

    async def ready(self) -> bool:
        return False

    async def close(self) -> None:
        return None


async def test_an_engine_that_is_away_is_asked_again_and_its_requests_are_not_lost(bank: Bank) -> None:
    active = bank.app._active
    engine = active.pipeline._policy._engine
    bank.use_engine(_Away())
    answer = await bank.ask()
    assert answer.status == 200
    await eventually(lambda: "extauthz_judgement_queue 1.0" in bank.app.metrics().decode())
    bank.use_engine(engine)
    bank.clock.advance(60)
    await eventually(lambda: len(judged(bank)) == 1)
    assert judged(bank)[0]["judgement"]["outcome"] == "allowed"


async def test_after_too_long_it_is_reported(bank: Bank) -> None:
    bank.use_engine(_Away())
    await bank.ask()
    bank.clock.advance(3601)
    await eventually(lambda: len(judged(bank)) == 1)
    assert (judged(bank)[0]["code"], judged(bank)[0]["judgement"]["outcome"]) == ("engine.unavailable", "reported")
    assert 'extauthz_judgements_late_total{route="create-transfer"} 1.0' in bank.app.metrics().decode()


async def test_the_audit_trail_has_both_the_allow_and_its_judgement(tmp_path: Path) -> None:
    bank = await open_bank(tmp_path, audit={"directory": "./audit", "key": "./audit.key"}, **background())
    answer = await bank.ask(body=OTHER, headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    await eventually(lambda: len(judged(bank)) == 1)
    await bank.close()
    lines = [line for file in (tmp_path / "audit").glob("*.jsonl") for line in file.read_text().splitlines()]
    found = {record["event"]: record for record in map(json.loads, lines)}
    for record in found.values():
        jsonschema.validate(record, audit_schema())
    allowed, verdict = found["decision.allowed"], found["decision.judged"]
    assert allowed["decision_id"] == verdict["decision_id"] == answer.metadata["decision_id"]
    assert allowed["trace_id"] == verdict["trace_id"] == "a" * 32
    assert (allowed["mode"], verdict["code"]) == ("async", "attribute.tenant_mismatch")
    assert verdict["result"]["allow"] is False


async def test_what_the_audit_trail_does_not_take_is_told_once_it_does(tmp_path: Path) -> None:
    bank = await open_bank(tmp_path, audit={"directory": "./audit", "key": "./audit.key"}, **background())
    background_of = bank.app._active.background
    audit, background_of._audit = background_of._audit, _Mute()
    await bank.ask()
    await eventually(lambda: len(judged(bank)) == 1)
    queue = bank.app._active.office._queue
    assert list(await queue.ledger()) == []
    background_of._audit = audit
    bank.clock.advance(31)

    async def told() -> bool:
        return len(await queue.ledger()) == 1

    await eventually(told)
    assert len(judged(bank)) == 1
    await bank.close()


class _Mute:
    async def write(self, event: str, fields: Any) -> None:
        raise AuditError("the disk is full")


async def test_new_settings_of_the_queue_take_over(bank: Bank) -> None:
    before = bank.app._active.office
    bank.write(**background(lag_slo="1s"))
    assert await bank.reload() == []
    assert bank.app._active.office is not before
    assert (await bank.ask()).headers["x-extauthz-mode"] == "async"
    await eventually(lambda: len(judged(bank)) == 1)
    bank.write()
    assert await bank.reload() == []
    assert bank.app._active.office is None
    assert (await bank.ask()).headers.get("x-extauthz-mode") is None
    assert "\nextauthz_judgement_queue " not in bank.app.metrics().decode()

"""The path of a Check, on real parts in one process: every layer, the caches, faults and reloads."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.app import Application
from extauthz.check.messages import CheckRequest
from extauthz.clock import ManualClock
from extauthz.errors import ConfigError
from extauthz.model import Allow, Obligations
from extauthz.policy.engine import Evaluation, Query
from extauthz.shared import SharedParts
from tests.support import parts
from tests.support.bank import GATEWAY, TRANSFER, Bank, open_bank, read, route
from tests.support.certs import HOUR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
ORCHESTRATOR = "spiffe://bank.example/env/prod/ns/orchestration/sa/orchestrator"


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    opened = await open_bank(tmp_path)
    yield opened
    await opened.close()


async def test_an_honest_transfer_is_allowed_with_our_headers_and_nobody_elses(bank: Bank) -> None:
    answer = await bank.ask(headers={"x-extauthz-subject": "root", "x-extauthz-admin": "1", "x-extauthz-mask": "no"})
    assert answer.status == 200
    assert answer.headers["x-extauthz-subject"] == "alice"
    assert answer.headers["x-extauthz-workload"] == GATEWAY
    assert answer.headers["x-extauthz-tenant"] == "acme"
    assert {"x-extauthz-mask", "x-extauthz-admin"} <= set(answer.removed)
    assert answer.metadata["decision_id"] == answer.headers["x-extauthz-decision-id"]


@pytest.mark.parametrize(
    ("code", "status", "change"),
    [
        ("request.route_unknown", 400, {"route": "nobody"}),
        ("request.route_mismatch", 400, {"path": "/v1/other"}),
        ("request.route_mismatch", 400, {"method": "GET"}),
        ("request.path_ambiguous", 400, {"path": "/v1//transfers"}),
        ("request.body_malformed", 400, {"body": b"{"}),
        ("workload.missing", 403, {"caller": ""}),
        ("workload.trust_domain", 403, {"caller": GATEWAY.replace("bank.example", "evil.example")}),
        ("workload.environment", 403, {"caller": GATEWAY.replace("/prod/", "/staging/")}),
        ("workload.route_denied", 403, {"caller": ORCHESTRATOR}),
        ("token.missing", 401, {"token": ""}),
        ("token.scheme", 401, {"headers": {"authorization": "Basic YTpi"}}),
        ("token.malformed", 401, {"token": "a.b.c"}),
        ("role.permission_missing", 403, {"claims": {"roles": ["support-agent"]}}),
        ("attribute.tenant_mismatch", 403, {"claims": {"tenant": "globex"}}),
        ("attribute.amount_limit", 403, {"body": TRANSFER | {"amount": 10_000_000}}),
    ],
)
async def test_each_layer_denies_by_name(bank: Bank, code: str, status: int, change: dict[str, Any]) -> None:
    claims = change.pop("claims", None)
    if claims is not None:
        change["token"] = bank.token(**claims)
    answer = await bank.ask(**change)
    assert (answer.status, answer.layer, answer.code) == (status, code.partition(".")[0], code)
    body = json.loads(answer.body)
    assert body["code"] == code
    assert set(body) == {"layer", "code", "message", "decision_id"}


async def test_what_is_asked_again_comes_from_the_cache_for_every_user_of_the_same_attributes(bank: Bank) -> None:
    first = await bank.ask(bank.token(sub="alice"))
    again = await bank.ask(bank.token(sub="alice"))
    other = await bank.ask(bank.token(sub="bob"))
    assert [a.status for a in (first, again, other)] == [200, 200, 200]
    assert [a.metadata["cached"] for a in (first, again)] == [False, True]
    assert other.headers["x-extauthz-subject"] == "bob"


@pytest.mark.attack
async def test_a06_an_expired_token_never_meets_a_cached_allow(bank: Bank) -> None:
    token = bank.token()
    assert (await bank.ask(token)).status == 200
    bank.clock.epoch += 331  # 300 s of life and 30 s of leeway; the monotonic scale stays: the decision is still cached
    answer = await bank.ask(token)
    assert (answer.layer, answer.code) == ("token", "token.expired")


@pytest.mark.attack
async def test_a_certificate_that_expires_on_a_long_connection_is_denied(bank: Bank) -> None:
    assert (await bank.ask()).status == 200
    bank.clock.epoch += HOUR + 1
    answer = await bank.ask(bank.token(exp=bank.clock.now() + 60, iat=bank.clock.now()))
    assert (answer.layer, answer.code) == ("transport", "transport.certificate_expired")


@pytest.mark.attack
async def test_a_revoked_token_never_meets_a_cached_allow(bank: Bank) -> None:
    token = bank.token()
    assert (await bank.ask(token)).status == 200
    (bank.directory / "revoked.json").write_text(json.dumps({"jti": ["t-1"]}))
    await bank.reload()
    answer = await bank.ask(token)
    assert (answer.layer, answer.code) == ("token", "token.revoked")


@pytest.mark.attack
async def test_a18_a_token_bound_to_another_workload_is_refused(bank: Bank) -> None:
    stolen = bank.token(cnf={"x5t#S256": bank.leaf(ORCHESTRATOR).x5t})
    answer = await bank.ask(stolen)
    assert (answer.status, answer.layer, answer.code) == (401, "transport", "transport.binding_mismatch")
    own = bank.token(cnf={"x5t#S256": bank.leaf(GATEWAY).x5t})
    assert (await bank.ask(own)).status == 200


async def test_a_record_says_who_what_and_why_and_holds_no_secret(bank: Bank) -> None:
    token = bank.token(tenant="globex")
    answer = await bank.ask(token)
    await bank.close()
    (record,) = bank.records()
    assert record["decision_id"] == answer.metadata["decision_id"]
    assert record["code"] == "attribute.tenant_mismatch"
    assert record["workload"] == GATEWAY
    assert record["subject"]["id"] == "alice"
    assert record["revision"] == answer.metadata["revision"] != ""
    text = json.dumps(record)
    assert token not in text
    assert token.rpartition(".")[2] not in text


class FakeEngine:
    """Stands in for engines that behave in ways real ones never should."""

    revision = "r1"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def evaluate(self, query: Query) -> Evaluation:
        if isinstance(self.answer, Exception):
            raise self.answer
        if callable(self.answer):
            return await self.answer()
        return Evaluation(self.answer, self.revision)

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "broken", [None, True, "allow", {"allow": True}, object(), RuntimeError("boom"), KeyError("x"), TimeoutError()]
)
async def test_nothing_but_an_allow_allows(bank: Bank, broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    bank.use_engine(FakeEngine(broken))
    answer = await bank.ask()
    assert (answer.status, answer.layer) == (503, "engine")
    assert answer.code in {"engine.internal", "engine.deadline"}


async def test_a_decision_that_comes_too_late_is_a_denial(bank: Bank) -> None:
    async def late() -> Evaluation:
        bank.clock.advance(10)
        return Evaluation(Allow(), "r1")

    bank.use_engine(FakeEngine(late))
    answer = await bank.ask()
    assert (answer.status, answer.code) == (503, "engine.deadline")
    assert answer.headers["retry-after"] == "1"


async def test_no_budget_is_no_allow(bank: Bank) -> None:
    answer = await bank.ask(budget=-1.0)
    assert (answer.layer, answer.code) == ("engine", "engine.deadline")


async def test_a_caller_that_goes_away_leaves_a_record(bank: Bank) -> None:
    started = asyncio.Event()

    async def forever() -> Evaluation:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    bank.use_engine(FakeEngine(forever))
    call = asyncio.get_running_loop().create_task(bank.ask())
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await bank.close()
    (record,) = bank.records()
    assert record["result"]["allow"] is False


async def test_a_policy_may_not_set_headers_that_the_route_does_not_name(bank: Bank) -> None:
    bank.use_engine(FakeEngine(Allow(Obligations(headers=(("x-risk", "low"),)))))
    assert (await bank.ask()).code == "engine.invalid_result"
    bank.use_engine(FakeEngine(Allow(Obligations(headers=(("x-extauthz-subject", "root"),)))))
    assert (await bank.ask()).code == "engine.invalid_result"
    bank.use_engine(FakeEngine(Allow(Obligations(headers=(("x-extauthz-risk", "lo\r\nw: 1"),)))))
    assert (await bank.ask()).headers["x-extauthz-risk"] == "lo%0D%0Aw: 1"


async def test_reload_is_atomic(bank: Bank) -> None:
    assert (await bank.ask()).status == 200
    bank.write(routes=[route("create-transfer", workloads=[ORCHESTRATOR])])
    assert await bank.reload() == []
    assert (await bank.ask()).code == "workload.route_denied"
    bank.write(routes=[route("create-transfer", polcy="typo")])
    with pytest.raises(ConfigError, match=r"extauthz\.yaml:\d+: .*polcy"):
        await bank.reload()
    assert (await bank.ask()).code == "workload.route_denied"
    assert (
        await bank.ask(caller=ORCHESTRATOR)
    ).code == "workload.zone_boundary"  # the route lets it in, the policy not


async def test_a_policy_that_lacks_the_entrypoint_is_refused_at_reload(bank: Bank) -> None:
    bank.write(routes=[route("create-transfer", policy="extauthz/paymants/decision")])
    with pytest.raises(ConfigError, match=r"extauthz\.yaml:\d+: .*no rule at extauthz/paymants/decision"):
        await bank.reload()
    assert (await bank.ask()).status == 200


async def test_an_empty_configuration_denies_everything(tmp_path: Path) -> None:
    (tmp_path / "extauthz.yaml").write_text("")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    shared = SharedParts(tmp_path / "extauthz.yaml", run_dir, ManualClock())
    await shared.start()
    app = Application(run_dir, clock=ManualClock())
    await app.start()
    message = CheckRequest()
    message.attributes.request.http.method = "GET"
    message.attributes.request.http.path = "/"
    answer = read(await app.check(message.SerializeToString(), 0.2))
    assert (answer.status, answer.code) == (400, "request.route_unknown")
    assert (await app.status())["ready"] is False
    await app.stop()
    await shared.stop()


async def test_what_the_telemetry_settings_say_is_done(bank: Bank) -> None:
    bank.write(telemetry={"log_level": "error", "metrics": {"max_policy_codes": 0}, "records": {"output": "none"}})
    assert await bank.reload() == []
    await bank.ask(bank.token(tenant="globex"))
    await asyncio.sleep(0.1)
    metrics = bank.app.metrics().decode()
    assert 'code="other",layer="attribute"' in metrics
    assert logging.getLogger("extauthz").level == logging.ERROR
    logging.getLogger("extauthz").setLevel(logging.NOTSET)

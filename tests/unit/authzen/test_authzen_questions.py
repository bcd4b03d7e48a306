"""The same question over AuthZEN and through Envoy: one answer, one cache, one record, the shipped policies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from extauthz.authzen.question import Batch, Malformed, batch, read
from extauthz.errors import EngineFault
from extauthz.model import Allow, Obligations
from extauthz.policy.engine import Evaluation, Query
from extauthz.telemetry.record import schema as record_schema
from tests.support import parts
from tests.support.api import AUDIENCE, DOOR, Worker, client
from tests.support.bank import GATEWAY, TRANSFER, Bank, open_bank, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
AUTHZEN = {"token": DOOR, "url": "https://pdp.bank.example"}
WORKLOAD = {
    "id": GATEWAY,
    "trust_domain": "bank.example",
    "namespace": "edge",
    "environment": "prod",
    "service": "gateway",
    "tenant": "",
}
QUESTION: dict[str, Any] = {
    "subject": {
        "type": "user",
        "id": "alice",
        "properties": {
            "issuer": "https://issuer.example",
            "roles": ["wire-operator"],
            "tenant": "acme",
            "region": "eu",
            "purpose": "payment",
        },
    },
    "action": {"name": "transfer.create", "properties": {"method": "POST"}},
    "resource": {
        "type": "transfer",
        "id": "T-1",
        "properties": {
            "tenant": "acme",
            "amount": 1200,
            "currency": "EUR",
            "region": "eu",
            "transaction_type": "wire",
        },
    },
    "context": {"route": "create-transfer", "workload": WORKLOAD},
}


async def opened(directory: Any, **changes: Any) -> Bank:
    parts.require_opa()
    parts.require_embedded()
    return await open_bank(directory, api={"authzen": {**AUTHZEN, **changes.pop("authzen", {})}}, **changes)


@pytest.fixture
async def bank(tmp_path: Any) -> AsyncIterator[Bank]:
    made = await opened(tmp_path)
    yield made
    await made.close()


async def ask(bank: Bank, question: Any = QUESTION, path: str = "/access/v1/evaluation") -> httpx.Response:
    token = bank.token(aud=AUDIENCE, sub="pep-1", scope="extauthz.api")
    async with client(Worker(bank.app)) as http:
        return await http.post(path, json=question, headers={"authorization": f"Bearer {token}", "x-request-id": "r-1"})


async def counted(bank: Bank, wanted: str) -> str:
    """The metrics once they hold `wanted`: records are handed over off the path."""
    while wanted not in (page := bank.app.metrics().decode()):  # noqa: ASYNC110 - another task's work
        await asyncio.sleep(0.001)
    return page


def changed(**properties: Any) -> dict[str, Any]:
    resource = QUESTION["resource"]
    return {**QUESTION, "resource": {**resource, "properties": {**resource["properties"], **properties}}}


async def test_the_same_question_has_the_same_answer(bank: Bank) -> None:
    for body, expected in ((TRANSFER, ""), ({**TRANSFER, "tenant": "globex"}, "attribute.tenant_mismatch")):
        through_envoy = await bank.ask(body=body)
        over_authzen = (await ask(bank, changed(tenant=body["tenant"]))).json()
        assert through_envoy.code == expected
        assert over_authzen["decision"] is (expected == "")
        assert over_authzen["context"].get("code", "") == expected


async def test_it_is_recorded_and_counted_like_a_check(bank: Bank) -> None:
    answer = (await ask(bank, changed(tenant="globex"))).json()
    page = await counted(bank, "extauthz_checks_total{")
    await bank.close()
    (record,) = bank.records()
    jsonschema.validate(record, record_schema())
    assert record["decision_id"] == answer["context"]["decision_id"]
    assert (record["layer"], record["code"]) == ("attribute", "attribute.tenant_mismatch")
    assert record["request"]["transport"] == "authzen"
    assert record["request"]["route"] == "create-transfer"
    assert record["request"]["id"] == "r-1"
    assert record["requested_by"] == "pep-1"
    assert record["subject"] == {"type": "user", "id": "alice", "credential": "asserted"}
    assert record["action"] == "transfer.create"
    assert record["resource"] == {"type": "transfer", "id": "T-1"}
    assert 'extauthz_checks_total{decision="deny",route="create-transfer"} 1.0' in page
    assert 'extauthz_api_requests_total{endpoint="evaluation",status="200"} 1.0' in page


async def test_both_share_one_cache(bank: Bank) -> None:
    question = changed(currency="EUR")
    await ask(bank, question)
    second = await ask(bank, {**question, "subject": {**question["subject"], "id": "bob"}})
    assert second.json()["decision"] is True
    await counted(bank, 'extauthz_cache_requests_total{cache="decision",outcome="hit"} 1.0')


async def test_the_caller_cannot_choose_the_environment(bank: Bank) -> None:
    seen: list[bytes] = []
    bank.use_engine(_Seeing(seen))
    context = {"route": "create-transfer", "environment": "staging", "time": "noon", "properties": {"channel": "web"}}
    await ask(bank, {**QUESTION, "context": context, "subject": {**QUESTION["subject"], "roles": ["admin"]}})
    assert b'"environment":"prod"' in seen[0]
    assert b"staging" not in seen[0]
    assert b'"admin"' not in seen[0]  # members that the contract does not know are left out


class _Seeing:
    revision = "seen"

    def __init__(self, seen: list[bytes], answer: Any = None) -> None:
        self._seen = seen
        self._answer = answer or Allow(Obligations((("x-extauthz-risk", "low"),), ("iban",), {"score": 3}))

    async def evaluate(self, query: Query) -> Evaluation:
        self._seen.append(query.input)
        if isinstance(self._answer, Exception):
            raise self._answer
        return Evaluation(self._answer, self.revision)


async def test_obligations_go_to_whoever_enforces(bank: Bank) -> None:
    bank.use_engine(_Seeing([]))
    body = (await ask(bank)).json()
    assert body["decision"] is True
    assert body["context"]["obligations"] == {
        "headers": {"x-extauthz-risk": "low"},
        "mask": ["iban"],
        "metadata": {"score": 3},
    }


async def test_no_decision_is_an_error_not_a_denial(bank: Bank) -> None:
    bank.use_engine(_Seeing([], EngineFault("engine.unavailable", "secret detail")))
    alone = await ask(bank)
    assert (alone.status_code, alone.headers["retry-after"]) == (503, "1")
    assert alone.text.startswith("engine.unavailable")
    assert "secret" not in alone.text
    together = (await ask(bank, {**QUESTION, "evaluations": [{}]}, "/access/v1/evaluations")).json()
    (one,) = together["evaluations"]
    assert one["decision"] is False
    assert one["context"]["error"]["status"] == 503


async def test_a_defect_is_a_denial_with_a_record(bank: Bank) -> None:
    bank.use_engine(_Seeing([], ValueError("defect")))
    response = await ask(bank)
    assert response.status_code == 503
    assert response.text.startswith("engine.internal")


async def test_what_no_route_covers_is_denied_unless_a_policy_is_named(tmp_path: Any) -> None:
    unknown = {**QUESTION, "action": {"name": "transfer.read"}, "context": {}}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    without = await opened(tmp_path / "a")
    body = (await ask(without, unknown)).json()
    assert (body["decision"], body["context"]["code"]) == (False, "request.route_unknown")
    await without.close()
    named = await opened(tmp_path / "b", authzen={"policy": "extauthz/main/decision", "detail": "none"})
    asked = {**unknown, "context": {"workload": WORKLOAD}}
    body = (await ask(named, asked)).json()
    assert body["decision"] is False
    assert set(body["context"]) == {"decision_id"}
    await counted(named, 'route="authzen"')
    await named.close()


async def test_the_route_is_found_by_action_and_resource_type(tmp_path: Any) -> None:
    bank = await opened(
        tmp_path,
        routes=[
            route("create-transfer", detail="none"),
            route("create-again", match={"path": "/v2/transfers"}),
            route("approve", match={"path": "/v1/approvals"}, policy="extauthz/approvals/decision", action="x.approve"),
            route("also-approve", match={"path": "/v3"}, policy="extauthz/payments/decision", action="x.approve"),
        ],
    )
    alone = {**changed(tenant="globex"), "context": {"workload": WORKLOAD}}
    body = (await ask(bank, alone)).json()
    assert set(body["context"]) == {"decision_id"}  # the first route's entrypoint, and its `detail`
    ambiguous = {**alone, "action": {"name": "x.approve"}}
    assert (await ask(bank, ambiguous)).json()["context"]["code"] == "request.route_unknown"
    wrong_type = {**alone, "resource": {**alone["resource"], "type": "model"}}
    assert (await ask(bank, wrong_type)).json()["context"]["code"] == "request.route_unknown"
    await bank.close()


async def test_it_is_off_unless_configured(tmp_path: Any) -> None:
    parts.require_opa()
    parts.require_embedded()
    bank = await open_bank(tmp_path)
    for path in ("/access/v1/evaluation", "/access/v1/evaluations"):
        assert (await ask(bank, path=path)).status_code == 404
    async with client(Worker(bank.app)) as http:
        for path in ("/.well-known/authzen-configuration", "/policy/rollout", "/decisions/x"):
            assert (await http.get(path)).status_code == 404
    await bank.close()


def test_more_than_allowed_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(Malformed, match="more than 1 evaluations"):
        batch({"evaluations": [1, 2]}, 1)


def test_a_batch_of_defaults() -> None:
    asked = batch({"subject": {"type": "u", "id": "a"}, "evaluations": [{}, {"subject": None}]}, 5)
    assert isinstance(asked, Batch)
    assert [str(item) for item in asked.items] == ["action is missing", "subject is missing"]


@pytest.mark.parametrize("content_type", ["application/json", " Application/Json ;charset=utf-8"])
def test_json_by_its_type(content_type: str) -> None:
    assert read(content_type, b'{"a":1}', 100) == {"a": 1}

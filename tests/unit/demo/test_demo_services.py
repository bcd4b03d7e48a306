"""The services: they score, they read only what was authorized, they believe only their Envoy."""

from __future__ import annotations

import httpx
import pytest
from starlette.exceptions import HTTPException

from extauthz.clock import ManualClock
from extauthz.demo.services import catalogue, feature_store, http, orchestrator
from extauthz.demo.services.feature_store import MASK
from extauthz.demo.services.hop import handed_on
from extauthz.demo.services.scoring import Past, score

AUTHORIZED = {"x-extauthz-decision-id": "d", "x-extauthz-tenant": "acme", "x-extauthz-subject": "alice"}


@pytest.fixture
async def store(tmp_path):
    application = feature_store.app({"database": str(tmp_path / "f.sqlite")}, ManualClock())
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://store", headers=AUTHORIZED) as client:
        yield client


async def test_only_rows_of_the_tenant_and_class(store):
    answer = (await store.get("/v1/features/acme/wire")).json()
    assert len(answer["rows"]) == 150
    assert all(row["counterparty"].startswith("acme-") for row in answer["rows"])
    assert max(row["age_minutes"] for row in answer["rows"]) <= 31 * 24 * 60


async def test_another_tenant_than_the_authorized_one_is_refused(store):
    answer = await store.get("/v1/features/globex/wire")
    assert answer.status_code == 403
    assert "rows" not in answer.json()


async def test_masked_fields_leave_masked(store):
    headers = {"x-extauthz-mask": "iban,holder_name"}
    rows = (await store.get("/v1/features/acme/wire", headers=headers)).json()["rows"]
    assert all(row["iban"] == row["holder_name"] == MASK for row in rows)
    assert all(row["geo"] != MASK for row in rows)


async def test_a_request_past_the_envoy_is_refused(store):
    answer = await store.get("/v1/features/acme/wire", headers={"x-extauthz-decision-id": ""})
    assert answer.status_code == 403


async def test_a_quote_in_the_path_is_data(store):
    headers = {"x-extauthz-tenant": "' OR 1=1 --"}
    answer = await store.get("/v1/features/%27%20OR%201%3D1%20--/wire", headers=headers)
    assert answer.json()["rows"] == []


async def test_a_dataset_is_read_in_the_callers_own_name(store):
    answer = (await store.get("/v1/datasets/acme/wire-2026")).json()
    assert (answer["tenant"], answer["transaction_class"]) == ("acme", "wire")


def test_one_trace_goes_through_every_hop():
    trace, decision = "0af7651916cd43dd8448eb211c80319c", "0f8e6a52-7a39-4f0e-9d55-6a3c3a1f0b1e"
    came = {"authorization": "Bearer t", "x-extauthz-decision-id": decision, "tracestate": "a=b", "cookie": "c"}
    kept = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "tracestate": "a=b", "authorization": "Bearer t"}
    assert handed_on({**came, "traceparent": kept["traceparent"]}) == kept
    for none in ({}, {"traceparent": "nonsense"}):
        begun = handed_on({**came, **none})
        assert begun == {
            "authorization": "Bearer t",
            "traceparent": f"00-{decision.replace('-', '')}-9d556a3c3a1f0b1e-00",
        }
    assert handed_on({"authorization": "Bearer t"}) == {"authorization": "Bearer t"}


async def test_the_catalogue_knows_what_it_knows():
    transport = httpx.ASGITransport(app=catalogue.app({}))
    async with httpx.AsyncClient(transport=transport, base_url="http://catalogue") as client:
        assert (await client.get("/models/fraud/3.2.0")).json()["stage"] == "staging"
        assert (await client.get("/features/acme")).json() == {"region": "eu", "data_class": "confidential"}
        assert (await client.get("/datasets/acme/wire-2019")).json()["age_days"] > 365
        assert (await client.get("/models/fraud/9.9.9")).status_code == 404


HISTORY = [Past(1000.0 + 10 * number, f"p-{number % 5}", 90.0 + 60.0 * number) for number in range(60)]


def test_a_usual_transfer_scores_low_and_an_odd_one_high():
    usual = score(1200.0, "p-1", 12, HISTORY)
    odd = score(90000.0, "nobody", 3, HISTORY)
    assert usual.value < 0.1
    assert odd.value > 0.9
    assert odd.reasons[0] == "amount"
    assert {"new_counterparty", "night"} <= set(odd.reasons)
    assert orchestrator.outcome(usual.value) == "accepted"
    assert orchestrator.outcome(odd.value) == "refused"


def test_a_burst_of_transfers_raises_the_score():
    burst = [*HISTORY, *(Past(1100.0, "p-1", 5.0) for _ in range(8))]
    calm, busy = score(1200.0, "p-1", 12, HISTORY), score(1200.0, "p-1", 12, burst)
    assert busy.value > calm.value
    assert "velocity" in busy.reasons


@pytest.mark.parametrize("amount", [0.0, -5.0, 1e12])
def test_a_score_is_a_probability(amount):
    for history in ([], HISTORY[:1], HISTORY):
        assert 0.0 <= score(amount, "x", 0, history).value <= 1.0


@pytest.mark.parametrize("value", [None, True, "5", float("nan"), float("inf"), 1e13, []])
def test_numbers_are_numbers(value):
    with pytest.raises(HTTPException):
        http.number({"amount": value}, "amount")


@pytest.mark.parametrize("value", [None, "", 5, "x" * 129])
def test_texts_are_short_texts(value):
    with pytest.raises(HTTPException):
        http.text({"tenant": value}, "tenant")

"""The shipped policy answers the token service's questions, through a real engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.clock import SystemClock
from extauthz.errors import EngineFault
from extauthz.model import Allow, Deny
from extauthz.sts.interfaces import Client
from extauthz.sts.mint import Grant
from extauthz.sts.permission import EnginePolicy, question
from tests.support.engines import sidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.opa
POLICIES = Path(__file__).resolve().parents[2] / "policies"
ORCHESTRATOR = Client("spiffe://bank.example/env/prod/ns/orchestration/sa/orchestrator", "O" * 43, environment="prod")
GRANT = Grant(
    subject="alice",
    subject_type="user",
    client_id=ORCHESTRATOR.spiffe_id,
    audience="https://risk-explanation.bank.example",
    scopes=frozenset({"scores.explain"}),
    purpose="risk-explanation",
    expires=0,
    chain=(ORCHESTRATOR.spiffe_id, "spiffe://bank.example/env/prod/ns/edge/sa/gateway"),
)


@pytest.fixture
async def policy() -> AsyncIterator[EnginePolicy]:
    async with sidecar(POLICIES) as (engine, _):
        yield EnginePolicy(engine, SystemClock(), entrypoint="extauthz/exchange/decision", timeout=5.0)


async def test_shipped_policy(policy):
    """One engine for all cases: each start of OPA costs a second."""
    cases = {
        "": (ORCHESTRATOR, GRANT, {"tenant": "acme", "roles": ["wire-operator"]}),
        "workload.unregistered": (replace(ORCHESTRATOR, spiffe_id=ORCHESTRATOR.spiffe_id + "x"), GRANT, {}),
        "workload.environment": (replace(ORCHESTRATOR, environment="staging"), GRANT, {}),
        "workload.exchange_denied": (ORCHESTRATOR, replace(GRANT, audience="https://storage.bank.example"), {}),
        "role.exchange_subject": (ORCHESTRATOR, replace(GRANT, subject_type="workload"), {}),
        "attribute.exchange_scope": (ORCHESTRATOR, replace(GRANT, scopes=frozenset({"transfers.write"})), {}),
        "attribute.exchange_purpose": (ORCHESTRATOR, replace(GRANT, purpose="payment"), {}),
        "attribute.exchange_kind": (ORCHESTRATOR, replace(GRANT, kind="transaction_token"), {}),
        "attribute.exchange_depth": (ORCHESTRATOR, replace(GRANT, chain=("a", "b", "c")), {}),
    }
    for code, (client, grant, subject) in cases.items():
        evaluation = await policy.ask(question(client, grant, subject, "token.exchange"))
        assert evaluation.revision
        if code:
            assert isinstance(evaluation.decision, Deny), code
            assert evaluation.decision.code == code
        else:
            assert isinstance(evaluation.decision, Allow), evaluation.decision
    unstated = await policy.ask(question(ORCHESTRATOR, replace(GRANT, purpose=""), {}, "token.exchange"))
    assert isinstance(unstated.decision, Deny)


async def test_no_answer_is_a_fault(policy):
    async with sidecar(POLICIES) as (engine, _):
        missing = EnginePolicy(engine, SystemClock(), entrypoint="extauthz/nothing/decision", timeout=5.0)
        with pytest.raises(EngineFault):
            await missing.ask({})
        late = EnginePolicy(engine, SystemClock(), entrypoint="extauthz/exchange/decision", timeout=0.0)
        with pytest.raises(EngineFault, match=r"engine\.deadline"):
            await late.ask({})

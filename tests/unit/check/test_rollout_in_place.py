"""A candidate beside the live policy in a whole worker: real OPA, the shipped policies, and a changed copy of them."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.errors import ConfigError
from extauthz.policy.rollout_state import Phase
from tests.support import parts
from tests.support.api import AUDIENCE, DOOR, Worker, client
from tests.support.bank import POLICIES, TRANSFER, Bank, open_bank, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import httpx

    from extauthz.policy.rollout import Rollout

    Opener = Callable[..., Awaitable[Bank]]

pytestmark = [pytest.mark.opa]
STRICTER = """package extauthz.candidate

import data.extauthz.payments

default decision := {"allow": false}

# METADATA
# entrypoint: true
decision := {"allow": false, "reasons": [{"code": "attribute.candidate_amount", "message": "Too much for the candidate."}]} if {
	input.resource.properties.amount >= 1000
} else := payments.decision
"""


def candidate(directory: Path, rego: str = STRICTER) -> Path:
    """The shipped policies, with the payments entrypoint behind a further rule."""
    copy = directory / "next"
    shutil.copytree(POLICIES, copy)
    payments = copy / "extauthz" / "payments.rego"
    text = payments.read_text().replace("package extauthz.payments", "package extauthz.payments_before")
    payments.write_text(text)
    (copy / "extauthz" / "main.rego").unlink()
    wrapper = rego.replace("package extauthz.candidate", "package extauthz.payments").replace(
        "data.extauthz.payments", "data.extauthz.payments_before as payments"
    )
    (copy / "extauthz" / "payments_next.rego").write_text(wrapper)
    return copy


@pytest.fixture(params=["embedded", "sidecar"])
def engine(request: pytest.FixtureRequest) -> str:
    parts.require_opa()
    if request.param == "embedded":
        parts.require_embedded()
    return str(request.param)


@pytest.fixture
async def opener(tmp_path: Path, engine: str) -> AsyncIterator[Opener]:
    banks: list[Bank] = []

    async def opened(**changes: Any) -> Bank:
        policy = {"engine": engine, "path": str(POLICIES)}
        policy["candidate"] = {"path": str(candidate(tmp_path)), "sample": 100, **changes}
        bank = await open_bank(tmp_path, engine, policy=policy, api={"rollout": {"token": DOOR}})
        banks.append(bank)
        return bank

    yield opened
    for bank in banks:
        await bank.close()


def rollout(bank: Bank) -> Rollout:
    active = bank.app._active
    assert active is not None
    assert active.rollout is not None
    return active.rollout


async def compared(bank: Bank, count: int) -> dict[str, Any]:
    while rollout(bank).numbers()["compared"] < count:  # noqa: ASYNC110 - another task's work
        await asyncio.sleep(0.002)
    return rollout(bank).status()


async def operate(bank: Bank, method: str, query: str = "", **body: Any) -> httpx.Response:
    token = bank.token(aud=AUDIENCE, sub="ops", scope="extauthz.api")
    async with client(Worker(bank.app)) as http:
        sent = json.dumps(body).encode() if body else b""
        return await http.request(
            method, f"/policy/rollout{query}", content=sent, headers={"authorization": f"Bearer {token}"}
        )


async def test_shadow_finds_what_the_candidate_would_have_denied(opener: Opener) -> None:
    bank = await opener()
    assert (await bank.ask(body={**TRANSFER, "amount": 10})).status == 200
    allowed = await bank.ask()
    assert allowed.status == 200
    status = await compared(bank, 2)
    assert [(row["difference"], row["code"], row["count"]) for row in status["totals"]] == [
        ("allowed_to_denied", "attribute.candidate_amount", 1)
    ]
    (found,) = status["differences"]
    assert found["decision_id"] == allowed.metadata["decision_id"]
    assert found["live"]["revision"] != found["candidate"]["revision"]
    assert found["route"] == "create-transfer"
    page = bank.app.metrics().decode()
    assert 'difference="allowed_to_denied",route="create-transfer"} 1.0' in page
    assert f'extauthz_candidate_info{{phase="shadow",revision="{status["candidate"]}"}} 1.0' in page
    assert (await bank.app.status())["candidate"]["phase"] == "shadow"
    assert (await bank.app.status())["engine"]["revision"] == status["live"]
    await bank.close()
    lines = bank.records()
    assert {line["type"] for line in lines} == {"check", "comparison"}
    assert next(line for line in lines if line["type"] == "comparison")["candidate"]["allow"] is False


async def test_a_share_is_answered_by_the_candidate_and_says_so(opener: Opener) -> None:
    bank = await opener(mode="percent", percent=100, rollback={"min_decisions": 1000})
    denied = await bank.ask()
    assert (denied.status, denied.code) == (403, "attribute.candidate_amount")
    status = await compared(bank, 1)
    assert denied.metadata["revision"] == status["candidate"]
    assert status["differences"][0]["answered_by"] == "candidate"


async def test_a_bad_candidate_is_taken_back_in_every_worker(opener: Opener, caplog: pytest.LogCaptureFixture) -> None:
    bank = await opener(mode="percent", percent=100, rollback={"min_decisions": 3})
    answers = [(await bank.ask()).status for _ in range(3)]
    assert answers == [403, 403, 403]
    while rollout(bank).phase is not Phase.SHADOW:  # noqa: ASYNC110 - another task's work
        await asyncio.sleep(0.002)
    assert (await bank.ask()).status == 200
    assert "is rolled back from percent to shadow" in caplog.text
    assert "extauthz_candidate_rollbacks_total 1.0" in bank.app.metrics().decode()
    while not (bank.run_dir / "rollout.json").exists():  # noqa: ASYNC110 - a thread writes it
        await asyncio.sleep(0.002)
    assert await bank.reload() == []  # a reload of the same two policies does not put it back
    assert rollout(bank).phase is Phase.SHADOW
    assert (await operate(bank, "GET")).json()["choice"]["by"] == "automatic"


async def test_an_operator_promotes_and_rolls_back(opener: Opener, tmp_path: Path) -> None:
    bank = await opener(state=str(tmp_path / "kept.json"), rollback={"min_decisions": 2})
    status = (await operate(bank, "GET")).json()
    revisions = {"live": status["live"], "candidate": status["candidate"]}
    early = await operate(bank, "POST", action="promote", **revisions)
    assert early.status_code == 409
    assert "only 0 decisions were compared" in early.text
    for _ in range(2):
        await bank.ask()
    await compared(bank, 2)
    worse = await operate(bank, "POST", action="promote", **revisions)
    assert worse.status_code == 409
    assert "100.00 percentage points more" in worse.text
    done = await operate(bank, "POST", "?force=true", action="promote", **revisions)
    assert done.json() == {"phase": "promoted", "warning": ""}
    assert (await bank.ask()).code == "attribute.candidate_amount"
    assert (await bank.app.status())["engine"]["revision"] == revisions["candidate"]
    assert f'extauthz_policy_info{{revision="{revisions["candidate"]}"}} 1.0' in bank.app.metrics().decode()
    assert json.loads((tmp_path / "kept.json").read_bytes())["phase"] == "promoted"
    back = await operate(bank, "POST", action="rollback", **revisions)
    assert back.json()["phase"] == "shadow"
    assert (await bank.ask()).status == 200
    cleared = await operate(bank, "POST", action="clear", **revisions)
    assert cleared.json()["phase"] == "shadow"
    assert (await operate(bank, "GET")).json()["choice"] is None


async def test_a_choice_ends_with_the_policies_it_was_made_for(opener: Opener, tmp_path: Path) -> None:
    bank = await opener()
    status = (await operate(bank, "GET")).json()
    revisions = {"live": status["live"], "candidate": status["candidate"]}
    await operate(bank, "POST", "?force=true", action="promote", **revisions)
    assert (await bank.ask()).status == 403
    changed = tmp_path / "next" / "extauthz" / "payments_next.rego"
    changed.write_text(changed.read_text().replace(">= 1000", ">= 1001"))
    assert await bank.reload() == []
    assert rollout(bank).phase is Phase.SHADOW
    assert (await bank.ask()).status == 200
    assert (await operate(bank, "POST", "?force=true", action="promote", **revisions)).status_code == 409


async def test_a_choice_needs_its_token_and_its_form(opener: Opener) -> None:
    bank = await opener()
    async with client(Worker(bank.app)) as http:
        assert (await http.get("/policy/rollout")).status_code == 401
        assert (await http.post("/policy/rollout", content=b"{}")).status_code == 401
        unscoped = {"authorization": f"Bearer {bank.token(aud=AUDIENCE)}"}
        assert (await http.get("/policy/rollout", headers=unscoped)).status_code == 403
    for body in ({"action": "explode"}, {"x": 1}):
        assert (await operate(bank, "POST", **body)).status_code == 400
    assert (await operate(bank, "POST", action="rollback", live="x", candidate="y")).status_code == 409
    assert rollout(bank).phase is Phase.SHADOW


async def test_a_broken_candidate_is_refused_with_its_file_and_line(opener: Opener, tmp_path: Path) -> None:
    bank = await opener()
    broken = tmp_path / "next" / "extauthz" / "payments_next.rego"
    broken.write_text(broken.read_text() + "\nnonsense :=\n")
    with pytest.raises(ConfigError, match=r"payments_next\.rego:\d+"):
        await bank.shared.prepare()
    assert (await bank.ask()).status == 200


async def test_without_a_candidate_there_is_nothing_to_choose(tmp_path: Path, engine: str) -> None:
    bank = await open_bank(tmp_path, engine, api={"rollout": {"token": DOOR}}, routes=[route("create-transfer")])
    status = (await operate(bank, "GET")).json()
    assert status["candidate"] is None
    assert len(status["live"]) == 32
    refused = await operate(bank, "POST", "?force=true", action="promote", live=status["live"], candidate="")
    assert refused.status_code == 409
    await bank.close()

"""What a grant overrides in a Check, how loud that is, and what stays as it was."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.authn.break_glass import Grants
from extauthz.authn.break_glass_settings import BreakGlassSettings
from extauthz.authn.break_glass_uses import MAX_FILES, Uses
from extauthz.authn.revocation import Revocations
from extauthz.authn.settings import RevocationSettings
from extauthz.check.break_glass import overridable
from extauthz.clock import ManualClock
from extauthz.errors import ConfigError, EngineFault
from extauthz.model import CODES, Deny, Reason, Subject, deny
from extauthz.policy.engine import Evaluation, Query
from tests.support import parts
from tests.support.bank import Bank, open_bank, route
from tests.support.break_glass import HEADER, Signer
from tests.support.tokens import EPOCH, ISSUER, Issuer, generate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SIGNER = Signer()
ALICE = Subject("user", "alice", "jwt", issuer=ISSUER)


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    opened = await open_bank(
        tmp_path,
        break_glass=SIGNER.write(tmp_path),
        routes=[
            route("create-transfer", break_glass=True, effects=["money"]),
            route("other", match={"path": "/v1/other", "methods": ["POST"]}),
        ],
    )
    yield opened
    await opened.close()


def refused_by_policy(bank: Bank) -> str:
    """A token whose role does not suffice."""
    return bank.token(roles=[], iss=ISSUER)


async def ask(bank: Bank, grant: str | None, **changes: Any) -> Any:
    headers = {} if grant is None else {HEADER: grant}
    token = changes.pop("token", None) or refused_by_policy(bank)
    return await bank.ask(token, headers={**headers, **changes.pop("headers", {})}, **changes)


@pytest.mark.opa
@pytest.mark.embedded
async def test_a_grant_stands_in_for_the_policys_yes_and_everybody_hears_of_it(
    bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    before = await ask(bank, None)
    assert (before.status, before.layer) == (403, "role")
    with caplog.at_level(logging.WARNING):
        answer = await ask(bank, SIGNER.grant())
    assert answer.status == 200
    assert answer.headers["x-extauthz-mode"] == "break-glass"
    assert answer.headers["x-extauthz-subject"] == "alice"
    assert answer.metadata["mode"] == "break-glass"
    assert HEADER in answer.removed
    assert "INC-4711" in caplog.text
    page = bank.app.metrics().decode()
    assert 'extauthz_break_glass_total{outcome="used",route="create-transfer"} 1.0' in page
    await bank.close()
    record = bank.records()[-1]
    assert record["result"]["allow"] is True
    assert record["mode"] == "break-glass"
    assert record["break_glass"] == {
        "grant": "grant-1",
        "ticket": "INC-4711",
        "issued_by": "oncall-lead",
        "until": "2027-01-15T08:29:50.000000+00:00",
        "overridden": before.code,
    }


@pytest.mark.opa
@pytest.mark.embedded
async def test_a_refused_grant_keeps_what_was_refused_before(bank: Bank) -> None:
    before = await ask(bank, None)
    answer = await ask(bank, SIGNER.grant(sub="mallory"))
    assert (answer.status, answer.code) == (403, "token.break_glass")
    assert "www-authenticate" not in answer.headers
    assert "mallory" not in answer.body
    assert before.code not in answer.body
    page = bank.app.metrics().decode()
    assert 'extauthz_break_glass_total{outcome="refused",route="create-transfer"} 1.0' in page
    await bank.close()
    record = bank.records()[-1]
    reasons = record["result"]["reasons"]
    assert [reason["code"] for reason in reasons[:2]] == ["token.break_glass", before.code]
    assert "for another subject" in reasons[0]["detail"]
    assert "break_glass" not in record


@pytest.mark.opa
@pytest.mark.embedded
async def test_nothing_of_it_is_kept(bank: Bank) -> None:
    """Neither the decision nor the answer's bytes: without the grant the next one is refused, from the cache or not."""
    grant = SIGNER.grant(exp=EPOCH + 20)
    for _ in range(3):
        assert (await ask(bank, grant)).status == 200
        assert (await ask(bank, None)).status == 403
    bank.clock.advance(20)
    assert (await ask(bank, grant)).code == "token.break_glass", "it has ended by itself"


@pytest.mark.opa
@pytest.mark.embedded
async def test_what_is_allowed_anyway_looks_at_no_grant(bank: Bank) -> None:
    answer = await bank.ask(headers={HEADER: "not a grant at all"})
    assert answer.status == 200
    assert "x-extauthz-mode" not in answer.headers
    assert {HEADER, "x-extauthz-mode"} <= set(answer.removed)


@pytest.mark.opa
@pytest.mark.embedded
async def test_a_route_without_the_word_takes_no_grant(bank: Bank) -> None:
    answer = await ask(bank, SIGNER.grant(routes=["other", "create-transfer"]), route="other", path="/v1/other")
    assert (answer.status, answer.layer) == (403, "role")


class Away:
    """An engine that cannot answer."""

    revision = "r"

    def __init__(self, code: str) -> None:
        self.code = code

    async def evaluate(self, query: Query) -> Evaluation:
        raise EngineFault(self.code)

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        pass


@pytest.mark.opa
@pytest.mark.embedded
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("engine.unavailable", 200),
        ("engine.deadline", 200),
        ("engine.undefined", 503),
        ("engine.invalid_result", 503),
        ("engine.internal", 503),
    ],
)
async def test_an_engine_that_is_away_is_overridden_and_one_that_answers_wrongly_is_not(
    bank: Bank, code: str, status: int
) -> None:
    bank.use_engine(Away(code))
    answer = await ask(bank, SIGNER.grant())
    assert answer.status == status
    assert (await ask(bank, None)).code == code


class Says:
    """A policy that denies with a code of the test's choice."""

    revision = "r"

    def __init__(self, code: str) -> None:
        self.code = code

    async def evaluate(self, query: Query) -> Evaluation:
        return Evaluation(Deny((Reason(self.code),)), self.revision)

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        pass


@pytest.mark.opa
@pytest.mark.embedded
@pytest.mark.parametrize("code", ["workload.not_today", "transport.weak", "token.stolen", "token.revoked"])
async def test_a_policy_that_refuses_who_asks_is_not_overridden(bank: Bank, code: str) -> None:
    bank.use_engine(Says(code))
    assert (await ask(bank, SIGNER.grant())).code == code


def test_of_our_own_codes_exactly_these_are_overridden() -> None:
    found = {code for code in CODES if overridable(deny(code))}
    assert found == {"role.denied", "engine.unavailable", "engine.deadline", "engine.attributes_unavailable"}
    assert overridable(Deny((Reason("attribute.tenant_mismatch"),)))


def grants(directory: Path, clock: ManualClock | None = None, **settings: Any) -> Grants:
    written = SIGNER.write(directory)
    made = BreakGlassSettings.model_validate({**written, "keys": directory / "break-glass.json", **settings})
    clock = clock or ManualClock()
    return Grants(made, Revocations(RevocationSettings(), clock), clock)


def test_a_grant_ends_to_the_second_and_begins_with_a_leeway(tmp_path: Path) -> None:
    clock = ManualClock()
    verifier = grants(tmp_path, clock)
    later = SIGNER.grant(iat=EPOCH + 5, nbf=EPOCH + 5)
    assert not isinstance(verifier.verify(later, "create-transfer", ALICE), str)
    assert verifier.verify(SIGNER.grant(nbf=EPOCH + 6), "create-transfer", ALICE) == "it has not begun"
    good = SIGNER.grant(exp=EPOCH + 100)
    clock.advance(99.9)
    assert not isinstance(verifier.verify(good, "create-transfer", ALICE), str)
    clock.advance(0.1)
    assert verifier.verify(good, "create-transfer", ALICE) == "it has ended"


def test_a_workload_is_named_by_its_spiffe_id_alone(tmp_path: Path) -> None:
    verifier = grants(tmp_path)
    name = "spiffe://bank.example/env/prod/ns/edge/sa/gateway"
    grant = SIGNER.grant(sub=name, sub_iss=...)
    workload = Subject("workload", name, "workload", issuer="spiffe://bank.example")
    assert not isinstance(verifier.verify(grant, "create-transfer", workload), str)
    posing = Subject("user", name, "jwt", issuer=ISSUER)
    assert verifier.verify(grant, "create-transfer", posing) == "for another subject"


def test_a_key_that_is_taken_out_ends_its_grants_and_a_broken_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    verifier = grants(tmp_path)
    file = tmp_path / "break-glass.json"
    file.write_text("{")
    assert not verifier.reload()
    assert "kept as they were" in caplog.text
    assert not isinstance(verifier.verify(SIGNER.grant(), "create-transfer", ALICE), str)
    file.write_text(json.dumps(Issuer(kid="oncall-lead").jwks()))
    assert verifier.reload()
    assert isinstance(verifier.verify(SIGNER.grant(), "create-transfer", ALICE), str)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{**SIGNER.issuer.jwk(), "kid": 7}],
        [{name: value for name, value in SIGNER.issuer.jwk().items() if name != "kid"}],
        [SIGNER.issuer.jwk(), {"kty": "oct", "k": "c2VjcmV0", "kid": "b"}],
        [SIGNER.issuer.jwk(), Issuer(kid="oncall-lead").jwk()],
        [Issuer(algorithm="RS256", key=generate("RS256")).jwk()],
    ],
    ids=["none", "kid-no-text", "no-kid", "symmetric", "one-kid-twice", "rsa"],
)
def test_a_file_of_keys_is_good_as_a_whole_or_refused(tmp_path: Path, keys: list[Any]) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": keys}))
    settings = BreakGlassSettings(keys=file, audience="a")
    with pytest.raises(ConfigError):
        Grants(settings, Revocations(RevocationSettings()), ManualClock())


def test_uses_are_counted_for_all_workers_of_a_server(tmp_path: Path) -> None:
    verifier = grants(tmp_path)
    grant = verifier.verify(SIGNER.grant(uses=2), "create-transfer", ALICE)
    assert not isinstance(grant, str)
    workers = [Uses(tmp_path), Uses(tmp_path)]
    assert [worker.take(grant, EPOCH) for worker in (*workers, *workers)] == [True, True, False, False]
    unbounded = verifier.verify(SIGNER.grant(jti="grant-2"), "create-transfer", ALICE)
    assert not isinstance(unbounded, str)
    assert all(workers[0].take(unbounded, EPOCH) for _ in range(20))


def test_what_belongs_to_ended_grants_is_removed_and_the_rest_is_bounded(tmp_path: Path) -> None:
    verifier = grants(tmp_path)
    grant = verifier.verify(SIGNER.grant(uses=1), "create-transfer", ALICE)
    assert not isinstance(grant, str)
    folder = tmp_path / "break-glass"
    folder.mkdir()
    for number in range(MAX_FILES):
        (folder / f"{EPOCH + 5}-{number}").touch()
    assert not Uses(tmp_path).take(grant, EPOCH)
    assert Uses(tmp_path).take(grant, EPOCH + 5)
    assert len(list(folder.iterdir())) == 1


def test_where_uses_cannot_be_counted_there_is_none(tmp_path: Path) -> None:
    grant = grants(tmp_path).verify(SIGNER.grant(uses=1), "create-transfer", ALICE)
    assert not isinstance(grant, str)
    (tmp_path / "break-glass").write_text("in the way")
    assert not Uses(tmp_path).take(grant, EPOCH)


@pytest.mark.opa
@pytest.mark.embedded
async def test_the_log_is_for_people(bank: Bank, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        await ask(bank, SIGNER.grant())
    assert sum("break-glass used" in line for line in caplog.messages) == 10
    bank.clock.advance(2)
    await ask(bank, SIGNER.grant())
    assert "and 40 more" in caplog.messages[-1]
    await bank.close()
    assert sum(record.get("mode") == "break-glass" for record in bank.records()) == 51

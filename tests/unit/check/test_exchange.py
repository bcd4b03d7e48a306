"""Tokens exchanged in line: what is kept, for whom and how long, who waits for whom, and what is not believed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.check.exchange import Wanted, narrowed
from extauthz.check.exchange_settings import ExchangeSettings
from extauthz.check.exchanged import Granted
from extauthz.errors import EngineFault, OutboundError
from extauthz.model import Deny
from extauthz.model import Exchange as Asked
from extauthz.store.revocations import Revocation
from extauthz.sts.answers import ACCESS_TOKEN, Issued, Refused
from tests.support.certs import assert_denied
from tests.support.exchanges import SUBJECT, US, WANTED, Exchange, exchange
from tests.support.tokens import EPOCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def made() -> AsyncIterator[Exchange]:
    made = exchange()
    yield made
    await made.tasks.close()


def revoked(made: Exchange, kind: str, value: str) -> None:
    made.revocations.learn([Revocation(kind, value, EPOCH + 9999.0, at=EPOCH)])


async def test_a_token_is_fetched_once_and_then_handed_out_without_suspending(made: Exchange) -> None:
    first = await made.get()
    assert isinstance(first, Granted)
    assert first.header == ("authorization", "Bearer " + first.header[1].removeprefix("Bearer "))
    assert (first.audience, first.actor, first.token_id, first.bound_to) == ("ledger", US, "x-1", "A" * 43)
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is first
    assert len(made.service.calls) == 1
    assert made.service.calls[0][2] == 0.3
    assert first.facts.digest == first.digest[:16]
    assert made.exchanger.entries == 1
    assert "Bearer" not in repr(first)


@pytest.mark.parametrize(
    "other",
    [
        {"token": "another.subject.token"},
        {"wanted": replace(WANTED, audience="archive")},
        {"wanted": replace(WANTED, scopes=("transfers:read",))},
        {"wanted": replace(WANTED, purpose="reporting")},
        {"wanted": replace(WANTED, kind="transaction_token")},
        {"wanted": replace(WANTED, lifetime=30.0)},
    ],
    ids=["subject", "audience", "scopes", "purpose", "kind", "lifetime"],
)
async def test_an_entry_answers_its_own_question_only(made: Exchange, other: dict[str, Any]) -> None:
    first = await made.get()
    second = await made.get(**other)
    assert isinstance(second, Granted)
    assert second.header != first.header
    assert len(made.service.calls) == 2


async def test_a_renewed_certificate_gets_a_token_of_its_own(made: Exchange) -> None:
    assert (await made.get()).bound_to == "A" * 43
    made.renew("B" * 43)
    assert (await made.get()).bound_to == "B" * 43
    made.renew("")
    assert_denied(await made.get(), "engine.identity_unavailable")
    assert len(made.service.calls) == 2


async def test_a_certificate_that_is_renewed_during_the_call_is_ours_as_well(made: Exchange) -> None:
    made.service.gate.clear()
    waiting = asyncio.create_task(made.get())  # noqa: TID251 - a test's own
    await asyncio.sleep(0)
    made.renew("B" * 43)
    made.service.gate.set()
    granted = await waiting
    assert granted.bound_to == "B" * 43
    assert made.exchanger.entries == 0  # what was asked under A is not kept under A's key


async def test_everybody_who_waits_gets_the_same_answer(made: Exchange) -> None:
    made.service.gate.clear()
    waiting = [asyncio.create_task(made.get()) for _ in range(50)]  # noqa: TID251 - a test's own
    await asyncio.sleep(0)
    waiting[0].cancel()  # who goes takes nobody along
    await asyncio.sleep(0)
    made.service.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert len({answer.header for answer in answers[1:]}) == 1
    assert len(made.service.calls) == 1


async def test_an_entry_ends_before_its_token_and_before_the_subject_token(made: Exchange) -> None:
    made.service.life = 120
    await made.get()
    made.clock.advance(114)
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is not None
    made.clock.advance(1)  # the margin of 5 s begins
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is None
    made.service.life = 3600
    made.clock.advance(100)
    late = await made.get()
    assert late.expires_at == SUBJECT.expires_at
    made.clock.advance(SUBJECT.expires_at - made.clock.now() - 5)
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is None


async def test_a_hot_entry_is_asked_for_anew_before_it_ends(made: Exchange) -> None:
    first = await made.get()
    made.clock.advance(91)
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is first
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is first
    await asyncio.sleep(0.01)
    assert len(made.service.calls) == 2
    second = made.exchanger.cached("a.b.c", SUBJECT, WANTED)
    assert isinstance(second, Granted)
    assert second is not first


async def test_a_failed_renewal_keeps_what_is_good_and_a_refused_one_does_not(made: Exchange) -> None:
    first = await made.get()
    made.clock.advance(91)
    made.service.answer = OutboundError("away")
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is first
    await asyncio.sleep(0.01)
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is first
    assert len(made.service.calls) == 2
    made.clock.advance(5)
    made.service.answer = Refused("invalid_request", "the subject token is revoked")
    made.exchanger.cached("a.b.c", SUBJECT, WANTED)
    await asyncio.sleep(0.01)
    assert_denied(made.exchanger.cached("a.b.c", SUBJECT, WANTED), "token.exchange_refused")


@pytest.mark.attack
@pytest.mark.parametrize(("kind", "value"), [("jti", "x-1"), ("subject", "alice"), ("key", "key-1"), ("token", "")])
async def test_a_revoked_token_is_never_handed_out_again(made: Exchange, kind: str, value: str) -> None:
    first = await made.get()
    revoked(made, "jti", "somebody-else")
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is first
    revoked(made, kind, value or first.digest)
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is None


async def test_an_opaque_token_is_dropped_whenever_something_is_revoked(made: Exchange) -> None:
    made.service.answer = Issued("xat_" + "o" * 43, ACCESS_TOKEN, "Bearer", 60, frozenset())
    granted = await made.get()
    assert granted.header[1] == "Bearer xat_" + "o" * 43
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is granted
    revoked(made, "jti", "somebody-else")
    assert made.exchanger.cached("a.b.c", SUBJECT, WANTED) is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Refused("invalid_scope", "not yours"), "token.exchange_refused"),
        (Refused("invalid_target", "not for you"), "token.exchange_refused"),
        (Refused("invalid_request", "revoked"), "token.exchange_refused"),
        (Refused("invalid_client", "who are you"), "engine.exchange_unavailable"),
        (Refused("temporarily_unavailable", "later"), "engine.exchange_unavailable"),
        (OutboundError("https://authority.bank.example did not answer in time"), "engine.exchange_unavailable"),
    ],
)
async def test_what_goes_wrong_is_a_denial_with_its_cause_for_operators(made: Exchange, answer: Any, code: str) -> None:
    made.service.answer = answer
    denied = await made.get()
    assert_denied(denied, code)
    assert denied.reasons[0].detail
    assert not denied.reasons[0].message


async def test_a_refusal_is_remembered_shortly_and_a_fault_is_not(made: Exchange) -> None:
    made.service.answer = Refused("invalid_scope", "not yours")
    await made.get()
    assert isinstance(await made.get(), Deny)
    assert len(made.service.calls) == 1
    made.clock.advance(2)
    made.service.answer = OutboundError("away")
    await made.get()
    await made.get()
    assert len(made.service.calls) == 3


async def test_calls_are_bounded() -> None:
    made = exchange(max_calls=2)
    made.service.gate.clear()
    waiting = [asyncio.create_task(made.get(token=f"t-{number}")) for number in range(2)]  # noqa: TID251 - a test's own
    await asyncio.sleep(0)
    assert_denied(await made.get(token="t-3"), "engine.exchange_unavailable")
    made.service.gate.set()
    assert all(isinstance(granted, Granted) for granted in await asyncio.gather(*waiting))
    await made.tasks.close()


async def test_the_callers_deadline_holds_and_the_call_goes_on_for_the_next(made: Exchange) -> None:
    made.service.gate.clear()
    with pytest.raises(TimeoutError):
        await made.exchanger.fetch("a.b.c", SUBJECT, WANTED, made.clock.monotonic() + 0.01)
    made.service.gate.set()
    await asyncio.sleep(0.01)
    assert isinstance(made.exchanger.cached("a.b.c", SUBJECT, WANTED), Granted)


@pytest.mark.attack
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        pytest.param({"aud": "archive"}, WANTED, id="A17-another-audience"),
        pytest.param({"aud": ["ledger", "archive"]}, WANTED, id="A17-one-audience-more"),
        pytest.param({"aud": ...}, WANTED, id="A17-no-audience"),
        pytest.param({"sub": "root"}, WANTED, id="A17-another-subject"),
        pytest.param({"scope": "transfers:read admin"}, WANTED, id="A17-a-scope-more-than-the-subject"),
        pytest.param(
            {"scope": "transfers:read transfers:write"},
            replace(WANTED, scopes=("transfers:read",)),
            id="A17-a-scope-more-than-asked",
        ),
        pytest.param({"scope": ["admin"]}, WANTED, id="A17-scopes-of-another-form"),
        pytest.param({"exp": EPOCH + 301}, WANTED, id="A17-outlives-the-subject-token"),
        pytest.param({"exp": ...}, WANTED, id="A17-never-ends"),
        pytest.param({"purpose": "marketing"}, replace(WANTED, purpose="reporting"), id="A17-another-purpose"),
        pytest.param({"purpose": ...}, replace(WANTED, purpose="reporting"), id="A17-no-purpose"),
        pytest.param({"cnf": {"x5t#S256": "Z" * 43}}, WANTED, id="A18-bound-to-somebody-else"),
        pytest.param({"cnf": {"jkt": "Z" * 43}}, WANTED, id="A18-bound-in-another-way"),
    ],
)
async def test_an_answer_that_is_wider_than_the_question_is_not_believed(
    made: Exchange, changes: dict[str, Any], wanted: Wanted
) -> None:
    made.service.changes = changes
    assert_denied(await made.get(wanted=wanted), "engine.exchange_unavailable")
    assert made.exchanger.entries == 0


async def test_a_malformed_token_is_not_forwarded(made: Exchange) -> None:
    made.service.answer = Issued("not.a.token", ACCESS_TOKEN, "Bearer", 60, frozenset())
    assert_denied(await made.get(), "engine.exchange_unavailable")


async def test_a_transaction_token_travels_in_its_own_header(made: Exchange) -> None:
    granted = await made.get(wanted=replace(WANTED, kind="transaction_token"))
    name, token = granted.header
    assert name == "txn-token"
    assert token.count(".") == 2


ROUTE = ExchangeSettings.model_validate(
    {
        "audience": "ledger",
        "audiences": ["archive"],
        "scopes": ["transfers:read", "transfers:write"],
        "purpose": "payment",
        "purposes": ["reporting"],
    }
)


def test_a_policy_may_narrow() -> None:
    asked = Asked("archive", ("transfers:read",), "reporting")
    assert narrowed(Wanted.of(ROUTE), ROUTE, asked) == Wanted("archive", ("transfers:read",), "reporting")
    assert narrowed(Wanted.of(ROUTE), ROUTE, Asked()) == Wanted.of(ROUTE)


@pytest.mark.attack
@pytest.mark.parametrize(
    "asked",
    [Asked(audience="payroll"), Asked(purpose="marketing"), Asked(scopes=("transfers:read", "admin"))],
    ids=["A17-audience", "A17-purpose", "A17-scope"],
)
def test_a_policy_may_not_widen(asked: Asked) -> None:
    with pytest.raises(EngineFault, match=r"engine\.invalid_result"):
        narrowed(Wanted.of(ROUTE), ROUTE, asked)

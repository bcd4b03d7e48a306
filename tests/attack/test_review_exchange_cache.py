"""What a review of the exchange cache found: two routes that know different things of one token share what it became."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from extauthz.check.exchanged import Granted
from extauthz.sts.answers import ACCESS_TOKEN, Issued
from tests.support.certs import assert_denied
from tests.support.exchanges import SUBJECT, WANTED, Exchange, exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.attack
NARROWER = {
    "scopes": replace(SUBJECT, scopes=frozenset({"transfers:write"})),
    "end": replace(SUBJECT, expires_at=SUBJECT.expires_at - 250),
    "subject": replace(SUBJECT, id="mallory"),
}
"""What a route that asks the token's issuer as well (`introspect: always`) may find out."""


@pytest.fixture
async def made() -> AsyncIterator[Exchange]:
    made = exchange()
    yield made
    await made.tasks.close()


@pytest.mark.parametrize("known", NARROWER.values(), ids=NARROWER)
async def test_what_one_route_fetched_is_not_handed_out_where_less_is_known_to_be_good(made, known):
    first = await made.get()
    assert isinstance(first, Granted)
    assert_denied(await made.get(subject=known), "engine.exchange_unavailable")
    assert await made.get() is first
    assert len(made.service.calls) == 1


@pytest.mark.parametrize("known", NARROWER.values(), ids=NARROWER)
async def test_who_waits_for_anothers_call_gets_no_more_than_is_its_own(made, known):
    made.service.gate.clear()
    first = asyncio.create_task(made.get())  # noqa: TID251 - a test's own
    second = asyncio.create_task(made.get(subject=known))  # noqa: TID251 - a test's own
    await asyncio.sleep(0)
    made.service.gate.set()
    assert isinstance(await first, Granted)
    assert_denied(await second, "engine.exchange_unavailable")
    assert len(made.service.calls) == 1


@pytest.mark.parametrize("scopes", [frozenset({"transfers:read", "admin"}), frozenset({"admin"})])
async def test_an_opaque_answer_with_more_scopes_is_not_taken(made, scopes):
    made.service.answer = Issued("xat_" + "o" * 43, ACCESS_TOKEN, "Bearer", 60, scopes)
    assert_denied(await made.get(), "engine.exchange_unavailable")
    assert_denied(await made.get(wanted=replace(WANTED, scopes=("transfers:read",))), "engine.exchange_unavailable")


async def test_the_routes_scopes_do_not_bring_back_what_the_issuer_took(made):
    wanted = replace(WANTED, scopes=("transfers:read", "transfers:write"))
    assert_denied(await made.get(subject=NARROWER["scopes"], wanted=wanted), "engine.exchange_unavailable")

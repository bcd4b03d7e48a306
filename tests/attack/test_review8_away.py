"""A crowd is no outage: whoever floods a part must not turn a route's failure plan, nor trip its breaker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from extauthz.authn.introspection import WAITING
from extauthz.authn.settings import RevocationSettings
from extauthz.authn.tokens import digest
from extauthz.breaker import State
from extauthz.check.break_glass import overridable
from extauthz.model import Away, Deny, Reason
from tests.support.introspection import OPAQUE, TOKEN, Desk, desk, respond, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTROSPECTION_SECRET", "s3cret")


async def asked(used: Desk, token: str, left: float = 5.0) -> object:
    return await used.verifier.verify(token, OPAQUE, None, used.clock.monotonic() + left)


async def test_a_flood_of_invented_tokens_opens_no_route() -> None:
    """`introspection: open` is for an issuer that is away; this one is only kept busy."""
    used = desk(max_concurrent=2, timeout="10s")
    used.issuer.before = asyncio.Event().wait
    for number in range(2 * (1 + WAITING)):
        used.start(f"invented-{number}")
    await until(lambda: used.issuer.running == 2)
    refused = await asked(used, "one-too-many")
    assert isinstance(refused, Deny)
    assert not isinstance(refused, Away)
    await used.close()


async def test_a_question_that_never_had_its_turn_says_nothing_of_the_issuer() -> None:
    """The Check's share of the time ends, or the question's own: the issuer was never asked."""
    used = desk(max_concurrent=1, timeout="60ms")
    gate = asyncio.Event()
    used.issuer.before = gate.wait
    flood = [used.start(f"invented-{number}") for number in range(9)]
    await until(lambda: used.issuer.running == 1)
    hasty = await asked(used, "invented-8", left=0.01)
    assert not isinstance(hasty, Away)
    await asyncio.gather(*flood)
    assert used.introspector._endpoint.breaker._failures <= 2  # those that had their turn
    assert used.introspector._endpoint.breaker.state is State.CLOSED
    await used.close()


async def test_a_revoked_opaque_token_is_refused_while_nobody_can_be_asked(tmp_path: Path) -> None:
    file = tmp_path / "revoked.json"
    file.write_text(f'{{"token": ["{digest(TOKEN).hex()}"]}}')
    used = desk(revocations=RevocationSettings(file=file))
    used.issuer.fallback = respond({}, 503)
    refused = await asked(used, TOKEN)
    assert isinstance(refused, Deny)
    assert refused.code == "token.revoked"
    assert isinstance(await asked(used, "another"), Away)
    await used.close()


@pytest.mark.parametrize("second", ["token.revoked", "workload.denied", "attribute.tenant_quarantined"])
def test_a_refusal_with_a_reason_that_stands_is_not_overridden_for_its_first(second: str) -> None:
    assert overridable(Deny((Reason("role.denied"), Reason("attribute.amount"))))
    assert not overridable(Deny((Reason("role.denied"), Reason(second))))

"""A 17 as a property: any walk of exchanges through a mesh where everybody may call everybody only ever narrows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.sts.answers import Issued
from extauthz.sts.interfaces import Client
from extauthz.sts.lattice import Lattice
from tests.support.sts import Desk, claims_of, desk
from tests.support.tokens import EPOCH

pytestmark = pytest.mark.attack
NAMES = tuple(f"https://s{number}.example" for number in range(11))
MESH = tuple(
    Client(
        f"spiffe://bank.example/env/prod/ns/n{number}/sa/s",
        chr(65 + number) * 43,
        frozenset({name, "payments"}),
        frozenset(NAMES),
        environment="prod",
    )
    for number, name in enumerate(NAMES)
)
PURPOSES = ("payment", "fraud-scoring", "risk-explanation", "feature-read", "training", None)
SCOPES = ("a", "b", "c", "admin")
LATTICE = Lattice({"payment": ("fraud-scoring",), "fraud-scoring": ("risk-explanation", "feature-read")})


@dataclass(frozen=True)
class Step:
    caller: int
    target: int
    scopes: tuple[str, ...] | None
    purpose: str | None
    lifetime: int | None
    wait: int


steps = st.builds(
    Step,
    st.integers(0, 10),
    st.integers(0, 10),
    st.none() | st.lists(st.sampled_from(SCOPES), min_size=1, max_size=3, unique=True).map(tuple),
    st.sampled_from(PURPOSES),
    st.none() | st.integers(1, 5000),
    st.integers(0, 40),
)
onward = st.lists(steps, min_size=1, max_size=12)


async def take(bench: Desk, token: str, step: Step, caller: Client) -> dict[str, Any] | None:
    answer = await bench.exchange(
        caller,
        token,
        NAMES[step.target],
        scope=None if step.scopes is None else " ".join(step.scopes),
        purpose=step.purpose,
        lifetime=step.lifetime,
    )
    return {"token": answer.token, **claims_of(answer.token)} if isinstance(answer, Issued) else None


async def walk(path: list[Step], *, honest: bool) -> None:
    bench = desk()
    token = bench.user_token(scope="a b c", exp=EPOCH + 900, aud="payments")
    before = claims_of(token)
    at = 0
    for step in path:
        caller = MESH[at if honest else step.caller]
        found = await take(bench, token, step, caller)
        bench.clock.advance(step.wait)
        if found is None:
            continue
        assert caller.names & ({before["aud"]} if isinstance(before["aud"], str) else set(before["aud"]))
        assert set(found.get("scope", "").split()) <= set(before.get("scope", "").split())
        assert LATTICE.narrower(before.get("purpose", ""), found.get("purpose", ""))
        assert found["exp"] <= before["exp"]
        assert found["exp"] <= found["iat"] + min(300, step.lifetime or 300)
        assert found["sub"] == "alice"
        assert found["aud"] == NAMES[step.target]
        assert found["act"] == {"sub": caller.spiffe_id} | ({"act": before["act"]} if "act" in before else {})
        assert found["ancestors"] == [*before.get("ancestors", []), before["jti"]]
        assert len(found["ancestors"]) <= 8
        assert found["cnf"] == {"x5t#S256": caller.certificate_sha256}
        assert (found["tenant"], found["roles"]) == ("acme", ["teller"])
        token, before, at = found["token"], found, step.target


@settings(deadline=None, max_examples=60)
@given(onward)
def test_tokens_that_go_where_they_are_sent(path):
    asyncio.run(walk(path, honest=True))


@settings(deadline=None, max_examples=60)
@given(onward)
def test_tokens_that_anybody_picks_up(path):
    asyncio.run(walk(path, honest=False))


async def test_the_longest_walk_ends_at_eight():
    bench = desk()
    token = bench.user_token(exp=EPOCH + 300, aud="payments")
    for hop in range(8):
        found = await take(bench, token, Step(hop, hop + 1, None, None, None, 0), MESH[hop])
        assert found is not None
        token = found["token"]
    assert await bench.refused(MESH[8], token, NAMES[9]) == ("invalid_request", "exchange.depth")

"""An agent that starts again continues what its instance held; nobody else does, and a thief gains nothing by it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from extauthz.attestation.attestor import Attested
from extauthz.authority import instances
from extauthz.authority.instances import Instances
from extauthz.authority.revocations import RevocationBook
from extauthz.clock import ManualClock
from extauthz.keys import successor
from extauthz.store.memory import MemoryStore
from extauthz.store.store import StoreError
from tests.support.authority import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.authority import RunningAuthority, Svid

pytestmark = pytest.mark.attack
POD = "cluster/uid-1"


def named(svid: Svid) -> tuple[str, ...]:
    return successor.read(svid.certificate).thumbprints


@pytest_asyncio.fixture
async def authority(tmp_path: Path) -> AsyncIterator[RunningAuthority]:
    async with running(tmp_path) as made:
        yield made


async def revoke(authority: RunningAuthority, svid: Svid) -> None:
    order = {"kind": "workload", "value": svid.x5t, "reason": "stolen"}
    assert (await authority.operator("POST", "/revoke", order)).status_code == 200


async def test_the_same_instance_continues_also_what_it_renewed(authority: RunningAuthority) -> None:
    first = await authority.attest("agent", instance=POD)
    second = await authority.attest("agent", instance=POD)
    third = await authority.renew(second)
    fourth = await authority.attest("agent", instance=POD)
    assert named(first) == ()
    assert named(second) == (first.x5t,)
    assert named(third) == (second.x5t, first.x5t)
    assert named(fourth) == (third.x5t, second.x5t, first.x5t)
    issued = [line for line in authority.audit() if line["event"] == "identity.issued" and line["kind"] == "x509_svid"]
    assert [line["instance"] for line in issued] == [POD] * 3
    assert issued[-1]["continues"] == list(named(fourth))


async def test_nobody_else_continues_it(authority: RunningAuthority) -> None:
    """Another pod of the account, another workload in the pod, and whoever proves no instance."""
    await authority.attest("agent", instance=POD)
    assert named(await authority.attest("agent", instance="cluster/uid-2")) == ()
    assert named(await authority.attest("gateway", instance=POD)) == ()
    assert named(await authority.attest("agent")) == ()
    assert named(await authority.attest("agent")) == ()


async def test_the_thief_of_a_key_does_not_follow_the_instance(authority: RunningAuthority) -> None:
    """He renews what he has; what the instance was given since is not named, so its tokens are not his."""
    stolen = await authority.attest("agent", instance=POD)
    honest = await authority.attest("agent", instance=POD)
    loot = await authority.renew(stolen)
    assert named(loot) == (stolen.x5t,)
    assert honest.x5t not in named(await authority.renew(loot))


@pytest.mark.parametrize("renewed", [False, True])
async def test_what_was_revoked_is_not_continued_nor_what_it_renewed(
    authority: RunningAuthority, renewed: bool
) -> None:
    stolen = await authority.attest("agent", instance=POD)
    if renewed:
        await authority.renew(stolen)
    await revoke(authority, stolen)
    fresh = await authority.attest("agent", instance=POD)
    assert named(fresh) == ()
    async with authority.client(fresh) as http:
        assert (await http.get("/v1/trust")).status_code == 200


async def test_at_most_eight_are_named(authority: RunningAuthority) -> None:
    held = [await authority.attest("agent", instance=POD) for _ in range(10)]
    assert named(held[-1]) == tuple(svid.x5t for svid in held[-2:-10:-1])


@pytest.mark.parametrize("instance", ["a b", "x" * 129, 'a"', "a\n"])
async def test_an_instance_is_a_plain_short_word(authority: RunningAuthority, instance: str) -> None:
    order = {"entry": "agent", "ttl": 60, "instance": instance}
    assert (await authority.operator("POST", "/join-token", order)).json()["error"] == "authority.malformed"


# the record itself


def book(clock: ManualClock) -> tuple[Instances, MemoryStore]:
    store = MemoryStore(clock)
    return Instances(store, RevocationBook(store, clock), clock, longest=600.0), store


async def test_only_what_lives_and_was_in_use_lately_is_named() -> None:
    clock = ManualClock()
    made, _ = book(clock)
    start = clock.now()
    await made.record("i", "a", start + 3600, ())
    await made.record("i", "b", start + 3600, ("a",))
    await made.record("i", "c", start + 300, ("b",))
    assert await made.held("i") == ("c", "b", "a")
    clock.advance(300)
    assert await made.held("i") == ("b", "a")  # c has ended
    clock.advance(300)
    assert await made.held("i") == ()  # longer ago than any token lives
    assert await made.held("") == ()


async def test_a_certificate_that_was_never_replaced_is_named_until_it_ends() -> None:
    clock = ManualClock()
    made, _ = book(clock)
    await made.record("i", "a", clock.now() + 3600, ())
    clock.advance(3599)
    assert await made.held("i") == ("a",)
    assert await made.of("a") == "i"
    clock.advance(1)
    assert await made.held("i") == ()
    assert await made.of("a") == ""


async def test_a_record_that_cannot_be_read_names_nothing_and_issues_nothing() -> None:
    made, store = book(ManualClock())
    for value in (b"", b"[1]", b'[{"x5t": "a"}]', json.dumps([{"x5t": "a", "until": 1, "more": 2}]).encode()):
        await store.put("instances", "i", value)
        with pytest.raises(StoreError):
            await made.held("i")
        with pytest.raises(StoreError):
            await made.record("i", "a", 1.0, ())


async def test_what_cannot_be_recorded_is_not_issued() -> None:
    made, store = book(ManualClock())

    async def never(*_: object, **__: object) -> bool:
        return False

    store.swap = never  # type: ignore[method-assign]  # somebody else is always faster
    with pytest.raises(StoreError):
        await made.record("i", "a", 2_000_000_000.0, ())


def test_an_instance_is_one_of_its_attestor_and_of_its_name() -> None:
    def of(attestor: str, instance: str, spiffe_id: str) -> str:
        return instances.name(Attested(attestor, frozenset(), "", 0.0, instance), spiffe_id)

    assert len({of("a", "b", "c"), of("ab", "", "c"), of("a", "bc", ""), of("b", "a", "c"), of("a", "b", "d")}) == 5
    assert of("a", "", "c") == ""

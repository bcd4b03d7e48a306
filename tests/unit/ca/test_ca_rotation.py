"""The cycle of the keys, step by step: who waits for whom, what a restart and a lost store change."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import ValidationError

from extauthz.ca import phases
from extauthz.ca.acknowledged import MAX_AGENTS, ConnectedAgents
from extauthz.ca.fault import CaFault
from extauthz.ca.rotation import LOG, TABLE, Change, Rotation
from extauthz.ca.settings import CaSettings, SigningSettings
from extauthz.ca.state import MAX_STATE, Phase, Slot, State, dump, load
from extauthz.ca.view import Opener
from extauthz.clock import ManualClock
from extauthz.keys.protector import KeyProtector
from extauthz.keys.provider import EncryptedKeys, KeyProvider, MemoryKeys
from extauthz.keys.signer import KeyFault
from extauthz.store.memory import MemoryStore
from extauthz.store.store import StoreError
from tests.support.ca import DOMAIN, RemoteKeys

HOUR = 3600.0
DAY = 24 * HOUR


class Bench:
    def __init__(self, keys: KeyProvider | None = None, **ca: Any) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.ca = CaSettings.model_validate(ca)
        self.agents = ConnectedAgents(self.store, self.clock, self.ca.agent_seen_within)
        self.changes: list[Change] = []
        self.rotation = self.replica(keys or MemoryKeys())

    def replica(self, keys: KeyProvider) -> Rotation:
        return Rotation(
            DOMAIN, self.store, keys, self.clock, self.agents, self.ca, SigningSettings(), self.changes.append
        )

    async def after(self, seconds: float) -> Rotation:
        self.clock.advance(seconds)
        await self.rotation.tick()
        return self.rotation

    def phases(self, name: str = "x509") -> list[str]:
        return [slot.phase.value for slot in self.rotation.view.state.slots(name)]  # type: ignore[arg-type]


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.rotation.start()
    return made


async def test_nothing_signs_before_the_start() -> None:
    with pytest.raises(CaFault, match="not been started"):
        Bench().rotation.active("x509")


async def test_a_first_start_has_keys_at_once(bench: Bench) -> None:
    assert bench.phases("x509") == bench.phases("jwt") == ["active"]
    view = bench.rotation.view
    assert view.state.sequence == int(bench.clock.now()) + 1
    assert view.trust.sequence == view.state.sequence
    assert [change.phase for change in bench.changes] == ["active", "active"]


async def test_a_whole_life_of_a_ca(bench: Bench) -> None:
    first = bench.rotation.active("x509").slot
    await bench.after(3.5 * DAY - 1)
    assert bench.phases() == ["active"]
    await bench.after(1)
    assert bench.phases() == ["active", "published"]
    assert len(bench.rotation.view.authorities) == 2
    await bench.after(299)
    assert bench.phases() == ["active", "published"]
    await bench.after(1)  # nobody is connected: publish_for alone counts
    assert bench.phases() == ["retired", "active"]
    retired = bench.rotation.view.state.x509[0]
    assert retired.kid == first.kid
    assert retired.kept == ""
    await bench.after(DAY + phases.MARGIN)
    assert bench.phases() == ["retired", "active"]
    await bench.after(1)
    assert bench.phases() == ["active"]
    assert [(c.phase, c.kid == first.kid) for c in bench.changes if c.set == "x509"] == [
        ("active", True),
        ("published", False),
        ("retired", True),
        ("active", False),
        ("removed", True),
    ]


async def test_a_token_key_is_in_the_jwks_before_it_signs_and_after(bench: Bench) -> None:
    first = bench.rotation.active("jwt").key.id
    await bench.after(DAY)
    assert len(bench.rotation.view.jwks["keys"]) == 2
    assert bench.rotation.active("jwt").key.id == first
    await bench.after(15 * 60)
    second = bench.rotation.active("jwt").key.id
    assert second != first
    assert [key["kid"] for key in bench.rotation.view.jwks["keys"]] == [first, second]
    await bench.after(HOUR + phases.MARGIN)
    assert len(bench.rotation.view.jwks["keys"]) == 2
    await bench.after(1)
    assert [key["kid"] for key in bench.rotation.view.jwks["keys"]] == [second]
    assert all(key["use"] == "sig" for key in bench.rotation.view.jwks["keys"])


async def test_a_new_ca_waits_for_connected_agents(bench: Bench) -> None:
    before = bench.rotation.view.state.sequence
    await bench.agents.record("a", before)
    await bench.agents.record("b", before)
    await bench.rotation.rotate("x509")
    sequence = bench.rotation.view.state.sequence
    assert sequence == before + 1
    for elapsed in range(0, 400, 100):
        await bench.agents.record("a", sequence)
        await bench.agents.record("b", before)
        await bench.after(100)
        assert bench.phases() == ["active", "published"], elapsed
    await bench.agents.record("b", sequence)
    await bench.after(0)
    assert bench.phases() == ["retired", "active"]


async def test_it_does_not_wait_for_those_who_left(bench: Bench) -> None:
    await bench.agents.record("a", bench.rotation.view.state.sequence)
    await bench.rotation.rotate("x509")
    await bench.after(300)
    assert bench.phases() == ["retired", "active"]  # "a" was last seen more than two minutes ago


async def test_it_does_not_wait_longer_than_the_bound(bench: Bench) -> None:
    await bench.rotation.rotate("x509")
    for _ in range(59):
        await bench.agents.record("stuck", 0)
        await bench.after(60)
        assert bench.phases() == ["active", "published"]
    await bench.agents.record("stuck", 0)
    await bench.after(60)
    assert bench.phases() == ["retired", "active"]


async def test_a_second_rotate_while_one_waits_changes_nothing(bench: Bench) -> None:
    first = await bench.rotation.rotate("x509")
    second = await bench.rotation.rotate("x509")
    assert first == second
    assert first.next == bench.rotation.view.state.x509[1].kid


async def test_a_compromised_ca_is_out_at_once(bench: Bench) -> None:
    old = bench.rotation.active("x509").key.id
    waiting = (await bench.rotation.rotate("x509")).next
    sequence = bench.rotation.view.state.sequence
    rotated = await bench.rotation.rotate("x509", compromised=True)
    assert set(rotated.revoked) == {old, waiting}
    assert rotated.sequence == sequence + 1
    assert bench.phases() == ["active"]
    assert rotated.next == bench.rotation.active("x509").key.id
    assert len(bench.rotation.view.authorities) == 1
    assert {c.kid for c in bench.changes if c.phase == "distrusted"} == {old, waiting}
    assert bench.phases("jwt") == ["active"]


async def test_a_retired_key_can_be_distrusted_alone(bench: Bench) -> None:
    old = bench.rotation.active("jwt").key.id
    await bench.rotation.rotate("jwt")
    await bench.after(HOUR)
    assert bench.phases("jwt") == ["retired", "active"]
    current = bench.rotation.active("jwt").key.id
    assert (await bench.rotation.distrust("jwt", old)).revoked == (old,)
    assert bench.rotation.active("jwt").key.id == current
    with pytest.raises(CaFault, match="no such key"):
        await bench.rotation.distrust("jwt", old)


async def test_what_a_longer_ttl_needs_is_trusted_longer() -> None:
    bench = Bench(EncryptedKeys(KeyProtector(b"p" * 16)), max_svid_ttl="2h")
    await bench.rotation.start()
    assert bench.rotation.active("x509").slot.longest == 2 * HOUR
    bench.ca = CaSettings()
    await bench.replica(EncryptedKeys(KeyProtector(b"p" * 16))).start()
    await bench.rotation.tick()
    assert bench.rotation.active("x509").slot.longest == DAY
    bench.ca = CaSettings.model_validate({"max_svid_ttl": "1h"})
    await bench.replica(EncryptedKeys(KeyProtector(b"p" * 16))).start()
    await bench.rotation.tick()
    assert bench.rotation.active("x509").slot.longest == DAY


async def test_a_ca_that_expired_unattended_is_replaced_at_once(bench: Bench) -> None:
    old = bench.rotation.active("x509").key.id
    await bench.after(8 * DAY)
    assert bench.rotation.active("x509").key.id != old
    assert bench.phases() == ["active"] or bench.phases() == ["retired", "active"]
    await bench.after(1)
    assert bench.phases() == ["active"]


async def test_a_ca_near_its_end_is_replaced_whatever_the_schedule_says() -> None:
    bench = Bench(lifetime="8d", rotate_after="5d")
    await bench.rotation.start()
    bench.ca = CaSettings.model_validate({"lifetime": "90d", "rotate_after": "60d"})
    bench.rotation = bench.replica(bench.rotation._keys)
    await bench.rotation.start()
    await bench.after(6 * DAY - 1)
    assert bench.phases() == ["active"]
    await bench.after(1)
    assert bench.phases() == ["active", "published"]


async def test_no_more_keys_than_readers_take() -> None:
    bench = Bench(publish_for="0s", acknowledge_within="0s")
    await bench.rotation.start()
    for _ in range(phases.MAX_SLOTS - 1):
        await bench.rotation.rotate("x509")
    assert bench.phases() == ["retired"] * (phases.MAX_SLOTS - 1) + ["active"]
    with pytest.raises(CaFault, match="still trusted"):
        await bench.rotation.rotate("x509")
    first, active = bench.rotation.view.state.x509[0].kid, bench.rotation.active("x509").key.id
    assert len((await bench.rotation.rotate("x509", compromised=True)).revoked) == 1
    await bench.replica(MemoryKeys()).start()  # keys lost once more
    await bench.rotation.tick()
    kids = [slot.kid for slot in bench.rotation.view.state.x509]
    assert len(kids) == phases.MAX_SLOTS
    assert first not in kids
    assert active not in kids
    bench.clock.advance(3.5 * DAY)
    await bench.rotation.tick()


# restarts and replicas


@pytest.mark.parametrize("sealed", [True, False])
async def test_a_restart_keeps_sealed_keys_and_distrusts_no_lost_ones(sealed: bool) -> None:
    def keys() -> KeyProvider:
        return EncryptedKeys(KeyProtector(b"p" * 16)) if sealed else MemoryKeys()

    bench = Bench(keys())
    await bench.rotation.start()
    await bench.rotation.rotate("x509")
    old = {name: bench.rotation.active(name).key.id for name in ("x509", "jwt")}
    again = bench.replica(keys())
    await again.start()
    if sealed:
        assert {name: again.active(name).key.id for name in ("x509", "jwt")} == old
        return
    for name in ("x509", "jwt"):
        slots = again.view.state.slots(name)  # type: ignore[arg-type]
        assert [(slot.phase.value, slot.kid == old[name]) for slot in slots] == [("retired", True), ("active", False)]
    await bench.rotation.tick()
    with pytest.raises(CaFault, match="another process's memory"):
        bench.rotation.active("jwt")
    bench.clock.advance(30 * DAY)
    await bench.rotation.tick()  # it has no keys, so it does not act
    assert bench.rotation.view.state == again.view.state


async def test_another_passphrase_changes_nothing() -> None:
    bench = Bench(EncryptedKeys(KeyProtector(b"p" * 16)))
    await bench.rotation.start()
    raw = await bench.store.get(TABLE, DOMAIN)
    with pytest.raises(KeyFault, match="passphrase"):
        await bench.replica(EncryptedKeys(KeyProtector(b"q" * 16))).start()
    assert await bench.store.get(TABLE, DOMAIN) == raw


async def test_private_keys_are_in_the_store_sealed_only() -> None:
    bench = Bench(EncryptedKeys(KeyProtector(b"p" * 16)))
    await bench.rotation.start()
    raw = await bench.store.get(TABLE, DOMAIN) or b""
    assert b"kid" not in raw
    opened = json.loads(bench.rotation._keys.unseal(raw, f"state:{DOMAIN}"))
    assert bench.rotation.active("jwt").key.id == opened["jwt"][0]["kid"]


async def test_keys_that_sign_elsewhere_rotate_as_well() -> None:
    keys = RemoteKeys()
    bench = Bench(keys)
    await bench.rotation.start()
    await bench.rotation.rotate("jwt", compromised=True)
    assert len(keys.hsm) == 3
    assert bench.rotation.active("jwt").key.sign({}, typ="JWT")


async def test_replicas_that_start_together_have_one_set_of_keys() -> None:
    bench = Bench()
    protector = KeyProtector(b"p" * 16)
    replicas = [bench.replica(EncryptedKeys(protector)) for _ in range(4)]
    await asyncio.gather(*(replica.start() for replica in replicas))
    assert len({replica.view.state.model_dump_json() for replica in replicas}) == 1
    assert await bench.store.last(LOG) == 1
    assert len(bench.changes) == 2  # told by the winner alone


async def test_a_replica_that_lost_the_store_reads_on_and_signs_no_more(bench: Bench) -> None:
    await bench.store.close()
    bench.clock.advance(60)
    with pytest.raises(StoreError):
        await bench.rotation.tick()
    assert bench.rotation.active("jwt")
    bench.clock.advance(1)
    with pytest.raises(CaFault, match="not been confirmed"):
        bench.rotation.active("jwt")
    assert bench.rotation.view.jwks["keys"]
    assert bench.rotation.view.trust.trust_domains


async def test_waiting_ends_with_news_or_with_time(bench: Bench) -> None:
    sequence = bench.rotation.view.state.sequence
    await bench.rotation.wait(sequence, 0.01)
    await bench.rotation.wait(sequence - 1, 60)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(bench.rotation.wait(sequence, 60))
        await asyncio.sleep(0)
        await bench.rotation.rotate("jwt")


async def test_everybody_changing_at_once_is_a_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(*_: Any, **__: Any) -> bool:
        return False

    monkeypatch.setattr(bench.store, "swap", lose)
    with pytest.raises(CaFault, match="keep changing"):
        await bench.rotation.rotate("jwt")
    assert len(bench.rotation._keys._keys) == 2  # type: ignore[attr-defined]  # what was made in vain is forgotten


async def test_a_change_that_cannot_be_announced_has_happened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any, **__: Any) -> int:
        raise StoreError("down")

    monkeypatch.setattr(bench.store, "append", fail)
    await bench.rotation.rotate("jwt")
    assert bench.phases("jwt") == ["active", "published"]
    assert "next tick" in caplog.text


# agents


async def test_connected_agents() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    agents = ConnectedAgents(store, clock, 120)
    assert await agents.everyone(7)
    await agents.record("spiffe://bank.example/" + "a" * 2000, 7)
    await agents.record("b", 8)
    assert await agents.everyone(7)
    assert not await agents.everyone(8)
    assert sorted((await agents.connected()).values()) == [7, 8]
    await agents.forget("b")
    assert len(await agents.connected()) == 1
    await store.put("connected-agents", "x", b"garbage", expires=clock.now() + 120)
    assert not await agents.everyone(0)
    clock.advance(120)
    assert await agents.connected() == {}


async def test_too_many_agents_are_not_waited_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extauthz.ca.acknowledged.MAX_AGENTS", 2)
    clock = ManualClock()
    agents = ConnectedAgents(MemoryStore(clock), clock, 120)
    for name in "abc":
        await agents.record(name, 9)
    assert not await agents.everyone(1)
    assert MAX_AGENTS == 100_000


# the document


def test_a_state_is_read_as_it_was_written() -> None:
    slot = Slot(
        kid="k",
        algorithm="ES256",
        phase=Phase.RETIRED,
        kept="",
        public="{}",
        prepared_at=1.5,
        expires_at=0,
        longest=60,
        published_in=3,
    )
    state = State(sequence=4, jwt=(slot,), federated={"other.example": "{}"})
    assert load(dump(state)) == state
    assert "published" not in str(State().trusted)


@pytest.mark.parametrize(
    "document", [b"", b"{}x", b'{"sequence": "1"}', b'{"surprise": 1}', b'{"x509": [{}]}', b'{"version": 2}', b"\xff"]
)
def test_a_document_that_is_not_ours_is_a_fault(document: bytes) -> None:
    with pytest.raises(CaFault):
        load(document)


async def test_a_state_that_cannot_be_used_is_a_fault(bench: Bench) -> None:
    state = bench.rotation.view.state
    opener = Opener(MemoryKeys(), DOMAIN, 300)
    with pytest.raises(CaFault, match="no active slot"):
        opener.view(state.model_copy(update={"jwt": ()}))
    broken = state.jwt[0].model_copy(update={"kept": "!"})
    with pytest.raises(CaFault, match="not base64"):
        opener.holds("jwt", broken)


def test_a_set_without_a_key_is_due_for_one() -> None:
    assert phases.due((), phases.Schedule(1, 1, 1, 1), 0)


def test_a_state_fits_into_a_store() -> None:
    with pytest.raises(CaFault, match="too large"):
        dump(State(anchors="x" * MAX_STATE))


# settings


@pytest.mark.parametrize(
    "ca",
    [
        {"svid_ttl": "25h"},
        {"publish_for": "2h"},
        {"lifetime": "4h"},
        {"rotate_after": "6d23h"},
        {"lifetime": "0s"},
        {"rotate_after": "7d"},
        {"federated": {"UPPER": "/a"}},
    ],
)
def test_settings_in_which_a_rotation_cannot_end_are_refused(ca: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CaSettings.model_validate(ca)


def test_a_jwt_svid_lives_no_longer_than_any_token() -> None:
    with pytest.raises(ValidationError):
        SigningSettings.model_validate({"jwt_svid_ttl": "2h"})

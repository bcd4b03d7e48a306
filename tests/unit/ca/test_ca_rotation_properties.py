"""Two replicas over one store, in any order of ticks, rotations, distrust, acknowledgements, restarts and races."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from extauthz.ca import phases
from extauthz.ca.acknowledged import ConnectedAgents
from extauthz.ca.fault import CaFault
from extauthz.ca.rotation import MAX_AGE, TABLE, Change, Rotation
from extauthz.ca.settings import CaSettings, SigningSettings
from extauthz.ca.state import SETS, Phase, SetName, State, load
from extauthz.clock import ManualClock
from extauthz.keys.protector import KeyProtector
from extauthz.keys.provider import EncryptedKeys
from extauthz.store.memory import MemoryStore
from tests.support.ca import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Coroutine

CA = CaSettings.model_validate(
    {
        "lifetime": "3000s",
        "rotate_after": "900s",
        "publish_for": "100s",
        "acknowledge_within": "400s",
        "agent_seen_within": "120s",
        "svid_ttl": "200s",
        "max_svid_ttl": "300s",
    }
)
SIGNING = SigningSettings.model_validate(
    {"rotate_after": "600s", "publish_for": "150s", "longest_token": "200s", "jwt_svid_ttl": "60s"}
)
PUBLISH_FOR = {"x509": CA.publish_for, "jwt": SIGNING.publish_for}
LONGEST = {"x509": CA.max_svid_ttl, "jwt": SIGNING.longest_token}
PROTECTOR = KeyProtector(b"a passphrase for tests")
REPLICAS = st.integers(0, 1)
NAMES = st.sampled_from(SETS)


class Replicas(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.agents = ConnectedAgents(self.store, self.clock, CA.agent_seen_within)
        self.replicas = [self.replica(), self.replica()]
        self.signed: list[tuple[SetName, str, float]] = []
        self.distrusted: set[str] = set()
        self.urgent = 2
        """Activations that nobody had to wait for: the first of each set, and one for each active key distrusted."""
        self.acknowledged: dict[str, tuple[int, float]] = {}
        self.contents: dict[int, Any] = {}
        self.before = State()
        self.rushed = 0
        self.changes: list[Change] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def replica(self) -> Rotation:
        return Rotation(DOMAIN, self.store, EncryptedKeys(PROTECTOR), self.clock, self.agents, CA, SIGNING, self.report)

    def report(self, change: Change) -> None:
        self.changes.append(change)
        if change.phase == "active":
            self.judge(change)

    def judge(self, change: Change) -> None:
        """A slot has just become active: was it time?"""
        slots = self.before.slots(change.set)
        slot = next((slot for slot in slots if slot.kid == change.kid), None)
        current = phases.active(slots)
        if slot is None or slot.phase is Phase.PREPARED:
            expired = current is not None and 0 < current.expires_at <= change.at
            self.rushed += not expired
            return
        if current is not None and 0 < current.expires_at <= change.at:
            return
        assert change.at >= slot.published_at + PUBLISH_FOR[change.set]
        if change.set == "x509" and change.at < slot.published_at + CA.acknowledge_within:
            for sequence, seen in self.acknowledged.values():
                assert seen + CA.agent_seen_within <= change.at or sequence >= slot.published_in

    def state(self) -> State:
        raw = self.run(self.store.get(TABLE, DOMAIN))
        return load(PROTECTOR.open(raw, key_id="document", purpose=f"state:{DOMAIN}"))

    @initialize()
    def start(self) -> None:
        async def both() -> None:
            await asyncio.gather(*(replica.start() for replica in self.replicas))

        self.run(both())

    @rule(seconds=st.floats(0.5, 400))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(which=REPLICAS)
    def tick(self, which: int) -> None:
        self.run(self.replicas[which].tick())

    @rule(times=st.integers(1, 80), pause=st.sampled_from([7, 20, 29]), lag=st.sampled_from([1, 2, 8]))
    def they_run_for_a_while(self, times: int, pause: int, lag: int) -> None:
        """The second replica looks less often, and signs with what it knows."""
        for step in range(times):
            self.clock.advance(pause)
            for replica in self.replicas if step % lag == 0 else self.replicas[:1]:
                self.before = self.state()
                self.run(replica.tick())
            for name in SETS:
                self.sign(0, name)
                self.sign(1, name)
            self.agent_acknowledges("steady", 1)
            self.the_laws_hold()

    @rule(name=NAMES)
    def race(self, name: SetName) -> None:
        async def both() -> None:
            first, second = self.replicas
            await asyncio.gather(first.rotate(name), second.rotate(name), first.tick(), second.tick())

        self.run(both())

    @rule(which=REPLICAS, name=NAMES)
    def rotate(self, which: int, name: SetName) -> None:
        assert self.run(self.replicas[which].rotate(name)).revoked == ()

    @rule(which=REPLICAS, name=NAMES)
    def compromise(self, which: int, name: SetName) -> None:
        self.urgent += 1
        slots = self.state().slots(name)
        doomed = {slot.kid for slot in slots if slot.phase is not Phase.RETIRED}
        rotated = self.run(self.replicas[which].rotate(name, compromised=True))
        assert set(rotated.revoked) == doomed
        self.distrusted |= doomed
        assert self.replicas[which].active(name).key.id == rotated.next

    @rule(which=REPLICAS, name=NAMES, data=st.data())
    def distrust(self, which: int, name: SetName, data: st.DataObject) -> None:
        slots = self.state().slots(name)
        slot = data.draw(st.sampled_from(slots))
        self.urgent += slot.phase is Phase.ACTIVE
        assert self.run(self.replicas[which].distrust(name, slot.kid)).revoked == (slot.kid,)
        self.distrusted.add(slot.kid)

    @rule(which=REPLICAS)
    def restart(self, which: int) -> None:
        self.replicas[which] = self.replica()
        self.run(self.replicas[which].start())

    @rule(agent=st.sampled_from(["a", "b", "steady"]), which=REPLICAS)
    def agent_acknowledges(self, agent: str, which: int) -> None:
        sequence = self.replicas[which].view.state.sequence
        self.run(self.agents.record(agent, sequence))
        self.acknowledged[agent] = (sequence, self.clock.now())

    @rule(which=REPLICAS, name=NAMES)
    def sign(self, which: int, name: SetName) -> None:
        replica = self.replicas[which]
        try:
            active = replica.active(name)
        except CaFault:
            assert self.clock.monotonic() - replica._confirmed > MAX_AGE
            return
        end = self.clock.now() + min(LONGEST[name], active.slot.longest)
        if active.slot.expires_at:
            end = min(end, active.slot.expires_at)
        self.signed.append((name, active.key.id, end))

    @invariant()
    def the_laws_hold(self) -> None:
        if self.replicas[0]._view is None:
            return
        state = self.state()
        now = self.clock.now()
        visible = {name: {slot.kid for slot in phases.published(state.slots(name))} for name in SETS}
        for name in SETS:
            slots = state.slots(name)
            assert sum(slot.phase is Phase.ACTIVE for slot in slots) == 1
            assert sum(slot.phase in {Phase.PREPARED, Phase.PUBLISHED} for slot in slots) <= 1
            assert len({slot.kid for slot in slots}) == len(slots)
            assert not self.distrusted & {slot.kid for slot in slots}
            assert all(bool(slot.kept) == (slot.phase is not Phase.RETIRED) for slot in slots)
        for name, kid, end in self.signed:
            assert now >= end or kid in visible[name] | self.distrusted
        self.signed = [entry for entry in self.signed if entry[2] > now]
        assert self.rushed <= self.urgent
        for replica in self.replicas:
            view = replica.view
            content = self.contents.setdefault(view.state.sequence, (view.trust, view.jwks))
            assert content == (view.trust, view.jwks)
        self.before = state

    def teardown(self) -> None:
        self.runner.close()


Replicas.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestReplicas = Replicas.TestCase

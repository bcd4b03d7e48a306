"""Drives the cycle of the key sets over a store that replicas share: whoever wins the swap has acted for all.

Every change goes: read the state, work out the next one, swap it in; a loser starts again from what the winner left.
What the winner has done is announced on a log, so that the other replicas look at once.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from extauthz.ca import phases, profile
from extauthz.ca.fault import CaFault
from extauthz.ca.state import MAX_STATE, SETS, Phase, Slot, State, dump, load
from extauthz.ca.view import Opener
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from extauthz.ca.settings import CaSettings, SigningSettings
    from extauthz.ca.state import SetName
    from extauthz.ca.view import Active, View
    from extauthz.clock import Clock
    from extauthz.keys.provider import KeyProvider
    from extauthz.store.store import Store

    Step = Callable[[State, float], Awaitable[State]]

log = logging.getLogger(__name__)

TABLE: Final = "ca-state"
LOG: Final = "ca-changes"
_LOG_KEPT: Final = 3600.0
_ATTEMPTS: Final = 16
_SEAL: Final = 4096
"""Bytes that a provider's seal may add to a state."""
_KEY_GONE: Final = frozenset({"retired", "removed", "distrusted"})
MAX_AGE: Final = 60.0
"""Seconds after which a state that could not be confirmed with the store no longer signs; below `phases.MARGIN`."""


class Acknowledgements(Protocol):
    async def everyone(self, sequence: int) -> bool:
        """Whether all who are connected have this trust sequence, or a later one, in force."""


@dataclass(frozen=True, slots=True)
class Change:
    """A slot went into `phase` ("removed": its time was over; "distrusted": at once). For the audit trail."""

    set: SetName
    kid: str
    phase: str
    at: float
    sequence: int


@dataclass(frozen=True, slots=True)
class Rotated:
    """What an operator's command did. Every kid in `revoked` is to be recorded as revoked by the caller."""

    set: SetName
    next: str
    """The kid that signs now (emergency), or will (otherwise)."""
    revoked: tuple[str, ...]
    sequence: int


class Rotation:
    """One replica's hand on the keys. `report` is called by the replica that made a change, once a change."""

    def __init__(
        self,
        trust_domain: str,
        store: Store,
        keys: KeyProvider,
        clock: Clock,
        acknowledgements: Acknowledgements,
        ca: CaSettings,
        signing: SigningSettings,
        report: Callable[[Change], None] = lambda _: None,
    ) -> None:
        self._trust_domain = trust_domain
        self._store = store
        self._keys = keys
        self._clock = clock
        self._acknowledgements = acknowledgements
        self._ca = ca
        self._signing = signing
        self._report = report
        self._opener = Opener(keys, trust_domain, ca.publish_for)
        self._schedules: Mapping[SetName, phases.Schedule] = {
            "x509": phases.Schedule(ca.rotation_age, ca.publish_for, ca.acknowledge_within, ca.max_svid_ttl),
            "jwt": phases.Schedule(signing.rotate_after, signing.publish_for, 0.0, signing.longest_token),
        }
        self._lock = asyncio.Lock()
        self._raw: bytes | None = None
        self._view: View | None = None
        self._confirmed = 0.0
        self._news = asyncio.Event()

    @property
    def view(self) -> View:
        """The newest state that this replica has seen, for readers: known keys serve on while the store is down.

        Raises CaFault before `start`.
        """
        if self._view is None:
            raise CaFault("the CA has not been started")
        return self._view

    def active(self, name: SetName) -> Active:
        """The key that signs. Raises CaFault when this replica has none, or may have missed that it was replaced."""
        active = self.view.active.get(name)
        if self._clock.monotonic() - self._confirmed > MAX_AGE:
            raise CaFault("the key state has not been confirmed with the store for too long")
        if active is None:
            raise CaFault(f"the {name} key is in another process's memory: keys of kind memory serve one replica")
        return active

    async def start(self) -> None:
        """Make the first keys, or take over those that are in the store; then one tick.

        A key that ended with another process (kind `memory`) is replaced at once: what it signed stays trusted.
        Raises CaFault, KeyFault (a wrong passphrase) or StoreError; then nothing has changed.
        """
        await self._change(self._adopt)
        await self.tick()

    async def tick(self) -> None:
        """Look at the store and the clock, and do what is due. Raises what `start` raises."""
        await self._change(self._advance)

    async def confirm(self) -> None:
        """Tick, unless the state was confirmed a short time ago."""
        if self._clock.monotonic() - self._confirmed > MAX_AGE / 2:
            await self.tick()

    async def rotate(self, name: SetName, *, compromised: bool = False) -> Rotated:
        """Begin the next key of a set now; it becomes active by the same rules as on schedule.

        `compromised`: distrust the active key and those that waited beside it, and sign with a fresh one at once.
        Raises CaFault where so many keys are still trusted that readers would take no more; never if compromised.
        """
        if compromised:
            return await self._distrust(name, None)
        await self._change(lambda state, now: self._prepare(state, now, name))
        slots = self.view.state.slots(name)
        following = phases.waiting(slots) or phases.active(slots)
        return Rotated(name, following.kid if following else "", (), self.view.state.sequence)

    async def distrust(self, name: SetName, kid: str) -> Rotated:
        """As `rotate(compromised=True)`, for one key in whatever phase. Raises CaFault when the set has no such key."""
        return await self._distrust(name, kid)

    async def publish(self, anchors: str, federated: Mapping[str, str]) -> None:
        """Replace the foreign anchors: checked PEM of the own domain, checked documents of other domains."""

        async def step(state: State, _: float) -> State:
            return state.model_copy(update={"anchors": anchors, "federated": dict(federated)})

        await self._change(step)

    async def wait(self, sequence: int, timeout: float) -> None:
        """Until the trust sequence is another one than `sequence`, or `timeout` seconds have passed."""
        try:
            async with asyncio.timeout(timeout):
                while self._view is not None and self._view.state.sequence == sequence:
                    await self._news.wait()
        except TimeoutError:
            return

    # steps: from one state to the next

    async def _adopt(self, state: State, now: float) -> State:
        for name in SETS:
            slots = state.slots(name)
            lost = [
                slot.kid
                for slot in slots
                if slot.phase is not Phase.RETIRED and not await asyncio.to_thread(self._opener.holds, name, slot)
            ]
            current = phases.active(slots)
            waiting = phases.waiting(slots)
            if waiting is not None and waiting.kid in lost:
                slots = phases.without(slots, {waiting.kid})  # it never signed
            if current is None or current.kid in lost:
                slots = await self._take_over(name, slots, state, now)
            state = state.model_copy(update={name: slots})
        return state

    async def _advance(self, state: State, now: float) -> State:
        if self._view is not None and len(self._view.active) < len(SETS):
            return state  # keys of kind memory, and another process took over: it acts
        for name in SETS:
            slots, schedule = state.slots(name), self._schedules[name]
            if phases.due(slots, schedule, now):
                slots = (*slots, await self._fresh(name, now))
            waiting = phases.waiting(slots)
            sequence = waiting.published_in if waiting is not None else 0
            acknowledged = sequence > 0 and await self._acknowledgements.everyone(sequence)
            slots = phases.advance(slots, schedule, now=now, sequence=state.sequence + 1, acknowledged=acknowledged)
            state = state.model_copy(update={name: slots})
        return state

    async def _prepare(self, state: State, now: float, name: SetName) -> State:
        if phases.waiting(state.slots(name)) is None:
            if phases.full(state.slots(name)):
                raise CaFault("too many keys are still trusted for another one: wait until the oldest is over")
            state = state.model_copy(update={name: (*state.slots(name), await self._fresh(name, now))})
        return await self._advance(state, now)

    async def _distrust(self, name: SetName, kid: str | None) -> Rotated:
        gone: set[str] = set()

        async def step(state: State, now: float) -> State:
            slots = state.slots(name)
            doomed = {
                slot.kid for slot in slots if kid == slot.kid or (kid is None and slot.phase is not Phase.RETIRED)
            }
            if not doomed:
                raise CaFault(f"the set {name} has no such key")
            gone.clear()
            gone.update(doomed)
            left = phases.without(slots, doomed)
            if phases.active(left) is None:
                left = await self._take_over(name, left, state, now)
            return state.model_copy(update={name: left})

        await self._change(step, distrusted=gone)
        current = phases.active(self.view.state.slots(name))
        return Rotated(name, current.kid if current else "", tuple(sorted(gone)), self.view.state.sequence)

    async def _take_over(self, name: SetName, slots: tuple[Slot, ...], state: State, now: float) -> tuple[Slot, ...]:
        fresh = await self._fresh(name, now)
        return phases.take_over(slots, fresh, self._schedules[name], now=now, sequence=state.sequence + 1)

    async def _fresh(self, name: SetName, now: float) -> Slot:
        return await asyncio.to_thread(self._make, name, now)

    def _make(self, name: SetName, now: float) -> Slot:
        algorithm = self._ca.algorithm if name == "x509" else self._signing.algorithm
        key, kept = self._keys.create(algorithm, self._opener.purpose(name))
        public, expires = json.dumps(key.jwk()), 0.0
        if name == "x509":
            certificate = profile.authority(key, self._trust_domain, now=now, lifetime=self._ca.lifetime)
            public, expires = profile.pem(certificate), certificate.not_valid_after_utc.timestamp()
        return Slot(
            kid=key.id,
            algorithm=algorithm,
            phase=Phase.PREPARED,
            kept=base64.b64encode(kept).decode(),
            public=public,
            prepared_at=now,
            expires_at=expires,
            longest=self._schedules[name].longest,
        )

    # the store

    async def _change(self, step: Step, distrusted: set[str] | frozenset[str] = frozenset()) -> None:
        async with self._lock:
            for _ in range(_ATTEMPTS):
                raw, state = await self._read()
                now = self._clock.now()
                after = await step(state, now)
                if after.trusted != state.trusted:
                    after = after.model_copy(update={"sequence": state.sequence + 1})
                if after == state:
                    return
                sealed = await asyncio.to_thread(self._keys.seal, dump(after), self._purpose)
                if await self._store.swap(TABLE, self._trust_domain, raw, sealed):
                    await self._install(sealed, after)
                    await self._announce(state, after, now, distrusted)
                    return
                self._drop_unused(state, after)
        raise CaFault("the key state could not be changed: other replicas keep changing it")

    async def _read(self) -> tuple[bytes | None, State]:
        """The state in the store, which becomes this replica's view as well.

        1. a state that was there does not vanish, and its sequence does not go back: else somebody restored an old
           one, in which a distrusted key may be trusted
        2. what the store holds was written by us (where the key provider can tell)
        """
        raw = await self._store.get(TABLE, self._trust_domain)
        if raw is None:
            if self._view is not None:
                raise CaFault("the key state has vanished from the store")  # 1
            return None, State(sequence=int(self._clock.now()))  # a store that was lost does not count from 1 again
        if raw != self._raw:
            if len(raw) > MAX_STATE + _SEAL:
                raise CaFault("the key state in the store is too large")
            state = load(await asyncio.to_thread(self._keys.unseal, raw, self._purpose))  # 2
            if self._view is not None and state.sequence < self._view.state.sequence:
                raise CaFault("the key state in the store is older than what was there before")  # 1
            await self._install(raw, state)
        self._confirmed = self._clock.monotonic()
        if self._view is None:
            raise AssertionError("a state was read and no view made")
        return raw, self._view.state

    async def _install(self, raw: bytes, state: State) -> None:
        view = await asyncio.to_thread(self._opener.view, state)
        moved = self._view is None or self._view.state.sequence != state.sequence
        self._raw, self._view, self._confirmed = raw, view, self._clock.monotonic()
        if moved:
            self._news.set()
            self._news = asyncio.Event()

    async def _announce(self, before: State, after: State, now: float, distrusted: set[str] | frozenset[str]) -> None:
        for change in _changes(before, after, now, distrusted):
            log.info("%s key %s: %s", change.set, change.kid, change.phase)
            if change.phase in _KEY_GONE:
                self._keys.forget(change.kid)
            self._report(change)
        try:
            await self._store.append(LOG, str(after.sequence).encode(), expires=now + _LOG_KEPT)
        except ExtauthzError as error:
            log.warning("other replicas will see the change of keys at their next tick only: %s", error)

    def _drop_unused(self, before: State, after: State) -> None:
        known = {slot.kid for name in SETS for slot in before.slots(name)}
        for name in SETS:
            for slot in after.slots(name):
                if slot.kid not in known:
                    self._keys.forget(slot.kid)

    @property
    def _purpose(self) -> str:
        return f"state:{self._trust_domain}"


def _changes(before: State, after: State, now: float, distrusted: set[str] | frozenset[str]) -> list[Change]:
    changes = []
    for name in SETS:
        old = {slot.kid: slot.phase for slot in before.slots(name)}
        new = {slot.kid: slot.phase for slot in after.slots(name)}
        for kid in [*new, *(old.keys() - new.keys())]:
            phase = new[kid].value if kid in new else "distrusted" if kid in distrusted else "removed"
            if kid not in old or old[kid].value != phase:
                changes.append(Change(name, kid, phase, now, after.sequence))
    return changes

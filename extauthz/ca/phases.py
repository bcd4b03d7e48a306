"""The cycle of a key set, as pure functions over its slots: when a slot is made, published, used, retired, forgotten.

Laws, for each set:
- exactly one slot is active, from the first start on; at most one waits (prepared or published)
- a slot becomes active only when it has been published for `publish_for`, and everybody who is connected has
  acknowledged it or `acknowledge_within` has passed; unless there is no usable active slot
- a retired slot stays published until nothing that it signed is valid any more
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.ca.state import Phase, Slot

if TYPE_CHECKING:
    from collections.abc import Collection

    Slots = tuple[Slot, ...]

MARGIN: Final = 120.0
"""Seconds that a retired slot stays published in addition: replicas that still sign with it, and clocks that differ."""
MAX_SLOTS: Final = 24
"""Of one set; both, and the foreign anchors, must fit into the documents that readers take (64 keys)."""
_LAST_QUARTER: Final = 4


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds."""

    rotate_after: float
    publish_for: float
    acknowledge_within: float
    """0: nobody is asked."""
    longest: float


def active(slots: Slots) -> Slot | None:
    return next((slot for slot in slots if slot.phase is Phase.ACTIVE), None)


def waiting(slots: Slots) -> Slot | None:
    return next((slot for slot in slots if slot.phase in {Phase.PREPARED, Phase.PUBLISHED}), None)


def published(slots: Slots) -> Slots:
    """What readers must trust."""
    return tuple(slot for slot in slots if slot.phase is not Phase.PREPARED)


def due(slots: Slots, schedule: Schedule, now: float) -> bool:
    """Whether a successor must be made now."""
    current = active(slots)
    if current is None:
        return True
    if waiting(slots) is not None or full(slots):
        return False
    life = current.expires_at - current.prepared_at
    ending = bool(current.expires_at) and now >= current.expires_at - life / _LAST_QUARTER
    return ending or now >= current.activated_at + schedule.rotate_after


def full(slots: Slots) -> bool:
    """Too much is still trusted for another key: what is retired must first be over."""
    return len(slots) >= MAX_SLOTS


def advance(slots: Slots, schedule: Schedule, *, now: float, sequence: int, acknowledged: bool) -> Slots:
    """One look at the clock. `sequence`: what the trust sequence becomes if this publishes something.

    1. forget what is over: retired slots that signed nothing valid any more, a waiting one that has expired
    2. publish what is prepared
    3. let what signs longer-lived things than before be trusted for longer
    4. activate what waits, when its time has come
    """
    slots = tuple(slot for slot in slots if not _over(slot, now))  # 1
    slots = tuple(_publish(slot, now, sequence) if slot.phase is Phase.PREPARED else slot for slot in slots)  # 2
    slots = tuple(  # 3
        slot.model_copy(update={"longest": schedule.longest})
        if slot.phase is Phase.ACTIVE and slot.longest < schedule.longest
        else slot
        for slot in slots
    )
    next_one = waiting(slots)
    if next_one is None or not _ready(slots, next_one, schedule, now, acknowledged=acknowledged):
        return slots
    return _activate(slots, next_one, schedule, now)  # 4


def take_over(slots: Slots, fresh: Slot, schedule: Schedule, *, now: float, sequence: int) -> Slots:
    """Publish and activate `fresh` at once: the first start, a lost key, a compromised one.

    Where the set is full, what was retired first is forgotten: only a process that keeps losing its keys gets there.
    """
    while full(slots) and (oldest := min(_retired(slots), key=_retired_at, default=None)) is not None:
        slots = without(slots, {oldest.kid})
    return _activate((*slots, _publish(fresh, now, sequence)), fresh, schedule, now)


def without(slots: Slots, kids: Collection[str]) -> Slots:
    return tuple(slot for slot in slots if slot.kid not in kids)


def _retired(slots: Slots) -> Slots:
    return tuple(slot for slot in slots if slot.phase is Phase.RETIRED)


def _retired_at(slot: Slot) -> float:
    return slot.retired_at


def _over(slot: Slot, now: float) -> bool:
    expired = bool(slot.expires_at) and now > slot.expires_at + MARGIN
    if slot.phase is Phase.RETIRED:
        return expired or now > slot.retired_at + slot.longest + MARGIN
    return expired and slot.phase is not Phase.ACTIVE


def _ready(slots: Slots, slot: Slot, schedule: Schedule, now: float, *, acknowledged: bool) -> bool:
    current = active(slots)
    if current is None or (current.expires_at and now >= current.expires_at):
        return True  # nothing is lost by hurrying: there is nothing else to sign with
    if now < slot.published_at + schedule.publish_for:
        return False
    return acknowledged or now >= slot.published_at + schedule.acknowledge_within


def _publish(slot: Slot, now: float, sequence: int) -> Slot:
    return slot.model_copy(update={"phase": Phase.PUBLISHED, "published_at": now, "published_in": sequence})


def _activate(slots: Slots, chosen: Slot, schedule: Schedule, now: float) -> Slots:
    def step(slot: Slot) -> Slot:
        if slot.kid == chosen.kid:
            return slot.model_copy(
                update={"phase": Phase.ACTIVE, "activated_at": now, "longest": max(slot.longest, schedule.longest)}
            )
        if slot.phase is Phase.ACTIVE:
            return slot.model_copy(update={"phase": Phase.RETIRED, "retired_at": now, "kept": ""})
        return slot

    return tuple(map(step, slots))

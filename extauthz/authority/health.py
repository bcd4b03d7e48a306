"""What is asked of a running authority by those who watch it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from extauthz.ca import phases
from extauthz.ca.state import SETS
from extauthz.errors import ExtauthzError
from extauthz.store.revocations import LOG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.authority.core import Core
    from extauthz.authority.metrics import Gauges
    from extauthz.authority.polls import Polls
    from extauthz.clock import Clock
    from extauthz.policy.engine import Engine


class Health:
    """`engine` is the exchange policy's; None where nothing is ever exchanged."""

    def __init__(self, core: Core, engine: Engine | None, clock: Clock) -> None:
        self._core = core
        self._engine = engine
        self._clock = clock

    async def ready(self) -> dict[str, bool]:
        return {
            "store": await self._store(),
            "keys": self._keys(),
            "certificate": self._core.certificate.expires_at > self._clock.now(),
            "policy": self._engine is None or await self._engine.ready(),
        }

    async def _store(self) -> bool:
        try:
            await self._core.store.last(LOG)
        except ExtauthzError:
            return False
        return True

    def _keys(self) -> bool:
        """Whether there is something to sign with, confirmed lately."""
        try:
            self._core.ca.state()
        except ExtauthzError:
            return False
        return True


def gauges(core: Core, polls: Polls, rotate_after: Mapping[str, float]) -> Gauges:
    """`rotate_after`: key set → the age (seconds) at which its active key is to have a successor."""
    found: Gauges = {
        "extauthz_authority_polls": {(): len(polls)},
        "extauthz_authority_not_after_seconds": {("listener",): core.certificate.expires_at},
    }
    try:
        state = core.ca.state()
    except ExtauthzError:
        return found
    found["extauthz_authority_trust_sequence"] = {(): state.sequence}
    counted = Counter((name, slot.phase.value) for name in SETS for slot in state.slots(name))
    found["extauthz_authority_keys"] = {labels: float(count) for labels, count in counted.items()}
    since = found["extauthz_authority_active_since_seconds"] = {}
    due = found["extauthz_authority_rotation_due_seconds"] = {}
    for name in SETS:
        if (active := phases.active(state.slots(name))) is not None:
            since[name,] = active.activated_at
            due[name,] = active.activated_at + rotate_after[name]
            if active.expires_at:
                found["extauthz_authority_not_after_seconds"]["ca",] = active.expires_at
    return found

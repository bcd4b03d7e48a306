"""Which agents are connected, and which trust sequence each of them has in force: a register in the store.

An agent that has not been seen for a while falls out by itself: its entry expires.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from extauthz.clock import Clock
    from extauthz.store.store import Store

_TABLE: Final = "connected-agents"
MAX_AGENTS: Final = 100_000
"""With more, nobody is waited for by name: the bound `acknowledge_within` decides."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    agent: str
    sequence: int


class ConnectedAgents:
    """Implements `rotation.Acknowledgements`. `seen_within` in seconds; the store's faults are raised as they are."""

    def __init__(self, store: Store, clock: Clock, seen_within: float) -> None:
        self._store = store
        self._clock = clock
        self._seen_within = seen_within

    async def record(self, agent: str, sequence: int) -> None:
        """`agent` is alive and has this sequence in force. `agent` tells one process from another."""
        entry = _Entry(agent=agent, sequence=sequence).model_dump_json().encode()
        await self._store.put(_TABLE, _key(agent), entry, expires=self._clock.now() + self._seen_within)

    async def forget(self, agent: str) -> None:
        """It goes by another name from now on, or has said good-bye."""
        await self._store.delete(_TABLE, _key(agent))

    async def connected(self) -> dict[str, int]:
        """Agents and their sequences. An entry that cannot be read counts as one that has acknowledged nothing."""
        found = await self._store.scan(_TABLE, limit=MAX_AGENTS + 1)
        return {entry.agent: entry.sequence for entry in map(_read, found)}

    async def everyone(self, sequence: int) -> bool:
        """Whether each connected agent has acknowledged `sequence` or a later one; true when there is none."""
        connected = await self.connected()
        return len(connected) <= MAX_AGENTS and all(acknowledged >= sequence for acknowledged in connected.values())


def _key(agent: str) -> str:
    return hashlib.sha256(agent.encode()).hexdigest()


def _read(row: tuple[str, bytes]) -> _Entry:
    try:
        return _Entry.model_validate_json(row[1])
    except ValidationError:
        return _Entry(agent=row[0], sequence=-1)

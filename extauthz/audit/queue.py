"""Bodies that wait to be chained: bounded, in order, and each either waited for by somebody or not."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from extauthz.audit.fault import AuditError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Entry:
    """One body. `future` is told when it is written, by the loop that waits."""

    __slots__ = ("body", "future", "loop", "withdrawn")

    def __init__(self, body: bytes, *, waited: bool = False) -> None:
        self.body = body
        self.withdrawn = False
        """Nobody waits for it any more, and what it records has not happened."""
        self.loop = asyncio.get_running_loop() if waited else None
        self.future: asyncio.Future[None] | None = self.loop.create_future() if self.loop is not None else None


class Waiting:
    """At most `room` entries. One thread takes; others add."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._entries: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        return len(self._entries) >= self._room

    def add(self, entry: Entry) -> bool:
        """False: there is no room."""
        if len(self._entries) >= self._room:
            return False
        self._entries.append(entry)
        return True

    def take(self, most: int, most_bytes: int) -> list[Entry]:
        """The oldest ones, without those that were withdrawn."""
        taken: list[Entry] = []
        size = 0
        while self._entries and len(taken) < most and size < most_bytes:
            entry = self._entries.popleft()
            if not entry.withdrawn:
                taken.append(entry)
                size += len(entry.body)
        return taken

    def put_back(self, entries: list[Entry]) -> None:
        """They could not be written. Whoever waits is told; what nobody waits for is tried again."""
        settle(entries, AuditError("an audit record cannot be written"))
        self._entries.extendleft(entry for entry in reversed(entries) if entry.future is None)

    def refuse_all(self) -> int:
        """The trail ends without having written these; how many nobody waited for."""
        left = [self._entries.popleft() for _ in range(len(self._entries))]
        settle(left, AuditError("the audit trail is closed"))
        return sum(entry.future is None for entry in left)


def settle(entries: Iterable[Entry], error: AuditError | None) -> None:
    """Tells everybody who waits, once a loop. From any thread."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for entry in entries:
        if entry.future is not None and entry.loop is not None:
            loops.setdefault(entry.loop, []).append(entry.future)
    for loop, futures in loops.items():
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            loop.call_soon_threadsafe(_tell, futures, error)


def _tell(futures: list[asyncio.Future[None]], error: AuditError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()  # looked at, also when nobody waits any more

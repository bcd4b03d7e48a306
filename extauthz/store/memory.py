"""A store in this process alone, for tests and a first look: the shortest reading of the Protocol's laws."""

from __future__ import annotations

import bisect
import heapq
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from extauthz.store.bell import Bell
from extauthz.store.limits import check_key, check_name, check_value, live
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.clock import Clock

_FIRST: Final = itemgetter(0)


class _Log:
    __slots__ = ("entries", "last")

    def __init__(self) -> None:
        self.entries: list[tuple[int, bytes, float | None]] = []
        self.last = 0


class MemoryStore:
    """Implements `Store`. Every step is one run without suspension, so it is atomic within the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tables: dict[str, dict[str, tuple[bytes, float | None]]] = {}
        self._logs: dict[str, _Log] = {}
        self._ends: list[tuple[float, str, str]] = []
        self._bell = Bell()
        self._closed = False

    async def get(self, table: str, key: str) -> bytes | None:
        check_key(table, key)
        return self._value(table, key)

    async def put(self, table: str, key: str, value: bytes, *, expires: float | None = None) -> None:
        check_key(table, key)
        check_value(table, value, expires)
        self._set(table, key, value, expires)

    async def add(self, table: str, key: str, value: bytes, *, expires: float | None = None) -> bool:
        return await self.swap(table, key, None, value, expires=expires)

    async def take(self, table: str, key: str) -> bytes | None:
        check_key(table, key)
        value = self._value(table, key)
        self._table(table).pop(key, None)
        return value

    async def swap(self, table: str, key: str, old: bytes | None, new: bytes, *, expires: float | None = None) -> bool:
        check_key(table, key)
        check_value(table, new, expires)
        if self._value(table, key) != old:
            return False
        self._set(table, key, new, expires)
        return True

    async def delete(self, table: str, key: str) -> bool:
        return await self.take(table, key) is not None

    async def scan(self, table: str, prefix: str = "", limit: int = 10_000) -> list[tuple[str, bytes]]:
        check_key(table, prefix)
        found = sorted((key, value) for key, (value, _) in self._table(table).items() if key.startswith(prefix))
        return found[:limit]

    async def append(self, log: str, entry: bytes, *, expires: float | None = None) -> int:
        check_name(log)
        check_value(log, entry, expires)
        found = self._log(log)
        found.last += 1
        found.entries.append((found.last, entry, expires))
        self._bell.ring(log)
        return found.last

    async def read(self, log: str, after: int = 0, limit: int = 10_000) -> Sequence[tuple[int, bytes]]:
        check_name(log)
        entries = self._log(log).entries
        start = bisect.bisect_right(entries, after, key=_FIRST)
        return [(sequence, entry) for sequence, entry, _ in entries[start : start + limit]]

    async def last(self, log: str) -> int:
        check_name(log)
        return self._log(log).last

    async def wait(self, log: str, after: int, timeout: float) -> bool:
        async def holds() -> bool:
            return bool(await self.read(log, after, 1))

        return await self._bell.wait(log, holds, timeout)

    async def close(self) -> None:
        self._closed = True
        await self._bell.close()

    def _value(self, table: str, key: str) -> bytes | None:
        entry = self._table(table).get(key)
        return None if entry is None else entry[0]

    def _set(self, table: str, key: str, value: bytes, expires: float | None) -> None:
        self._table(table)[key] = (value, expires)
        if expires is not None:
            heapq.heappush(self._ends, (expires, table, key))

    def _table(self, name: str) -> dict[str, tuple[bytes, float | None]]:
        """What stands in the table now; what has expired, there and elsewhere, is dropped first."""
        self._open()
        now = self._clock.now()
        while self._ends and self._ends[0][0] <= now:
            _, table, key = heapq.heappop(self._ends)
            entry = self._tables[table].get(key)
            if entry is not None and not live(entry[1], now):
                del self._tables[table][key]
        return self._tables.setdefault(name, {})

    def _log(self, name: str) -> _Log:
        self._open()
        now = self._clock.now()
        log = self._logs.setdefault(name, _Log())
        if not all(live(expires, now) for _, _, expires in log.entries):
            log.entries = [entry for entry in log.entries if live(entry[2], now)]
        return log

    def _open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

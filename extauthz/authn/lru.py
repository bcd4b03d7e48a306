"""A bounded map that a flood of new keys cannot empty (segmented LRU).

A new entry is on probation; a second use promotes it. Only entries on probation are evicted to make room, so keys that
are seen once (one client with many tokens, garbage) push out each other and never the hot set.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class SegmentedLru(Generic[V]):
    """At most `limit` entries, at most four fifths of them promoted. Values are never None."""

    __slots__ = ("_limit", "_probation", "_promoted", "_promoted_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._promoted_limit = limit * 4 // 5
        self._promoted: OrderedDict[bytes, V] = OrderedDict()
        self._probation: OrderedDict[bytes, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._promoted) + len(self._probation)

    def get(self, key: bytes) -> V | None:
        value = self._promoted.get(key)
        if value is not None:
            self._promoted.move_to_end(key)
            return value
        value = self._probation.pop(key, None)
        if value is not None:
            self._promoted[key] = value
            if len(self._promoted) > self._promoted_limit:
                old, old_value = self._promoted.popitem(last=False)
                self._probation[old] = old_value
        return value

    def put(self, key: bytes, value: V) -> None:
        """Insert or replace; a replaced entry keeps its segment."""
        if key in self._promoted:
            self._promoted[key] = value
            return
        self._probation[key] = value
        if len(self._promoted) + len(self._probation) > self._limit:
            self._probation.popitem(last=False)

    def drop(self, key: bytes) -> None:
        self._promoted.pop(key, None)
        self._probation.pop(key, None)

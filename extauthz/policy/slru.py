"""A bounded map that one noisy client cannot empty.

A segmented LRU: a new entry is on probation (a fifth of the room), and is protected once it has been asked for again.
When the protected part is full, the newcomer must have been asked for more often than the entry that was not asked
for longest; each challenge that this one survives halves its count, so that what was hot long ago leaves in the end.
A flood of keys that are asked for once, or twice each, therefore only turns over the probation part.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

PROBATION_SHARE: Final = 5
MAX_COUNT: Final = 255

Value = TypeVar("Value")


class _Entry(Generic[Value]):
    __slots__ = ("count", "value")

    def __init__(self, value: Value) -> None:
        self.value = value
        self.count = 0


class SegmentedLru(Generic[Value]):
    """Not thread-safe; constant time for everything."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._protected_size = size - max(1, size // PROBATION_SHARE)
        self._probation: OrderedDict[bytes, _Entry[Value]] = OrderedDict()
        self._protected: OrderedDict[bytes, _Entry[Value]] = OrderedDict()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def get(self, key: bytes) -> Value | None:
        entry = self._protected.get(key)
        if entry is not None:
            self._protected.move_to_end(key)
            if entry.count < MAX_COUNT:
                entry.count += 1
            return entry.value
        entry = self._probation.get(key)
        if entry is None:
            return None
        entry.count += 1
        self._promote(key, entry)
        return entry.value

    def put(self, key: bytes, value: Value) -> None:
        """A key that is there already keeps its place and its count."""
        entry = self._protected.get(key) or self._probation.get(key)
        if entry is not None:
            entry.value = value
            return
        if len(self) >= self._size:
            self._evict()
        self._probation[key] = _Entry(value)

    def discard(self, key: bytes) -> None:
        if self._protected.pop(key, None) is None:
            self._probation.pop(key, None)

    def _evict(self) -> None:
        (self._probation or self._protected).popitem(last=False)
        self.evicted += 1

    def _promote(self, key: bytes, entry: _Entry[Value]) -> None:
        if len(self._protected) >= self._protected_size:
            oldest = next(iter(self._protected))
            champion = self._protected[oldest]
            if entry.count <= champion.count:
                champion.count >>= 1
                self._protected.move_to_end(oldest)
                self._probation.move_to_end(key)
                return
            del self._protected[oldest]
            self._probation[oldest] = champion
        del self._probation[key]
        self._protected[key] = entry

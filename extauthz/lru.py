"""A bounded map that one noisy client cannot empty.

A segmented LRU: a new entry is on probation (a fifth of the room), and is protected once it has been asked for again.
When the protected part is full, the newcomer must have been asked for more often than the entry that was not asked
for longest. Counts halve after every ten steps for each place, so that what was hot long ago leaves in the end, and
what is asked for at least twice in that time stays. A flood of keys that are asked for once, or twice each, therefore
only turns over the probation part.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

PROBATION_SHARE: Final = 5
STEPS_PER_PLACE: Final = 10
MAX_COUNT: Final = 255

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Entry(Generic[Value]):
    __slots__ = ("age", "count", "value")

    def __init__(self, value: Value, age: int) -> None:
        self.value = value
        self.count = 0
        self.age = age


class SegmentedLru(Generic[Key, Value]):
    """At most `size` entries (0: none is ever kept); no value is None. Not thread-safe; everything in constant time."""

    __slots__ = ("_age", "_probation", "_protected", "_protected_size", "_size", "_steps", "_steps_left", "evicted")

    def __init__(self, size: int) -> None:
        self._size = size
        self._protected_size = size - max(1, size // PROBATION_SHARE)
        self._probation: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._protected: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._steps_left = self._steps = size * STEPS_PER_PLACE
        self._age = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def get(self, key: Key) -> Value | None:
        self._steps_left -= 1
        if not self._steps_left:
            self._steps_left = self._steps
            self._age += 1
        entry = self._protected.get(key)
        if entry is not None:
            self._protected.move_to_end(key)
            self._asked(entry)
            return entry.value
        entry = self._probation.get(key)
        if entry is None:
            return None
        self._asked(entry)
        self._promote(key, entry)
        return entry.value

    def put(self, key: Key, value: Value) -> None:
        """A key that is there already keeps its place and its count."""
        entry = self._protected.get(key) or self._probation.get(key)
        if entry is not None:
            entry.value = value
            return
        if len(self) >= self._size:
            if not self._size:
                return
            self._evict()
        self._probation[key] = _Entry(value, self._age)

    def discard(self, key: Key) -> None:
        if self._protected.pop(key, None) is None:
            self._probation.pop(key, None)

    def _evict(self) -> None:
        (self._probation or self._protected).popitem(last=False)
        self.evicted += 1

    def _asked(self, entry: _Entry[Value]) -> None:
        count = self._count(entry)
        if count < MAX_COUNT:
            entry.count = count + 1

    def _count(self, entry: _Entry[Value]) -> int:
        if entry.age != self._age:
            entry.count >>= self._age - entry.age
            entry.age = self._age
        return entry.count

    def _promote(self, key: Key, entry: _Entry[Value]) -> None:
        if self._protected and len(self._protected) >= self._protected_size:
            oldest = next(iter(self._protected))
            champion = self._protected[oldest]
            if entry.count <= self._count(champion):
                self._protected.move_to_end(oldest)
                self._probation.move_to_end(key)
                return
            del self._protected[oldest]
            self._probation[oldest] = champion
        del self._probation[key]
        self._protected[key] = entry

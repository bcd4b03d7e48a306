"""A bounded cache in which a flood of new keys cannot push out the ones in use.

Two segments: a new key is on probation; a key that is asked for again is protected. New keys only ever push out keys
on probation (segmented LRU; Karedla et al., "Caching Strategies to Improve Disk System Performance", 1994).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_PROTECTED: Final = 0.8
"""Share of the room that keys in use may take."""


class SegmentedCache(Generic[K, V]):
    """At most `room` entries. Expiry is the value's affair."""

    __slots__ = ("_most", "_probation", "_protected", "_room")

    def __init__(self, room: int) -> None:
        self._room = room
        self._most = int(room * _PROTECTED)
        self._probation: OrderedDict[K, V] = OrderedDict()
        self._protected: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def get(self, key: K) -> V | None:
        value = self._protected.get(key)
        if value is not None:
            self._protected.move_to_end(key)
            return value
        value = self._probation.get(key)
        if value is not None and self._most:
            del self._probation[key]
            self._protected[key] = value
            if len(self._protected) > self._most:
                old_key, old = self._protected.popitem(last=False)
                self._probation[old_key] = old
        return value

    def put(self, key: K, value: V) -> None:
        if key in self._protected:
            self._protected[key] = value
            return
        self._probation[key] = value
        self._probation.move_to_end(key)
        if len(self) > self._room:
            self._probation.popitem(last=False)

    def discard(self, key: K) -> None:
        self._probation.pop(key, None)
        self._protected.pop(key, None)

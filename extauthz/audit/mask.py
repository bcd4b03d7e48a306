"""Masking and dropping by path: what a record must not show, or must not hold at all.

A masked value becomes `masked:<16 hex digits>`, keyed by the audit key: equal values can be told to be equal, whoever
has the key can find a value again, and nobody else learns anything of it. A path goes through lists.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MASKED: Final = "masked:"
_DIGEST: Final = 8


class Masking:
    """Rules made ready. With none of them a record is left alone."""

    def __init__(self, mask: Iterable[str], drop: Iterable[str], key: bytes) -> None:
        self._mask = [tuple(path.split(".")) for path in mask]
        self._drop = [tuple(path.split(".")) for path in drop]
        self._key = key

    def __bool__(self) -> bool:
        return bool(self._mask or self._drop)

    def apply(self, record: dict[str, Any]) -> dict[str, Any]:
        """A copy where something is masked or dropped. `record` holds values that may be shared."""
        for path in self._drop:
            record = _changed(record, path, None)
        for path in self._mask:
            record = _changed(record, path, self.masked)
        return record

    def masked(self, value: Any) -> Any:
        """A list is masked value by value; nothing stays nothing."""
        if isinstance(value, list | tuple):
            return [self.masked(each) for each in value]
        if value is None or value == "":
            return value
        text = value.encode("utf-8", "replace") if isinstance(value, str) else orjson.dumps(value, default=str)
        return MASKED + hashlib.blake2b(text, digest_size=_DIGEST, key=self._key).hexdigest()


def _changed(value: Any, path: tuple[str, ...], change: Callable[[Any], Any] | None) -> Any:
    if isinstance(value, list | tuple):
        return [_changed(each, path, change) for each in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    found = dict(value)
    if len(path) > 1:
        found[path[0]] = _changed(found[path[0]], path[1:], change)
    elif change is None:
        del found[path[0]]
    else:
        found[path[0]] = change(found[path[0]])
    return found

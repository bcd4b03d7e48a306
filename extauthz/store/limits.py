"""What every store refuses alike."""

from __future__ import annotations

import math
import re
from typing import Final

from extauthz.store.store import StoreError

MAX_KEY_BYTES: Final = 512
MAX_VALUE_BYTES: Final = 1024 * 1024
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")


def check_name(name: str) -> None:
    """Of a table or a log. Raises StoreError."""
    if not _NAME.fullmatch(name):
        raise StoreError("the name of a table or log is not [a-z][a-z0-9-]*")


def check_key(table: str, key: str) -> None:
    """Raises StoreError; its text does not hold the key."""
    check_name(table)
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise StoreError(f"a key of {table} is not text that UTF-8 can hold") from None
    if size > MAX_KEY_BYTES:
        raise StoreError(f"a key of {table} has more than {MAX_KEY_BYTES} bytes")


def check_value(place: str, value: bytes, expires: float | None) -> None:
    """Raises StoreError."""
    if expires is not None and not math.isfinite(expires):
        raise StoreError(f"a value for {place} ends at no time")
    if len(value) > MAX_VALUE_BYTES:
        raise StoreError(f"a value for {place} has more than {MAX_VALUE_BYTES} bytes")


def live(expires: float | None, now: float) -> bool:
    return expires is None or expires > now

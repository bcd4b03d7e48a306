"""What every store refuses alike, and how each of them waits."""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING, Final

from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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


class Bell:
    """Wakes those who wait for a log in this process; a store rings it whenever a log may have grown."""

    __slots__ = ("_rung",)

    def __init__(self) -> None:
        self._rung: dict[str, asyncio.Event] = {}

    def ring(self, log: str) -> None:
        if (event := self._rung.pop(log, None)) is not None:
            event.set()

    def ring_all(self) -> None:
        for log in list(self._rung):
            self.ring(log)

    async def wait(self, log: str, holds: Callable[[], Awaitable[bool]], timeout: float, again: float) -> bool:
        """Until `holds()`, for at most `timeout` seconds; asked after each ring, and every `again` seconds anyway.

        `holds` itself is never cut short: what it raises is the caller's.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while True:
            rung = self._rung.setdefault(log, asyncio.Event())  # before asking: what comes in between is not missed
            if await holds():
                return True
            left = end - loop.time()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(min(left, again)):
                    await rung.wait()
            except TimeoutError:
                continue

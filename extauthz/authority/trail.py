"""The audit records of key changes: made while keys change, written in order as soon as they can be."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from extauthz.authority.audit import Audit
    from extauthz.ca.rotation import Change

log = logging.getLogger(__name__)
AGAIN: Final = 1.0


class RotationTrail:
    """`report` is what the CA calls; `run` writes until it is cancelled, and again what could not be written.

    A change of keys does not wait for its record: a key that is distrusted must go although the disk is full. What an
    operator orders is recorded before (`operator`).
    """

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._waiting: deque[Change] = deque()
        self._news = asyncio.Event()

    def report(self, change: Change) -> None:
        self._waiting.append(change)
        self._news.set()

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self.write()
            if self._waiting:
                await asyncio.sleep(AGAIN)
                self._news.set()

    async def write(self) -> None:
        """What waits, in order, until one cannot be written. Whoever is cut short may leave one record twice."""
        while self._waiting and await self._written(self._waiting[0]):
            self._waiting.popleft()

    async def _written(self, change: Change) -> bool:
        try:
            await self._audit.write("rotation.changed", asdict(change))
        except ExtauthzError as error:
            log.error("a change of keys has no record yet: %s", error)  # noqa: TRY400 - the text says all
            return False
        return True

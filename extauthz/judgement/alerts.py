"""The alert hook: violations and quarantines, posted to whoever the configuration names.

At most `waiting` alerts wait, one is sent at a time, each at most `attempts` times with full jitter in between; what
does not fit or does not get through is dropped and counted. An alert is a hint: the record and the audit trail are
what is kept. It holds no credential: ids, codes and the first 16 hex digits of a token's SHA-256.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from extauthz.errors import OutboundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.judgement.settings import AlertSettings
    from extauthz.outbound import Outbound
    from extauthz.tasks import Tasks

log = logging.getLogger(__name__)
Fate = Literal["sent", "dropped"]
_FIRST_PAUSE: Final = 0.5
"""Seconds before the second attempt, at most; it doubles."""
_MAX_ANSWER: Final = 64 * 1024


class Alerts:
    """`counted` is told the fate of each alert. `random`: 0 ≤ x < 1."""

    def __init__(
        self,
        settings: AlertSettings,
        outbound: Outbound,
        *,
        counted: Callable[[Fate], None],
        random: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._outbound = outbound
        self._counted = counted
        self._random = random
        self._waiting: deque[bytes] = deque()
        self._some = asyncio.Event()

    def add(self, alert: dict[str, Any]) -> None:
        """Never waits and never raises."""
        if len(self._waiting) >= self._settings.waiting:
            self._counted("dropped")
            return
        self._waiting.append(orjson.dumps(alert))
        self._some.set()

    def start(self, tasks: Tasks) -> None:
        tasks.start(self._run(), "judgement alerts")

    async def close(self) -> None:
        """What waits is dropped and counted."""
        for _ in range(len(self._waiting)):
            self._counted("dropped")
        self._waiting.clear()
        await self._outbound.close()

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                sent = await self._send(self._waiting[0])
                self._waiting.popleft()
                self._counted("sent" if sent else "dropped")

    async def _send(self, alert: bytes) -> bool:
        pause = _FIRST_PAUSE
        for attempt in range(self._settings.attempts):
            if attempt:
                await asyncio.sleep(self._random() * pause)
                pause *= 2
            try:
                answer = await self._outbound.send(
                    "POST",
                    self._settings.url,
                    content=alert,
                    headers={"content-type": "application/json"},
                    timeout=self._settings.timeout,
                    max_bytes=_MAX_ANSWER,
                )
            except OutboundError as error:
                problem = str(error)
            else:
                if HTTPStatus(200) <= answer.status < HTTPStatus(300):
                    return True
                problem = f"answered {answer.status}"
        log.warning("an alert was dropped: %s", problem)
        return False

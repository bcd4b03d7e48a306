"""Where revocations come from while the server runs: the authority's long poll, or its log in Redis."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol

from extauthz.errors import OutboundError
from extauthz.store.opening import open_redis
from extauthz.store.revocations import Page, RevocationLog, parse_page

if TYPE_CHECKING:
    from extauthz.authn.settings import RevocationFeedSettings
    from extauthz.clock import Clock
    from extauthz.outbound import Outbound
    from extauthz.store.settings import RedisSettings
    from extauthz.store.store import Store

MAX_PAGE_BYTES: Final = 64 * 1024 * 1024
_SMALL: Final = 64 * 1024
_OK: Final = 200


class FeedClient(Protocol):
    """Whoever can prove to the authority who we are."""

    async def get(self, url: str, timeout: float) -> tuple[int, bytes]:
        """Status and body, of at most MAX_PAGE_BYTES. Raises ExtauthzError and nothing else."""


class Source(Protocol):
    async def poll(self, after: int, wait: float) -> Page:
        """What came after `after` (0: everything), after at most `wait` seconds. Raises ExtauthzError."""

    async def close(self) -> None: ...


class OutboundFeed:
    """A feed client that shows no certificate."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def get(self, url: str, timeout: float) -> tuple[int, bytes]:
        answer = await self._outbound.send("GET", url, timeout=timeout, max_bytes=MAX_PAGE_BYTES)
        return answer.status, answer.body


class FeedSource:
    """The authority's `GET /v1/revocations?after=&wait=`."""

    def __init__(self, settings: RevocationFeedSettings, client: FeedClient) -> None:
        self._settings = settings
        self._client = client

    async def poll(self, after: int, wait: float) -> Page:
        seconds = math.ceil(wait)
        url = f"{self._settings.url}?after={after}&wait={seconds}"
        status, body = await self._client.get(url, seconds + self._settings.timeout)
        if status != _OK:
            raise OutboundError(f"the authority answered {status}")
        if len(body) > MAX_PAGE_BYTES:
            raise OutboundError("the authority answered too much")
        return parse_page(body) if len(body) <= _SMALL else await asyncio.to_thread(parse_page, body)

    async def close(self) -> None:
        return


class LogSource:
    """The log itself, where the authority's store is a Redis."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._log = RevocationLog(store, clock)

    @classmethod
    def open(cls, settings: RedisSettings, clock: Clock) -> LogSource:
        """Blocks. Raises ConfigError when the password cannot be read."""
        return cls(open_redis(settings, clock), clock)

    async def poll(self, after: int, wait: float) -> Page:
        return await self._log.read(after, wait)

    async def close(self) -> None:
        await self._store.close()

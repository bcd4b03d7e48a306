"""Where a policy bundle comes from: a file, or a bundle server that is asked as OPA asks it.

The protocol with a server (OPA's "bundle service API"): GET with `If-None-Match` and `Prefer: modes=snapshot,delta`,
with `;wait=N` for a long poll. 200 brings an archive and its ETag, 304 says that nothing changed. A server that
answers with `application/vnd.openpolicyagent.bundles` takes long polls: it is asked again at once, and holds the
question open until something changes. Others are asked every `poll` seconds.

Only bytes come from here. Whether they are a policy bundle, and whose, is judged in `bundle`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from typing import TYPE_CHECKING, Final, Protocol

from extauthz.errors import ConfigError, ConfigProblem, OutboundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from extauthz.outbound import Outbound
    from extauthz.policy.bundle_settings import BundleSettings

log = logging.getLogger(__name__)

LONG_POLL: Final = "application/vnd.openpolicyagent.bundles"
OK: Final = 200
NOT_MODIFIED: Final = 304
MAX_ETAG: Final = 256
MAX_TOKEN: Final = 16 * 1024
FIRST_PAUSE: Final = 0.5
SHORTEST_PAUSE: Final = 0.1
"""A server that answers long polls at once must not be asked in a tight loop."""


class Source(Protocol):
    """Gives the newest bytes. `name` is told in messages."""

    @property
    def name(self) -> str: ...

    async def newest(self) -> bytes:
        """Raises ConfigError (`cannot be read`, `does not answer`)."""

    async def follow(self, changed: Callable[[], Awaitable[object]]) -> None:
        """Calls `changed` when there are other bytes, until it is cancelled."""

    async def close(self) -> None: ...


class FileSource:
    """A file; the configuration's watcher sees that it changed."""

    def __init__(self, file: Path, limit: int) -> None:
        self._file = file
        self._limit = limit

    @property
    def name(self) -> str:
        return str(self._file)

    async def newest(self) -> bytes:
        return await asyncio.to_thread(self._read)

    async def follow(self, changed: Callable[[], Awaitable[object]]) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing is held."""

    def _read(self) -> bytes:
        try:
            with self._file.open("rb") as opened:
                return opened.read(self._limit + 1)
        except OSError as error:
            raise _cannot(self.name, f"cannot be read: {error.strerror}", "check policy.bundle.file") from None


class HttpSource:
    """`outbound` allows the URL's origin and is closed with the source."""

    def __init__(
        self,
        settings: BundleSettings,
        limit: int,
        *,
        outbound: Outbound,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._limit = limit
        self._outbound = outbound
        self._sleep = sleep
        self._chance = chance
        self._etag = ""
        self._newest: bytes | None = None
        self._long_polls = False

    @property
    def name(self) -> str:
        return self._settings.url

    async def newest(self) -> bytes:
        if self._newest is None:
            try:
                await self._ask()
            except OutboundError as error:
                raise _cannot(self.name, str(error), "check the bundle server") from None
        if self._newest is None:
            raise _cannot(self.name, "has no bundle yet", "check the bundle server")
        return self._newest

    async def follow(self, changed: Callable[[], Awaitable[object]]) -> None:
        pause = FIRST_PAUSE
        failing = self._newest is None
        while True:
            if failing or not self._long_polls:
                await self._sleep(min(pause, self._settings.poll) if failing else self._settings.poll)
            else:
                await self._sleep(SHORTEST_PAUSE)
            try:
                other = await self._ask()
            except OutboundError as error:
                if not failing:
                    log.warning("policy bundle: %s; the active policy serves on", error)
                failing, pause = True, min(pause * 2, self._settings.poll) * (0.75 + self._chance() / 2)
                continue
            if failing:
                log.info("policy bundle: %s answers again", self.name)
            failing, pause = False, FIRST_PAUSE
            if other:
                await changed()

    async def close(self) -> None:
        await self._outbound.close()

    async def _ask(self) -> bool:
        """Whether there are other bytes now. Raises OutboundError.

        The wait is named from the first question on: it is how a server learns that we take long polls, and without
        an ETag there is nothing that it could wait for.
        """
        wait = int(self._settings.wait)
        headers = {"prefer": f"modes=snapshot,delta;wait={wait}" if wait else "modes=snapshot,delta"}
        if self._etag:
            headers["if-none-match"] = self._etag
        if self._settings.token_file is not None:
            headers["authorization"] = f"Bearer {await asyncio.to_thread(self._token)}"
        url, timeout = self._settings.url, (wait if self._etag else 0) + self._settings.timeout
        response = await self._outbound.send("GET", url, headers=headers, timeout=timeout, max_bytes=self._limit)
        if response.status not in {OK, NOT_MODIFIED}:
            raise OutboundError(f"{self.name} answered with status {response.status}")
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        self._long_polls = bool(wait) and kind == LONG_POLL
        if response.status == NOT_MODIFIED:
            return False
        etag = response.headers.get("etag", "")
        self._etag = etag if len(etag) <= MAX_ETAG and etag.isprintable() else ""
        other = self._newest is None or _digest(response.body) != _digest(self._newest)
        self._newest = response.body
        return other

    def _token(self) -> str:
        file = self._settings.token_file
        try:
            text = file.read_text(encoding="ascii").strip() if file else ""
        except (OSError, ValueError):
            text = ""
        if not text or not text.isprintable() or len(text) > MAX_TOKEN:
            raise OutboundError("policy.bundle.token_file holds no token that can be sent")
        return text


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _cannot(name: str, message: str, remedy: str) -> ConfigError:
    return ConfigError((ConfigProblem(name, 0, "", message, remedy),))

"""Where issuers' keys live: one source an issuer, isolated from each other.

Laws
- A token never causes more than one fetch per cool-down, and the cool-down is claimed before the fetch.
- Concurrent needs share one fetch (single flight); a caller that gives up does not cancel it.
- Known keys serve on when the issuer is down, for at most `refresh + stale_if_error`; then there are none.
- A document that is refused changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from random import random
from typing import TYPE_CHECKING, Any, Final, Literal

from extauthz.authn import jwks
from extauthz.authn.files import WatchedFile, file_error
from extauthz.authn.json_object import parse_object
from extauthz.errors import ConfigError, ConfigProblem, OutboundError
from extauthz.outbound import origin
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from extauthz.authn.settings import IssuerSettings
    from extauthz.clock import Clock
    from extauthz.outbound import Outbound

    Fetched = Callable[[str, Literal["ok", "error"]], None]
    """Told after each fetch: the issuer's name, and how it went."""

log = logging.getLogger(__name__)
_OK: Final = 200
_TICK: Final = 1.0
_FILE_INTERVAL: Final = 2.0
_JITTER: Final = 0.1


class KeySource:
    """One issuer's keys. With a file source the constructor reads it and raises ConfigError."""

    def __init__(
        self,
        settings: IssuerSettings,
        outbound: Outbound,
        clock: Clock,
        tasks: Tasks,
        random: Callable[[], float] = random,
        fetched: Fetched = lambda _issuer, _outcome: None,
    ) -> None:
        self.settings = settings
        self._fetched = fetched
        self.fetches = 0
        """Refreshes that were started."""
        self.problem = "" if settings.jwks.file else "not fetched yet"
        """Why the last refresh failed; empty when it did not."""
        self._outbound = outbound
        self._clock = clock
        self._tasks = tasks
        self._random = random
        self._keys: jwks.KeySet | None = None
        self._usable_until = 0.0
        self._next_allowed = float("-inf")
        self._due = float("-inf")
        self._flight: asyncio.Task[None] | None = None
        self._file = WatchedFile(settings.jwks.file) if settings.jwks.file else None
        # A file costs little to look at, and a rotated one should serve at once.
        most = float("inf") if self._file is None else _FILE_INTERVAL
        self._every = min(settings.jwks.refresh, most)
        self._cooldown = min(settings.jwks.cooldown, most)
        if self._file is not None:
            found = jwks.parse(self._file.changed() or b"", settings.algorithms, settings.name)
            if isinstance(found, str):
                raise file_error(self._file.path, f"is not a usable JWKS: {found}", "write a JSON Web Key Set")
            self._accept(found)

    def current(self) -> jwks.KeySet | None:
        """The keys in force; None when there are none or they are too old."""
        return self._keys if self._clock.monotonic() < self._usable_until else None

    def due(self) -> bool:
        return self._flight is None and self._clock.monotonic() >= max(self._due, self._next_allowed)

    async def refresh(self) -> bool:
        """Fetch the keys, or wait for the fetch under way; False at once when the cool-down forbids it.

        The cool-down is claimed before the first byte is sent: a failing or slow issuer gets no more calls than a
        healthy one.
        """
        if self._flight is None:
            now = self._clock.monotonic()
            if now < self._next_allowed:
                return False
            self._next_allowed = now + self._cooldown
            self.fetches += 1
            self._flight = self._tasks.start(self._refresh(), f"jwks-{self.settings.name}")
        # Shielded: this caller's deadline must not cancel what the others wait for.
        await asyncio.shield(self._flight)
        return True

    async def _refresh(self) -> None:
        try:
            found = await self._load()
        except Exception as error:  # noqa: BLE001 - whatever breaks here, known keys serve on and others decide
            self._failed(f"{type(error).__name__}: {error}")
        else:
            if isinstance(found, str):
                self._failed(found)
            else:
                self._accept(found)
                self._fetched(self.settings.name, "ok")
        finally:
            self._flight = None

    def _failed(self, problem: str) -> None:
        self.problem = problem
        self._due = self._clock.monotonic() + min(self._every, self._cooldown)
        self._fetched(self.settings.name, "error")
        log.warning("issuer %s: keys kept as they were: %s", self.settings.name, problem)

    def _accept(self, found: jwks.KeySet | None) -> None:
        """`found` None: nothing has changed, and what we have is fresh again."""
        if found is not None and (self._keys is None or found.digest != self._keys.digest):
            self._keys = found
        now = self._clock.monotonic()
        # Earlier by a random part, so that many servers do not ask an issuer in step.
        self._due = now + self._every * (1 - _JITTER * self._random())
        self._usable_until = self._due + self.settings.jwks.stale_if_error
        self.problem = ""

    async def _load(self) -> jwks.KeySet | str | None:
        if self._file is not None:
            content = await asyncio.to_thread(self._file.changed)
            if content is None:
                # The content was judged before: either it serves now, or it is still the refused one.
                return self.problem or None
        else:
            content = await self._fetch(await self._url())
        return jwks.parse(content, self.settings.algorithms, self.settings.name)

    async def _url(self) -> str:
        """The JWKS URL; by discovery (OpenID Connect Discovery 1.0 sections 4.2 and 4.3) where it is not configured.

        1. the metadata is a strict JSON object
        2. its `issuer` is exactly ours
        3. its `jwks_uri` has the issuer's origin or one that the settings name
        """
        settings = self.settings
        if settings.jwks.url is not None:
            return settings.jwks.url
        metadata: dict[str, Any] | None = parse_object(
            await self._fetch(settings.discovery_url), max_depth=6, max_values=jwks.MAX_VALUES
        )
        if metadata is None:  # 1
            raise OutboundError("the discovery document is not a strict JSON object")
        if metadata.get("issuer") != settings.issuer:  # 2
            raise OutboundError("the discovery document is of another issuer")
        url = metadata.get("jwks_uri")
        if not isinstance(url, str) or origin(url) not in map(origin, settings.outbound_urls):  # 3
            raise OutboundError("jwks_uri has an origin that the settings do not name")
        return url

    async def _fetch(self, url: str) -> bytes:
        response = await self._outbound.get(url, {"accept": "application/json"}, timeout=self.settings.jwks.timeout)
        if response.status != _OK:
            raise OutboundError(f"{origin(url)} answered {response.status}")
        return response.body

    def status(self) -> dict[str, Any]:
        keys = self.current()
        return {
            "issuer": self.settings.name,
            "usable": keys is not None,
            "keys": 0 if keys is None else len(keys.keys),
            "problem": self.problem,
        }


class KeyStore:
    """Every issuer's source. `start` begins the background refresh, `close` ends it."""

    def __init__(
        self,
        issuers: Iterable[IssuerSettings],
        outbound: Outbound,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        fetched: Fetched = lambda _issuer, _outcome: None,
        own: Outbound | None = None,
    ) -> None:
        """`own` shows the server's certificate: for issuers with `jwks.client: mtls`. Raises ConfigError without it."""
        self._tasks = Tasks()
        self._sleep = sleep
        self._sources = {}
        for entry in issuers:
            way = own if entry.jwks.client == "mtls" else outbound
            if way is None:
                problem = f"issuer {entry.name}: `jwks.client: mtls` needs a certificate of the server's own"
                raise ConfigError((ConfigProblem("", 0, "issuers", problem, "configure `identity`"),))
            self._sources[entry.name] = KeySource(entry, way, clock, self._tasks, fetched=fetched)

    def source(self, name: str) -> KeySource:
        """Raises ConfigError for a name that is not configured."""
        try:
            return self._sources[name]
        except KeyError:
            raise ConfigError(
                (ConfigProblem("", 0, "issuers", f"issuer {name!r} has no key source", "configure the issuer"),)
            ) from None

    def start(self) -> None:
        """Fetch what is due now, and from then on in the background; does not wait."""
        self._tasks.start(self._run(), "jwks-refresh")

    async def refresh_due(self) -> None:
        """One round over the sources that are due, all at once: a slow issuer delays no other."""
        await asyncio.gather(*(source.refresh() for source in self._sources.values() if source.due()))

    async def _run(self) -> None:
        while True:
            for source in self._sources.values():
                if source.due():
                    self._tasks.start(source.refresh(), f"jwks-due-{source.settings.name}")
            await self._sleep(_TICK)

    def status(self) -> list[dict[str, Any]]:
        return [source.status() for source in self._sources.values()]

    async def close(self) -> None:
        await self._tasks.close()

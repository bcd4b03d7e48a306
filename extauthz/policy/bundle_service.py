"""A bundle server, as OPA's bundle service API asks for it: an ASGI application that others can mount.

    GET /bundles/<name>     the archive `<name>` below the directory, with its ETag
    GET /health             200

- `If-None-Match` with the present ETag gives 304. With `Prefer: …;wait=N` the answer waits until the archive changes,
  N seconds at most; the content type says that we do that.
- Only whole archives are published: one that is half-written or damaged is told in the log, and the one before it
  stays. Whether a bundle is signed is its reader's business.
- With a token, every question must carry it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from extauthz.policy import archive
from extauthz.policy.archive import BundleRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from starlette.requests import Request

log = logging.getLogger(__name__)

LONG_POLL: Final = "application/vnd.openpolicyagent.bundles"
PLAIN: Final = "application/gzip"
INTERVAL: Final = 0.25
LONGEST_WAIT: Final = 600
MAX_WAITING: Final = 4096
MAX_BUNDLES: Final = 256
SUFFIX: Final = ".tar.gz"
_WAIT: Final = re.compile(r"(?:^|[;,])\s*wait=(\d{1,9})\s*(?:$|[;,])")


@dataclass(frozen=True, slots=True)
class _Published:
    stamp: tuple[int, int, int]
    packed: bytes
    etag: str


class BundleService:
    """`start` (through `watch`) before `application` is served. `token` empty: anybody may read."""

    def __init__(
        self,
        directory: Path,
        *,
        token: str = "",
        limits: archive.Limits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = directory
        self._token = token.encode()
        self._limits = limits or archive.Limits()
        self._sleep = sleep
        self._published: dict[str, _Published] = {}
        self._refused: dict[str, tuple[int, int, int]] = {}
        self._changed = asyncio.Condition()
        self._waiting = 0

    @property
    def etags(self) -> dict[str, str]:
        """What is published now."""
        return {name: one.etag for name, one in self._published.items()}

    async def watch(self) -> None:
        """Publishes what changes in the directory, until it is cancelled."""
        while True:
            await self.look()
            await self._sleep(INTERVAL)

    async def look(self) -> None:
        """One look at the directory."""
        found = await asyncio.to_thread(self._read)
        changed = {name: one.etag for name, one in found.items()} != self.etags
        self._published = found
        if changed:
            async with self._changed:
                self._changed.notify_all()

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/bundles/{name:path}", self._bundle, methods=["GET"]),
                Route("/health", _health, methods=["GET"]),
            ]
        )

    async def _bundle(self, request: Request) -> Response:
        if self._token:
            given = request.headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                return PlainTextResponse("a token is needed\n", 401, headers={"www-authenticate": "Bearer"})
        name = request.path_params["name"]
        wanted = _WAIT.search(request.headers.get("prefer", ""))
        known = request.headers.get("if-none-match", "")
        if wanted is not None and known:
            await self._wait(name, known, min(int(wanted[1]), LONGEST_WAIT))
        published = self._published.get(name)
        if published is None:
            return PlainTextResponse("no such policy bundle\n", 404)
        headers = {
            "etag": published.etag,
            "content-type": LONG_POLL if wanted is not None else PLAIN,
            "cache-control": "no-cache",
        }
        if known == published.etag:
            return Response(status_code=304, headers=headers)
        return Response(published.packed, headers=headers)

    async def _wait(self, name: str, known: str, seconds: int) -> None:
        """Until `name` is something other than `known`; not at all when too many wait already."""
        if self._waiting >= MAX_WAITING:
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.etags.get(name) != known)
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1

    def _read(self) -> dict[str, _Published]:
        found: dict[str, _Published] = {}
        for file in sorted(self._directory.rglob(f"*{SUFFIX}"))[:MAX_BUNDLES]:
            name = file.relative_to(self._directory).as_posix()
            if any(part.startswith(".") for part in name.split("/")):
                continue
            before = self._published.get(name)
            try:
                info = file.stat()
                stamp = (info.st_mtime_ns, info.st_size, info.st_ino)
                if not stat.S_ISREG(info.st_mode):
                    continue
                fresh = self._fresh(file, name, stamp, before)
            except OSError as error:
                log.error("%s cannot be read: %s", file, error.strerror)  # noqa: TRY400 - expected
                fresh = before
            if fresh is not None:
                found[name] = fresh
        return found

    def _fresh(
        self, file: Path, name: str, stamp: tuple[int, int, int], before: _Published | None
    ) -> _Published | None:
        if (before is not None and before.stamp == stamp) or self._refused.get(name) == stamp:
            return before
        with file.open("rb") as opened:
            packed = opened.read(self._limits.packed + 1)
        try:
            archive.unpack(packed, self._limits)
        except BundleRefused as error:
            self._refused[name] = stamp
            log.error("%s is not published: it %s", file, error.reason)  # noqa: TRY400 - expected
            return before
        self._refused.pop(name, None)
        log.info("published: %s, %d bytes", name, len(packed))
        return _Published(stamp, packed, f'"{hashlib.sha256(packed).hexdigest()[:32]}"')


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok\n")

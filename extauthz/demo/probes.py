"""Is a part ready? Each probe is one bounded question; no answer is no."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import httpx

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from extauthz.demo.processes import Part

_TIMEOUT: Final = 1.0
_POLL: Final = 0.05


def http_ok(url: str, socket: Path | None = None) -> Callable[[], Awaitable[bool]]:
    """Whether a GET answers 200, over TCP or over a Unix socket."""

    async def probe() -> bool:
        transport = httpx.AsyncHTTPTransport(uds=str(socket)) if socket else None
        async with httpx.AsyncClient(transport=transport, timeout=_TIMEOUT, trust_env=False) as client:
            try:
                return (await client.get(url)).status_code == httpx.codes.OK
            except httpx.HTTPError:
                return False

    return probe


def answers(socket: Path) -> Callable[[], Awaitable[bool]]:
    """Whether somebody listens on a Unix socket."""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT):
                _, writer = await asyncio.open_unix_connection(socket)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    return probe


async def until_ready(part: Part, probe: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Raises ExtauthzError when the part ends, or is not ready after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not await probe():
                if not part.running:
                    raise part.failed()
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise ExtauthzError(f"{part.name} was not ready after {seconds:.0f} s\n{part.last_words()}") from None

"""Talking to the Envoy that hosts a worker, through its admin socket: is it live, drain it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import httpx

from extauthz.transport.envoy import STAT_PREFIX

if TYPE_CHECKING:
    from extauthz.transport.asgi import GrpcApp

log = logging.getLogger(__name__)

_SAY_GOODBYE: Final = "/drain_listeners?graceful&skip_exit"
_CLOSE: Final = "/drain_listeners"
_GOODBYE: Final = 0.3
"""Seconds in which callers that are busy hear of it before the port is closed to them."""
_ACTIVE: Final = f"http.{STAT_PREFIX}.downstream_rq_active"
_LOOK: Final = 0.05
_QUIET: Final = 4
"""Looks in a row without a request, before Envoy is thought idle: answers have left, callers have seen GOAWAY."""
_ADMIN_TIMEOUT: Final = 2.0


class HostedTransport:
    def __init__(self, app: GrpcApp, admin: str) -> None:
        self._app = app
        self._admin = admin

    @property
    def active(self) -> int:
        return self._app.active

    async def drain(self, grace: float) -> int:
        """1. Envoy says GOAWAY with every answer; 2. it closes its port; 3. until nothing is in flight."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        said = await ask(self._admin, "POST", _SAY_GOODBYE)  # 1
        await asyncio.sleep(min(_GOODBYE, grace))
        if not (said and await ask(self._admin, "POST", _CLOSE)):  # 2
            log.error("Envoy's admin socket does not answer; draining without it")
        quiet = 0
        while quiet < _QUIET and loop.time() < end:  # 3
            await asyncio.sleep(_LOOK)
            quiet = 0 if self._app.active or await self._requests() else quiet + 1
        return self._app.active

    async def _requests(self) -> int:
        """Requests that Envoy has not finished; a health watch is one, so it is not counted."""
        answer = await ask(self._admin, "GET", f"/stats?filter=^{_ACTIVE}$")
        _, _, number = answer.strip().rpartition(": ")
        return max(0, int(number) - self._app.streams) if number.isdigit() else 0


async def live(admin: str) -> bool:
    """Whether the Envoy behind the admin socket `admin` has started its listeners."""
    return (await ask(admin, "GET", "/ready")).strip() == "LIVE"


async def ask(admin: str, method: str, path: str) -> str:
    """The body of a 200 answer of Envoy's admin interface; empty for anything else."""
    transport = httpx.AsyncHTTPTransport(uds=admin)
    try:
        async with httpx.AsyncClient(transport=transport, timeout=_ADMIN_TIMEOUT, trust_env=False) as client:
            response = await client.request(method, f"http://admin{path}")
    except httpx.HTTPError:
        return ""
    return response.text if response.is_success else ""

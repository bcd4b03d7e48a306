"""A client for one endpoint: its calls pass the endpoint's breaker, and come again where that changes nothing.

1. While the breaker is open a call ends at once, as an OutboundError.
2. An answer is good, except 502, 503 and 504; a connection that fails is bad; a call without an answer in time is
   judged by how long it had (`endpoint`). A 500 is an answer: who can provoke five must not close, or open, a door.
3. A GET that got no answer, or one of these, is asked again, in what is left of its time. Nothing else is.

Bulkheads stand before this, where calls for the same answer are joined: each source, issuer and the token service
bounds its calls under way (`max_concurrent`, `max_calls`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from extauthz.endpoint import REFUSED
from extauthz.errors import OutboundError
from extauthz.outbound import NOT_THERE, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.clock import Clock
    from extauthz.endpoint import Endpoint
    from extauthz.outbound import Response, Sends


class Guarded:
    """Implements `outbound.Sends` over another one."""

    __slots__ = ("_clock", "_endpoint", "_inner")

    def __init__(self, inner: Sends, endpoint: Endpoint, clock: Clock) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._clock = clock

    async def send(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0.0,
        max_bytes: int = 0,
    ) -> Response:
        """As `Outbound.send`; `timeout` 0 means the endpoint's own, and bounds all tries together."""
        until = self._clock.monotonic() + (timeout or self._endpoint.timeout)
        attempt = 0
        while True:
            response, problem = None, None
            try:
                response = await self._once(method, url, content, headers, until, max_bytes)
            except NoAnswer as error:
                problem = error
            attempt += 1
            wait = None
            if method == "GET" and (response is None or response.status in NOT_THERE):  # 3
                wait = self._endpoint.again(attempt, until - self._clock.monotonic())
            if wait is not None:
                await asyncio.sleep(wait)
            elif response is not None:
                return response
            else:
                raise problem or NoAnswer(f"{self._endpoint.name} was not asked")

    async def _once(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str] | None,
        until: float,
        max_bytes: int,
    ) -> Response:
        """Steps 1 and 2."""
        endpoint = self._endpoint
        began = self._clock.monotonic()
        ticket = endpoint.breaker.admit(began)
        if ticket == REFUSED:
            raise NoAnswer(f"{endpoint.name} is left alone: its breaker is open after failures")
        try:
            response = await self._inner.send(
                method, url, content=content, headers=headers, timeout=until - began, max_bytes=max_bytes
            )
        except NoAnswer:
            if self._clock.monotonic() >= until:
                endpoint.late(ticket, self._clock.monotonic() - began)
            else:
                endpoint.failed(ticket)
            raise
        except OutboundError:
            endpoint.answered(ticket, self._clock.monotonic() - began)
            raise
        except BaseException:
            endpoint.late(ticket, self._clock.monotonic() - began)
            raise
        if response.status in NOT_THERE:
            endpoint.failed(ticket)
        else:
            endpoint.answered(ticket, self._clock.monotonic() - began)
        return response

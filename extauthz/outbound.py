"""The one HTTP client for calls that we make ourselves: JWKS, discovery, attribute sources.

Every call is bounded in time and bytes, follows no redirect, ignores proxies and netrc of the environment, and goes
only to origins that the configuration names. Not for OPA on the hot path (`policy.sidecar` has its own lean client).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from extauthz.errors import OutboundError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes


def origin(url: str) -> str:
    """`scheme://host[:port]` of an http(s) URL, lower case, default port dropped. Raises OutboundError."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise OutboundError(f"not a URL: {error}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo:
        raise OutboundError("an http(s) URL with a host and no credentials is expected")
    return f"{parsed.scheme}://{parsed.host}" + (f":{parsed.port}" if parsed.port else "")


class Outbound:
    """`urls` are the URLs of the configuration; a call to any other origin raises OutboundError."""

    def __init__(
        self,
        urls: Iterable[str] = (),
        *,
        timeout: float = 2.0,
        max_bytes: int = 1024 * 1024,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._allowed = frozenset(map(origin, urls))
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._client = httpx.AsyncClient(
            timeout=timeout, follow_redirects=False, trust_env=False, verify=verify, transport=transport
        )

    async def get(self, url: str, headers: Mapping[str, str] | None = None, *, timeout: float = 0.0) -> Response:
        return await self.send("GET", url, headers=headers, timeout=timeout)

    async def send(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0.0,
    ) -> Response:
        """The whole response, whatever its status. `timeout` (seconds, whole exchange) 0 means the client's own."""
        if origin(url) not in self._allowed:
            raise OutboundError(f"{origin(url)} is not an origin that the configuration names")
        try:
            async with (
                asyncio.timeout(timeout or self._timeout),
                self._client.stream(method, url, content=content, headers=dict(headers or {})) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise OutboundError(f"{origin(url)} answered more than {self._max_bytes} bytes")
                return Response(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))
        except TimeoutError:
            raise OutboundError(f"{origin(url)} did not answer in time") from None
        except httpx.HTTPError as error:
            raise OutboundError(f"{origin(url)}: {type(error).__name__}: {error}") from None

    async def close(self) -> None:
        await self._client.aclose()

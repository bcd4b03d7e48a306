"""The one HTTP client for calls that we make ourselves: JWKS, discovery, attribute sources.

What a call keeps, in this order:

1. The URL is read once, by the same parser that sends it; only origins that the configuration names are called.
2. No redirect is followed, nothing of the environment (proxies, netrc) is used, no cookie is kept.
3. The whole exchange, waiting for a connection included, has one bound in time.
4. The answer is taken as it is on the wire: a compressed one is refused, so no byte count can be unpacked around.
5. The body is bounded before it is kept, and first by what the server announces.
6. Whatever goes wrong becomes one OutboundError; its text names the origin and never a byte of URL, header or answer.

Not for OPA on the hot path (`policy.sidecar` has its own lean client).
"""

from __future__ import annotations

import asyncio
import math
import ssl
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path  # noqa: TC003 - pydantic resolves the annotation when the class is made
from typing import TYPE_CHECKING, Final, Protocol

import httpx

from extauthz.endpoint import BreakerSettings
from extauthz.errors import ConfigError, ConfigProblem, OutboundError
from extauthz.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Verify = ssl.SSLContext | bool | Callable[[], ssl.SSLContext]


class OutboundSettings(Settings):
    """How the server trusts those that it calls itself: token issuers and attribute sources."""

    trust_bundle: Path | None = None
    """PEM file with the authorities that vouch for them over https, instead of the public ones; for a private CA."""
    breaker: BreakerSettings = BreakerSettings()
    """When an attribute source, an introspection endpoint or the token service is left alone because it fails."""

    def verify(self) -> ssl.SSLContext | bool:
        """What `Outbound` takes; reads the file. Raises ConfigError."""
        if self.trust_bundle is None:
            return True
        try:
            return ssl.create_default_context(cafile=str(self.trust_bundle))
        except (OSError, ssl.SSLError) as error:
            problem = f"holds no certificates that can be read: {getattr(error, 'strerror', '') or error}"
            remedy = "name a PEM file with at least one certificate authority"
            raise ConfigError(
                (ConfigProblem(str(self.trust_bundle), 0, "outbound.trust_bundle", problem, remedy),)
            ) from None


NOT_THERE: Final = frozenset({502, 503, 504})
"""Statuses that say that a server is not there. A 500 is an answer: whoever asks may have brought it about."""


class NoAnswer(OutboundError):
    """There was no connection, it broke, or the time was over; any other OutboundError is about what was answered."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    """Lower-case names; the values of a repeated header are joined with a comma."""
    body: bytes


class Sends(Protocol):
    """What sends one request: `Outbound`, or what stands before it (`guarded`)."""

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
        """As `Outbound.send`."""


def origin(url: str) -> str:
    """`scheme://host[:port]` of an http(s) URL, lower case, default port dropped. Raises OutboundError."""
    return _origin(_parse(url))


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host, parsed.port
    except (httpx.InvalidURL, ValueError, TypeError):  # idna and the port raise the latter ones
        raise OutboundError("not a URL") from None
    if port is not None and not 0 < port < 65536:  # noqa: PLR2004 - TCP's ports
        raise OutboundError("not a URL")
    if parsed.scheme not in {"http", "https"} or not host or parsed.userinfo or "\\" in url:
        raise OutboundError("an http(s) URL with a host and no credentials is expected")
    return parsed


def _origin(url: httpx.URL) -> str:
    host = url.raw_host.decode("ascii")
    if ":" in host:
        host = f"[{host}]"
    return f"{url.scheme}://{host}" + (f":{url.port}" if url.port is not None else "")


@dataclass(slots=True, eq=False)
class _Pool:
    """Connections that were made under one TLS context, and how many calls are using them."""

    verify: ssl.SSLContext | bool
    transport: httpx.AsyncBaseTransport | None
    calls: int = 0
    client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.AsyncClient(
            timeout=None,  # noqa: S113 - `send` bounds the whole exchange; a second clock would only blur the error
            follow_redirects=False,
            trust_env=False,
            verify=self.verify,
            transport=self.transport,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"accept-encoding": "identity", "user-agent": "extauthz"},
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=15.0),
        )


class Outbound:
    """`urls` are the URLs of the configuration; a call to any other origin raises OutboundError.

    `verify` may be asked before each call (it may raise OutboundError): when it gives another context than before, new
    connections are made under it and the former ones end with their calls. So a renewed client certificate is shown at
    once, and an authority that is not trusted any more is not met on an old connection.
    """

    def __init__(
        self,
        urls: Iterable[str] = (),
        *,
        timeout: float = 2.0,
        max_bytes: int = 1024 * 1024,
        verify: Verify = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._allowed = frozenset(map(origin, urls))
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._transport = transport
        self._context = verify if callable(verify) else None
        self._pool: _Pool | None = None if callable(verify) else _Pool(verify, transport)

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
        max_bytes: int = 0,
    ) -> Response:
        """The whole response, whatever its status. Raises OutboundError and nothing else.

        `timeout` (seconds, whole exchange) 0 or infinite means the client's own; a negative one has already passed.
        `max_bytes` 0 means the client's own.
        """
        target = _parse(url)  # 1
        place = _origin(target)
        if place not in self._allowed:
            raise OutboundError(f"{place} is not an origin that the configuration names")
        seconds = timeout if timeout and math.isfinite(timeout) else self._timeout
        if seconds <= 0:
            raise OutboundError(f"{place} was not asked: no time is left")
        pool = await self._current()
        pool.calls += 1
        try:
            async with (
                asyncio.timeout(seconds),  # 3
                pool.client.stream(method, target, content=content, headers=dict(headers or {})) as response,
            ):
                return await _read(response, place, max_bytes or self._max_bytes)
        except TimeoutError:
            raise NoAnswer(f"{place} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, RuntimeError, ValueError) as error:
            # 6: RuntimeError is a closed client, ValueError a header that is not ASCII
            raise NoAnswer(f"{place}: {type(error).__name__}") from None
        finally:
            pool.calls -= 1
            if pool is not self._pool and not pool.calls:
                await pool.client.aclose()

    async def _current(self) -> _Pool:
        """The pool of the TLS context in force."""
        pool = self._pool
        if self._context is not None:
            context = self._context()
            if pool is None or pool.verify is not context:
                former, pool = pool, _Pool(context, self._transport)
                self._pool = pool
                if former is not None and not former.calls:
                    await former.client.aclose()
        if pool is None:
            raise OutboundError("the client is closed")
        return pool

    async def close(self) -> None:
        pool, self._pool, self._context = self._pool, None, None
        if pool is not None:
            await pool.client.aclose()


async def _read(response: httpx.Response, place: str, most: int) -> Response:
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise OutboundError(f"{place} answered compressed")  # 4
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 15 or int(announced) > most):  # noqa: PLR2004 - digits that fit an int
        raise OutboundError(f"{place} answered more than {most} bytes")  # 5
    body = bytearray()
    async for chunk in response.aiter_bytes():  # as on the wire: nothing is packed, see above
        body += chunk
        if len(body) > most:
            raise OutboundError(f"{place} answered more than {most} bytes")
    return Response(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))

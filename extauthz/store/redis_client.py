"""Connections to one Redis server, for whatever keeps state there.

No command is sent twice: after a lost connection nobody knows whether it was done.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import redis.asyncio as client
from redis.asyncio.connection import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError

from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.store.settings import RedisSettings

_CONNECTIONS: Final = 16
_PORT: Final = 6379


class RedisClient:
    """`redis` makes commands and scripts, `ask` sends them. Connects with the first one."""

    def __init__(self, settings: RedisSettings, password: str = "") -> None:
        self.redis = client.Redis.from_pool(_pool(settings, password))
        self._timeout = settings.timeout
        self._keeps = False
        self._closed = False

    async def ask(self, command: Callable[..., Any], *arguments: Any) -> Any:
        """`command(*arguments)`, within the settings' timeout. Raises StoreError."""
        if self._closed:
            raise StoreError("the store is closed")
        try:
            async with asyncio.timeout(self._timeout):
                if not self._keeps:
                    await self._check_that_it_keeps()
                return await command(*arguments)
        except TimeoutError:
            raise StoreError("redis: no answer in time") from None
        except (RedisError, OSError) as error:
            raise StoreError(f"redis: {type(error).__name__}: {error}") from None

    async def _check_that_it_keeps(self) -> None:
        """A cache may forget what was revoked or used once; a store may not. Raises StoreError."""
        try:
            memory: dict[str, Any] = await self.redis.info("memory")
        except NoPermissionError:
            memory = {}  # a user that may only read: who writes is told
        if memory.get("maxmemory") and memory.get("maxmemory_policy") != "noeviction":
            raise StoreError("redis: it may evict what it was given: set its maxmemory-policy to noeviction")
        self._keeps = True

    async def close(self) -> None:
        self._closed = True
        await self.redis.aclose()


def _pool(settings: RedisSettings, password: str) -> BlockingConnectionPool:
    parts = settings.parts
    options: dict[str, Any] = {
        "username": settings.username or None,
        "password": password or None,
        # Every command has its bound in `_ask`. With one here redis-py sends through `asyncio.wait_for`, which may
        # swallow a cancellation (bpo-37658, Python 3.11), and then whoever is closed never ends.
        "socket_timeout": None,
        "socket_connect_timeout": settings.timeout,
        "retry": Retry(NoBackoff(), 0),
    }
    kind: type[Connection | UnixDomainSocketConnection] = Connection
    if parts.scheme == "unix":
        kind = UnixDomainSocketConnection
        options["path"] = unquote(parts.path)
    else:
        options |= {"host": parts.hostname, "port": parts.port or _PORT, "db": int(parts.path.strip("/") or 0)}
    if parts.scheme == "rediss":
        kind = SSLConnection
        trusted = None if settings.trust_bundle is None else str(settings.trust_bundle)
        options |= {
            "ssl_ca_certs": trusted,
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
            "ssl_check_hostname": True,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        }
    return BlockingConnectionPool(_CONNECTIONS, settings.timeout, kind, **options)

"""A store in one Redis (or Valkey) server, shared by replicas on any number of machines.

Under the prefix, for a table T and a log L (all times in seconds since the epoch, by the clock of who writes):

    v:T:<key>  hash: v the value, e when it ends (empty: never); Redis itself forgets it some time after that
    i:T        sorted set of T's keys, all with score 0, so Redis keeps them in the order of their bytes
    x:T        sorted set of the keys that end, by their end
    n:L        the sequence number of the newest entry
    l:L        stream: entry N has the id N-0 and the fields v and e
    y:L        sorted set of the sequence numbers that end, by their end
    c:L        channel that says that the log has grown

What reads and writes is one script, which Redis runs as one step.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.exceptions import ConnectionError as SilentError
from redis.exceptions import RedisError

from extauthz.store.bell import Bell
from extauthz.store.limits import check_key, check_name, check_value, live
from extauthz.store.redis_client import RedisClient
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio.client import PubSub
    from redis.commands.core import AsyncScript

    from extauthz.clock import Clock
    from extauthz.store.settings import RedisSettings

_GRACE: Final = 300.0
"""Seconds beyond its end for which Redis keeps a value: clocks differ, and ours decides."""
_POLL: Final = 1.0
"""Seconds between two looks while somebody waits, in case a message was lost."""
_QUIET: Final = 5.0
"""Seconds without a message after which the subscription is asked whether it still is one."""

_WRITE: Final = """
local found = redis.call('HMGET', KEYS[1], 'v', 'e')
local value, ends = found[1], found[2]
if ends and ends ~= '' and tonumber(ends) <= tonumber(ARGV[3]) then value = false end
if ARGV[4] == 'absent' and value then return 0 end
if ARGV[4] == 'equal' and value ~= ARGV[5] then return 0 end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[3], 'LIMIT', 0, 64)) do
  redis.call('DEL', ARGV[1] .. key)
  redis.call('ZREM', KEYS[2], key)
  redis.call('ZREM', KEYS[3], key)
end
redis.call('HSET', KEYS[1], 'v', ARGV[6], 'e', ARGV[7])
redis.call('ZADD', KEYS[2], 0, ARGV[2])
if ARGV[7] == '' then
  redis.call('PERSIST', KEYS[1])
  redis.call('ZREM', KEYS[3], ARGV[2])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[8])
  redis.call('ZADD', KEYS[3], ARGV[7], ARGV[2])
end
return 1
"""
_TAKE: Final = """
local found = redis.call('HMGET', KEYS[1], 'v', 'e')
local value, ends = found[1], found[2]
if ends and ends ~= '' and tonumber(ends) <= tonumber(ARGV[2]) then value = false end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return value
"""
_APPEND: Final = """
local sequence = redis.call('INCR', KEYS[1])
redis.call('XADD', KEYS[2], string.format('%.0f-0', sequence), 'v', ARGV[1], 'e', ARGV[2])
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[3], 'LIMIT', 0, 64)) do
  redis.call('XDEL', KEYS[2], old .. '-0')
  redis.call('ZREM', KEYS[3], old)
end
if ARGV[2] ~= '' then redis.call('ZADD', KEYS[3], ARGV[2], string.format('%.0f', sequence)) end
redis.call('PUBLISH', ARGV[4], sequence)
return sequence
"""


class RedisStore:
    """Implements `Store`. Connects with the first operation. `password` is empty where the server asks for none."""

    def __init__(self, settings: RedisSettings, clock: Clock, password: str = "") -> None:
        self._prefix = settings.prefix
        self._clock = clock
        self._client = RedisClient(settings, password)
        self._redis = self._client.redis
        self._write: AsyncScript = self._redis.register_script(_WRITE)
        self._take: AsyncScript = self._redis.register_script(_TAKE)
        self._append: AsyncScript = self._redis.register_script(_APPEND)
        self._bell = Bell(self.last, _POLL)
        self._tasks = Tasks()
        self._listening = False
        self._closed = False

    async def get(self, table: str, key: str) -> bytes | None:
        check_key(table, key)
        value, ends = await self._client.ask(self._redis.hmget, self._name("v", table, key), ["v", "e"])
        return value if value is not None and live(_end(ends), self._clock.now()) else None

    async def put(self, table: str, key: str, value: bytes, *, expires: float | None = None) -> None:
        await self._set("any", table, key, b"", value, expires)

    async def add(self, table: str, key: str, value: bytes, *, expires: float | None = None) -> bool:
        return await self._set("absent", table, key, b"", value, expires)

    async def take(self, table: str, key: str) -> bytes | None:
        check_key(table, key)
        keys = [self._name("v", table, key), self._name("i", table), self._name("x", table)]
        value: bytes | None = await self._client.ask(self._take, keys, [key, repr(self._clock.now())])
        return value

    async def swap(self, table: str, key: str, old: bytes | None, new: bytes, *, expires: float | None = None) -> bool:
        if old is None:
            return await self._set("absent", table, key, b"", new, expires)
        return await self._set("equal", table, key, old, new, expires)

    async def delete(self, table: str, key: str) -> bool:
        return await self.take(table, key) is not None

    async def scan(self, table: str, prefix: str = "", limit: int = 10_000) -> list[tuple[str, bytes]]:
        check_key(table, prefix)
        found: list[tuple[str, bytes]] = []
        low, high = b"[" + prefix.encode(), b"(" + prefix.encode() + b"\xff"  # UTF-8 never holds the byte 0xff
        while len(found) < limit:
            keys: list[bytes] = await self._client.ask(
                self._redis.zrangebylex, self._name("i", table), low, high, 0, limit
            )
            if not keys:
                break
            low = b"(" + keys[-1]
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(self._name("v", table, key.decode()), ["v", "e"])
            now = self._clock.now()
            for key, (value, ends) in zip(keys, await self._client.ask(pipeline.execute), strict=True):
                if value is not None and live(_end(ends), now):
                    found.append((key.decode(), value))
        return found[:limit]

    async def append(self, log: str, entry: bytes, *, expires: float | None = None) -> int:
        check_name(log)
        check_value(log, entry, expires)
        keys = [self._name("n", log), self._name("l", log), self._name("y", log)]
        args: list[bytes | str] = [entry, _written(expires), repr(self._clock.now()), self._name("c", log)]
        sequence: int = await self._client.ask(self._append, keys, args)
        self._bell.ring(log)
        return sequence

    async def read(self, log: str, after: int = 0, limit: int = 10_000) -> Sequence[tuple[int, bytes]]:
        check_name(log)
        found: list[tuple[int, bytes]] = []
        while len(found) < limit:
            rows = await self._client.ask(self._redis.xrange, self._name("l", log), f"({after}-0", "+", limit)
            now = self._clock.now()
            for row, fields in rows:
                after = int(row.partition(b"-")[0])
                if live(_end(fields[b"e"]), now):
                    found.append((after, fields[b"v"]))
            if len(rows) < limit:
                break
        return found[:limit]

    async def last(self, log: str) -> int:
        check_name(log)
        return int(await self._client.ask(self._redis.get, self._name("n", log)) or 0)

    async def wait(self, log: str, after: int, timeout: float) -> bool:
        async def holds() -> bool:
            return bool(await self.read(log, after, 1))

        if timeout > 0 and not self._listening and not self._closed:
            self._listening = True
            self._tasks.start(self._listen(), "store: listen")
        return await self._bell.wait(log, holds, timeout)

    async def close(self) -> None:
        self._closed = True
        await self._bell.close()
        await self._tasks.close()
        await self._client.close()

    async def _set(self, when: str, table: str, key: str, old: bytes, value: bytes, expires: float | None) -> bool:
        check_key(table, key)
        check_value(table, value, expires)
        now = self._clock.now()
        keep = "" if expires is None else str(int((max(expires - now, 0.0) + _GRACE) * 1000))
        keys = [self._name("v", table, key), self._name("i", table), self._name("x", table)]
        args: list[bytes | str] = [
            self._name("v", table, ""),
            key,
            repr(now),
            when,
            old,
            value,
            _written(expires),
            keep,
        ]
        return bool(await self._client.ask(self._write, keys, args))

    async def _listen(self) -> None:
        """Hears that logs have grown; while it cannot, who waits looks again every second."""
        while True:
            try:
                async with self._redis.pubsub() as heard:
                    await heard.psubscribe(self._name("c", "*"))
                    await self._heed(heard)
            except (RedisError, OSError):
                await asyncio.sleep(_POLL)

    async def _heed(self, heard: PubSub) -> None:
        """Raises RedisError or OSError when the connection ends, or says nothing although it was asked."""
        asked = False
        while True:
            message = await heard.get_message(ignore_subscribe_messages=False, timeout=_QUIET)
            if message is None:
                if asked:
                    raise SilentError("the subscription does not answer")
                await heard.ping()
                asked = True
                continue
            asked = False
            if message["type"] == "pmessage":
                self._bell.ring(message["channel"].rpartition(b":")[2].decode("ascii", "replace"))
            elif message["type"] == "psubscribe":
                self._bell.ring_all()  # what came before was not heard

    def _name(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


def _written(expires: float | None) -> str:
    return "" if expires is None else repr(float(expires))


def _end(written: bytes | None) -> float | None:
    return float(written) if written else None

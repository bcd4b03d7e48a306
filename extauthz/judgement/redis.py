"""The queue in one Redis (or Valkey) server, for replicas on any number of machines.

Under the prefix, followed by `judgement:` (all times in seconds since the epoch, by the clock of who writes):

    queue        stream of entries: fields i (decision id), b (body), a (accepted); one consumer group, `judges`
    tickets      hash: decision id → the stream's id, while the entry is there
    verdicts     hash: the stream's id → verdict, between being judged and being told
    begun        hash: the stream's id → how often it was claimed and not put back
    ledger       stream of verdicts that were told, trimmed by age (the server's clock)
    strikes:K    sorted set of decision ids by the time of their request, for the key K
    quarantines  hash: key → quarantine, also those that ended a while ago
    changes      counts changes of quarantines

What reads and writes is one script, which Redis runs as one step. What was taken survives what the server's
persistence survives (`appendfsync`): a queue that must not lose anything needs an append-only file.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import ExtauthzError
from extauthz.judgement.quarantine import STRIKES, Quarantine
from extauthz.judgement.queue import ENDED_KEPT, MAX_QUARANTINES, Claim, Settled, State
from extauthz.store.redis_client import RedisClient
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis.commands.core import AsyncScript

    from extauthz.clock import Clock
    from extauthz.judgement.quarantine import Key
    from extauthz.judgement.queue import Settlement, Waiting
    from extauthz.judgement.settings import JudgementSettings
    from extauthz.store.settings import RedisSettings

_NAMES: Final = ("queue", "tickets", "verdicts", "begun", "ledger", "quarantines", "changes")
_ALIASES: Final = "local queue, tickets, verdicts, begun, ledger, quarantines, changes = unpack(KEYS)\n"
_GROUP: Final = """
local function group()
  if redis.call('EXISTS', queue) == 0 or #redis.call('XINFO', 'GROUPS', queue) == 0 then
    redis.call('XGROUP', 'CREATE', queue, 'judges', '0', 'MKSTREAM')
  end
end
"""
_PUT: Final = """
local room = tonumber(ARGV[1]) - (redis.call('XLEN', queue) - redis.call('HLEN', verdicts))
local taken = 0
for i = 2, #ARGV, 3 do
  if taken >= room then break end
  if redis.call('HEXISTS', tickets, ARGV[i]) == 0 then
    local ticket = redis.call('XADD', queue, '*', 'i', ARGV[i], 'b', ARGV[i + 1], 'a', ARGV[i + 2])
    redis.call('HSET', tickets, ARGV[i], ticket)
  end
  taken = taken + 1
end
return taken
"""
_WITHDRAW: Final = """
group()
for _, id in ipairs(ARGV) do
  local ticket = redis.call('HGET', tickets, id)
  if ticket and redis.call('HEXISTS', verdicts, ticket) == 0 then
    redis.call('XACK', queue, 'judges', ticket)
    redis.call('XDEL', queue, ticket)
    redis.call('HDEL', tickets, id)
    redis.call('HDEL', begun, ticket)
  end
end
return 0
"""
_CLAIM: Final = """
group()
local most = tonumber(ARGV[2])
local found = redis.call('XAUTOCLAIM', queue, 'judges', ARGV[1], ARGV[3], ARGV[4], 'COUNT', most)
local cursor, rows = found[1], found[2]
if #rows < most then
  local fresh = redis.call('XREADGROUP', 'GROUP', 'judges', ARGV[1], 'COUNT', most - #rows, 'STREAMS', queue, '>')
  if fresh then
    for _, row in ipairs(fresh[1][2]) do rows[#rows + 1] = row end
  end
end
local claims = {}
for _, row in ipairs(rows) do
  if row and row[2] then
    local times = redis.call('HINCRBY', begun, row[1], 1)
    claims[#claims + 1] = {row[1], row[2], times, redis.call('HGET', verdicts, row[1]) or ''}
  end
end
return {cursor, claims}
"""
_SETTLE: Final = """
local settlements = cjson.decode(ARGV[2])
local now = tonumber(ARGV[1])
local answers = {}
local function strike(s)
  local confined = redis.call('HGET', quarantines, s.key)
  if confined and tonumber(s.at) <= tonumber(cjson.decode(confined)['until']) then return false end
  local place = ARGV[3] .. s.key
  redis.call('ZADD', place, 'NX', s.at, s.id)
  redis.call('EXPIRE', place, math.ceil(s.window * 2) + 86400)
  local near = redis.call('ZRANGEBYSCORE', place, '(' .. s.low, '(' .. s.high, 'WITHSCORES')
  local enough = false
  for i = 1, #near / 2 - s.strikes + 1 do
    if tonumber(near[2 * (i + s.strikes - 1)]) - tonumber(near[2 * i]) < s.window then enough = true end
  end
  if not enough then return false end
  redis.call('DEL', place)
  redis.call('HSET', quarantines, s.key, s.begun)
  redis.call('INCR', changes)
  return true
end
for i, s in ipairs(settlements) do
  local first, begins = 0, 0
  if #redis.call('XRANGE', queue, s.ticket, s.ticket) == 1 and redis.call('HSETNX', verdicts, s.ticket, ARGV[i + 3]) == 1 then
    first = 1
    if s.strike and strike(s.strike) then begins = 1 end
  end
  answers[i] = {first, begins}
end
return answers
"""  # noqa: E501 - Lua
_PUT_BACK: Final = """
group()
for i = 3, #ARGV do
  if #redis.call('XCLAIM', queue, 'judges', ARGV[1], 0, ARGV[i], 'IDLE', ARGV[2], 'JUSTID') == 1 then
    redis.call('HINCRBY', begun, ARGV[i], -1)
  end
end
return 0
"""
_TOLD: Final = """
group()
for i = 2, #ARGV do
  local ticket = ARGV[i]
  local rows = redis.call('XRANGE', queue, ticket, ticket)
  local verdict = redis.call('HGET', verdicts, ticket)
  if #rows == 1 and verdict then
    redis.call('XADD', ledger, '*', 'v', verdict)
    for f = 1, #rows[1][2], 2 do
      if rows[1][2][f] == 'i' then redis.call('HDEL', tickets, rows[1][2][f + 1]) end
    end
    redis.call('XACK', queue, 'judges', ticket)
    redis.call('XDEL', queue, ticket)
    redis.call('HDEL', verdicts, ticket)
    redis.call('HDEL', begun, ticket)
  end
end
local oldest = tonumber(redis.call('TIME')[1]) * 1000 - tonumber(ARGV[1])
redis.call('XTRIM', ledger, 'MINID', '~', string.format('%d-0', oldest))
return 0
"""
_STATE: Final = """
local waiting = redis.call('XLEN', queue) - redis.call('HLEN', verdicts)
local oldest = ''
if waiting > 0 then
  local start = '-'
  for _ = 1, 8 do
    for _, row in ipairs(redis.call('XRANGE', queue, start, '+', 'COUNT', 256)) do
      start = '(' .. row[1]
      if redis.call('HEXISTS', verdicts, row[1]) == 0 then
        for f = 1, #row[2], 2 do
          if row[2][f] == 'a' then oldest = row[2][f + 1] end
        end
        break
      end
    end
    if oldest ~= '' then break end
  end
end
return {waiting, oldest, redis.call('GET', changes) or '0'}
"""
_CONFINE: Final = """
if ARGV[3] == 'held' and redis.call('HGET', quarantines, ARGV[1]) ~= ARGV[4] then return 0 end
redis.call('HSET', quarantines, ARGV[1], ARGV[2])
redis.call('INCR', changes)
return 1
"""


class RedisQueue:
    """Implements `Queue`."""

    def __init__(self, store: RedisSettings, settings: JudgementSettings, clock: Clock, password: str = "") -> None:
        self._settings = settings
        self._clock = clock
        self._client = RedisClient(store, password)
        self._prefix = store.prefix + "judgement:"
        self._keys = [self._prefix + name for name in _NAMES]
        self._judge = secrets.token_hex(8)
        self._cursor: bytes = b"0-0"
        self._scripts: dict[str, AsyncScript] = {}

    async def put(self, entries: Sequence[Waiting]) -> int:
        args: list[Any] = [self._settings.max_waiting]
        for entry in entries:
            args += [entry.id, entry.body, repr(entry.accepted)]
        taken: int = await self._run(_PUT, *args)
        return taken

    async def withdraw(self, ids: Iterable[str]) -> None:
        await self._run(_WITHDRAW, *ids)

    async def claim(self, most: int) -> Sequence[Claim]:
        idle = int(self._settings.lease * 1000)
        self._cursor, rows = await self._run(_CLAIM, self._judge, most, idle, self._cursor)
        claims = []
        for ticket, fields, begun, verdict in rows:
            found = dict(zip(fields[::2], fields[1::2], strict=True))
            claims.append(Claim(ticket.decode(), found[b"b"], float(found[b"a"]), begun, verdict))
        return claims

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        now = self._clock.now()
        begins = [_begun(settlement, now) for settlement in settlements]
        asked = [_asked(settlement, begun) for settlement, begun in zip(settlements, begins, strict=True)]
        verdicts = [settlement.verdict for settlement in settlements]
        answers = await self._run(_SETTLE, repr(now), orjson.dumps(asked), self._prefix + "strikes:", *verdicts)
        return [
            Settled(bool(first), begun if began else None)
            for (first, began), begun in zip(answers, begins, strict=True)
        ]

    async def put_back(self, tickets: Iterable[str], delay: float) -> None:
        idle = int(max(self._settings.lease - delay, 0.0) * 1000)  # beyond the lease nothing can be put off
        await self._run(_PUT_BACK, self._judge, idle, *tickets)

    async def told(self, tickets: Iterable[str]) -> None:
        await self._run(_TOLD, int(self._settings.keep * 1000), *tickets)

    async def state(self) -> State:
        waiting, oldest, changes = await self._run(_STATE)
        return State(waiting, float(oldest) if oldest else None, int(changes))

    async def ledger(self, after: str = "", limit: int = 10_000) -> Sequence[tuple[str, bytes]]:
        start = f"({after}" if after else "-"
        rows = await self._client.ask(self._client.redis.xrange, self._prefix + "ledger", start, "+", limit)
        return [(place.decode(), fields[b"v"]) for place, fields in rows]

    async def quarantines(self) -> Sequence[Quarantine]:
        place = self._prefix + "quarantines"
        found: dict[bytes, bytes] = await self._client.ask(self._client.redis.hgetall, place)
        now, made, gone = self._clock.now(), [], []
        for key, value in found.items():
            quarantine = _load(value)
            if quarantine.until > now:
                made.append(quarantine)
            elif quarantine.until <= now - ENDED_KEPT:
                gone.append(key)
        if gone:
            await self._client.ask(self._client.redis.hdel, place, *gone)
        return sorted(made, key=lambda quarantine: quarantine.until, reverse=True)[:MAX_QUARANTINES]

    async def confine(self, quarantine: Quarantine) -> None:
        await self._run(_CONFINE, quarantine.key.text, quarantine.dump(), "any")

    async def release(self, key: Key) -> Quarantine | None:
        while True:
            place = self._prefix + "quarantines"
            held: bytes | None = await self._client.ask(self._client.redis.hget, place, key.text)
            now = self._clock.now()
            if held is None or (found := _load(held)).until <= now:
                return None
            ended = Quarantine(found.key, found.since, now, found.by, found.decision_id)
            if await self._run(_CONFINE, key.text, ended.dump(), "held", held):
                return found

    async def close(self) -> None:
        await self._client.close()

    async def _run(self, script: str, *args: Any) -> Any:
        ready = self._scripts.get(script)
        if ready is None:
            ready = self._scripts[script] = self._client.redis.register_script(_ALIASES + _GROUP + script)
        return await self._client.ask(ready, self._keys, args)


def _begun(settlement: Settlement, now: float) -> Quarantine | None:
    strike = settlement.strike
    return None if strike is None else Quarantine(strike.key, now, now + strike.duration, STRIKES, strike.id)


def _asked(settlement: Settlement, begun: Quarantine | None) -> dict[str, Any]:
    """Numbers as text where Lua would round them."""
    strike = settlement.strike
    if strike is None or begun is None:
        return {"ticket": settlement.ticket}
    asked = {
        "key": strike.key.text,
        "id": strike.id,
        "at": repr(strike.at),
        "low": repr(strike.at - strike.window),
        "high": repr(strike.at + strike.window),
        "strikes": strike.strikes,
        "window": strike.window,
        "begun": begun.dump().decode(),
    }
    return {"ticket": settlement.ticket, "strike": asked}


def _load(value: bytes) -> Quarantine:
    """Raises StoreError."""
    try:
        return Quarantine.load(value)
    except ExtauthzError as error:
        raise StoreError(f"redis: {error}") from None

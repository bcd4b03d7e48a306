"""The queue in one SQLite file, for the workers of one machine.

Every change is one transaction. A commit is with the operating system when it is answered, so it survives the end of
this process, but the last ones may be lost in a power cut. The number of waiting entries is counted in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.judgement.quarantine import STRIKES, Key, Quarantine, enough
from extauthz.judgement.queue import ENDED_KEPT, MAX_QUARANTINES, STRIKES_KEPT, Claim, Settled, State
from extauthz.store.sqlite_file import Layout, SqliteFile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from extauthz.clock import Clock
    from extauthz.judgement.queue import Settlement, Strike, Waiting
    from extauthz.judgement.settings import JudgementSettings
    from extauthz.store.settings import SqliteStoreSettings

_SWEEP: Final = 1000
_LAYOUT: Final = Layout(
    8001,
    """
CREATE TABLE entry (
    ticket INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL, accepted REAL NOT NULL,
    due REAL NOT NULL, begun INTEGER NOT NULL, verdict BLOB
) STRICT;
CREATE INDEX entry_due ON entry (due);
CREATE INDEX entry_waiting ON entry (accepted) WHERE verdict IS NULL;
CREATE TABLE ledger (place INTEGER PRIMARY KEY AUTOINCREMENT, verdict BLOB NOT NULL, told REAL NOT NULL) STRICT;
CREATE INDEX ledger_told ON ledger (told);
CREATE TABLE strike (id TEXT NOT NULL PRIMARY KEY, key TEXT NOT NULL, at REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX strike_key ON strike (key, at);
CREATE INDEX strike_at ON strike (at);
CREATE TABLE quarantine (
    key TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, value TEXT NOT NULL, issuer TEXT NOT NULL, route TEXT NOT NULL,
    since REAL NOT NULL, until REAL NOT NULL, origin TEXT NOT NULL, decision_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX quarantine_until ON quarantine (until);
CREATE TABLE total (one INTEGER PRIMARY KEY CHECK (one = 1), waiting INTEGER NOT NULL, changes INTEGER NOT NULL) STRICT;
INSERT INTO total (one, waiting, changes) VALUES (1, 0, 0)
""",
    synchronous="NORMAL",
)
_ROOM: Final = """SELECT ? - waiting, (SELECT max_page_count FROM pragma_max_page_count)
    - (SELECT page_count FROM pragma_page_count) + (SELECT freelist_count FROM pragma_freelist_count),
    (SELECT max_page_count FROM pragma_max_page_count), (SELECT page_size FROM pragma_page_size)
FROM total"""
_RESERVE: Final = 0.1
"""Share of the file's bound that new entries never take: when it is full, what waits can still be settled."""
_PUT: Final = "INSERT INTO entry (id, body, accepted, due, begun) VALUES (?, ?, ?, ?, 0) ON CONFLICT (id) DO NOTHING"
_COUNT: Final = "UPDATE total SET waiting = waiting + ?"
_CHANGED: Final = "UPDATE total SET changes = changes + 1"
_WITHDRAW: Final = "DELETE FROM entry WHERE id = ? AND verdict IS NULL"
_CLAIM: Final = """UPDATE entry SET due = ?, begun = begun + 1
WHERE ticket IN (SELECT ticket FROM entry WHERE due <= ? ORDER BY due LIMIT ?)
RETURNING ticket, body, accepted, begun, verdict"""
_SETTLE: Final = "UPDATE entry SET verdict = ?, due = ? WHERE ticket = ? AND verdict IS NULL"
_PUT_BACK: Final = "UPDATE entry SET due = ?, begun = max(begun - 1, 0) WHERE ticket = ?"
_KEEP: Final = (
    "INSERT INTO ledger (verdict, told) SELECT verdict, ? FROM entry WHERE ticket = ? AND verdict IS NOT NULL"
)
_TOLD: Final = "DELETE FROM entry WHERE ticket = ? AND verdict IS NOT NULL"
_SWEEPS: Final = (
    ("DELETE FROM ledger WHERE place IN (SELECT place FROM ledger WHERE told <= ? LIMIT ?)", None),
    ("DELETE FROM strike WHERE id IN (SELECT id FROM strike WHERE at <= ? LIMIT ?)", STRIKES_KEPT),
    ("DELETE FROM quarantine WHERE key IN (SELECT key FROM quarantine WHERE until <= ? LIMIT ?)", ENDED_KEPT),
)
_STATE: Final = "SELECT waiting, (SELECT min(accepted) FROM entry WHERE verdict IS NULL), changes FROM total"
_LEDGER: Final = "SELECT place, verdict FROM ledger WHERE place > ? ORDER BY place LIMIT ?"
_STRIKE: Final = "INSERT INTO strike (id, key, at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING"
_NEAR: Final = "SELECT at FROM strike WHERE key = ? AND at > ? AND at < ?"
_IN_FORCE: Final = "SELECT kind, value, issuer, route, since, until, origin, decision_id FROM quarantine"
_CONFINE: Final = """INSERT OR REPLACE INTO quarantine
(key, kind, value, issuer, route, since, until, origin, decision_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class SqliteQueue:
    """Implements `Queue`."""

    def __init__(self, store: SqliteStoreSettings, settings: JudgementSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._file = SqliteFile(store, _LAYOUT)

    async def put(self, entries: Sequence[Waiting]) -> int:
        most = self._settings.max_waiting

        def step(connection: sqlite3.Connection) -> int:
            taken = entries[: _fitting(entries, *connection.execute(_ROOM, (most,)).fetchone())]
            rows = ((entry.id, entry.body, entry.accepted, entry.accepted) for entry in taken)
            new = connection.executemany(_PUT, rows).rowcount if taken else 0
            connection.execute(_COUNT, (new,))
            return len(taken)

        return await self._file.change(step)

    async def withdraw(self, ids: Iterable[str]) -> None:
        gone = [(entry,) for entry in ids]

        def step(connection: sqlite3.Connection) -> None:
            connection.execute(_COUNT, (-connection.executemany(_WITHDRAW, gone).rowcount,))

        await self._file.change(step)

    async def claim(self, most: int) -> Sequence[Claim]:
        now = self._clock.now()
        bound = (now + self._settings.lease, now, most)

        def step(connection: sqlite3.Connection) -> list[Claim]:
            rows = connection.execute(_CLAIM, bound).fetchall()
            return [Claim(str(row[0]), row[1], row[2], row[3], row[4] or b"") for row in sorted(rows)]

        return await self._file.change(step)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        now = self._clock.now()

        def step(connection: sqlite3.Connection) -> list[Settled]:
            answers = []
            for settlement in settlements:
                bound = (settlement.verdict, now + self._settings.lease, int(settlement.ticket))
                first = connection.execute(_SETTLE, bound).rowcount == 1
                begun = _strike(connection, settlement.strike, now) if first and settlement.strike else None
                answers.append(Settled(first, begun))
            connection.execute(_COUNT, (-sum(answer.first for answer in answers),))
            return answers

        return await self._file.change(step)

    async def put_back(self, tickets: Iterable[str], delay: float) -> None:
        rows = [(self._clock.now() + delay, int(ticket)) for ticket in tickets]

        def step(connection: sqlite3.Connection) -> None:
            connection.executemany(_PUT_BACK, rows)

        await self._file.change(step)

    async def told(self, tickets: Iterable[str]) -> None:
        now = self._clock.now()
        rows = [(now, int(ticket)) for ticket in tickets]

        def step(connection: sqlite3.Connection) -> None:
            connection.executemany(_KEEP, rows)
            connection.executemany(_TOLD, [row[1:] for row in rows])
            for sweep, kept in _SWEEPS:
                connection.execute(sweep, (now - (self._settings.keep if kept is None else kept), _SWEEP))

        await self._file.change(step)

    async def state(self) -> State:
        return await self._file.run(lambda connection: State(*connection.execute(_STATE).fetchone()))

    async def ledger(self, after: str = "", limit: int = 10_000) -> Sequence[tuple[str, bytes]]:
        bound = (int(after or 0), limit)
        rows = await self._file.run(lambda connection: connection.execute(_LEDGER, bound).fetchall())
        return [(str(place), verdict) for place, verdict in rows]

    async def quarantines(self) -> Sequence[Quarantine]:
        bound = (self._clock.now(), MAX_QUARANTINES)
        select = f"{_IN_FORCE} WHERE until > ? ORDER BY until DESC LIMIT ?"
        rows = await self._file.run(lambda connection: connection.execute(select, bound).fetchall())
        return [Quarantine(Key(*row[:4]), *row[4:]) for row in rows]

    async def confine(self, quarantine: Quarantine) -> None:
        await self._file.change(lambda connection: _confine(connection, quarantine))

    async def release(self, key: Key) -> Quarantine | None:
        now = self._clock.now()
        select, update = f"{_IN_FORCE} WHERE key = ? AND until > ?", "UPDATE quarantine SET until = ? WHERE key = ?"

        def step(connection: sqlite3.Connection) -> Quarantine | None:
            row = connection.execute(select, (key.text, now)).fetchone()
            if row is None:
                return None
            connection.execute(update, (now, key.text))
            connection.execute(_CHANGED)
            return Quarantine(Key(*row[:4]), *row[4:])

        return await self._file.change(step)

    async def close(self) -> None:
        await self._file.close()


def _fitting(entries: Sequence[Waiting], room: int, free: int, most: int, page: int) -> int:
    """How many of the first entries fit: `room` entries, and the `free` of at most `most` pages, less the reserve."""
    left = free - int(most * _RESERVE)
    for index, entry in enumerate(entries[: max(room, 0)]):
        left -= len(entry.body) // page + 2  # its own pages, and its part of those of the indexes
        if left < 0:
            return index
    return min(len(entries), max(room, 0))


def _strike(connection: sqlite3.Connection, strike: Strike, now: float) -> Quarantine | None:
    """Counts it; the quarantine that it begins. What was accepted before the end of the last one counts no more."""
    key = strike.key.text
    row = connection.execute("SELECT until FROM quarantine WHERE key = ?", (key,)).fetchone()
    if row is not None and strike.at <= row[0]:
        return None
    connection.execute(_STRIKE, (strike.id, key, strike.at))
    near = connection.execute(_NEAR, (key, strike.at - strike.window, strike.at + strike.window)).fetchall()
    if not enough([at for (at,) in near], strike.at, strike.strikes, strike.window):
        return None
    begun = Quarantine(strike.key, now, now + strike.duration, STRIKES, strike.id)
    connection.execute("DELETE FROM strike WHERE key = ?", (key,))
    _confine(connection, begun)
    return begun


def _confine(connection: sqlite3.Connection, quarantine: Quarantine) -> None:
    key = quarantine.key
    named = (key.text, key.kind, key.value, key.issuer, key.route)
    connection.execute(_CONFINE, (*named, quarantine.since, quarantine.until, quarantine.by, quarantine.decision_id))
    connection.execute(_CHANGED)

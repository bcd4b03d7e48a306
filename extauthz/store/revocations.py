"""The log of what has been revoked before its time: written by the authority, read by every Check server.

An entry is `{"kind", "value", "before", "until", "reason", "at"}`, all times in seconds since the epoch:

    token     SHA-256 of a token, lower-case hex
    jti       a token's id; also every token that was derived from it (`ancestors`)
    subject   tokens of this subject, those issued up to `before`; null: all
    workload  a SPIFFE ID, or a certificate's x5t#S256
    key       the id of a signing key

An entry is never taken back; it is forgotten at `until`, when what it revokes has ended by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import orjson

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.clock import Clock
    from extauthz.store.store import Store

Kind = Literal["token", "jti", "subject", "workload", "key"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
LOG: Final = "revocations"
MAX_ENTRIES: Final = 100_000
"""Entries of one page. A log with more in force is never complete, so its readers fail closed."""
MAX_VALUE_BYTES: Final = 2048
MAX_REASON: Final = 256
_MEMBERS: Final = frozenset({"kind", "value", "before", "until", "reason", "at"})
_END_OF_TIME: Final = 1e12
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class BadRevocation(ExtauthzError):
    """Not an entry of this log. The text quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry. Raises BadRevocation when made of anything else than the format allows."""

    kind: Kind
    value: str
    until: float
    before: float | None = None
    reason: str = ""
    at: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadRevocation("kind is none of " + ", ".join(KINDS))
        if not 0 < _size(self.value) <= MAX_VALUE_BYTES:
            raise BadRevocation(f"value is not a text of 1 to {MAX_VALUE_BYTES} bytes")
        if self.kind == "token" and not _DIGEST.fullmatch(self.value):
            raise BadRevocation("a token is named by its SHA-256 in lower-case hex")
        if not _seconds(self.until) or not _seconds(self.at):
            raise BadRevocation("until and at are seconds since the epoch")
        if self.before is not None and (self.kind != "subject" or not _seconds(self.before)):
            raise BadRevocation("before is seconds since the epoch, and only for a subject")
        if len(self.reason) > MAX_REASON or not self.reason.isprintable():
            raise BadRevocation(f"reason is not one line of at most {MAX_REASON} characters")

    def plain(self) -> dict[str, Any]:
        """As JSON has it; `parse` reads it back."""
        return {
            "kind": self.kind,
            "value": self.value,
            "before": self.before,
            "until": self.until,
            "reason": self.reason,
            "at": self.at,
        }


@dataclass(frozen=True, slots=True)
class Page:
    """What was revoked after some sequence number, up to `sequence`.

    `complete`: nothing that belongs into it is missing. Otherwise `entries` are true, but who needs all of them must
    ask for everything (`after` 0) again.
    """

    sequence: int
    complete: bool
    entries: tuple[Revocation, ...]

    def plain(self) -> dict[str, Any]:
        """The body of `GET /v1/revocations`."""
        entries = [entry.plain() for entry in self.entries]
        return {"sequence": self.sequence, "complete": self.complete, "entries": entries}


def parse(raw: object) -> Revocation:
    """Raises BadRevocation."""
    if not isinstance(raw, dict) or raw.keys() != _MEMBERS:
        raise BadRevocation("not an object with the members " + ", ".join(sorted(_MEMBERS)))
    if not isinstance(raw["value"], str) or not isinstance(raw["reason"], str):
        raise BadRevocation("value and reason are texts")
    return Revocation(**raw)


def parse_page(body: bytes) -> Page:
    """The body of `GET /v1/revocations`; an entry that is none makes it incomplete. Raises BadRevocation."""
    try:
        tree = orjson.loads(body)
    except ValueError:
        raise BadRevocation("the page is not JSON") from None
    if not isinstance(tree, dict):
        raise BadRevocation("the page is not an object")
    sequence, complete, rows = tree.get("sequence"), tree.get("complete"), tree.get("entries")
    if type(sequence) is not int or sequence < 0 or type(complete) is not bool or not isinstance(rows, list):
        raise BadRevocation("the page lacks sequence, complete or entries")
    entries, all_good = _parsed(rows)
    return Page(sequence, complete and all_good, entries)


class RevocationLog:
    """The log `revocations` of a store. Every method raises StoreError when the store does not answer."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def revoke(self, kind: Kind, value: str, *, until: float, before: float | None = None, reason: str) -> int:
        """The entry's sequence number: it is stored. `until`: when what is revoked would have ended by itself.

        To revoke a token with all that was derived from it, revoke its `jti`; a token without one, its `token`.
        Raises BadRevocation.
        """
        line = "".join(c if c.isprintable() else " " for c in reason)[:MAX_REASON]
        entry = Revocation(kind, value, until, before, line, self._clock.now())
        return await self._store.append(LOG, orjson.dumps(entry.plain()), expires=until)

    async def read(self, after: int = 0, wait: float = 0.0) -> Page:
        """What came after `after`; 0: all that is in force. Waits at most `wait` seconds while there is nothing."""
        page = await self._page(after)
        if wait > 0 and page.complete and not page.entries and await self._store.wait(LOG, page.sequence, wait):
            page = await self._page(after)
        return page

    async def _page(self, after: int) -> Page:
        last = await self._store.last(LOG)  # first: what is appended in between may be read twice, never skipped
        if after > last:
            return Page(last, complete=False, entries=())  # not the log that the reader knows
        rows = await self._store.read(LOG, after, MAX_ENTRIES)
        entries, all_good = _parsed(_loaded(row) for _, row in rows)
        sequence = max(last, rows[-1][0]) if rows else last
        return Page(sequence, all_good and len(rows) < MAX_ENTRIES, compact(entries) if after == 0 else entries)


def compact(entries: Iterable[Revocation]) -> tuple[Revocation, ...]:
    """Without what another entry for the same thing already says."""
    longest: dict[tuple[str, str, float | None], Revocation] = {}
    for entry in entries:
        key = (entry.kind, entry.value, entry.before)
        if key not in longest or longest[key].until < entry.until:
            longest[key] = entry
    return tuple(longest.values())


def _parsed(rows: Iterable[object]) -> tuple[tuple[Revocation, ...], bool]:
    """The entries among `rows`, and whether all are."""
    entries, all_good = [], True
    for row in rows:
        try:
            entries.append(parse(row))
        except BadRevocation:
            all_good = False
    return tuple(entries), all_good


def _loaded(row: bytes) -> object:
    try:
        return orjson.loads(row)
    except ValueError:
        return None


def _size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


def _seconds(value: object) -> bool:
    return type(value) in {int, float} and 0 <= value < _END_OF_TIME  # type: ignore[operator]  # a number, by its type

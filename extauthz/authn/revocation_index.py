"""What is revoked, ready to be asked: an index that never changes, and the entries that one is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from extauthz.store.revocations import KINDS, Revocation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from extauthz.store.revocations import Kind

FOREVER: Final = float("inf")
_ANCESTOR: Final = "sha256:"
"""How `ancestors` names a token that had no id."""


@dataclass(frozen=True, slots=True)
class Index:
    """One state. `tokens` holds ids and, as `ancestors` names them, digests; `subject` the last `iat` revoked."""

    tokens: frozenset[str] = frozenset()
    subject: Mapping[str, float] = field(default_factory=dict)
    workload: frozenset[str] = frozenset()
    key: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        *,
        token: Iterable[str] = (),
        jti: Iterable[str] = (),
        subject: Mapping[str, float] | None = None,
        workload: Iterable[str] = (),
        key: Iterable[str] = (),
    ) -> Index:
        tokens = frozenset(jti).union(_ANCESTOR + digest for digest in token)
        return cls(tokens, subject or {}, frozenset(workload), frozenset(key))

    def __or__(self, other: Index) -> Index:
        """What either of them says."""
        subject = dict(self.subject)
        for name, before in other.subject.items():
            subject[name] = max(before, subject.get(name, 0.0))
        return Index(self.tokens | other.tokens, subject, self.workload | other.workload, self.key | other.key)

    def token(self, *, digest: str, jti: str, sub: str, kid: str, issued_at: float, ancestors: tuple[str, ...]) -> bool:
        return (
            jti in self.tokens
            or kid in self.key
            or _ANCESTOR + digest in self.tokens
            or (sub in self.subject and issued_at <= self.subject[sub])
            or not self.tokens.isdisjoint(ancestors)
        )


class Learned:
    """Entries that were told to us, at most `room` of them; each is kept until it may be forgotten.

    Of one thing, entries that another one covers (as long, and for as many tokens) are not kept.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._entries: dict[Kind, dict[str, tuple[Revocation, ...]]] = {kind: {} for kind in KINDS}
        self._first_end = FOREVER
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[tuple[Revocation, ...]]:
        for kind in KINDS:
            yield from self._entries[kind].values()

    def counts(self) -> dict[Kind, int]:
        """Things that are revoked, by kind."""
        return {kind: len(self._entries[kind]) for kind in KINDS}

    def add(self, entries: Iterable[Revocation], now: float) -> tuple[tuple[Revocation, ...], bool]:
        """Those that say something new, and whether there was room for all of them."""
        new: list[Revocation] = []
        for entry in entries:
            known = self._entries[entry.kind].get(entry.value, ())
            if entry.until <= now or any(_covers(other, entry) for other in known):
                continue
            kept = tuple(other for other in known if not _covers(entry, other))
            size = self._size + 1 + len(kept) - len(known)
            if size > self._room:
                return tuple(new), False
            self._size = size
            self._entries[entry.kind][entry.value] = (*kept, entry)
            self._first_end = min(self._first_end, entry.until)
            new.append(entry)
        return tuple(new), True

    def forget(self, now: float) -> bool:
        """Drops what has ended; whether there was any."""
        if now < self._first_end:
            return False
        left = [entry for entries in self for entry in entries if entry.until > now]
        self._entries = {kind: {} for kind in KINDS}
        self._first_end, self._size = FOREVER, len(left)
        for entry in left:
            standing = self._entries[entry.kind]
            standing[entry.value] = (*standing.get(entry.value, ()), entry)
            self._first_end = min(self._first_end, entry.until)
        return True

    def index(self) -> Index:
        return index_of(entry for entries in self for entry in entries)


def index_of(entries: Iterable[Revocation]) -> Index:
    plain: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    subject: dict[str, float] = {}
    for entry in entries:
        if entry.kind == "subject":
            subject[entry.value] = max(_before(entry), subject.get(entry.value, 0.0))
        else:
            plain[entry.kind].append(entry.value)
    return Index.of(
        token=plain["token"], jti=plain["jti"], subject=subject, workload=plain["workload"], key=plain["key"]
    )


def _before(entry: Revocation) -> float:
    return FOREVER if entry.before is None else entry.before


def _covers(one: Revocation, other: Revocation) -> bool:
    return one.until >= other.until and _before(one) >= _before(other)

"""What has been revoked before its time: the file's words and what was told to us, merged into one index.

Laws:
1. The index in force never changes; it is swapped as a whole, and the epoch grows with each swap.
2. Nothing is taken back: what was told stays revoked until its entry says that it may be forgotten, whatever a source
   says later, and over a reload.
3. Who does not know is not sure: `stale` is asked of the clock, so it also turns true when nobody is left to set it.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING, Any

from extauthz.authn.files import WatchedFile
from extauthz.authn.revocation_file import read
from extauthz.authn.revocation_index import FOREVER, Index, Learned, index_of
from extauthz.clock import Clock, SystemClock
from extauthz.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.authn.settings import RevocationSettings
    from extauthz.model import Workload
    from extauthz.store.revocations import Revocation

log = logging.getLogger(__name__)


class Revocations:
    """Raises ConfigError when made with a file that cannot be used.

    A file that breaks later changes nothing: what was revoked stays revoked, and `problem` says what is wrong.
    `reload`, `learn` and `forget` may run in a thread, everything else runs in the event loop's.
    """

    __slots__ = (
        *("_clock", "_file", "_file_until", "_from_file", "_index", "_learned", "_lock", "_until"),
        *("epoch", "heard_at", "problem", "sequence", "settings"),
    )

    def __init__(self, settings: RevocationSettings, clock: Clock | None = None) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self._file = None if settings.file is None else WatchedFile(settings.file)
        self._from_file = Index() if self._file is None else read(self._file.changed() or b"", self._file.path)
        self._learned = Learned(settings.max_entries)
        self._index = self._from_file
        self._lock = Lock()
        self._file_until = FOREVER if self._file is None else self._clock.monotonic() + settings.max_age
        self._until = 0.0 if settings.remote else FOREVER
        self.epoch = 0
        self.problem = ""
        self.sequence = 0
        """The newest entry that was told to us."""
        self.heard_at: float | None = None
        """When everything up to then was known, in monotonic seconds; None: it never was."""

    @property
    def stale(self) -> bool:
        """Whether something may have been revoked, longer ago than `max_age`, that we do not know of."""
        now = self._clock.monotonic()
        return now >= self._until or now >= self._file_until

    @property
    def size(self) -> int:
        """Entries that were told to us."""
        return len(self._learned)

    def token(
        self, *, digest: str, jti: str, sub: str, kid: str, issued_at: float, ancestors: tuple[str, ...] = ()
    ) -> bool:
        """Whether a verified token is revoked. `digest` is lower-case hex; `issued_at` 0 counts as always revoked.

        `ancestors`: ids of the tokens that it was derived from; `sha256:<digest>` of one that had none.
        """
        return self._index.token(digest=digest, jti=jti, sub=sub, kid=kid, issued_at=issued_at, ancestors=ancestors)

    def workload(self, workload: Workload) -> bool:
        """By its name, its certificate, or one that its certificate has replaced: whoever had that one's key could have
        renewed it, so what came of it is not trusted either."""
        revoked = self._index.workload
        if not revoked:
            return False
        certificates = (workload.certificate_sha256, *workload.predecessors)
        return workload.id in revoked or not revoked.isdisjoint(certificates)

    def any_workload(self, names: Iterable[str]) -> bool:
        """Whether one of these SPIFFE IDs and certificates (`x5t#S256`) is revoked."""
        return not self._index.workload.isdisjoint(names)

    def reload(self) -> bool:
        """Looks at the file once; whether something changed."""
        if self._file is None:
            return False
        try:
            content = self._file.changed()
            fresh = None if content is None else read(content, self._file.path)
        except ConfigError as error:
            self.problem = str(error)
            log.error("revocations kept as they were: %s", error)  # noqa: TRY400 - the message says all
            return False
        if fresh is None and self.problem:
            return False  # unchanged, and so as broken as it was
        self.problem = ""
        self._file_until = self._clock.monotonic() + self.settings.max_age
        if fresh is None:
            return False
        with self._lock:
            self._from_file = fresh
            self._swap(fresh | self._learned.index())
        return True

    def learn(self, entries: Iterable[Revocation]) -> bool:
        """Adds what was told; False, and stale at once, when there was no room for all of it."""
        with self._lock:
            new, all_fit = self._learned.add(entries, self._clock.now())
            if new:
                self._swap(self._index | index_of(new))
        if not all_fit:
            self._until = 0.0
        return all_fit

    def heard(self, sequence: int, age: float = 0.0) -> None:
        """All that was revoked up to `age` seconds ago has been learned; `sequence` is the newest of it."""
        self.sequence = sequence
        self.heard_at = self._clock.monotonic() - age
        self._until = self.heard_at + self.settings.max_age

    def forget(self) -> None:
        """Drops entries that may be forgotten."""
        with self._lock:
            if self._learned.forget(self._clock.now()):
                self._swap(self._from_file | self._learned.index())

    def inherit(self, former: Revocations) -> None:
        """Takes over what an earlier configuration's object was told; and how fresh that is, from the same source."""
        all_fit = self.learn(former.learned())
        mine, its = self.settings, former.settings
        if all_fit and former.heard_at is not None and (mine.feed, mine.redis) == (its.feed, its.redis):
            self.heard(former.sequence, self._clock.monotonic() - former.heard_at)

    def learned(self) -> list[Revocation]:
        """What was told, for a snapshot."""
        with self._lock:
            return [entry for entries in self._learned for entry in entries]

    def numbers(self) -> dict[str, Any]:
        """For metrics: `age` in seconds, None when nothing was heard yet or nobody tells us."""
        age = None if self.heard_at is None else self._clock.monotonic() - self.heard_at
        return {"sequence": self.sequence, "entries": self._learned.counts(), "age": age, "stale": self.stale}

    def _swap(self, index: Index) -> None:
        # Index first: who sees the new epoch sees the new index.
        self._index = index
        self.epoch += 1

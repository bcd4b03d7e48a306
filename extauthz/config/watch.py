"""Seeing that files changed, and which changes a running server cannot take.

A watcher looks (it does not listen: inotify sees neither network file systems nor the symlink swaps of mounted
secrets), and calls back once the files have come to rest:

1. Stamps (mtime, ctime, size, inode) are compared; only what has another stamp is read again.
2. Contents are compared by digest, so touching a file is no change.
3. A change is reported when two looks in a row see the same contents, so a half-written directory is not.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import stat
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from extauthz.config.files import named_files
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from extauthz.clock import Clock
    from extauthz.config.model import Config

log = logging.getLogger(__name__)

INTERVAL: Final = 1.0
MAX_FILES: Final = 10_000
"""Files of one directory that are looked at."""
_CHUNK: Final = 1024 * 1024
_YOUNG: Final = 2.0
"""Seconds in which a file may change again without getting another mtime; younger files are always read."""
_READ_BY_THEIR_USERS: Final = frozenset({"api_keys", "identity", "issuers", "workload", "revocation"})
"""Blocks whose files (API keys, identity, JWKS, trust bundles, revocations) are read again without a reload."""
_READ_ONCE: Final = frozenset({"secret_file"})
"""Files in those blocks that are read when the configuration is loaded, and not again."""

Contents = dict[str, str]
"""Path → digest of the file; a file that is not there is not in it."""


def watched(config: Config, *, everything: bool = False) -> tuple[Path, ...]:
    """The files and directories of `config` that call for a reload; `everything` adds those that need none.

    The configuration file itself is not among them: the caller knows it.
    """
    return tuple(
        path
        for location, path in named_files(config)
        if everything or not location or location[0] not in _READ_BY_THEIR_USERS or location[-1] in _READ_ONCE
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    stamp: tuple[int, int, int, int]
    digest: str
    young: bool


class Watcher:
    """Calls `changed` when what `paths` names has changed and come to rest.

    `paths` is asked at every look, so a reload may name other files. `changed` may raise: the watcher goes on.
    """

    def __init__(
        self,
        paths: Callable[[], Iterable[Path]],
        changed: Callable[[], Awaitable[object]],
        clock: Clock,
        *,
        interval: float = INTERVAL,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._paths = paths
        self._changed = changed
        self._clock = clock
        self._interval = interval
        self._sleep = sleep
        self._seen: dict[str, _Seen] = {}
        self._reported: Contents | None = None
        self._last: Contents | None = None

    async def run(self) -> None:
        """Looks until it is cancelled. The state of the first look is what later ones are compared with."""
        while True:
            await self.look()
            await self._sleep(self._interval)

    async def note(self) -> None:
        """What stands there now is about to be read by somebody else, and is no news: call it before that."""
        self._reported = await asyncio.to_thread(self._contents, tuple(self._paths()))

    async def look(self) -> bool:
        """One look; True when a change was reported."""
        contents = await asyncio.to_thread(self._contents, tuple(self._paths()))
        at_rest, self._last = contents == self._last, contents
        if self._reported is None:
            self._reported = contents
            return False
        if not at_rest or contents == self._reported:  # 3
            return False
        self._reported = contents
        try:
            await self._changed()
        except ExtauthzError as error:
            log.error("files changed, but the change was not taken: %s", error)  # noqa: TRY400 - no traceback for these
        except Exception:
            log.exception("files changed, but the change was not taken")
        return True

    def _contents(self, paths: Iterable[Path]) -> Contents:
        seen: dict[str, _Seen] = {}
        now = self._clock.now()
        for path in paths:
            for file in _files(path):
                if (entry := self._entry(file, now)) is not None:
                    seen[str(file)] = entry
        self._seen = seen
        return {name: entry.digest for name, entry in seen.items()}

    def _entry(self, file: Path, now: float) -> _Seen | None:
        try:
            info = file.stat()
            if not stat.S_ISREG(info.st_mode):
                return None
            stamp = (info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino)
            known = self._seen.get(str(file))
            if known is not None and known.stamp == stamp and not known.young:  # 1
                return known
            return _Seen(stamp, _digest(file), young=now - info.st_mtime < _YOUNG)  # 2
        except (OSError, ValueError):
            return None


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(islice((file for file in path.rglob("*") if not file.is_dir()), MAX_FILES))
    else:
        yield path


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    """Keys that differ and that a running server cannot take."""
    names = type(old.server).model_fields
    return tuple(f"server.{name}" for name in names if getattr(old.server, name) != getattr(new.server, name))

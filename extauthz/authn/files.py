"""Files that may change under a running server: bounded reads, compared by content.

Content, not mtime: an atomic rename, a ConfigMap's symlink swap and a rewrite within one clock tick are all seen.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final, Protocol

from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

MAX_BYTES: Final = 16 * 1024 * 1024


class WatchedFile:
    """A file that is read again and again; not safe for use by two threads at once."""

    __slots__ = ("_digest", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digest = b""

    def changed(self) -> bytes | None:
        """The content where it differs from what this method last gave, else None. Raises ConfigError."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            self._digest = b""  # when the file is back, it is news
            raise file_error(self.path, f"cannot be read: {error.strerror}", "check path and rights") from None
        if len(content) > MAX_BYTES:
            raise file_error(self.path, f"is larger than {MAX_BYTES} bytes", "make it smaller")
        digest = hashlib.sha256(content).digest()
        if digest == self._digest:
            return None
        self._digest = digest
        return content


def file_error(path: Path, message: str, remedy: str) -> ConfigError:
    return ConfigError((ConfigProblem(str(path), 0, "", message, remedy),))


class Reloadable(Protocol):
    def reload(self) -> bool:
        """Look at the files once; True when something changed. A broken file changes nothing and is logged."""


async def watch(
    parts: Sequence[Reloadable], interval: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Keep `parts` up to date until cancelled; files are read in a thread, `interval` in seconds."""
    while True:
        await sleep(interval)
        for part in parts:
            await asyncio.to_thread(part.reload)

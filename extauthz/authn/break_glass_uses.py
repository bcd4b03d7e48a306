"""How often a grant has been used, where it says how often it may be: one file for each use.

A use is taken by making a file that nobody else has made (O_EXCL), so all workers of one server share one count, and a
worker that is killed takes nothing back. The files are gone with the server's run directory; grants end within hours.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.authn.break_glass import Grant

FOLDER: Final = "break-glass"
MAX_FILES: Final = 4096
"""More are not made: whoever may issue grants has issued too many."""


class Uses:
    """`run_dir` is private to this server. Works on a few empty files: only for grants that count their uses."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / FOLDER

    def take(self, grant: Grant, now: float) -> bool:
        """Takes one of the grant's uses; False when none is left, or when it cannot be told."""
        if not grant.uses:
            return True
        name = f"{grant.expires}-{hashlib.sha256(grant.id.encode()).hexdigest()[:32]}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._forget(now) >= MAX_FILES:
                return False
            return any(_made(self._folder / f"{name}-{number}") for number in range(grant.uses))
        except OSError:
            return False

    def _forget(self, now: float) -> int:
        """Removes what belongs to grants that have ended; how many files are left."""
        left = 0
        for entry in os.scandir(self._folder):
            ended = int(entry.name.partition("-")[0]) <= now
            if ended:
                (self._folder / entry.name).unlink(missing_ok=True)
            left += not ended
        return left


def _made(path: Path) -> bool:
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        return False
    return True

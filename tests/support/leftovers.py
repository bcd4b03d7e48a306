"""What a program left behind: processes that name a folder, and files in it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def _commands() -> Iterator[str]:
    if Path("/proc/self/cmdline").exists():
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                yield entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return
    yield from subprocess.run(
        ["ps", "-axo", "command="], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def processes_of(folder: Path, seconds: float = 5.0) -> list[str]:
    """Command lines that still name `folder` after `seconds`."""
    deadline = time.monotonic() + seconds
    while left := [command for command in _commands() if str(folder) in command]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return []

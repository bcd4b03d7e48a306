"""Processes that the platform starts, and the certainty that they end.

Each part is started in a session of its own, so that Ctrl-C reaches the platform alone, which then ends the parts in
order. What a part started itself (an OPA, an Envoy) is found by its ancestry and ended as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.demo.files import PACKAGE
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GRACE: Final = 4.0
"""Seconds that parts have to end by themselves."""
_TAIL: Final = 15
"""Lines of a log that a message shows."""
_POLL: Final = 0.02


class Part:
    """One program of the platform. Its output goes to `log`, appended over restarts; its own temporary files go to
    `temporary`, so that none are left when it is killed. `secrets` are variables of its environment at the next start:
    what must stand neither in a file nor in the list of processes."""

    def __init__(self, name: str, command: Sequence[str], log: Path, temporary: Path | None = None) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = {"TMPDIR": str(temporary)} if temporary else {}
        self.secrets: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """0 when it does not run."""
        return self._process.pid if self.running and self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        if self.running:
            return
        path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command lines
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self._environment, **self.secrets, "PYTHONPATH": path},
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL, to the part and to all it started; returns when it is gone."""
        if self._process is not None:
            family = [self._process.pid, *descendants([self._process.pid])] if self.running else []
            send(family, signal.SIGKILL)
            self._process.wait()
            wait_gone(family, _GRACE)

    def reap(self) -> None:
        if self._process is not None:
            self._process.wait()

    def last_words(self) -> str:
        """The end of the log, for a message."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in lines[-_TAIL:])

    def failed(self) -> ExtauthzError:
        """Why it did not come up, as far as its log says."""
        words = self.last_words()
        taken = "ddress already in use" in words or "cannot bind" in words
        why = "its port or socket was taken by another program in the meantime; run it again" if taken else "it ended"
        return ExtauthzError(f"{self.name} did not start: {why}\n{words}")


def stop(parts: Iterable[Part]) -> None:
    """End every part and all they started: SIGTERM, and SIGKILL after `_GRACE` seconds. Never raises for a dead one."""
    parts = list(parts)
    family = _family(parts)
    # A stopped process cannot end: it goes on first.
    send(family, signal.SIGCONT)
    send([part.pid for part in parts if part.pid], signal.SIGTERM)
    deadline = time.monotonic() + _GRACE
    while any(part.running for part in parts) and time.monotonic() < deadline:
        time.sleep(_POLL)
    family += [pid for pid in _family(parts) if pid not in family]
    send(family, signal.SIGKILL)
    for part in parts:
        part.reap()
    wait_gone(family, _GRACE)


def _family(parts: Iterable[Part]) -> list[int]:
    heads = [part.pid for part in parts if part.pid]
    return heads + descendants(heads)


def send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def wait_gone(pids: Iterable[int], seconds: float) -> list[int]:
    """Wait until none of `pids` runs; the ones that still do after `seconds`."""
    left, deadline = list(pids), time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        alive = _table()
        left = [pid for pid in left if pid in alive]
        if left:
            time.sleep(_POLL)
    return left


def descendants(heads: Iterable[int]) -> list[int]:
    """Every process that descends from `heads`, parents first."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in _table().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = list(heads)
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def named(heads: Iterable[int], name: str) -> list[int]:
    """The descendants of `heads` whose program is called `name`."""
    table = _table()
    return [pid for pid in descendants(heads) if pid in table and table[pid][1] == name]


def _table() -> dict[int, tuple[int, str]]:
    """Every running process: its parent, and the name of its program. Zombies are gone."""
    if Path("/proc/self/stat").exists():
        return dict(_linux())
    return dict(_elsewhere())


def _linux() -> Iterable[tuple[int, tuple[int, str]]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                text = Path(entry.path, "stat").read_text(errors="replace")
                name, _, rest = text.partition("(")[2].rpartition(")")
                state, parent, *_ = rest.split()
                if state not in {"Z", "X"}:
                    yield int(entry.name), (int(parent), name)


def _elsewhere() -> Iterable[tuple[int, tuple[int, str]]]:
    command = ["ps", "-axo", "pid=,ppid=,state=,comm="]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    for line in listing.stdout.splitlines():
        pid, parent, state, name = line.split(None, 3)
        if not state.startswith("Z"):
            yield int(pid), (int(parent), Path(name).name)

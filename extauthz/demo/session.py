"""One demonstration from start to end, and the one that is left running."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.demo.hints import hints
from extauthz.demo.lab import Lab
from extauthz.demo.load import Load
from extauthz.demo.platform import Platform
from extauthz.demo.runner import Row, Runner, choose
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.demo.report import Report

_DOWN: Final = 20.0
"""Seconds that a running demonstration has to end."""


async def run(
    report: Report, *, scenario: str | None = None, keep: bool = False, load: float = 0.0, edge_port: int = 0
) -> bool:
    """Start, run, end. True when every row is as expected. Raises ExtauthzError when the platform does not start."""
    chosen = choose(scenario)
    started = time.monotonic()
    _end_on_termination()
    async with Platform(edge_port=edge_port, progress=report.step) as platform:
        lab = Lab(platform)
        try:
            runner = Runner(platform, lab)
            report.step("the first transfer")
            await runner.warm_up()
            rows: list[Row] = []
            for each in chosen:
                rows.append(await runner.run(each))
                report.row(rows[-1])
            sound = await _load(report, lab, load) if load else True
            for name in (tracebacks := platform.tracebacks()):
                report.note(f"{name} logged a traceback:\n{platform.parts[name].last_words()}")
            report.end(rows, time.monotonic() - started)
            if keep:
                report.note(hints(platform.layout))
                await asyncio.Event().wait()
        finally:
            await lab.close()
    return all(row.ok for row in rows) and sound and not tracebacks


async def _load(report: Report, lab: Lab, seconds: float) -> bool:
    load = Load(lab)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        await asyncio.sleep(seconds)
        load.stop.set()
    report.load(load, seconds)
    return load.sound


def _end_on_termination() -> None:
    """SIGTERM and a closed terminal end the run as Ctrl-C does: through every `finally`."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _lock_file() -> Path:
    return Path(tempfile.gettempdir()) / f"xa-demo-{os.getuid()}.lock"


@contextmanager
def kept() -> Iterator[None]:
    """Holds the place of the one demonstration that is left running. Raises ExtauthzError when it is taken."""
    descriptor = os.open(_lock_file(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(descriptor):
            raise ExtauthzError("a demonstration is running already; end it with `make down` or `extauthz demo --down`")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def down() -> bool:
    """End the demonstration that is left running. False when there is none. Raises ExtauthzError when it stays."""
    try:
        descriptor = os.open(_lock_file(), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A lock that we get has no owner: then the number in the file means nothing.
        if os.fstat(descriptor).st_uid != os.getuid() or _locked(descriptor):
            return False
        os.kill(int(os.pread(descriptor, 32, 0)), signal.SIGTERM)
        deadline = time.monotonic() + _DOWN
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise ExtauthzError("the running demonstration does not end")
            time.sleep(0.05)
        return True
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

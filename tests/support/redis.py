"""A real redis-server on a Unix socket, for tests and the bench."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from extauthz.errors import MissingPart


def find_redis() -> str:
    """The program's path. Raises MissingPart."""
    found = shutil.which("redis-server")
    if found is None:
        raise MissingPart("redis-server", "install the Debian package redis-server (or valkey-server as redis-server)")
    return found


def _program() -> str:
    """Inside a test a missing server is a skip by name, or a failure where CI is set. Raises MissingPart elsewhere."""
    if "PYTEST_CURRENT_TEST" not in os.environ:
        return find_redis()
    from tests.support.parts import require_redis  # noqa: PLC0415 - the bench runs without pytest

    return require_redis()


class RedisServer:
    """Keeps nothing on disk unless `durable`; its directory is short, as a socket's path must be."""

    def __init__(self, *options: str, durable: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="xa-redis-"))
        self.socket = self.directory / "redis.sock"
        kept = ("--appendonly", "yes", "--appendfsync", "always") if durable else ("--save", "", "--appendonly", "no")
        self._command = [
            *(_program(), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.directory), *kept, *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    async def start(self) -> None:
        log = (self.directory / "log").open("ab")
        with log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)  # noqa: ASYNC220 - a moment
        async with asyncio.timeout(20):
            while not await self._answers():
                if self._process.poll() is not None:
                    raise RuntimeError((self.directory / "log").read_text())
                await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            return False
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        return answer.startswith((b"+PONG", b"-NOAUTH"))

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def close(self) -> None:
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

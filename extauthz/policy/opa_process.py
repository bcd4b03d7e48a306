"""An OPA server of our own: one process for one policy bundle, on a Unix socket in a private directory.

- It serves one immutable bundle and is never told another; a new policy is a new process (`activate` switches).
- It is ready when `/health` says so. When it dies it is started again, after a pause that doubles up to a bound.
- It never outlives us, however we die: its stdin is a pipe that only we hold, and the tool ends when that ends
  (`native/cmd/opa`). It has a session of its own, so that Ctrl-C in a terminal reaches us alone and we drain first.
- Its environment is empty but for a few harmless names: `opa.runtime()` shows the environment to policies.
- Its log goes to ours, bounded, level and message only; OPA's request log and `print` (which show inputs) are off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final

import orjson

from extauthz.errors import EngineFault, MissingPart
from extauthz.policy.http1 import Malformed, TooLarge
from extauthz.policy.pool import UNIX, Disconnected, Pool
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.clock import Clock

log = logging.getLogger(__name__)

START_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.02
STOP_SECONDS: Final = 3.0
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
STEADY_SECONDS: Final = 10.0
MAX_LINE: Final = 16 * 1024
MAX_MESSAGE: Final = 500
MAX_SOCKET_PATH: Final = 100
OK: Final = 200
INHERITED: Final = ("PATH", "TMPDIR", "GOMAXPROCS", "GOMEMLIMIT", "SSL_CERT_FILE", "SSL_CERT_DIR")
HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: opa\r\nConnection: close\r\n\r\n"


class OpaProcess:
    """`directory` is private to this object (mode 0700); the bundle and the socket stand in it."""

    def __init__(self, tool: Path, bundle: bytes, directory: Path, *, clock: Clock) -> None:
        self._tool = tool
        self._bundle = bundle
        self._directory = directory
        self._socket = directory / "opa.sock"
        self._clock = clock
        self._tasks = Tasks()
        self._process: asyncio.subprocess.Process | None = None
        self.restarts = 0

    @property
    def address(self) -> str:
        return f"{UNIX}{self._socket}"

    @property
    def pid(self) -> int | None:
        """The process that runs now; None while there is none."""
        running = self._process
        return running.pid if running is not None and running.returncode is None else None

    async def start(self) -> None:
        """Returns when OPA answers. Raises EngineFault (`engine.unavailable`) or MissingPart; nothing runs then."""
        if len(os.fsencode(self._socket)) > MAX_SOCKET_PATH:
            raise EngineFault(
                "engine.unavailable", f"the run directory's path is too long for a socket: {self._socket}"
            )
        file = self._directory / "policy.tar.gz"
        await asyncio.to_thread(file.write_bytes, self._bundle)
        try:
            await self._spawn()
            await self._until_ready()
        except BaseException:
            await self.stop()
            raise
        self._tasks.start(self._supervise(), "opa-supervision")

    async def stop(self) -> None:
        """Asks OPA to end, and ends it when it does not. The socket is gone afterwards."""
        supervised, self._tasks = self._tasks, Tasks()
        await supervised.close()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._socket.unlink(missing_ok=True)

    async def _spawn(self) -> None:
        self._socket.unlink(missing_ok=True)
        command = [str(self._tool), "run", "--server", "--addr", self.address, "--unix-socket-perm", "0600"]
        command += ["--log-level", "error", "--log-format", "json", "--skip-version-check", "--skip-verify"]
        command += ["--shutdown-grace-period", "1", "--optimize-store-for-read-speed"]
        command += ["--bundle", str(self._directory / "policy.tar.gz")]
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {"HOME": str(self._directory), "EXTAUTHZ_STDIN_IS_LIFELINE": "1"}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                limit=MAX_LINE,
                start_new_session=True,
            )
        except OSError as error:
            raise MissingPart("the opa tool", f"it cannot be run ({error.strerror}); run `make native`") from None
        self._tasks.start(_forward(self._process), "opa-log")

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._healthy():
                    if self.pid is None:
                        raise EngineFault("engine.unavailable", "OPA ended while it was starting; see its log lines")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise EngineFault("engine.unavailable", f"OPA was not ready within {START_SECONDS:.0f} s") from None

    async def _healthy(self) -> bool:
        pool = Pool(self.address, limit=MAX_LINE)
        try:
            return (await pool.ask(HEALTH)).status == OK
        except (Disconnected, Malformed, TooLarge):
            return False
        finally:
            pool.close()

    async def _supervise(self) -> None:
        pause = FIRST_PAUSE
        while True:
            process = self._process
            if process is not None:
                started = self._clock.monotonic()
                status = await process.wait()
                log.error("opa ended with status %s; starting it again", status)
                if self._clock.monotonic() - started > STEADY_SECONDS:
                    pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            self.restarts += 1
            try:
                await self._spawn()
                await self._until_ready()
            except (EngineFault, MissingPart) as error:
                log.error("opa cannot be started: %s", error)  # noqa: TRY400 - expected; the trace says nothing more


async def _forward(process: asyncio.subprocess.Process) -> None:
    stream = process.stderr
    if stream is None:
        return
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than MAX_LINE; asyncio has dropped it
            continue
        if not line:
            return
        try:
            entry = orjson.loads(line)
            level = logging.ERROR if entry.get("level") == "error" else logging.DEBUG
            message = f"{entry.get('msg', '')} {entry.get('err', '')}".strip()
        except (orjson.JSONDecodeError, AttributeError):
            level, message = logging.WARNING, line.decode(errors="replace").strip()
        log.log(level, "opa: %s", "".join(filter(str.isprintable, message))[:MAX_MESSAGE])

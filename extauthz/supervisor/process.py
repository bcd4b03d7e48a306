"""One worker process, seen from its parent."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from extauthz.errors import ExtauthzError
from extauthz.transport import control, envoy, hosting
from extauthz.transport.control import ControlError
from extauthz.worker import HOSTED

if TYPE_CHECKING:
    from extauthz.transport.spec import WorkerSpec

START_TIMEOUT: Final = 60.0
_LOOK: Final = 0.05
_STOP_TIMEOUT: Final = 5.0


class WorkerProcess:
    """Starts, asks and ends the worker of `spec`; may be started again after it has ended.

    The process has a session of its own, so a Ctrl-C of the terminal reaches the parent alone.
    """

    def __init__(self, spec: WorkerSpec, transport: Literal["envoy", "grpcio"]) -> None:
        self.spec = spec
        self._transport = transport
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Returns once the worker answers Checks. Raises ExtauthzError when it does not come up."""
        arguments, environment = await asyncio.to_thread(self._command)
        self._process = await asyncio.create_subprocess_exec(
            *arguments,
            env={**os.environ, **environment, **self.spec.environment()},
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(self.spec.lifeline,),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while self._process.returncode is None and not await self._serves():  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            await self.kill()
            raise ExtauthzError(f"worker {self.spec.index} did not serve within {START_TIMEOUT:g} s") from None
        except BaseException:
            await self.kill()
            raise
        if (code := self._process.returncode) is not None:
            raise ExtauthzError(f"worker {self.spec.index} ended with {code} before it served")

    async def wait(self) -> int:
        """The exit code, once the process has ended."""
        return await self._process.wait() if self._process else 0

    async def ask(self, command: str, timeout: float = 2.0, **values: Any) -> Any:
        """Raises ControlError."""
        return await control.ask(self.spec.control, command, timeout, **values)

    async def stop(self) -> None:
        """Ends the process: politely, then not."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _serves(self) -> bool:
        if self._transport == "envoy" and not await hosting.live(self.spec.admin):
            return False
        try:
            await self.ask("status")
        except ControlError:
            return False
        return True

    def _command(self) -> tuple[list[str], dict[str, str]]:
        """Arguments and environment. Blocks."""
        for leftover in (self.spec.control, self.spec.admin):
            Path(leftover).unlink(missing_ok=True)
        if self._transport == "grpcio":
            return [sys.executable, "-m", "extauthz.worker"], {}
        file = Path(self.spec.run_dir) / f"envoy-{self.spec.index}.json"
        file.write_text(json.dumps(envoy.configuration(self.spec, HOSTED)))
        return envoy.command(file), envoy.environment()

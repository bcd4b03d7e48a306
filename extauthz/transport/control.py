"""The control socket of a worker: what the supervisor asks it.

One request a connection: a JSON line `{"command": …}`, answered by a JSON line `{"ok": …}` or `{"error": …}`. The
socket lies in the run directory, which only the server's user may enter; commands are a closed list.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger(__name__)

MAX_REQUEST: Final = 1024 * 1024
"""An API request of `api.messages.MAX_BODY` bytes, written as base64, and its words."""
MAX_ANSWER: Final = 64 * 1024 * 1024
"""Metrics of many routes are long."""


class ControlError(ExtauthzError):
    """The worker did not answer, or refused."""


class ControlServer:
    """`commands`: a name to a coroutine function that takes the request and returns JSON values."""

    def __init__(self, path: str, commands: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]]) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_REQUEST)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(json.dumps(await self._answer(reader)).encode() + b"\n")
            await writer.drain()
        except OSError:
            log.debug("the supervisor did not wait for the answer")
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            request = json.loads(await reader.readline())
            command = self._commands[request["command"]]
        except (ValueError, KeyError, TypeError):
            return {"error": "unknown command"}
        try:
            return {"ok": await command(request)}
        except Exception as error:
            log.exception("control command failed")
            return {"error": f"{type(error).__name__}: {error}"}


async def ask(path: str, command: str, timeout: float, **values: Any) -> Any:
    """One command to the worker at `path`, within `timeout` seconds. Raises ControlError."""
    writer = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_ANSWER)
            writer.write(json.dumps({"command": command, **values}).encode() + b"\n")
            answer = json.loads(await reader.readline())
    except TimeoutError:
        raise ControlError(f"{command}: no answer within {timeout:g} s") from None
    except (OSError, ValueError) as error:
        raise ControlError(f"{command}: {type(error).__name__}") from None
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    if "error" in answer:
        raise ControlError(f"{command}: {answer['error']}")
    return answer["ok"]

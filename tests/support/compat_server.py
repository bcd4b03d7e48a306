"""`extauthz serve` as a process of its own, and a gRPC client for it."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import grpc
import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CHECK = "/envoy.service.auth.v3.Authorization/Check"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(config: Path, transport: str) -> AsyncIterator[grpc.aio.UnaryUnaryMultiCallable]:
    """Checks of the server that `config` describes, on free ports; ends with the process."""
    listen, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "extauthz", "serve", str(config)),
        *("--transport", transport, "--listen", listen, "--http", http),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await _ready(process, http)
        async with grpc.aio.insecure_channel(listen) as channel:
            yield channel.unary_unary(CHECK)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, http: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        while process.returncode is None:
            with suppress(httpx.HTTPError):
                if (await client.get(f"http://{http}/readyz")).is_success:
                    return
            await asyncio.sleep(0.05)
    raise AssertionError(f"the server ended with {process.returncode}")

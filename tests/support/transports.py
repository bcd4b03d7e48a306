"""Real worker processes behind each transport, with a FakeService inside."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import grpc
import h2.config
import h2.connection
import h2.events
import h2.exceptions

from extauthz.supervisor.process import WorkerProcess
from extauthz.transport import choose, envoy
from extauthz.transport.settings import host_port, unix_path
from extauthz.transport.spec import WorkerSpec
from tests.support import fake_service, parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

CHECK = "/envoy.service.auth.v3.Authorization/Check"
MAX_CHECK = 4 * 1024 * 1024
Name = Literal["envoy", "grpcio"]


def require(transport: Name) -> None:
    """Skips, or fails where CI is set, when this machine cannot run `transport`."""
    if transport == "envoy":
        parts.require_envoy()
        envoy.check_available()


@dataclass
class Running:
    """A worker that serves."""

    process: WorkerProcess
    address: str
    run_dir: Path
    lifeline: int

    def let_go(self) -> None:
        """Closes the write end of the lifeline, as the supervisor's death would."""
        os.close(self.lifeline)
        self.lifeline = -1

    def channel(self, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        if credentials is not None:
            options.append(("grpc.ssl_target_name_override", "localhost"))
            return grpc.aio.secure_channel(self.address, credentials, options)
        return grpc.aio.insecure_channel(self.address, options)

    def events(self) -> list[str]:
        return fake_service.events(self.run_dir)

    async def told(self, event: str) -> None:
        """Returns once the service has noted `event`."""
        await until(lambda: event in self.events())


@asynccontextmanager
async def running(transport: Name, run_dir: Path, listen: str = "127.0.0.1:0", **spec: Any) -> AsyncIterator[Running]:
    require(transport)
    address, kept = choose.reserve(listen)
    lifeline, ours = os.pipe()
    started: list[Running] = []
    values = {"max_check": MAX_CHECK, "max_concurrent": 256, **spec}
    process = WorkerProcess(
        WorkerSpec(
            index=0,
            service=fake_service.FACTORY,
            run_dir=str(run_dir),
            listen=address,
            lifeline=lifeline,
            **values,
        ),
        transport,
    )
    try:
        await process.start()
        started.append(Running(process, address, run_dir, ours))
        yield started[0]
    finally:
        await process.stop()
        os.close(lifeline)
        if not started or started[0].lifeline >= 0:
            os.close(ours)
        if kept is not None:
            kept.close()


async def until(holds: Callable[[], bool]) -> None:
    """Polls; the test's own timeout ends it."""
    while not holds():  # noqa: ASYNC110 - other processes set no events
        await asyncio.sleep(0.02)


def method(channel: grpc.aio.Channel, path: str = CHECK) -> Any:
    return channel.unary_unary(path)


class RawClient:
    """HTTP/2 by hand, for what no gRPC library would send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: str) -> AsyncIterator[RawClient]:
        opening = asyncio.open_unix_connection(unix_path(address)) if unix_path(address) else None
        client = cls(*await (opening or asyncio.open_connection(*host_port(address))))
        try:
            yield client
        finally:
            await client.close()

    def open(self, *, path: str = CHECK, content_type: str = "application/grpc", verb: str = "POST") -> int:
        """Headers of a new stream; its number."""
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", verb), (":scheme", "http"), (":authority", "x"), (":path", path)]
        headers += [("content-type", content_type), ("te", "trailers")]
        self.h2.send_headers(stream, headers)
        return stream

    async def flush(self) -> None:
        if data := self.h2.data_to_send():
            self._writer.write(data)
            with suppress(OSError):
                await self._writer.drain()

    async def answer(self, stream: int) -> dict[str, str]:
        """Headers and trailers of the answer, and the size of its `data`.

        `end` tells how it ended: `stream`, `reset`, or `closed` for the whole connection.
        """
        await self.flush()
        found = {"data": "0"}
        while "end" not in found:
            data = await self._reader.read(65536)
            try:
                events = self.h2.receive_data(data)
            except h2.exceptions.ProtocolError:  # frames after GOAWAY
                events, data = [], b""
            for event in events:
                self._note(event, stream, found)
            if not data:
                found.setdefault("end", "closed")
            await self.flush()
        return found

    def _note(self, event: Any, stream: int, found: dict[str, str]) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if isinstance(event, h2.events.ConnectionTerminated):
            found.setdefault("end", "closed")
        if getattr(event, "stream_id", None) != stream:
            return
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            found |= {_text(name): _text(value) for name, value in event.headers}
        elif isinstance(event, h2.events.DataReceived):
            found["data"] = str(int(found["data"]) + len(event.data))
        elif isinstance(event, h2.events.StreamReset):
            found.setdefault("end", "reset")
        elif isinstance(event, h2.events.StreamEnded):
            found.setdefault("end", "stream")

    async def ask(self, body: bytes, **headers: str) -> dict[str, str]:
        """A whole request at once, and its answer."""
        stream = self.open(**headers)
        self.h2.send_data(stream, body, end_stream=True)
        return await self.answer(stream)

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

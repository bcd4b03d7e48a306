"""Envoy's SecretDiscoveryService: StreamSecrets, DeltaSecrets, FetchSecrets, as bytes → bytes handlers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import grpc

from extauthz.sds import messages
from extauthz.sds.secrets import Secrets
from extauthz.sds.session import Session
from extauthz.sds.wire import Delta, StateOfTheWorld, StreamRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from extauthz.sds.secrets import Material
    from extauthz.sds.session import Variant
    from extauthz.tasks import Tasks

log = logging.getLogger(__name__)

MAX_STREAMS: Final = 512


class SecretServer:
    """`aliases`: further names for secrets. `progress` is called when what a peer has accepted may have changed."""

    def __init__(
        self,
        tasks: Tasks,
        aliases: Mapping[str, str] | None = None,
        progress: Callable[[], None] = lambda: None,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self._tasks = tasks
        self._aliases = aliases or {}
        self._progress = progress
        self._max_streams = max_streams
        self._secrets: Secrets | None = None
        self._streams: dict[Session, asyncio.Event] = {}
        self.pushed = 0
        self._before = [0, 0]

    def publish(self, material: Material) -> None:
        """From now on; every stream is told what changed for it. Raises SecretsError, and then nothing has changed."""
        self._secrets = Secrets(material, self._aliases)
        for wake in self._streams.values():
            wake.set()

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The streams that are open."""
        return tuple(self._streams)

    @property
    def answers(self) -> tuple[int, int]:
        """How many pushes Envoys have accepted and refused, those of closed streams among them."""
        accepted = self._before[0] + sum(session.accepted for session in self._streams)
        return accepted, self._before[1] + sum(session.refused for session in self._streams)

    def acknowledged(self) -> int | None:
        """The oldest trust sequence that a connected Envoy has in force; None: none has any of ours.

        A peer that has not accepted anything yet counts for nothing: it is being sent the newest, and holds no older.
        """
        return min((s.in_force for s in self._streams if s.in_force is not None), default=None)

    def methods(self) -> dict[str, Any]:
        """Handlers by the method's full name."""
        return {
            f"/{messages.SERVICE}/StreamSecrets": grpc.stream_stream_rpc_method_handler(
                self._stream(StateOfTheWorld())
            ),
            f"/{messages.SERVICE}/DeltaSecrets": grpc.stream_stream_rpc_method_handler(self._stream(Delta())),
            f"/{messages.SERVICE}/FetchSecrets": grpc.unary_unary_rpc_method_handler(self._fetch),
        }

    def _stream(self, variant: Variant) -> Any:
        async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            if len(self._streams) >= self._max_streams:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
            session, wake = Session(variant), asyncio.Event()
            self._streams[session] = wake
            reader = self._tasks.start(_read(session, requests, wake), "sds-reader")
            try:
                while not reader.done():
                    wake.clear()
                    if (answer := session.due(self._secrets)) is not None:
                        self.pushed += 1
                        yield answer
                    self._progress()
                    await wake.wait()
                if (refused := reader.result()) is not None:
                    await context.abort(refused.status, str(refused))
            finally:
                reader.cancel()
                del self._streams[session]
                self._before[0] += session.accepted
                self._before[1] += session.refused
                self._progress()

        return stream

    async def _fetch(self, message: bytes, context: Any) -> bytes:
        session = Session(StateOfTheWorld())
        try:
            session.receive(message)
        except StreamRefused as refused:
            await context.abort(refused.status, str(refused))
        if self._secrets is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no identity yet")
        return session.due(self._secrets) or StateOfTheWorld().render((), "0")


async def _read(session: Session, requests: AsyncIterator[bytes], wake: asyncio.Event) -> StreamRefused | None:
    """Feeds the session until the peer has nothing more to ask; what the stream must end with."""
    try:
        async for message in requests:
            session.receive(message)
            wake.set()
    except StreamRefused as refused:
        return refused
    finally:
        # Only once this task is done may the writer look at it, so it is woken a step later.
        asyncio.get_running_loop().call_soon(wake.set)
    return None

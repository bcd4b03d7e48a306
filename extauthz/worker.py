"""A worker: one process, one loop, one `Service` behind one transport.

It is started by the supervisor in one of two shapes that differ only in who owns the sockets: `hosted` is the ASGI
application that Envoy loads (`transport.envoy`), `python -m extauthz.worker` serves through grpcio. Both

1. end when the supervisor does: the read end of a pipe that only the supervisor holds open tells;
2. answer `status`, `metrics`, `reload`, `drain` and `api` on the control socket, in the loop that serves the Checks;
3. say SERVING over `grpc.health.v1` exactly while the service says that it is ready.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from extauthz.check import messages
from extauthz.errors import ExtauthzError
from extauthz.tasks import Tasks
from extauthz.telemetry import logs
from extauthz.transport.control import ControlServer
from extauthz.transport.health import Health
from extauthz.transport.reflection import Reflection
from extauthz.transport.spec import WorkerSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.transport.asgi import GrpcApp, Receive, Scope, Send
    from extauthz.transport.service import Service

log = logging.getLogger(__name__)

HOSTED: Final = "extauthz.worker:hosted"
FAILED: Final = 4
"""Exit code of a worker that could not start."""
_HEALTH_INTERVAL: Final = 0.5
_LAST_WORDS: Final = 5.0
"""Seconds between asking an orphan to end and ending it."""


class Transport(Protocol):
    """What a worker needs of the transport that it is behind."""

    @property
    def active(self) -> int:
        """Checks in flight."""

    async def drain(self, grace: float) -> int:
        """Takes no new connections, waits at most `grace` seconds for Checks in flight; how many are left."""


class Worker:
    """The parts that both shapes share."""

    def __init__(self, spec: WorkerSpec, transport: str) -> None:
        self.spec = spec
        self.service = _service(spec, transport)
        self.health = Health((messages.SERVICE,))
        self.reflection = Reflection(messages.FILES, (messages.SERVICE,))
        self._tasks = Tasks()
        self._control = ControlServer(
            spec.control,
            {
                "status": self._status,
                "metrics": self._metrics,
                "reload": self._reload,
                "drain": self._drain,
                "api": self._api,
            },
        )
        self._transport: Transport | None = None

    async def start(self) -> None:
        """The service answers after this. Raises what the service raises."""
        await self.service.start()
        self._tasks.start(self._follow(), "health")

    async def open(self, transport: Transport) -> None:
        """The transport serves; from now on the supervisor finds us."""
        self._transport = transport
        await self._control.start()

    async def stop(self) -> None:
        await self._control.close()
        await self._tasks.close()
        await self.service.stop()

    async def _follow(self) -> None:  # 3
        while True:
            try:
                status = await self.service.status()
                self.health.set(serving=bool(status["ready"]))
            except Exception:
                log.exception("the service gives no status")
                self.health.set(serving=False)
            await asyncio.sleep(_HEALTH_INTERVAL)

    async def _status(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        active = self._transport.active if self._transport else 0
        return {**await self.service.status(), "pid": os.getpid(), "in_flight": active}

    async def _metrics(self, request: Mapping[str, Any]) -> str:
        return self.service.metrics(openmetrics=request.get("openmetrics") is True).decode()

    async def _reload(self, _request: Mapping[str, Any]) -> list[str]:
        return await self.service.reload()

    async def _api(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return await self.service.api(request["request"])

    async def _drain(self, request: Mapping[str, Any]) -> int:
        self.service.drain()
        self.health.set(serving=False)
        return await self._transport.drain(float(request["grace"])) if self._transport else 0


def _service(spec: WorkerSpec, transport: str) -> Service:
    """Raises ExtauthzError when `spec.service` names nothing that can be called."""
    module, _, attribute = spec.service.partition(":")
    try:
        build = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ExtauthzError(f"service {spec.service}: {error}") from None
    service: Service = build(Path(spec.run_dir), transport=transport)
    return service


def watch_supervisor(descriptor: int) -> None:
    """Step 1 of the module's docstring, in a thread: it works also when the loop is stuck."""
    if descriptor < 0:
        return

    def wait() -> None:
        while os.read(descriptor, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_LAST_WORDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


class Hosted:
    """The ASGI application that Envoy loads; it starts with the lifespan, and Envoy listens once that is done."""

    def __init__(self) -> None:
        self._app: GrpcApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        from extauthz.transport import asgi, hosting  # noqa: PLC0415 - this shape only

        await receive()
        tasks = Tasks()
        try:
            spec = WorkerSpec.of(os.environ)
            watch_supervisor(spec.lifeline)
            logs.setup()
            worker = Worker(spec, "envoy")
            await worker.start()
            app = asgi.GrpcApp(
                worker.service,
                worker.health,
                worker.reflection,
                max_check=spec.max_check,
                max_concurrent=spec.max_concurrent,
            )
            tasks.start(app.sweep(), "sweep")
            await worker.open(hosting.HostedTransport(app, spec.admin))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said and this worker does not start
            _say(error)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        self._app = app
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await tasks.close()
        await worker.stop()
        await send({"type": "lifespan.shutdown.complete"})


hosted = Hosted()


async def _serve(spec: WorkerSpec) -> None:
    from extauthz.transport.grpcio import GrpcioServer  # noqa: PLC0415 - this shape only

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    worker = Worker(spec, "grpcio")
    await worker.start()
    try:
        server = GrpcioServer(worker.service, worker.health, worker.reflection, spec)
        await server.start()
        await worker.open(server)
        await stop.wait()
        await server.stop()
    finally:
        await worker.stop()


def main() -> None:
    """`python -m extauthz.worker`: the grpcio shape."""
    try:
        spec = WorkerSpec.of(os.environ)
        watch_supervisor(spec.lifeline)
        logs.setup()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(spec))
    except ExtauthzError as error:
        _say(error)
        sys.exit(FAILED)


def _loop_factory() -> Any:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


def _say(error: Exception) -> None:
    """Why this worker cannot start: one plain line for what is expected, a traceback for what is not."""
    if isinstance(error, ExtauthzError):
        log.error("worker cannot start: %s", error)
    else:
        log.error("worker cannot start", exc_info=error)


if __name__ == "__main__":
    main()

"""The supervisor: starts workers, keeps them running, reloads and drains them.

1. Everything that can fail is tried before the first Check is answered: configuration, policy, addresses, workers.
2. A worker that ends is started again, each time later (0.25 s to 30 s) until one lives for a minute.
3. SIGHUP, or a changed file, reloads: prepared once by us, activated by every worker, committed; or refused as a whole.
4. SIGTERM or SIGINT drains: not ready, no new connections, at most `drain` seconds for what is in flight. A second
   signal ends everything at once.
5. Whatever way we end, so do the workers: they hold the other end of a pipe that only we hold open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from extauthz.config.watch import Watcher, needs_restart, watched
from extauthz.errors import ExtauthzError
from extauthz.supervisor.api import ApiForwarder
from extauthz.supervisor.changes import Changes
from extauthz.supervisor.http import HttpServer, Overview
from extauthz.supervisor.process import WorkerProcess
from extauthz.tasks import Tasks
from extauthz.telemetry import logs
from extauthz.transport import choose
from extauthz.transport.control import ControlError
from extauthz.transport.spec import WorkerSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from extauthz.clock import Clock
    from extauthz.config import Config
    from extauthz.transport.settings import ServerSettings

log = logging.getLogger(__name__)

_FIRST_DELAY: Final = 0.25
_LONGEST_DELAY: Final = 30.0
_STABLE: Final = 60.0
"""A worker that lived this long has earned a quick restart."""
_RELOAD_TIMEOUT: Final = 60.0
_DRAIN_MARGIN: Final = 5.0


class Shared(Protocol):
    """What the workers share and the supervisor owns; `extauthz.shared.SharedParts`. Methods raise ExtauthzError."""

    @property
    def config(self) -> Config: ...

    @property
    def revision(self) -> str: ...

    @property
    def policy_bundle(self) -> Mapping[str, Any] | None:
        """`refusals` and what operators are told of the policy bundle; None without one."""

    async def start(self) -> Config: ...

    async def prepare(self) -> Config: ...

    async def commit(self) -> None: ...

    async def abandon(self) -> None: ...

    async def follow(self, reload: Callable[[], Awaitable[object]]) -> None:
        """Calls `reload` when something that no file tells has changed, until it is cancelled."""

    async def stop(self) -> None: ...


class Supervisor:
    """`make_shared` gets the private run directory; `adjust` may override server settings (the command line does).

    `service` names the factory that a worker calls (see `WorkerSpec`).
    """

    def __init__(
        self,
        *,
        config: Path,
        make_shared: Callable[[Path], Shared],
        service: str,
        clock: Clock,
        adjust: Callable[[Config], ServerSettings] = lambda config: config.server,
    ) -> None:
        self._config = config
        self._make_shared = make_shared
        self._service = service
        self._clock = clock
        self._adjust = adjust
        self._stop = asyncio.Event()
        self._now = asyncio.Event()
        self._serving = False
        self._reloading = asyncio.Lock()
        self._tasks = Tasks()
        self._watcher = Watcher(lambda: (self._config, *watched(self._shared.config)), self.reload, clock)
        self._workers: list[WorkerProcess] = []
        self._changes = Changes(config, clock)
        self._overview = Overview(())

    async def run(self) -> None:
        """Serves until a signal ends it. Raises ExtauthzError when it cannot start; nothing is left running then."""
        self._signals()
        async with AsyncExitStack() as stack:
            run_dir = Path(tempfile.mkdtemp(prefix="extauthz-"))  # 0700
            stack.callback(shutil.rmtree, run_dir, ignore_errors=True)
            self._shared = self._make_shared(run_dir)
            stack.push_async_callback(self._shared.stop)
            config = await self._shared.start()
            stack.push_async_callback(self._changes.close)
            await self._changes.serves(config, self._shared.revision)
            await self._watcher.note()
            logs.set_level(config.telemetry.log_level)
            settings = self._adjust(config)
            transport, why = choose.transport(settings)
            if why:
                log.warning("transport auto takes grpcio: %s", why)
            address, kept = await asyncio.to_thread(choose.reserve, settings.listen)
            if kept is not None:
                stack.callback(kept.close)
            listening = await asyncio.to_thread(choose.listen, settings.http)
            stack.callback(listening.close)
            lifeline, ours = os.pipe()  # 5
            stack.callback(os.close, ours)
            stack.callback(os.close, lifeline)
            specs = [self._spec(index, run_dir, address, settings, lifeline) for index in range(settings.workers)]
            self._workers = [WorkerProcess(spec, transport) for spec in specs]
            self._overview = Overview(self._workers, lambda: self._shared.policy_bundle)
            stack.push_async_callback(self._end)
            if not await self._start_workers():
                return
            http = HttpServer(self._overview, ApiForwarder(self._workers, unix=listening.family == socket.AF_UNIX))
            self._tasks.start(http.serve_on(listening), "http")
            log.info(
                "serving: listen %s, transport %s, workers %d, tls %s, http %s, engine %s, revision %s, routes %d",
                *(address, transport, settings.workers, "mutual" if settings.tls else "off", _shown(listening)),
                *(config.policy.engine, self._shared.revision or "of the engine", len(config.routes)),
            )
            await self._attend(settings)
            http.should_exit = True

    def stop(self) -> None:
        """The first call drains, the second ends at once; what SIGTERM and SIGINT do."""
        (self._now if self._stop.is_set() else self._stop).set()

    async def reload(self) -> list[str]:
        """Problems; empty when every worker runs the new configuration. On any problem all keep the old one."""
        async with self._reloading:
            problems = await self._reload()
            await self._record(problems)
        for problem in problems:
            log.error("reload refused: %s", problem)
        if not problems:
            log.info("reloaded: revision %s", self._shared.revision or "of the engine")
        return problems

    async def _record(self, problems: list[str]) -> None:
        if problems:
            await self._changes.refused(problems)
            return
        try:
            await self._changes.serves(self._shared.config, self._shared.revision)
        except ExtauthzError as error:
            log.error("changes are not recorded: %s", error)  # noqa: TRY400 - what serves is served all the same

    async def _reload_as_told(self) -> None:
        """SIGHUP: what we read now is no news for the watcher afterwards."""
        await self._watcher.note()
        await self.reload()

    async def _reload(self) -> list[str]:
        running = self._shared.config
        try:
            fresh = await self._shared.prepare()
        except ExtauthzError as error:
            self._overview.refused_reloads += 1
            return str(error).splitlines()
        changed = needs_restart(running, fresh)
        if changed:
            self._overview.refused_reloads += 1
            await self._shared.abandon()
            return [f"{self._config}: {key}: this takes a restart (fix: restart, or undo it)" for key in changed]
        problems = await self._reload_workers()
        if problems:
            await self._shared.abandon()
            await self._reload_workers()
            return problems
        await self._shared.commit()
        logs.set_level(fresh.telemetry.log_level)
        return []

    async def _reload_workers(self) -> list[str]:
        async def one(worker: WorkerProcess) -> list[str]:
            try:
                problems: list[str] = await worker.ask("reload", _RELOAD_TIMEOUT)
            except ControlError as error:
                return [f"worker {worker.spec.index}: {error}"]
            return problems

        answers = await asyncio.gather(*map(one, self._workers))
        return list(dict.fromkeys(problem for answer in answers for problem in answer))

    def _spec(self, index: int, run_dir: Path, address: str, settings: ServerSettings, lifeline: int) -> WorkerSpec:
        tls = settings.tls
        return WorkerSpec(
            index=index,
            service=self._service,
            run_dir=str(run_dir),
            listen=address,
            max_check=settings.max_check,
            max_concurrent=settings.max_concurrent,
            certificate=str(tls.certificate.absolute()) if tls else "",
            private_key=str(tls.private_key.absolute()) if tls else "",
            client_ca=str(tls.client_ca.absolute()) if tls else "",
            lifeline=lifeline,
        )

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        if self._serving:  # before that, everything is read anyway
            self._tasks.start(self._reload_as_told(), "reload")

    async def _start_workers(self) -> bool:
        """False when a signal came first. Raises ExtauthzError for a worker that does not come up."""
        starting = asyncio.gather(*(worker.start() for worker in self._workers))
        stopped = self._tasks.start(self._stop.wait(), "stopped")
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return False
        stopped.cancel()
        await starting
        return True

    async def _attend(self, settings: ServerSettings) -> None:
        """Until we are told to stop; then the drain."""
        self._serving = True
        for worker in self._workers:
            self._tasks.start(self._keep(worker), f"worker {worker.spec.index}")
        self._tasks.start(self._watcher.run(), "watch")
        self._tasks.start(self._shared.follow(self.reload), "follow")
        await self._stop.wait()
        self._overview.draining = True
        log.info("draining for at most %g s; a second signal ends at once", settings.drain)
        drain = self._tasks.start(self._drain(settings.drain), "drain")
        at_once = self._tasks.start(self._now.wait(), "at once")
        await asyncio.wait({drain, at_once}, return_when=asyncio.FIRST_COMPLETED)
        if self._now.is_set():
            await asyncio.gather(*(worker.kill() for worker in self._workers))

    async def _keep(self, worker: WorkerProcess) -> None:  # 2
        delay = _FIRST_DELAY
        since = self._clock.monotonic()
        while True:
            code = await worker.wait()
            if self._stop.is_set():
                return
            if self._clock.monotonic() - since > _STABLE:
                delay = _FIRST_DELAY
            index = worker.spec.index
            self._overview.restarts[index] += 1
            log.error("worker %d ended with %d; starting another in %g s", index, code, delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
            since = self._clock.monotonic()
            try:
                await worker.start()
            except ExtauthzError as error:
                log.error("%s", error)  # noqa: TRY400 - no traceback for what is expected

    async def _drain(self, grace: float) -> None:  # 4
        async def one(worker: WorkerProcess) -> int:
            try:
                left: int = await worker.ask("drain", grace + _DRAIN_MARGIN, grace=grace)
            except ControlError as error:
                log.warning("worker %d does not drain: %s", worker.spec.index, error)
                return 0
            return left

        left = sum(await asyncio.gather(*map(one, self._workers)))
        log.info("drained: %d Checks were left", left)

    async def _end(self) -> None:
        self._stop.set()
        await self._tasks.close()
        await asyncio.gather(*(worker.stop() for worker in self._workers))


def _shown(listening: socket.socket) -> str:
    name = listening.getsockname()
    return f"unix://{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"

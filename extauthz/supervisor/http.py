"""HTTP for orchestrators and Prometheus: /healthz, /readyz, /metrics. They say nothing about callers or policies.

What does, authenticates: `supervisor.api`, off unless configured.

| path | 200 when | else |
| --- | --- | --- |
| `/healthz` | the supervisor runs | |
| `/readyz` | every worker says that it is ready and none drains; `?verbose` tells of each | 503 |
| `/metrics` | at least one worker answers; workers that do not are left out and counted | 503 |
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from extauthz.transport import exposition, http_server
from extauthz.transport.control import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from extauthz.supervisor.api import ApiForwarder
    from extauthz.supervisor.process import WorkerProcess

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_TIMEOUT: Final = 2.0


class Overview:
    """What the endpoints show; the supervisor writes `draining` and `restarts`."""

    def __init__(
        self, workers: Sequence[WorkerProcess], bundle: Callable[[], Mapping[str, Any] | None] = lambda: None
    ) -> None:
        self._workers = workers
        self._bundle = bundle
        self.draining = False
        self.restarts = dict.fromkeys(range(len(workers)), 0)

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        answers = await asyncio.gather(*(_ask(worker, "status") for worker in self._workers))
        workers = [
            {**(answer or {"ready": False, "error": "does not answer"}), "worker": worker.spec.index, "pid": worker.pid}
            for worker, answer in zip(self._workers, answers, strict=True)
        ]
        ready = not self.draining and all(worker["ready"] for worker in workers)
        details = {"ready": ready, "draining": self.draining, "workers": workers}
        if (bundle := self._bundle()) is not None:
            details["policy_bundle"] = dict(bundle)
        return ready, details

    async def metrics(self) -> str:
        """Empty when no worker answers."""
        answers = await asyncio.gather(*(_ask(worker, "metrics") for worker in self._workers))
        pages = {str(w.spec.index): page for w, page in zip(self._workers, answers, strict=True) if page is not None}
        if not pages:
            return ""
        return exposition.merge(pages) + self._own(len(pages))

    def _own(self, answering: int) -> str:
        lines = [
            "# HELP extauthz_workers Worker processes that answer.",
            "# TYPE extauthz_workers gauge",
            f"extauthz_workers {answering}",
            "# HELP extauthz_worker_restarts_total Worker processes that ended and were started again.",
            "# TYPE extauthz_worker_restarts_total counter",
            *(f'extauthz_worker_restarts_total{{worker="{i}"}} {count}' for i, count in self.restarts.items()),
        ]
        if (bundle := self._bundle()) is not None:
            lines += [
                "# HELP extauthz_policy_bundles_refused_total Policy bundles refused; the last good one serves.",
                "# TYPE extauthz_policy_bundles_refused_total counter",
                f"extauthz_policy_bundles_refused_total {bundle['refusals']}",
            ]
        return "\n".join((*lines, ""))


async def _ask(worker: WorkerProcess, command: str) -> Any:
    try:
        return await worker.ask(command, _TIMEOUT)
    except ControlError:
        return None


def application(overview: Overview, api: ApiForwarder) -> Starlette:
    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        ready, details = await overview.ready()
        status = 200 if ready else 503
        if "verbose" in request.query_params:
            return JSONResponse(details, status)
        return PlainTextResponse("ready\n" if ready else "not ready\n", status)

    async def metrics(_request: Request) -> Response:
        page = await overview.metrics()
        return Response(page, 200 if page else 503, media_type=METRICS_TYPE)

    own = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=[*own, *api.routes()])


class HttpServer(http_server.HttpServer):
    """Serves both."""

    def __init__(self, overview: Overview, api: ApiForwarder) -> None:
        super().__init__(application(overview, api), connections=256)

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
OPENMETRICS: Final = "application/openmetrics-text"
OPENMETRICS_TYPE: Final = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
_END: Final = "# EOF\n"
PARENT: Final = "parent"
"""The label `worker` of what the supervisor counts in a worker's family."""
_TIMEOUT: Final = 2.0


class Overview:
    """What the endpoints show; the supervisor writes `draining`, `restarts` and `refused_reloads`."""

    def __init__(
        self, workers: Sequence[WorkerProcess], bundle: Callable[[], Mapping[str, Any] | None] = lambda: None
    ) -> None:
        self._workers = workers
        self._bundle = bundle
        self.draining = False
        self.refused_reloads = 0
        """Reloads that were refused before any worker was asked; workers count their own."""
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

    async def metrics(self, *, openmetrics: bool = False) -> str:
        """Prometheus text format, or OpenMetrics, which has the exemplars. Empty when no worker answers."""
        total = "" if openmetrics else "_total"  # in OpenMetrics it belongs to a counter's samples, not to its family
        asked = (_ask(worker, "metrics", openmetrics=openmetrics) for worker in self._workers)
        answers = await asyncio.gather(*asked)
        pages = {str(w.spec.index): page for w, page in zip(self._workers, answers, strict=True) if page is not None}
        if not pages:
            return ""
        answering = len(pages)
        if self.refused_reloads:
            kind = f"# TYPE extauthz_reloads{total} counter"
            pages[PARENT] = f'{kind}\nextauthz_reloads_total{{outcome="refused"}} {self.refused_reloads}\n'
        return exposition.merge(pages) + self._own(answering, total) + (_END if openmetrics else "")

    def _own(self, answering: int, total: str) -> str:
        lines = [
            "# HELP extauthz_workers Worker processes that answer.",
            "# TYPE extauthz_workers gauge",
            f"extauthz_workers {answering}",
            f"# HELP extauthz_worker_restarts{total} Worker processes that ended and were started again.",
            f"# TYPE extauthz_worker_restarts{total} counter",
            *(f'extauthz_worker_restarts_total{{worker="{i}"}} {count}' for i, count in self.restarts.items()),
        ]
        if (bundle := self._bundle()) is not None:
            lines += [
                f"# HELP extauthz_policy_bundles_refused{total} Policy bundles refused; the last good one serves.",
                f"# TYPE extauthz_policy_bundles_refused{total} counter",
                f"extauthz_policy_bundles_refused_total {bundle['refusals']}",
            ]
        return "\n".join((*lines, ""))


async def _ask(worker: WorkerProcess, command: str, **values: Any) -> Any:
    try:
        return await worker.ask(command, _TIMEOUT, **values)
    except ControlError:
        return None


def wants_openmetrics(accept: str) -> bool:
    """Whether the scraper reads OpenMetrics: one that does not, does not name it."""
    return any(kind.partition(";")[0].strip().lower() == OPENMETRICS for kind in accept.split(","))


def application(overview: Overview, api: ApiForwarder) -> Starlette:
    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        ready, details = await overview.ready()
        status = 200 if ready else 503
        if "verbose" in request.query_params:
            return JSONResponse(details, status)
        return PlainTextResponse("ready\n" if ready else "not ready\n", status)

    async def metrics(request: Request) -> Response:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        page = await overview.metrics(openmetrics=openmetrics)
        headers = {"content-type": OPENMETRICS_TYPE if openmetrics else METRICS_TYPE}
        return Response(page, 200 if page else 503, headers)

    own = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=[*own, *api.routes()])


class HttpServer(http_server.HttpServer):
    """Serves both."""

    def __init__(self, overview: Overview, api: ApiForwarder) -> None:
        super().__init__(application(overview, api), connections=256)

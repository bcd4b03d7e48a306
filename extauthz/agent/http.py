"""HTTP for orchestrators and Prometheus: /healthz, /readyz, /metrics. They name no workload and no peer.

| path | 200 when | else |
| --- | --- | --- |
| `/healthz` | the agent runs | |
| `/readyz` | there is a certificate that has not ended | 503 |
| `/metrics` | always | |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from extauthz.telemetry.metrics import CONTENT_TYPE
from extauthz.transport.http_server import HttpServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric
    from starlette.requests import Request

    from extauthz.agent.held import Held
    from extauthz.sds.server import SecretServer
    from extauthz.workload_api.server import WorkloadApi


class AgentMetrics(Collector):
    """Read from the parts when scraped; every name has a row in docs/agent.md."""

    def __init__(self, held: Held, sds: SecretServer, api: WorkloadApi) -> None:
        self._held = held
        self._sds = sds
        self._api = api
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    @property
    def ready(self) -> bool:
        return self._held.identity is not None

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        held, identity = self._held, self._held.identity
        yield GaugeMetricFamily(
            "extauthz_agent_certificate_not_after_seconds",
            "When the workload's certificate ends (epoch); 0: there is none.",
            identity.svid.not_after if identity else 0,
        )
        yield CounterMetricFamily("extauthz_agent_certificates", "Certificates obtained.", held.renewals)
        yield CounterMetricFamily("extauthz_agent_failures", "Attempts to obtain one that failed.", held.failures)
        yield GaugeMetricFamily(
            "extauthz_agent_alarm", "1 while the certificate is near its end and renewal fails.", float(held.alarm)
        )
        yield GaugeMetricFamily(
            "extauthz_agent_trust_sequence", "Version of the trust bundles.", identity.sequence if identity else 0
        )
        yield GaugeMetricFamily(
            "extauthz_agent_trust_acknowledged", "The version that everybody has in force.", held.acknowledged()
        )
        streams = GaugeMetricFamily("extauthz_agent_streams", "Open streams.", labels=("api",))
        streams.add_metric(("sds",), len(self._sds.sessions))
        streams.add_metric(("workload_api",), self._api.streams)
        yield streams
        yield CounterMetricFamily("extauthz_agent_pushes", "Responses sent to Envoys.", self._sds.pushed)
        answers = CounterMetricFamily("extauthz_agent_push_answers", "What Envoys made of them.", labels=("answer",))
        for answer, count in zip(("accepted", "refused"), self._sds.answers, strict=True):
            answers.add_metric((answer,), count)
        yield answers


class AgentHttp(HttpServer):
    """Serves them."""

    def __init__(self, metrics: AgentMetrics) -> None:
        async def healthz(_request: Request) -> Response:
            return PlainTextResponse("ok\n")

        async def readyz(_request: Request) -> Response:
            return PlainTextResponse("ready\n") if metrics.ready else PlainTextResponse("not ready\n", 503)

        async def page(_request: Request) -> Response:
            return Response(metrics.render(), media_type=CONTENT_TYPE)

        routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", page)]
        super().__init__(Starlette(routes=routes), connections=64)

"""Spans and exemplars of a running server: a collector that takes OTLP over HTTP, and a scraper that reads OpenMetrics."""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from extauthz.check.messages import CheckRequest, CheckResponse
from tests.support import parts
from tests.support.compat_server import free_port
from tests.support.reader import Reader
from tests.support.transports import CHECK

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
CONFIG = """version: 1
environment: prod
server: {{listen: "127.0.0.1:{check}", http: "unix:///run/extauthz/http.sock", transport: grpcio, workers: 2}}
policy: {{engine: embedded, path: policy}}
routes:
  - name: read
    match: {{path: "/v1/{{thing}}", methods: [GET]}}
    public: true
    credential: none
    action: read
    resource: {{type: thing, id: "{{thing}}"}}
    policy: bank/decision
telemetry:
  records: {{output: /run/extauthz/records.jsonl, labels: {{zone: edge}}}}
  traces: {{endpoint: "http://127.0.0.1:{port}/v1/traces", interval: 20ms}}
"""
POLICY = """package bank

# METADATA
# entrypoint: true
default decision := {"allow": false, "reasons": [{"code": "role.denied"}]}

decision := {"allow": true} if input.resource.id != "secret"
"""
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln"
SECONDS = 30.0


class Collector(ThreadingHTTPServer):
    """Takes what an OpenTelemetry collector takes, and keeps every span. `status`: what it answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.spans: list[dict[str, Any]] = []
        self.resources: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.status = 200
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource in json.loads(body)["resourceSpans"]:
            self.resources.append(attributes(resource["resource"]))
            for scope in resource["scopeSpans"]:
                assert scope["scope"]["name"] == "extauthz"
                self.spans += map(checked, scope["spans"])

    def wait(self, trace: str, count: int) -> dict[str, dict[str, Any]]:
        """The spans of a trace by name, once there are so many."""
        end = time.monotonic() + SECONDS
        while len(found := [span for span in self.spans if span["traceId"] == trace]) < count:
            assert time.monotonic() < end, found
            time.sleep(0.01)
        return {span["name"]: span for span in found}


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/json")
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200:
            self.server.take(body)
        self.send_response(self.server.status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def attributes(holder: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for one in holder["attributes"]:
        ((kind, value),) = one["value"].items()
        assert (kind, type(value)) in {("stringValue", str), ("boolValue", bool)}
        found[one["key"]] = value
    return found


def checked(span: dict[str, Any]) -> dict[str, Any]:
    """A span as OTLP's JSON form has it: ids in hex, times as decimal strings of nanoseconds."""
    assert re.fullmatch(r"[0-9a-f]{32}", span["traceId"])
    assert re.fullmatch(r"[0-9a-f]{16}", span["spanId"])
    assert re.fullmatch(r"([0-9a-f]{16})?", span["parentSpanId"])
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    assert 0 < start <= end
    return {**span, "start": start, "end": end, "attributes": attributes(span)}


class Server:
    def __init__(self, reader: Reader, port: int) -> None:
        self.reader = reader
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(reader.folder / "http.sock")), base_url="http://extauthz", timeout=30
        )

    def check(self, path: str, **headers: str) -> bool:
        message = CheckRequest()
        http = message.attributes.request.http
        http.method, http.path, http.host, http.id = "GET", path, "bank.example", "r-1"
        for name, value in headers.items():
            http.headers[name] = value
        answer = self._channel.unary_unary(CHECK)(message.SerializeToString(), timeout=10)
        return CheckResponse.FromString(answer).status.code == 0

    def metric(self, name: str) -> float:
        page = self.http.get("/metrics").text
        return sum(sample.value for family in text_families(page) for sample in family.samples if sample.name == name)

    def records(self, count: int) -> list[dict[str, Any]]:
        """The decision records, once there are so many."""
        file, end = self.reader.folder / "records.jsonl", time.monotonic() + SECONDS
        while len(lines := file.read_text().splitlines()) < count:
            assert time.monotonic() < end, lines
            time.sleep(0.01)
        return [json.loads(line) for line in lines]

    def leave(self) -> None:
        self._channel.close()
        self.http.close()
        self.reader.leave()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def server(collector: Collector) -> Iterator[Server]:
    parts.require_opa()
    parts.require_embedded()
    with tempfile.TemporaryDirectory(prefix="xa-") as name:
        reader = Reader(Path(name))
        check = free_port()
        text = CONFIG.format(port=collector.server_address[1], check=check)
        reader.write("extauthz.yaml", text)
        reader.write("policy/bank.rego", POLICY)
        reader.serve("extauthz serve extauthz.yaml")
        made = Server(reader, check)
        try:
            yield made
        finally:
            made.leave()


def test_a_check_is_a_tree_of_spans_under_the_callers(server: Server, collector: Collector) -> None:
    assert server.check("/v1/a", traceparent=f"00-{TRACE}-{PARENT}-01", authorization=f"Bearer {SECRET}")
    assert not server.check("/v1/secret", traceparent=f"00-{TRACE[::-1]}-{PARENT}-01")
    assert server.check("/v1/b", traceparent=f"00-{'1' * 32}-{PARENT}-00")  # not sampled
    assert server.check("/v1/c")  # nobody decided, and the ratio is 0
    spans = collector.wait(TRACE, 6)
    check = spans.pop("Check read")
    assert (check["parentSpanId"], check["kind"], "status" in check) == (PARENT, 2, False)
    assert set(spans) == {f"extauthz.{stage}" for stage in ("parse", "route", "workload", "policy", "respond")} | (
        set(spans) & {"extauthz.token"}
    )
    assert {span["parentSpanId"] for span in spans.values()} == {check["spanId"]}
    assert len({span["spanId"] for span in (check, *spans.values())}) == len(spans) + 1
    assert min(span["start"] for span in spans.values()) == check["start"]
    assert max(span["end"] for span in spans.values()) == check["end"]
    said = check["attributes"]
    assert (said["extauthz.route"], said["extauthz.decision"], said["extauthz.engine"]) == ("read", "allow", "embedded")
    assert said["extauthz.cached.decision"] is False
    denied = collector.wait(TRACE[::-1], 6)["Check read"]
    assert (denied["attributes"]["extauthz.layer"], denied["attributes"]["extauthz.code"]) == ("role", "role.denied")
    assert {"service.name": "extauthz", "zone": "edge"}.items() <= collector.resources[0].items()
    assert {span["traceId"] for span in collector.spans} == {TRACE, TRACE[::-1]}
    assert not any(SECRET[-20:].encode() in body or b"Bearer" in body for body in collector.bodies)
    by_path = {record["resource"]["id"]: record for record in server.records(4)}
    assert by_path["a"]["trace_id"] == TRACE
    assert by_path["a"]["decision_id"] == said["extauthz.decision_id"]
    assert by_path["b"]["trace_id"] == "1" * 32
    assert by_path["c"]["trace_id"] == by_path["c"]["decision_id"].replace("-", "")


def test_a_scraper_of_openmetrics_gets_the_exemplars(server: Server, collector: Collector) -> None:
    trace = "2" * 32
    assert server.check("/v1/a", traceparent=f"00-{trace}-{PARENT}-01")
    collector.wait(trace, 6)
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5"
    answer = server.http.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in openmetrics_families(answer.text)}
    for name in ("extauthz_check_seconds", "extauthz_stage_seconds"):
        seen = [sample.exemplar for sample in families[name].samples if sample.exemplar is not None]
        assert trace in {exemplar.labels["trace_id"] for exemplar in seen}
        assert all(exemplar.value > 0 and exemplar.timestamp for exemplar in seen)
    assert families["extauthz_worker_restarts"].type == "counter"
    plain = server.http.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "trace_id" not in plain.text
    assert "# EOF" not in plain.text
    both = [{sample.name for family in read for sample in family.samples if not sample.name.endswith("_created")}
            for read in (families.values(), text_families(plain.text))]  # fmt: skip
    assert both[0] == both[1]


def test_a_collector_that_is_away_is_counted_and_holds_nothing_up(server: Server, collector: Collector) -> None:
    collector.status = 503
    header, before = f"00-{'3' * 32}-{PARENT}-01", server.metric("extauthz_checks_total")
    for number in range(20):
        assert server.check(f"/v1/{number}", traceparent=header)
    end = time.monotonic() + SECONDS
    while server.metric("extauthz_traces_dropped_total") < 20:
        assert time.monotonic() < end
        time.sleep(0.02)
    collector.status = 200
    assert server.check("/v1/later", traceparent=header)
    collector.wait("3" * 32, 6)
    assert server.metric("extauthz_checks_total") == before + 21

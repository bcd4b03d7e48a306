"""The HTTP API of a real server with two workers: AuthZEN through the control socket, and a rollback that reaches all."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support import parts, transports
from tests.support.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
CONFIG = """version: 1
environment: prod
server: {{listen: "127.0.0.1:0", http: "unix:///run/extauthz/http.sock", transport: {transport}, workers: 2}}
api:
  authzen: {{local: true, url: "https://pdp.bank.example", policy: bank/decision, max_body: 512KiB}}
  rollout: {{local: true}}
  decisions: {{local: true}}
policy:
  engine: {engine}
  path: live
  candidate: {{path: next, mode: percent, percent: 100, state: kept.json, rollback: {{min_decisions: 5}}}}
telemetry: {{records: {{output: none}}}}
"""
LIVE = """package bank

# METADATA
# entrypoint: true
decision := {"allow": true}
"""
NEXT = LIVE.replace(
    '{"allow": true}', '{"allow": false, "reasons": [{"code": "attribute.closed", "message": "Closed."}]}'
)
QUESTION: dict[str, Any] = {
    "subject": {"type": "user", "id": "alice"},
    "action": {"name": "read"},
    "resource": {"type": "record", "id": "1"},
}


@pytest.fixture(params=[("grpcio", "embedded"), ("envoy", "sidecar")], ids=["grpcio-embedded", "envoy-sidecar"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    transport, engine = request.param
    parts.require_opa()
    if engine == "embedded":
        parts.require_embedded()
    transports.require(transport)
    with tempfile.TemporaryDirectory(prefix="xa-") as name:
        made = Reader(Path(name))
        made.write("extauthz.yaml", CONFIG.format(transport=transport, engine=engine))
        made.write("live/bank.rego", LIVE)
        made.write("next/bank.rego", NEXT)
        made.serve("extauthz serve extauthz.yaml")
        try:
            yield made
        finally:
            made.leave()


def test_a_rollback_in_one_worker_is_every_workers(reader: Reader) -> None:
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(reader.folder / "http.sock")), base_url="http://extauthz", timeout=30
    ) as http:
        large = {**QUESTION, "context": {"text": "x" * 400_000}}
        first = http.post("/access/v1/evaluation", json=large)
        assert first.status_code == 200, first.text
        assert first.json()["decision"] is False  # the candidate answers everybody
        place = f"/decisions/{first.json()['context']['decision_id']}"
        while (ticket := http.get(place)).status_code == 404:
            pass  # it is kept once its record is made, off the path
        assert ticket.json()["record"]["code"] == "attribute.closed"
        batch = {**QUESTION, "evaluations": [{}] * 12}
        answers: list[bool] = []
        while not answers or not all(answers[-24:]):  # both workers, several times
            found = http.post("/access/v1/evaluations", json=batch).json()["evaluations"]
            answers += [one["decision"] for one in found]
        assert not all(answers)
        status = http.get("/policy/rollout").json()
        while not status["agreed"]:
            status = http.get("/policy/rollout").json()
        assert (status["workers"], status["phase"], status["choice"]["by"]) == (2, "shadow", "automatic")
        assert "extauthz_candidate_rollbacks_total" in http.get("/metrics").text
    kept = json.loads((reader.folder / "kept.json").read_text())
    assert (kept["phase"], kept["by"]) == ("shadow", "automatic")
    assert "is rolled back from percent to shadow" in (reader.folder / "server.log").read_text()
    reader.leave()
    reader.serve("extauthz serve extauthz.yaml")  # a restart does not put it back
    assert "candidate" in (output := reader.run("extauthz policy status"))
    assert ": shadow (configured: percent, 100 % by subject)" in output
    assert "(kept over a restart)" in output

"""The metrics page of the supervisor: what workers say, merged, in the format that the scraper reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from extauthz.model import Allow
from extauthz.supervisor.api import ApiForwarder
from extauthz.supervisor.http import Overview, application, wants_openmetrics
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.trail import RouteFacts, Stage, Trail
from extauthz.transport.control import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterable

TRACES = ("1" * 32, "2" * 32)
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5"
)


class Worker:
    """As `supervisor.process.WorkerProcess`: real metrics, without a process."""

    def __init__(self, index: int, trace: str, *, away: bool = False) -> None:
        self.spec = SimpleNamespace(index=index)
        self._away = away
        self._metrics = Metrics(version="0.1.0")
        self._metrics.know(["read"])
        trail = Trail(1_800_000_000.5)
        trail.route, trail.decision, trail.trace_id, trail.sampled = RouteFacts("read"), Allow(), trace, True
        trail.ns[Stage.POLICY] = 400_000
        self._metrics.account(trail)

    async def ask(self, command: str, timeout: float = 2.0, *, openmetrics: bool = False, **_: Any) -> str:
        assert (command, timeout) == ("metrics", 2.0)
        if self._away:
            raise ControlError("away")
        return self._metrics.render(openmetrics=openmetrics).decode()


async def page(workers: Iterable[Any], accept: str | None, **changes: int) -> httpx.Response:
    overview = Overview(tuple(workers), lambda: {"refusals": 3})
    for name, value in changes.items():
        setattr(overview, name, value)
    app = application(overview, ApiForwarder((), unix=False))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://extauthz") as client:
        return await client.get("/metrics", headers={} if accept is None else {"accept": accept})


@pytest.mark.parametrize("accept", [None, "*/*", "text/plain", "application/json", "application/openmetrics-textual"])
async def test_the_plain_format_is_as_it_was(accept: str | None) -> None:
    answer = await page([Worker(0, TRACES[0])], accept)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "trace_id" not in answer.text
    assert "# EOF" not in answer.text
    assert "# TYPE extauthz_worker_restarts_total counter" in answer.text
    assert len(list(text_families(answer.text))) > 10


async def test_openmetrics_has_the_exemplars_of_every_worker() -> None:
    answer = await page([Worker(0, TRACES[0]), Worker(1, TRACES[1])], PROMETHEUS, refused_reloads=2)
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.text.endswith("\n# EOF\n")
    assert answer.text.count("# EOF") == 1
    families = {family.name: family for family in openmetrics_families(answer.text)}
    for name in ("extauthz_check_seconds", "extauthz_stage_seconds"):
        seen = {
            (sample.labels["worker"], sample.exemplar.labels["trace_id"], sample.exemplar.value)
            for sample in families[name].samples
            if sample.exemplar is not None
        }
        assert seen == {("0", TRACES[0], 0.0004), ("1", TRACES[1], 0.0004)}
    reloads = families["extauthz_reloads"]
    assert reloads.type == "counter"
    refused = {one.labels["worker"]: one.value for one in reloads.samples if one.labels["outcome"] == "refused"}
    assert refused == {"0": 0, "1": 0, "parent": 2}
    assert families["extauthz_policy_bundles_refused"].samples[0].value == 3


async def test_both_formats_say_the_same() -> None:
    plain, open_ = [await page([Worker(0, TRACES[0])], accept, refused_reloads=1) for accept in ("", PROMETHEUS)]
    said = [
        {(one.name, tuple(sorted(one.labels.items())), one.value) for family in read for one in family.samples}
        for read in (text_families(plain.text), openmetrics_families(open_.text))
    ]
    assert said[0] == said[1]


async def test_a_worker_that_is_away_is_left_out_and_all_of_them_are_a_503() -> None:
    answer = await page([Worker(0, TRACES[0]), Worker(1, TRACES[1], away=True)], PROMETHEUS)
    assert "extauthz_workers 1" in answer.text
    assert TRACES[1] not in answer.text
    assert (await page([Worker(0, TRACES[0], away=True)], PROMETHEUS)).status_code == 503


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROMETHEUS, True),
        ("APPLICATION/OpenMetrics-Text", True),
        ("text/plain, application/openmetrics-text; version=1.0.0", True),
        ("", False),
        ("application/openmetrics", False),
        ("x;application/openmetrics-text", False),
    ],
)
def test_what_a_scraper_asks_for(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted

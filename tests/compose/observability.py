"""Prometheus with our rules: it finds every authorization server, and can evaluate every rule and dashboard panel."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.compose.engine import ROOT

if TYPE_CHECKING:
    from tests.compose.platform import ComposePlatform
    from tests.compose.table import Table

DASHBOARD: Final = ROOT / "deploy" / "grafana" / "extauthz.json"
_PATIENCE: Final = 60.0
_INTERVAL: Final = {"$__rate_interval": "1m", "$zone": ".*"}
"""What Grafana would put in."""


def expressions() -> dict[str, str]:
    """Panel → PromQL, with Grafana's own variables filled in."""
    found = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for name, value in _INTERVAL.items():
                text = text.replace(name, value)
            found[f"{panel['title']}/{target['refId']}"] = text
    return found


async def run(platform: ComposePlatform, table: Table) -> None:
    said = await platform.execute("prometheus", "promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    table.add("promtool", "check of configuration and rules", "0", str(said[0]) if said[0] == 0 else said[1][-300:])
    async with httpx.AsyncClient(base_url=platform.prometheus, timeout=5.0, trust_env=False) as client:
        expected = await _servers(platform)
        up: list[str] = []
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and sorted(up) != expected:
            await asyncio.sleep(1.0)
            up = [
                one["labels"]["instance"]
                for one in await _get(client, "targets", "activeTargets")
                if one["health"] == "up"
            ]
        what = f"{len(expected)} authorization servers are asked for metrics"
        table.add("prometheus-targets", what, "all up", "all up" if sorted(up) == expected else f"up: {sorted(up)}")
        groups = await _get(client, "rules", "groups")
        sick = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] not in {"ok", "unknown"}]
        count = sum(len(group["rules"]) for group in groups)
        table.add(
            "prometheus-rules",
            f"{count} rules",
            "none is sick",
            ", ".join(sick) or "none is sick",
            ok=bool(count) and not sick,
        )
        bad = []
        for name, text in expressions().items():
            answer = await client.get("/api/v1/query", params={"query": text})
            if answer.status_code != httpx.codes.OK:
                bad.append(f"{name}: {answer.text[:120]}")
        table.add(
            "dashboard",
            f"{len(expressions())} queries of the Grafana dashboard",
            "all evaluate",
            "; ".join(bad) or "all evaluate",
        )
        answer = await client.get("/api/v1/query", params={"query": "sum(extauthz_checks_total)"})
        value = answer.json()["data"]["result"]
        total = float(value[0]["value"][1]) if value else 0.0
        table.add("metrics", "Checks that Prometheus knows of", "more than 0", f"{total:.0f}", ok=total > 0)


async def _servers(platform: ComposePlatform) -> list[str]:
    """Service names of the authorization servers that run."""
    names = [one["Config"]["Labels"]["com.docker.compose.service"] for one in await platform.containers()]
    return sorted(name for name in names if "-extauthz" in name)


async def _get(client: httpx.AsyncClient, what: str, key: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = (await client.get(f"/api/v1/{what}")).json()["data"][key]
    except (httpx.HTTPError, ValueError, KeyError):
        return []
    return found

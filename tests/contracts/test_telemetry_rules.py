"""The rules for Prometheus and the Grafana dashboard: they load, they fire when they should, they name what exists."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.authority.metrics import FAMILIES as AUTHORITY
from extauthz.telemetry.families import FAMILIES
from tests.support import parts

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
TESTS = ROOT / "deploy" / "prometheus" / "rules_test.yml"
BOARD = ROOT / "deploy" / "grafana" / "extauthz.json"
RUNBOOK = ROOT / "docs" / "failure-modes.md"
PARENT = {"extauthz_workers", "extauthz_worker_restarts_total", "extauthz_policy_bundles_refused_total"}
"""Of the server's parent process; docs/telemetry.md names them."""
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALL: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL if "alert" in rule}
RECORDED = {rule["record"] for rule in ALL if "record" in rule}
PANELS = {
    f"{panel['title']}/{target['refId']}": target["expr"]
    for panel in json.loads(BOARD.read_text())["panels"]
    for target in panel.get("targets", ())
}


def kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def test_promtool_takes_the_rules() -> None:
    promtool = parts.require_promtool()
    done = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should() -> None:
    promtool = parts.require_promtool()
    done = subprocess.run([promtool, "test", "rules", str(TESTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_to_fire_and_to_stay_quiet() -> None:
    fired, quiet = set(), set()
    for one in yaml.safe_load(TESTS.read_text())["tests"]:
        for check in one["promql_expr_test"]:
            if found := re.match(r'ALERTS\{alertname="(\w+)"', check["expr"]):
                (fired if check["exp_samples"] else quiet).add(found[1])
    assert fired == set(ALERTS)
    assert quiet == set(ALERTS)


def test_every_alert_has_a_place_in_the_runbook() -> None:
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/failure-modes.md#{kebab(name)}"
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.strip("` ")).lower().replace(" ", "-") for heading in headings}
    anchors |= set(re.findall(r'<a (?:id|name)="([^"]+)"', RUNBOOK.read_text()))
    assert {kebab(name) for name in ALERTS} <= anchors


def named(expression: str) -> set[str]:
    """Names of series in a query: what is ours or Envoy's, and what rules record."""
    return {
        word
        for word in re.findall(r"(?<![\w:.\"#-])[a-z_][\w:]*(?![\w(])", re.sub(r'"[^"]*"', '""', expression))
        if ":" in word or word.startswith(("extauthz_", "envoy_"))
    }


def known(name: str) -> bool:
    if name in RECORDED or name in FAMILIES or name in AUTHORITY or name in PARENT:
        return True
    family = re.sub(r"_(bucket|sum|count)$", "", name)
    return (family in FAMILIES and FAMILIES[family].kind == "histogram") or name.startswith("envoy_")


@pytest.mark.parametrize("rule", ALL, ids=[rule.get("alert") or rule["record"] for rule in ALL])
def test_a_rule_names_what_exists(rule: dict[str, Any]) -> None:
    names = named(rule["expr"]) - {"up"}
    assert all(known(name) for name in names), names
    assert names or rule["alert"] == "ExtauthzDown"


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_for_what_exists(panel: str) -> None:
    names = named(PANELS[panel])
    assert names
    assert all(known(name) for name in names), names


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join([*PANELS.values(), *(rule["expr"] for rule in ALL if rule.get("record", "") in str(PANELS))])
    left_out = {
        *("extauthz_build_info", "extauthz_revocations_sequence", "extauthz_candidate_answers_total"),
        *("extauthz_candidate_info", "extauthz_candidate_dropped_total", "extauthz_candidate_waiting"),
        *("extauthz_api_requests_total", "extauthz_records_total", "extauthz_upstream_errors_total"),
    }
    assert [name for name in FAMILIES if name not in shown and name not in left_out] == []

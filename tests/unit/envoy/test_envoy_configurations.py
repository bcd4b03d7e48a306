"""The shipped Envoy configurations: Envoy takes them, and nothing that protects is weakened."""

from __future__ import annotations

import copy
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from extauthz.demo import config_files
from extauthz.demo.files import placeholders, render, shared
from extauthz.demo.layout import plan
from extauthz.demo.routes import routes
from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION, STORAGE, ZONES
from tests.support.envoy_safety import ext_authz, listeners, managers, weaknesses
from tests.support.parts import require_envoy

ZONE_FILES = ("edge", "orchestration", "model", "storage")


def _load(name: str) -> dict:
    return yaml.safe_load((shared("envoy") / f"{name}.yaml").read_text())


@pytest.fixture(scope="module")
def layout():
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as folder:
        made = plan(Path(folder))
        config_files.write(made, config_files.issue())
        yield made


@pytest.mark.envoy
@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.name)
def test_envoy_takes_the_configuration(layout, zone):
    command = [require_envoy(), "--mode", "validate", "--disable-hot-restart", "-l", "warning"]
    file = layout.zone(zone).root / "envoy.yaml"
    ran = subprocess.run([*command, "-c", file], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "deprecated" not in ran.stderr.lower()


@pytest.mark.envoy
def test_envoy_takes_the_minimal_configuration_as_it_is():
    file = shared("envoy") / "minimal.yaml"
    assert not placeholders(file.read_text())
    command = [require_envoy(), "--mode", "validate", "--disable-hot-restart", "-l", "warning", "-c", file]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ZONE_FILES)
def test_nothing_is_weakened(name):
    assert weaknesses(_load(name), mutual=name != "edge") == []


def test_nothing_is_weakened_in_the_minimal_configuration():
    assert weaknesses(_load("minimal"), mutual=False, zone=False) == []


def _set(*path, value):
    def change(config):
        place = config
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


def _drop(*path):
    def change(config):
        place = config
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


_LISTENER = ("static_resources", "listeners", 0)
_MANAGER = (*_LISTENER, "filter_chains", 0, "filters", 0, "typed_config")
_FILTER = (*_MANAGER, "http_filters", 0, "typed_config")
_ROUTE = (*_MANAGER, "route_config", "virtual_hosts", 0, "routes", 0)
_TLS = (*_LISTENER, "filter_chains", 0, "transport_socket", "typed_config")
_NEXT = ("static_resources", "clusters", 3, "transport_socket", "typed_config", "common_tls_context")
_EGRESS = ("static_resources", "listeners", 1, "filter_chains", 0, "filters", 0, "typed_config")
_OVERRIDE = (*_ROUTE, "typed_per_filter_config", "envoy.filters.http.ext_authz")

WEAKER = {
    "fails open": _set(*_FILTER, "failure_mode_allow", value=True),
    "failure mode left to the default": _drop(*_FILTER, "failure_mode_allow"),
    "outage looks like a decision": _drop(*_FILTER, "status_on_error"),
    "no peer certificate": _drop(*_FILTER, "include_peer_certificate"),
    "duplicates are joined": _set(*_FILTER, "encode_raw_headers", value=False),
    "unbounded body": _drop(*_FILTER, "with_request_body", "max_request_bytes"),
    "no timeout": _drop(*_FILTER, "grpc_service", "timeout"),
    "only a share of requests is checked": _set(*_FILTER, "filter_enabled", value={"default_value": {"numerator": 1}}),
    "shadow mode": _set(*_FILTER, "shadow_mode", value=True),
    "no ext_authz": _drop(*_MANAGER, "http_filters", 0),
    "path as it came": _set(*_MANAGER, "normalize_path", value=False),
    "slashes kept": _drop(*_MANAGER, "merge_slashes"),
    "escaped slashes kept": _set(*_MANAGER, "path_with_escaped_slashes_action", value="KEEP_UNCHANGED"),
    "client's XFCC is believed": _set(*_MANAGER, "forward_client_cert_details", value="ALWAYS_FORWARD_ONLY"),
    "underscores": _set(*_MANAGER, "common_http_protocol_options", "headers_with_underscores_action", value="ALLOW"),
    "connections live for ever": _drop(*_MANAGER, "common_http_protocol_options", "max_connection_duration"),
    "connections outlive certificates": _set(
        *_MANAGER, "common_http_protocol_options", "max_connection_duration", value="86400s"
    ),
    "identity headers pass": _drop(*_MANAGER, "early_header_mutation_extensions"),
    "outage without words": _drop(*_MANAGER, "local_reply_config"),
    "route without a name": _drop(*_OVERRIDE, "check_settings"),
    "route with another's name": _set(*_OVERRIDE, "check_settings", "context_extensions", "route", value="other"),
    "route that is not checked": _set(*_OVERRIDE, "disabled", value=True),
    "paths without a route are not asked": _drop(*_MANAGER, "route_config", "virtual_hosts", 0, "routes", -1),
    "no client certificate": _set(*_TLS, "require_client_certificate", value=False),
    "client certificates unchecked": _drop(*_TLS, "common_tls_context", "validation_context_sds_secret_config"),
    "any TLS version": _drop(*_TLS, "common_tls_context", "tls_params"),
    "any next zone": _drop(*_NEXT, "combined_validation_context", "default_validation_context"),
    "unchecked next zone": _drop(*_NEXT, "combined_validation_context", "validation_context_sds_secret_config"),
    "calls leave unjudged": _drop(*_EGRESS, "http_filters", 0),
    "a call that is not checked": _set(
        *_EGRESS, "route_config", "virtual_hosts", 0, "routes", 0, "typed_per_filter_config", value={}
    ),
    "identity from a file": _set(
        *_TLS,
        "common_tls_context",
        "tls_certificate_sds_secret_configs",
        0,
        "sds_config",
        value={"path_config_source": {"path": "/etc/svid.yaml"}},
    ),
    "egress on TCP": _set(
        "static_resources",
        "listeners",
        1,
        "address",
        value={"socket_address": {"address": "127.0.0.1", "port_value": 1}},
    ),
    "admin on TCP": _set("admin", "address", value={"socket_address": {"address": "127.0.0.1", "port_value": 1}}),
}


@pytest.mark.parametrize("change", WEAKER.values(), ids=WEAKER)
def test_each_weakening_is_noticed(change):
    config = copy.deepcopy(_load("orchestration"))
    change(config)
    assert weaknesses(config, mutual=True) != []


@pytest.mark.parametrize("zone", [EDGE, ORCHESTRATION, MODEL, STORAGE], ids=lambda zone: zone.name)
def test_the_routes_of_envoy_are_the_routes_of_extauthz(zone):
    found: dict[str, list[str]] = {"peer": [], "self": []}
    for caller, listener in (("peer", "ingress"), ("self", "egress")):
        for each in listeners(_load(zone.kind), listener):
            hosts = managers(each)[0]["route_config"]["virtual_hosts"]
            found[caller] += [route["name"] for host in hosts for route in host["routes"] if "route" in route]
            assert hosts[0]["domains"] == ([zone.host] if caller == "peer" else ["*"])
    for caller, names in found.items():
        assert sorted(names) == sorted(r["name"] for r in routes(zone) if r.get("caller", "peer") == caller)


@pytest.mark.parametrize("zone", [EDGE, ORCHESTRATION, MODEL], ids=lambda zone: zone.name)
def test_each_zone_calls_exactly_the_next_one(zone):
    following = {"orchestration": ORCHESTRATION, "model": MODEL, "storage": STORAGE}[zone.next]
    cluster = next(c for c in _load(zone.kind)["static_resources"]["clusters"] if c["name"] == "next_zone")
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]["combined_validation_context"]
    names = context["default_validation_context"]["match_typed_subject_alt_names"]
    assert names == [{"san_type": "URI", "matcher": {"exact": following.id}}]


def test_the_check_times_out_before_the_request():
    for name in ZONE_FILES:
        manager = managers(listeners(_load(name), "ingress")[0])[0]
        assert ext_authz(manager)["grpc_service"]["timeout"] == "1s"
        assert manager["request_timeout"] == "15s"


def test_the_readme_explains_every_variable():
    readme = (shared("envoy") / "README.md").read_text()
    files = [shared("envoy") / f"{name}.yaml" for name in ZONE_FILES]
    for name in frozenset().union(*(placeholders(file.read_text()) for file in files)):
        assert f"`{name}`" in readme, name


def test_the_folder_is_no_python_package():
    assert list(shared("envoy").rglob("*.py")) == []


def test_rendering_needs_every_value():
    assert render("a ${ONE} b", {"ONE": "1"}) == "a 1 b"

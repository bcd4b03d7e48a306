"""The zones' Envoys in containers: what differs from the shipped files, and which authorization servers they ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz.demo import config_files
from extauthz.demo.files import render, shared

if TYPE_CHECKING:
    from extauthz.demo.layout import Layout, ZoneLayout

ADMIN_PORT: Final = 9901
"""Envoy's admin interface, on the loopback of its container alone."""
_TYPE: Final = "type.googleapis.com/envoy."


def suffix(number: int) -> str:
    """Of the names of a zone's first, second, … authorization server and all that is its own."""
    return "" if number == 1 else f"-{number}"


def envoy_settings(layout: Layout, place: ZoneLayout) -> dict[str, Any]:
    """The zone's shipped configuration, with three differences: it listens for other containers; its admin interface
    is on the container's loopback, where the health check asks; its authorization servers are named in a file."""
    zone = place.zone
    values = config_files.envoy_values(layout, place) | {"LISTEN_ADDRESS": "0.0.0.0"}  # noqa: S104 - in a container
    if zone.next:
        values["NEXT_ADDRESS"] = layout.zones[zone.next].zone.host
    tree: dict[str, Any] = yaml.safe_load(render((shared("envoy") / f"{zone.kind}.yaml").read_text(), values))
    tree["node"]["id"] = zone.name
    tree["admin"]["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": ADMIN_PORT}}
    cluster = next(one for one in tree["static_resources"]["clusters"] if one["name"] == "extauthz")
    del cluster["load_assignment"]
    cluster["type"] = "EDS"
    source = {
        "path": str(place.root / "envoy" / "extauthz.yaml"),
        "watched_directory": {"path": str(place.root / "envoy")},
    }
    # When one of two servers is away, every question to it is asked again: Envoy's own bound is 3 at a time.
    cluster["circuit_breakers"] = {"thresholds": [{"max_retries": 1024}]}
    cluster["eds_cluster_config"] = {"eds_config": {"path_config_source": source}}
    for question in _ext_authz(tree):
        question["grpc_service"]["retry_policy"] = {
            # A Check changes nothing, so it may be asked again, of the other server where there is one.
            "retry_on": "connect-failure,refused-stream,reset,unavailable",
            "num_retries": 2,
            # Envoy takes max_interval for the longest time of one try, too: that of the whole question.
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "1s"},
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{_TYPE}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 3,
        }
    return tree


def _ext_authz(node: Any) -> list[dict[str, Any]]:
    """Every ext_authz filter's settings."""
    if isinstance(node, list):
        return [found for item in node for found in _ext_authz(item)]
    if not isinstance(node, dict):
        return []
    if str(node.get("@type", "")).endswith("ext_authz.v3.ExtAuthz"):
        return [node]
    return _ext_authz(list(node.values()))


def write_endpoints(place: ZoneLayout, replicas: int) -> None:
    """The file is replaced by a rename, which Envoy sees."""
    sockets = [str(place.socket(f"check{suffix(number)}")) for number in range(1, replicas + 1)]
    assignment = {
        "@type": f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "extauthz",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}} for path in sockets]}],
    }
    config_files.write_yaml(place.root / "envoy" / "extauthz.yaml", {"resources": [assignment]})


def scale(layout: Layout, replicas: int = 2) -> None:
    """Each zone's Envoy shares its questions among this many authorization servers from now on."""
    for place in layout.zones.values():
        write_endpoints(place, replicas)

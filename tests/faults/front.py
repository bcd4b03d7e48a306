"""The Envoy in front: connection manager and ext_authz filter of `envoy/edge.yaml`, so that what is tested is what is
shipped; one route for each route policy, the upstream behind it.

Several authorization servers (`checks`) are one cluster, as `docs/failure-modes.md` tells an operator to write it:
health-checked over gRPC, and a Check that could not be delivered is asked of the next one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz.demo.files import shared
from tests.faults.oracle import ENVOY_TIMEOUT
from tests.faults.web import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Tree = dict[str, Any]
_TYPE: Final = "type.googleapis.com/envoy.extensions."
RETRY: Final[Tree] = {
    "retry_on": "unavailable,connect-failure,refused-stream,reset",
    "num_retries": 2,
    "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
    "host_selection_retry_max_attempts": 5,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {"@type": _TYPE + "retry.host.previous_hosts.v3.PreviousHostsPredicate"},
        }
    ],
}
HEALTH: Final[Tree] = {
    "timeout": "0.5s",
    "interval": "0.5s",
    "no_traffic_interval": "0.5s",
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
    "grpc_health_check": {},
}


def write(folder: Path, routes: Sequence[str], checks: Sequence[Path], upstream: int) -> Path:
    """Envoy's bootstrap in `folder`. `checks`: sockets of the authorization servers; `upstream`: a loopback port."""
    path = folder / "front.json"
    path.write_text(json.dumps(bootstrap(folder, routes, checks, upstream)))
    return path


def bootstrap(folder: Path, routes: Sequence[str], checks: Sequence[Path], upstream: int) -> Tree:
    edge = yaml.safe_load((shared("envoy") / "edge.yaml").read_text())["static_resources"]["listeners"][0]
    manager = dict(edge["filter_chains"][0]["filters"][0]["typed_config"])
    manager.pop("access_log")
    ext_authz, router = manager["http_filters"]
    service: Tree = {"envoy_grpc": {"cluster_name": "extauthz"}, "timeout": f"{ENVOY_TIMEOUT:g}s"}
    if len(checks) > 1:
        service["retry_policy"] = RETRY
    asked = {**ext_authz, "typed_config": {**ext_authz["typed_config"], "grpc_service": service}}
    manager["http_filters"] = [asked, router]
    manager["route_config"] = {
        "name": "faults",
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [_route(name) for name in routes]}],
    }
    connections = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    listener = {
        "name": "plain",
        "address": {"socket_address": {"address": LOOPBACK, "port_value": 0}},
        "filter_chains": [{"filters": [connections]}],
    }
    return {
        "node": {"id": "faults", "cluster": "faults"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock"), "mode": 0o600}}},
        "static_resources": {"listeners": [listener], "clusters": [_checks(checks), _upstream(upstream)]},
    }


def _route(name: str) -> Tree:
    per_route = {
        "@type": _TYPE + "filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "check_settings": {"context_extensions": {"route": name}},
    }
    return {
        "name": name,
        "match": {"path_separated_prefix": f"/{name}"},
        "route": {"cluster": "upstream", "timeout": "5s"},
        "typed_per_filter_config": {"envoy.filters.http.ext_authz": per_route},
    }


def _checks(sockets: Sequence[Path]) -> Tree:
    cluster = _cluster("extauthz", [{"pipe": {"path": str(socket)}} for socket in sockets])
    cluster["typed_extension_protocol_options"] = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": _TYPE + "upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    if len(sockets) > 1:
        cluster["health_checks"] = [HEALTH]
        cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
        # Envoy retries three requests at a time unless it is told otherwise: too few for one that is gone.
        cluster["circuit_breakers"] = {"thresholds": [{"max_retries": 1024}]}
    return cluster


def _upstream(port: int) -> Tree:
    return _cluster("upstream", [{"socket_address": {"address": LOOPBACK, "port_value": port}}])


def _cluster(name: str, addresses: list[Tree]) -> Tree:
    endpoints = [{"endpoint": {"address": address}} for address in addresses]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }

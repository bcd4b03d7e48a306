"""The front Envoy: one process, two listeners (plain, mTLS), a virtual host and an ext_authz cluster for each variant.

Connection manager and ext_authz filter are those of `envoy/edge.yaml`, so that what is measured is what is shipped;
only the access log is left out. Every filter is in every chain, disabled; a virtual host switches its own on.
The upstream is a `direct_response`: what is left over `no-authz` is authorization.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final

import httpx
import yaml

from bench.variants import Server, Variant, servers
from extauthz.demo.zones import EDGE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Tree = dict[str, Any]
PATH: Final = "/v1/transfers"
_TYPE: Final = "type.googleapis.com/envoy.extensions."
_HTTP: Final = _TYPE + "filters.http."


def config(variants: Sequence[Variant], folder: Path, edge: Path, issuer: str) -> Tree:
    """Envoy's bootstrap. `folder` holds `jwks.json`, `front.pem`, `front.key`, `ca.pem`, and a socket a server."""
    manager = _manager(edge)
    plain = _listener("plain", manager, variants, issuer, folder)
    listeners = [plain]
    if any(variant.mtls for variant in variants):
        listeners.append(_secured(copy.deepcopy(plain), folder))
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock"), "mode": 0o600}}},
        "static_resources": {
            "listeners": listeners,
            "clusters": [_cluster(server, folder) for server in servers(variants)],
        },
    }


def write(variants: Sequence[Variant], folder: Path, edge: Path, issuer: str) -> Path:
    path = folder / "front.json"
    path.write_text(json.dumps(config(variants, folder, edge, issuer), indent=1))
    return path


def _manager(edge: Path) -> Tree:
    """The ingress connection manager of the edge zone."""
    listener = next(one for one in yaml.safe_load(edge.read_text())["static_resources"]["listeners"])
    manager: Tree = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return {key: value for key, value in manager.items() if key not in {"access_log", "local_reply_config"}}


def _listener(name: str, manager: Tree, variants: Sequence[Variant], issuer: str, folder: Path) -> Tree:
    ext_authz = manager["http_filters"][0]["typed_config"]
    filters = [_native("cached", issuer, folder), _native("verify", issuer, folder), _rbac()]
    filters += [_ask(server, ext_authz) for server in servers(variants)]
    own: Tree = {
        "stat_prefix": "bench",
        "http_filters": [*filters, manager["http_filters"][-1]],
        "route_config": {"name": "bench", "virtual_hosts": [_virtual_host(variant) for variant in variants]},
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "per_connection_buffer_limit_bytes": 65536,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {**manager, **own}}]}
        ],
    }


def _secured(listener: Tree, folder: Path) -> Tree:
    listener["name"] = "mtls"
    chain = listener["filter_chains"][0]
    chain["filters"][0]["typed_config"]["stat_prefix"] = "bench-mtls"
    chain["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(folder / "front.pem")},
                        "private_key": {"filename": str(folder / "front.key")},
                    }
                ],
                "validation_context": {"trusted_ca": {"filename": str(folder / "ca.pem")}},
            },
        },
    }
    return listener


def _virtual_host(variant: Variant) -> Tree:
    on: Tree = {}
    if variant.native:
        on = {name: _enable() for name in (f"jwt-{variant.native}", "rbac")}
    elif variant.server is not None:
        settings = {"context_extensions": {"route": variant.route}}
        per_route = {"@type": _HTTP + "ext_authz.v3.ExtAuthzPerRoute", "check_settings": settings}
        on = {variant.server.name: per_route}
    return {
        "name": variant.name,
        "domains": [variant.host],
        "routes": [
            {
                "match": {"path": PATH, "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]},
                "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}},
                "typed_per_filter_config": on,
            }
        ],
    }


def _enable() -> Tree:
    """The filter as it is configured, switched on for this virtual host."""
    return {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}, "disabled": False}


def _native(kind: str, issuer: str, folder: Path) -> Tree:
    provider: Tree = {
        "issuer": issuer,
        "audiences": [EDGE.audience],
        "local_jwks": {"filename": str(folder / "jwks.json")},
        "forward": True,
        "payload_in_metadata": "token",
    }
    if kind == "cached":
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}
    typed = {
        "@type": _HTTP + "jwt_authn.v3.JwtAuthentication",
        "providers": {"development": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "development"}}],
    }
    return {"name": f"jwt-{kind}", "disabled": True, "typed_config": typed}


def _rbac() -> Tree:
    """What Envoy can say of the route's policy by itself: method, path, role and tenant; not amount nor region."""

    def claim(name: str, value: Tree) -> Tree:
        path = [{"key": "token"}, {"key": name}]
        return {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": path, "value": value}}

    role = {"list_match": {"one_of": {"string_match": {"exact": "wire-operator"}}}}
    principals = [claim("roles", role), claim("tenant", {"string_match": {"exact": "acme"}})]
    permissions = [
        {"header": {"name": ":method", "string_match": {"exact": "POST"}}},
        {"url_path": {"path": {"exact": PATH}}},
    ]
    policy = {
        "permissions": [{"and_rules": {"rules": permissions}}],
        "principals": [{"and_ids": {"ids": principals}}],
    }
    rules = {"action": "ALLOW", "policies": {"wire-operators": policy}}
    return {"name": "rbac", "disabled": True, "typed_config": {"@type": _HTTP + "rbac.v3.RBAC", "rules": rules}}


def _ask(server: Server, ext_authz: Tree) -> Tree:
    grpc = {"envoy_grpc": {"cluster_name": server.name}, "timeout": "1s"}
    typed = {**ext_authz, "stat_prefix": server.name, "grpc_service": grpc}
    return {"name": server.name, "disabled": True, "typed_config": typed}


def _cluster(server: Server, folder: Path) -> Tree:
    protocol = _TYPE + "upstreams.http.v3.HttpProtocolOptions"
    endpoint = {"address": {"pipe": {"path": str(folder / server.name / "check.sock")}}}
    return {
        "name": server.name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": protocol,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": server.name,
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }


class Admin:
    """The front Envoy's admin interface, on its Unix socket."""

    def __init__(self, folder: Path) -> None:
        transport = httpx.HTTPTransport(uds=str(folder / "admin.sock"))
        self._client = httpx.Client(transport=transport, base_url="http://admin", trust_env=False)

    def ports(self) -> dict[str, int]:
        """Listener name → port."""
        answer = self._client.get("/listeners", params={"format": "json"}).json()
        return {
            one["name"]: int(one["local_address"]["socket_address"]["port_value"])
            for one in answer["listener_statuses"]
        }

    def asked(self, server: Server) -> int:
        """How many requests Envoy has let through because `server` said so."""
        text = self._client.get("/stats", params={"filter": rf"ext_authz\.{server.name}\.ok$"}).text
        return sum(int(line.rpartition(":")[2]) for line in text.splitlines() if line)

    def close(self) -> None:
        self._client.close()

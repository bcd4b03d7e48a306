"""Real Envoys that have no key of their own: certificate and trust come from an SDS socket alone."""

import asyncio
import contextlib
import json
import socket
from contextlib import asynccontextmanager

import httpx

from tests.support import parts

HTTP = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def sds(name, api="GRPC"):
    service = {"envoy_grpc": {"cluster_name": "agent"}}
    source = {"api_type": api, "transport_api_version": "V3", "grpc_services": [service]}
    return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": source}}


def agent(path):
    """The cluster of the agent's Unix socket."""
    return {
        "name": "agent",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": HTTP,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": endpoint("agent", {"pipe": {"path": str(path)}}),
    }


def endpoint(name, address):
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def tls(certificate, trust, san="", api="GRPC", **more):
    """A common_tls_context: both halves from SDS. `san`: the SPIFFE ID that the peer must have."""
    source = {"validation_context_sds_secret_config": sds(trust, api)}
    if san:
        match = {"san_type": "URI", "matcher": {"exact": san}}
        default = {"match_typed_subject_alt_names": [match]}
        source = {"combined_validation_context": {**source, "default_validation_context": default}}
    return {"common_tls_context": {"tls_certificate_sds_secret_configs": [sds(certificate, api)], **source}, **more}


def _listener(port, routes, transport=None):
    manager = {
        "@type": HCM,
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [routes]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    if transport:
        chain["transport_socket"] = transport
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": "in", "address": address, "filter_chains": [chain]}


def server(port, sds_socket, context):
    """Answers over mTLS with the serial number and the SPIFFE ID of the peer that it saw."""
    routes = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [
            {"header": {"key": "x-peer-serial", "value": "%DOWNSTREAM_PEER_SERIAL%"}},
            {"header": {"key": "x-peer-uri", "value": "%DOWNSTREAM_PEER_URI_SAN%"}},
        ],
    }
    typed = {"@type": f"{TLS}.DownstreamTlsContext", "require_client_certificate": True, **context}
    transport = {"name": "envoy.transport_sockets.tls", "typed_config": typed}
    return {"listeners": [_listener(port, routes, transport)], "clusters": [agent(sds_socket)]}


def client(port, upstream, sds_socket, context):
    """Forwards plain HTTP to `upstream` over mTLS, with a new connection for each request."""
    one = {
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    cluster = {
        "name": "upstream",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": HTTP, **one}
        },
        "load_assignment": endpoint("upstream", {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}),
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": f"{TLS}.UpstreamTlsContext", **context},
        },
    }
    routes = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    return {"listeners": [_listener(port, routes)], "clusters": [agent(sds_socket), cluster]}


class Envoy:
    def __init__(self, port, admin, process):
        self.port = port
        self.admin = admin
        self.process = process

    async def stats(self, pattern):
        """Counters whose names match the regular expression `pattern`."""
        transport = httpx.AsyncHTTPTransport(uds=self.admin)
        async with httpx.AsyncClient(transport=transport, timeout=5) as http:
            answer = await http.get("http://admin/stats", params={"filter": pattern, "format": "json"})
        return {one["name"]: one["value"] for one in answer.json()["stats"] if "value" in one}

    async def get(self):
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            return await http.get(f"http://127.0.0.1:{self.port}/")


@asynccontextmanager
async def running(name, folder, port, resources):
    """An Envoy with these static resources, its listener bound or warming; it is killed at the end."""
    admin = str(folder / f"{name}.sock")
    config = {
        "node": {"id": name, "cluster": "test"},
        "admin": {"address": {"pipe": {"path": admin}}},
        "static_resources": resources,
    }
    process = await asyncio.create_subprocess_exec(
        str(parts.require_envoy()),
        *("--config-yaml", json.dumps(config), "--concurrency", "1", "--log-level", "critical"),
        "--disable-hot-restart",
    )
    try:
        for _ in range(200):
            assert process.returncode is None, "Envoy refused its configuration"
            if (folder / f"{name}.sock").exists():
                break
            await asyncio.sleep(0.05)
        yield Envoy(port, admin, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def serves(envoy):
    """Waits for the first request that gets through: a listener is bound once its secrets have come."""
    for _ in range(400):
        with contextlib.suppress(httpx.TransportError):
            if (answer := await envoy.get()).status_code == 200:
                return answer
        await asyncio.sleep(0.05)
    raise AssertionError("no request gets through")

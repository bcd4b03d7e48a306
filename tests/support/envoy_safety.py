"""What of an Envoy configuration must not be weakened; a list of what is, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CERTIFICATE_LIFE = 3600
LEFT_AT_RENEWAL = CERTIFICATE_LIFE * 45 // 100
"""A connection that was opened just before shows the old certificate until it ends."""


def listeners(config: Mapping[str, Any], name: str) -> list[Any]:
    return [each for each in config["static_resources"]["listeners"] if each["name"] == name]


def managers(listener: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [each["typed_config"] for chain in listener["filter_chains"] for each in chain["filters"]]


def ext_authz(manager: Mapping[str, Any]) -> dict[str, Any]:
    return next((f["typed_config"] for f in manager["http_filters"] if f["name"] == "envoy.filters.http.ext_authz"), {})


def weaknesses(config: Mapping[str, Any], *, mutual: bool, zone: bool = True) -> list[str]:
    """`mutual`: callers must show a certificate. `zone`: one of the four zones, not the minimal example."""
    found: list[str] = []
    incoming = listeners(config, "ingress")
    if not incoming:
        return ["no ingress listener"]
    for manager in managers(incoming[0]):
        found += _manager(manager, zone=zone) + _filter(manager) + list(_routes(manager, zone=zone))
    found += _incoming_tls(incoming[0], mutual=mutual) if zone else []
    for listener in listeners(config, "egress"):
        for manager in managers(listener):
            found += _filter(manager) + list(_routes(manager, zone=zone))
    for listener in config["static_resources"]["listeners"]:
        address = listener["address"]
        if listener["name"] != "ingress" and "pipe" not in address:
            found.append(f"{listener['name']} listens on more than a Unix socket")
    for cluster in config["static_resources"]["clusters"]:
        if cluster["name"] == "next_zone":
            found += _outgoing(cluster)
    admin = config.get("admin", {}).get("address", {})
    if admin and (set(admin) != {"pipe"} or admin["pipe"].get("mode") != 0o600):
        found.append("admin is not on a private Unix socket")
    return found


def _wrong(values: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [f"{key} is {values.get(key)!r}" for key, value in wanted.items() if values.get(key) != value]


def _manager(manager: Mapping[str, Any], *, zone: bool) -> list[str]:
    found = _wrong(
        manager,
        {
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "forward_client_cert_details": "SANITIZE_SET",
            "use_remote_address": True,
            "strip_any_host_port": True,
        },
    )
    common = manager["common_http_protocol_options"]
    found += _wrong(common, {"headers_with_underscores_action": "REJECT_REQUEST"})
    found += [f"no {name}" for name in ("request_timeout", "request_headers_timeout") if name not in manager]
    if not zone:
        return found
    if int(str(common.get("max_connection_duration", "0s")).rstrip("s") or 0) not in range(1, LEFT_AT_RENEWAL):
        found.append("connections may outlive a certificate")
    mutations = [
        mutation
        for each in manager.get("early_header_mutation_extensions", [])
        for mutation in each["typed_config"]["mutations"]
    ]
    matcher = {"key_matcher": {"prefix": "x-extauthz-", "ignore_case": True}}
    if {"remove_on_match": matcher} not in mutations:
        found.append("identity headers from outside are kept")
    mappers = manager.get("local_reply_config", {}).get("mappers", [])
    if not any(
        m["status_code"] == 503 and m["body_format_override"]["json_format"]["layer"] == "engine" for m in mappers
    ):
        found.append("an unreachable authorization server is not told")
    return found


def _filter(manager: Mapping[str, Any]) -> list[str]:
    names = [each["name"] for each in manager["http_filters"]]
    if names != ["envoy.filters.http.ext_authz", "envoy.filters.http.router"]:
        return [f"filters are {names}"]
    settings = ext_authz(manager)
    found = _wrong(
        settings,
        {
            "failure_mode_allow": False,
            "status_on_error": {"code": "ServiceUnavailable"},
            "include_peer_certificate": True,
            "validate_mutations": True,
            "encode_raw_headers": True,
            "transport_api_version": "V3",
        },
    )
    body = settings.get("with_request_body", {})
    if not 0 < body.get("max_request_bytes", 0) <= 65536:
        found.append("the body is not bounded")
    if not body.get("allow_partial_message"):
        found.append("a long body is refused without a code")
    if "timeout" not in settings.get("grpc_service", {}):
        found.append("a Check has no timeout")
    known = {"filter_enabled", "filter_enabled_metadata", "failure_mode_allow_header_add", "shadow_mode"}
    return found + [f"{name} is set" for name in known & settings.keys()]


def _routes(manager: Mapping[str, Any], *, zone: bool) -> Iterator[str]:
    for host in manager["route_config"]["virtual_hosts"]:
        if "typed_per_filter_config" in host:
            yield f"{host['name']} overrides a filter"
        for route in host["routes"]:
            override = route.get("typed_per_filter_config", {}).get("envoy.filters.http.ext_authz", {})
            if "disabled" in override:
                yield f"{route.get('name')} switches the Check off"
            if zone and "route" in route:
                given = override.get("check_settings", {}).get("context_extensions", {}).get("route")
                if not given or given != route["name"]:
                    yield f"{route.get('name')} does not tell its name"
        if zone and host["routes"][-1] != {
            "name": "unknown",
            "match": {"prefix": "/"},
            "direct_response": {"status": 404},
        }:
            yield f"{host['name']} has no last route"


def _incoming_tls(listener: Mapping[str, Any], *, mutual: bool) -> list[str]:
    found: list[str] = []
    for chain in listener["filter_chains"]:
        tls = chain.get("transport_socket", {}).get("typed_config", {})
        context = tls.get("common_tls_context", {})
        found += _from_agent(context)
        if context.get("tls_params", {}).get("tls_minimum_protocol_version") not in {"TLSv1_2", "TLSv1_3"}:
            found.append("TLS has no lower bound")
        if mutual and tls.get("require_client_certificate") is not True:
            found.append("callers need no certificate")
        if mutual and context.get("validation_context_sds_secret_config", {}).get("name") != "ALL":
            found.append("callers' certificates are not validated")
    return found


def _from_agent(context: Mapping[str, Any]) -> list[str]:
    """The SVID and the trust bundle come from the agent, so that both are renewed."""
    combined = context.get("combined_validation_context", context)
    named = [
        *context.get("tls_certificate_sds_secret_configs", []),
        combined.get("validation_context_sds_secret_config"),
    ]
    sources = [each["sds_config"].get("api_config_source", {}) for each in named if each]
    clusters = [source.get("grpc_services", [{}])[0].get("envoy_grpc", {}).get("cluster_name") for source in sources]
    return [] if clusters and set(clusters) == {"agent"} else ["an identity does not come from the agent"]


def _outgoing(cluster: Mapping[str, Any]) -> list[str]:
    context = cluster.get("transport_socket", {}).get("typed_config", {}).get("common_tls_context", {})
    combined = context.get("combined_validation_context", {})
    names = combined.get("default_validation_context", {}).get("match_typed_subject_alt_names", [])
    found = []
    exact = [each["matcher"].get("exact", "") for each in names if each.get("san_type") == "URI"]
    if len(exact) != len(names) or len(exact) != 1 or not exact[0].startswith("spiffe://"):
        found.append("the next zone may be any workload")
    if combined.get("validation_context_sds_secret_config", {}).get("name") != "ALL":
        found.append("the next zone's certificate is not validated")
    found += _from_agent(context)
    if not context.get("tls_certificate_sds_secret_configs"):
        found.append("the next zone is called without a certificate")
    return found

"""What each rule of `config.checks` refuses and where, and a near miss that it accepts."""

from __future__ import annotations

from typing import Any

from . import audit_cases, authority_cases, judgement_cases
from .conftest import GATEWAY, REMOVE

ISSUER = {"name": "b2", "issuer": "https://b2.example", "algorithms": ["ES256"], "jwks": {"file": "keys.json"}}
ROUTE = {
    "name": "more",
    "match": {"hosts": ["edge.bank.example"], "methods": ["GET"], "path": "/v1/transfers/{id}"},
    "workloads": [GATEWAY],
    "credential": "workload",
    "action": "more.read",
    "resource": {"type": "more"},
    "policy": "extauthz/more/decision",
}
HTTP = "attributes.sources.2"
ON_MONEY = {"source": "register", "to": {"resource.properties.tenant": "tenant"}}
MONEY_PATH = {"routes.1.match.path": "/v1/transfers/{transfer_id}/again", "routes.1.attributes.+": ON_MONEY}


def more(**changes: Any) -> dict[str, Any]:
    """One further route."""
    route = {**ROUTE, **{key: value for key, value in changes.items() if not key.startswith("match_")}}
    route["match"] = {
        **ROUTE["match"],
        **{key[6:]: value for key, value in changes.items() if key.startswith("match_")},
    }
    return {"routes.+": route}


def own(key: str, value: Any) -> dict[str, Any]:
    """A change that removes the credential's own needs."""
    return {"routes.0.credential": key, "routes.0.token": REMOVE, **value}


KEYS = {"api_keys": {"file": "api-keys.yaml"}}
OPERATORS = {"issuers": ["bank"], "audiences": ["https://extauthz.bank.example"], "scopes": ["extauthz.operate"]}


def compat(**policy: Any) -> dict[str, Any]:
    """`policy.compat`, with routes that may stand beside it."""
    block = {f"policy.{name}": value for name, value in {"compat": "opa-envoy-plugin", **policy}.items()}
    return {**block, "routes.0.attributes": [], "routes.1.attributes": []}


AUTHZEN = {"url": "https://pdp.bank.example", "token": OPERATORS}
OWN_OPA = {"supervise": False, "address": "http://127.0.0.1:8181"}

SECRET = {"id": "extauthz", "secret_env": "INTROSPECTION_SECRET"}
ASKED = {"url": "https://b2.example/introspect", "client": SECRET}
"""The introspection of an issuer."""
OPAQUE = {"routes.0.token.introspect": "opaque"}
ALWAYS = {"routes.1.token.introspect": "always", "issuers.0.introspection": ASKED}

IDENTITY = {"socket": "unix:///run/agent.sock"}
STS = {"url": "https://authority.bank.example/token"}
EXCHANGE = {"routes.0.exchange": {"audience": "ledger"}}
"""A route that exchanges; it needs `IDENTITY` and `STS`."""

GRANTS = {"break_glass": {"keys": "grants.json", "audience": "bank.example"}}

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("break_glass_has_its_section", {"routes.0.break_glass": True}, "routes[0].break_glass", "nobody may issue"),
    (
        "break_glass_has_its_section",
        {**compat(), **GRANTS, "routes.0.break_glass": True},
        "routes[0].break_glass",
        "own response",
    ),
    (
        "break_glass_has_an_issuer_of_its_own",
        {
            "break_glass": {**GRANTS["break_glass"], "issuer": "https://issuer.bank.example"},
            "routes.0.break_glass": True,
        },
        "break_glass.issuer",
        "also issues tokens",
    ),
    (
        "api_keys_cause_no_effects",
        {"routes.1.credential": "api_key", "routes.1.token": REMOVE, **KEYS},
        "routes[1].credential",
        "not enough",
    ),
    ("api_keys_are_listed", own("api_key", {"routes.0.effects": []}), "routes[0].credential", "none are listed"),
    (
        "own_identity_is_there_where_it_is_needed",
        {"workload.trust_domains.bank\\.example.trust_bundle": "identity"},
        'workload.trust_domains["bank.example"].trust_bundle',
        "bundle",
    ),
    ("own_identity_is_there_where_it_is_needed", {"routes.0.caller": "self"}, "routes[0].caller", "our own workload"),
    ("own_identity_is_there_where_it_is_needed", EXCHANGE | {"sts": STS}, "routes[0].exchange", "our own name"),
    (
        "own_identity_is_there_where_it_is_needed",
        {"issuers.0.introspection": {"url": "https://b.example/i", "client": "mtls"}},
        "issuers[0].introspection.client",
        "certificate of our own",
    ),
    ("exchanges_have_a_token_service", EXCHANGE | {"identity": IDENTITY}, "routes[0].exchange", "no token service"),
    (
        "compatible_policies_exchange_nothing",
        compat() | EXCHANGE | {"identity": IDENTITY, "sts": STS},
        "routes[0].exchange",
        "policy.compat",
    ),
    (
        "exchanges_fit_into_a_check",
        EXCHANGE | {"identity": IDENTITY, "sts": STS | {"timeout": "500ms"}},
        "sts.timeout",
        "500ms",
    ),
    (
        "compatible_policies_answer_envoy_only",
        compat() | {"api.authzen": AUTHZEN},
        "api.authzen",
        "AuthZEN's questions",
    ),
    (
        "plugin_keys_need_the_compatibility",
        {"policy.opa_envoy_plugin": {"dry-run": True}},
        "policy.opa_envoy_plugin",
        "not asked for",
    ),
    ("the_compatible_policy_is_there", compat(path=REMOVE), "policy.path", "no policy to ask"),
    (
        "plugin_and_server_agree",
        {"server.listen": "127.0.0.1:7000", **compat(opa_envoy_plugin={"addr": ":7001"})},
        "policy.opa_envoy_plugin.addr",
        "server.listen says",
    ),
    (
        "compatible_routes_ask_for_what_they_get",
        {"policy.compat": "opa-envoy-plugin"},
        "routes[0].attributes",
        "no collected attributes",
    ),
    (
        "compatible_policies_have_no_candidate",
        compat(candidate={"path": "next"}),
        "policy.candidate",
        "our result contract",
    ),
    ("route_names_are_distinct", more(name="read-transfer", match_path="/x"), "routes[2].name", "declared twice"),
    ("one_request_has_one_route", more(), "routes[2].match", "read-transfer and more"),
    ("one_request_has_one_route", more(match_methods=[]), "routes[2].match", "same requests"),
    ("one_request_has_one_route", more(match_hosts=[]), "routes[2].match", "same requests"),
    ("one_request_has_one_route", more(match_hosts=["*.bank.example"]), "routes[2].match", "same requests"),
    ("one_request_has_one_route", {"routes.0.match.hosts": ["*.example"], **more()}, "routes[2].match", "same"),
    (
        "one_request_has_one_route",
        {"routes.0.match.hosts": ["*.bank.example"], **more(match_hosts=["*.example"])},
        "routes[2].match",
        "same",
    ),
    (
        "one_request_has_one_route",
        {"routes.0.match.hosts": ["*.example"], **more(match_hosts=["*.a.bank.example"])},
        "routes[2].match",
        "same",
    ),
    ("one_request_has_one_route", {"routes.0.match.hosts": [], **more()}, "routes[2].match", "same"),
    ("effects_are_decided_before", {"routes.1.evaluation": "async"}, "routes[1].evaluation", "afterwards"),
    (
        "effects_are_decided_before",
        {"routes.1.on_failure": "open"},
        "routes[1].on_failure",
        "would go on without the policy",
    ),
    (
        "effects_are_decided_before",
        {"routes.1.effects": ["side_effects"], "routes.1.credential": "none", "routes.1.token": REMOVE},
        "routes[1].credential",
        "no credential",
    ),
    (
        "effects_are_decided_before",
        {"routes.1.effects": ["secrets"], "routes.1.on_failure": "open"},
        "routes[1].on_failure",
        "secrets",
    ),
    (
        "a_degraded_route_has_something_left",
        {"routes.0.on_failure": "degrade", "policy.engine": "embedded"},
        "routes[0].on_failure",
        "in this process already",
    ),
    (
        "a_degraded_route_has_something_left",
        {"routes.0.on_failure": {"engine": "degrade"}, "policy": {"sidecar": OWN_OPA}},
        "routes[0].on_failure.engine",
        "known to your OPA alone",
    ),
    (
        "a_degraded_route_has_something_left",
        {"routes.0.on_failure": {"attributes": "degrade"}, "routes.0.attributes": []},
        "routes[0].on_failure.attributes",
        "nothing can be missed",
    ),
    (
        "the_plugins_contract_has_no_plan",
        compat() | {"routes.0.on_failure": {"introspection": "open"}},
        "routes[0].on_failure",
        "knows none",
    ),
    (
        "effects_are_decided_before",
        {"routes.1.on_failure": {"engine": "degrade"}},
        "routes[1].on_failure",
        "without the policy engine",
    ),
    (
        "money_and_secrets_name_their_callers",
        {"routes.1.workloads": [GATEWAY, "spiffe://bank.example/env/prod/ns/edge/sa/*"]},
        "routes[1].workloads[1]",
        "wildcard",
    ),
    ("resource_ids_are_templates", {"routes.0.resource.id": "{transfer_id!r}"}, "routes[0].resource.id", "braces"),
    ("resource_ids_are_templates", {"routes.0.resource.id": "{"}, "routes[0].resource.id", "braces"),
    ("resource_ids_are_templates", {"routes.0.resource.id": "{0.__class__}"}, "routes[0].resource.id", "braces"),
    ("opaque_tokens_have_one_issuer_to_ask", OPAQUE, "routes[0].token.introspect", "none of its issuers"),
    (
        "opaque_tokens_have_one_issuer_to_ask",
        OPAQUE
        | {"issuers.0.introspection": ASKED, "issuers.+": {**ISSUER, "introspection": ASKED}}
        | {"routes.0.token.issuers": ["bank", "b2"]},
        "routes[0].token.introspect",
        "bank and b2 could all be asked",
    ),
    (
        "opaque_tokens_have_one_issuer_to_ask",
        {"api.decisions": {"token": {**OPERATORS, "introspect": "opaque"}}},
        "api.decisions.token.introspect",
        "none of its issuers",
    ),
    (
        "every_issuer_can_be_asked_where_it_must",
        ALWAYS | {"issuers.+": ISSUER, "routes.1.token.issuers": ["bank", "b2"]},
        "routes[1].token.introspect",
        "b2 has no",
    ),
    (
        "effects_rest_on_protected_answers",
        ALWAYS | {"issuers.0.introspection": {**ASKED, "url": "http://b2.example/i", "unsafe_http": True}},
        "issuers[0].introspection.unsafe_http",
        "unprotected",
    ),
    ("issuers_are_distinct", {"issuers.+": {**ISSUER, "name": "bank"}}, "issuers[1].name", "two issuers"),
    (
        "issuers_are_distinct",
        {"issuers.+": {**ISSUER, "issuer": "https://issuer.bank.example"}},
        "issuers[1].issuer",
        "same `iss`",
    ),
    ("routes_name_known_issuers", {"routes.0.token.issuers": ["banc"]}, "routes[0].token.issuers[0]", "banc"),
    (
        "routes_name_known_sources",
        {"routes.0.attributes.0.source": "registre"},
        "routes[0].attributes[0].source",
        "registre",
    ),
    (
        "routes_name_known_sources",
        {"routes.0.attributes.0.to": {"resource.properties.tenant": "tenent"}},
        'routes[0].attributes[0].to["resource.properties.tenant"]',
        "no value called tenent",
    ),
    (
        "routes_name_known_sources",
        {"routes.0.attributes.1.to": {"resource.properties.tenant": "none"}},
        'routes[0].attributes[1].to["resource.properties.tenant"]',
        "no value called none",
    ),
    ("routes_have_a_policy", {"policy": REMOVE}, "policy.path", "no policy"),
    ("routes_have_a_policy", {"policy": {"engine": "embedded"}}, "policy.path", "no policy"),
    (
        "a_property_has_one_origin",
        {"routes.0.attributes.+": {"source": "limits", "to": {"resource.properties.tenant": "region"}}},
        'routes[0].attributes[2].to["resource.properties.tenant"]',
        "already filled",
    ),
    (
        "a_property_has_one_origin",
        {"routes.0.attributes.+": {"source": "limits", "to": {"resource.properties.tenant.region": "region"}}},
        'routes[0].attributes[2].to["resource.properties.tenant.region"]',
        "already filled",
    ),
    (
        "a_property_has_one_origin",
        {"routes.0.attributes.1.to": {"subject.properties.tenant": "region"}},
        'routes[0].attributes[1].to["subject.properties.tenant"]',
        "verified claim",
    ),
    (
        "callers_do_not_describe_themselves",
        {"routes.1.attributes.0.to": {"subject.properties.limit": "amount"}},
        'routes[1].attributes[0].to["subject.properties.limit"]',
        "never become subject",
    ),
    (
        "path_variables_exist",
        {"routes.0.match.path": "/v1/transfers/{id}", "routes.0.resource.id": "{id}"},
        "routes[0].attributes[0].source",
        "{transfer_id}",
    ),
    (
        "path_variables_exist",
        {"attributes.sources.1.fields.amount.from": "path:amount"},
        "routes[1].attributes[0].source",
        "{amount}",
    ),
    (
        "path_variables_exist",
        {"routes.0.match": REMOVE, "routes.0.resource.id": ""},
        "routes[0].attributes[0].source",
        "{transfer_id}",
    ),
    (
        "questions_to_sources_can_be_asked",
        own("none", {f"{HTTP}.url": "https://register.bank.example/{subject.id}"}),
        "routes[0].attributes[0].source",
        "needs a subject",
    ),
    (
        "questions_to_sources_can_be_asked",
        own("workload", {f"{HTTP}.url": "https://register.bank.example/{subject.claims.tenant}"}),
        "routes[0].attributes[0].source",
        "needs a token's claims",
    ),
    (
        "questions_to_sources_can_be_asked",
        {
            "routes.0.public": True,
            "routes.0.workloads": [],
            f"{HTTP}.url": "https://register.bank.example/{workload.service}",
        },
        "routes[0].attributes[0].source",
        "needs a workload",
    ),
    (
        "questions_to_sources_can_be_asked",
        {"routes.0.resource.id": "", f"{HTTP}.url": "https://register.bank.example/{resource.id}"},
        "routes[0].attributes[0].source",
        "needs a resource id",
    ),
    ("sources_answer_within_the_deadline", {f"{HTTP}.timeout": "500ms"}, "attributes.sources[2].timeout", "500ms"),
    (
        "sources_answer_within_the_deadline",
        {f"{HTTP}.timeout": "150ms", "server.max_deadline": "100ms"},
        "attributes.sources[2].timeout",
        "100ms",
    ),
    (
        "sources_are_asked_over_tls",
        {f"{HTTP}.url": "http://register.bank.example/{path.transfer_id}", **MONEY_PATH},
        "attributes.sources[2].url",
        "effects",
    ),
    (
        "money_and_secrets_need_fresh_attributes",
        {f"{HTTP}.ttl": "1s", f"{HTTP}.stale_if_error": "1m", **MONEY_PATH},
        "attributes.sources[2].stale_if_error",
        "old values",
    ),
    (
        "subjects_are_not_remembered_beyond_their_tokens",
        {
            f"{HTTP}.ttl": "50m",
            f"{HTTP}.stale_if_error": "20m",
            "routes.0.attributes.0.to": {"subject.properties.home": "tenant"},
        },
        "attributes.sources[2].ttl",
        "70m",
    ),
    (
        "workloads_are_of_trusted_domains",
        {"routes.0.workloads": ["spiffe://evil.example/a"]},
        "routes[0].workloads[0]",
        "evil.example is not trusted",
    ),
    (
        "workloads_are_of_trusted_domains",
        {"workload.registered": ["spiffe://evil.example/a"]},
        "workload.registered[0]",
        "evil.example is not trusted",
    ),
    ("public_routes_do_not_pretend", {"routes.0.public": True}, "routes[0].workloads", "keeps nobody out"),
    (
        "bound_tokens_have_a_certificate_to_meet",
        {"routes.0.token.binding": "required", "routes.0.workloads": []},
        "routes[0].token.binding",
        "no workload may call",
    ),
    (
        "bound_tokens_have_a_certificate_to_meet",
        {"routes.0.token.binding": "required", "workload.require_certificate": False, "routes.1.effects": []},
        "routes[0].token.binding",
        "need not show a certificate",
    ),
    (
        "bound_tokens_have_a_certificate_to_meet",
        {
            "routes.0.token.binding": "required",
            "workload": REMOVE,
            "routes.0.public": True,
            "routes.0.workloads": [],
            "routes.1.workloads": [],
        },
        "routes[0].token.binding",
        "no trust domain",
    ),
    (
        "decisions_do_not_outlive_tokens",
        {"routes.0.cache_ttl": "10m", "issuers.0.max_lifetime": "5m"},
        "routes[0].cache_ttl",
        "tokens live at most 5m",
    ),
    ("denials_are_kept_shorter", {"policy.cache": {"ttl": "1s", "deny_ttl": "2s"}}, "policy.cache.deny_ttl", "longer"),
    (
        "leeway_is_less_than_a_life",
        {"issuers.0.max_lifetime": "30s", "issuers.0.leeway": "30s"},
        "issuers[0].leeway",
        "not below",
    ),
    (
        "effects_rest_on_fresh_and_protected_keys",
        {"issuers.0.jwks": {"url": "http://keys.bank.example/", "unsafe_http": True}},
        "issuers[0].jwks.unsafe_http",
        "could issue its tokens",
    ),
    (
        "effects_rest_on_fresh_and_protected_keys",
        {"issuers.0.jwks.stale_if_error": "2h"},
        "issuers[0].jwks.stale_if_error",
        "2h",
    ),
    (
        "effects_rest_on_whole_identities",
        {"workload.require_certificate": False},
        "workload.require_certificate",
        "money",
    ),
    (
        "effects_rest_on_whole_identities",
        {"workload.require_svid_profile": False},
        "workload.require_svid_profile",
        "money",
    ),
    ("checks_come_from_here_or_over_mtls", {"server.listen": "0.0.0.0:9191"}, "server.listen", "clear text"),
    ("checks_come_from_here_or_over_mtls", {"server.listen": "[::]:9191"}, "server.listen", "clear text"),
    ("checks_come_from_here_or_over_mtls", {"server.listen": "authz.bank.example:9191"}, "server.listen", "clear"),
    (
        "tls_is_not_for_unix_sockets",
        {"server": {"listen": "unix:///run/c.sock", "tls": {"certificate": "a", "private_key": "b", "client_ca": "c"}}},
        "server.tls",
        "Unix socket",
    ),
    ("effects_leave_a_record", {"telemetry.records.output": "none"}, "telemetry.records.output", "no record"),
    (
        "api_tokens_are_of_known_issuers",
        {"api.rollout": {"token": {**OPERATORS, "issuers": ["bank", "other"]}}},
        "api.rollout.token.issuers[1]",
        "called other",
    ),
    (
        "api_tokens_are_of_known_issuers",
        {"api.decisions": {"token": {**OPERATORS, "issuers": []}}},
        "api.decisions.token.issuers",
        "nobody can ask",
    ),
    (
        "api_tokens_travel_protected",
        {"server.http": "0.0.0.0:9190", "api.rollout": {"token": OPERATORS}},
        "api.rollout.token",
        "clear text",
    ),
    (
        "local_callers_come_through_a_unix_socket",
        {"api.authzen": {"local": True, "url": "https://pdp.bank.example"}},
        "api.authzen.local",
        "no Unix socket",
    ),
    (
        "candidates_run_on_engines_of_ours",
        {
            "policy.sidecar": {"address": "http://127.0.0.1:8181", "supervise": False},
            "policy.candidate": {"path": "next"},
        },
        "policy.candidate",
        "cannot run a candidate",
    ),
    (
        "candidates_are_tried_on_known_routes",
        {"policy.candidate": {"path": "next", "routes": ["read-transfer", "paint"]}},
        "policy.candidate.routes[1]",
        "called paint",
    ),
]

ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("break_glass_has_its_section", {"routes.0.break_glass": True, **GRANTS}),
    ("break_glass_has_an_issuer_of_its_own", {"routes.0.break_glass": True, **GRANTS}),
    ("api_keys_cause_no_effects", own("api_key", {"routes.0.effects": [], **KEYS})),
    ("api_keys_are_listed", own("api_key", {"routes.0.effects": [], "api_keys": {"file": "api-keys.yaml"}})),
    (
        "own_identity_is_there_where_it_is_needed",
        {
            "identity": {"certificate": "c.pem", "private_key": "k.pem", "trust_bundle": "t.pem"},
            "workload.trust_domains.bank\\.example.trust_bundle": "identity",
            "routes.0.caller": "self",
            "routes.0.token.binding": "received",
        },
    ),
    ("exchanges_have_a_token_service", EXCHANGE | {"identity": IDENTITY, "sts": STS}),
    ("compatible_policies_exchange_nothing", compat()),
    ("exchanges_fit_into_a_check", EXCHANGE | {"identity": IDENTITY, "sts": STS | {"timeout": "499ms"}}),
    (
        "one_request_has_one_route",  # found by its name only
        more(match_path="/v1/transfers/{transfer_id}", match_methods=["GET"], caller="self") | {"identity": IDENTITY},
    ),
    ("compatible_policies_answer_envoy_only", {"api.authzen": AUTHZEN}),
    ("plugin_keys_need_the_compatibility", compat(opa_envoy_plugin={"dry-run": True})),
    ("the_compatible_policy_is_there", compat(path=REMOVE, engine="sidecar", sidecar=OWN_OPA)),
    ("plugin_and_server_agree", {"server.listen": "127.0.0.1:7000", **compat(opa_envoy_plugin={"addr": ":7000"})}),
    ("compatible_routes_ask_for_what_they_get", compat()),
    ("compatible_policies_have_no_candidate", {"policy.candidate": {"path": "next"}}),
    ("route_names_are_distinct", more(match_path="/x")),
    ("one_request_has_one_route", more(match_methods=["PUT"])),
    ("one_request_has_one_route", more(match_hosts=["other.bank.example"])),
    ("one_request_has_one_route", more(match_hosts=["*.edge.bank.example"])),
    ("one_request_has_one_route", more(match_path="/v1/transfers/latest")),
    ("one_request_has_one_route", more(match_path="/v1/transfers/**")),
    ("one_request_has_one_route", {"routes.0.match.hosts": ["*.a.example"], **more(match_hosts=["*.b.example"])}),
    ("effects_are_decided_before", {"routes.1.effects": ["money", "secrets", "side_effects"]}),
    (
        "effects_are_decided_before",
        {"routes.1.credential": "workload", "routes.1.token": REMOVE},
    ),
    ("effects_are_decided_before", {"routes.1.on_failure": "closed"}),
    ("a_degraded_route_has_something_left", {"routes.0.on_failure": "degrade", "policy.engine": "sidecar"}),
    (
        "a_degraded_route_has_something_left",
        {"routes.0.on_failure": {"engine": "degrade"}, "policy": {"sidecar": OWN_OPA, "path": "policies"}},
    ),
    ("the_plugins_contract_has_no_plan", compat() | {"routes.0.on_failure": {"audit": "open", "revocations": "open"}}),
    (
        "money_and_secrets_name_their_callers",
        {"routes.0.workloads": ["spiffe://bank.example/env/prod/ns/*/sa/*"]},
    ),
    ("resource_ids_are_templates", {"routes.0.resource.id": "T-{transfer_id}"}),
    (
        "opaque_tokens_have_one_issuer_to_ask",
        OPAQUE | {"issuers.0.introspection": ASKED, "issuers.+": ISSUER} | {"routes.0.token.issuers": ["bank", "b2"]},
    ),
    ("every_issuer_can_be_asked_where_it_must", ALWAYS),
    (
        "effects_rest_on_protected_answers",
        OPAQUE | {"issuers.0.introspection": {**ASKED, "url": "http://b2.example/i", "unsafe_http": True}},
    ),
    ("issuers_are_distinct", {"issuers.+": ISSUER}),
    ("routes_name_known_issuers", {"issuers.+": ISSUER, "routes.0.token.issuers": ["bank", "b2"]}),
    ("routes_name_known_sources", {"routes.0.attributes": []}),
    (
        "routes_have_a_policy",
        {"policy": {"sidecar": {"supervise": False, "address": "unix:///run/opa.sock"}}},
    ),
    ("routes_have_a_policy", {"policy": REMOVE, "routes": []}),
    (
        "a_property_has_one_origin",
        {"routes.0.attributes.+": {"source": "limits", "to": {"resource.properties.tenant_region": "region"}}},
    ),
    ("callers_do_not_describe_themselves", {"routes.0.attributes.1.to": {"subject.properties.region": "region"}}),
    ("path_variables_exist", {f"{HTTP}.url": "https://register.bank.example/all"}),
    (
        "questions_to_sources_can_be_asked",
        {f"{HTTP}.url": "https://x.example/{subject.id}/{resource.id}/{workload.id}"},
    ),
    ("questions_to_sources_can_be_asked", own("workload", {f"{HTTP}.url": "https://x.example/{subject.id}"})),
    ("sources_answer_within_the_deadline", {f"{HTTP}.timeout": "499ms"}),
    ("sources_are_asked_over_tls", {f"{HTTP}.url": "http://127.0.0.1:8080/{path.transfer_id}", **MONEY_PATH}),
    ("sources_are_asked_over_tls", {f"{HTTP}.url": "http://[::1]:8080/{path.transfer_id}", **MONEY_PATH}),
    ("sources_are_asked_over_tls", {f"{HTTP}.url": "http://register.bank.example/{path.transfer_id}"}),
    ("money_and_secrets_need_fresh_attributes", {f"{HTTP}.ttl": "1s", f"{HTTP}.stale_if_error": "1m"}),
    ("money_and_secrets_need_fresh_attributes", {f"{HTTP}.ttl": "1s", **MONEY_PATH}),
    (
        "subjects_are_not_remembered_beyond_their_tokens",
        {f"{HTTP}.ttl": "1h", "routes.0.attributes.0.to": {"subject.properties.home": "tenant"}},
    ),
    (
        "workloads_are_of_trusted_domains",
        {"routes.0.workloads": ["spiffe://bank.example/env/*/ns/edge/sa/gateway"], "workload.registered": [GATEWAY]},
    ),
    ("public_routes_do_not_pretend", {"routes.0.public": True, "routes.0.workloads": []}),
    ("bound_tokens_have_a_certificate_to_meet", {"routes.0.token.binding": "required"}),
    (
        "bound_tokens_have_a_certificate_to_meet",
        {
            "routes.0.token.binding": "required",
            "workload.require_certificate": False,
            "workload.xfcc": "last",
            "routes.1.effects": [],
        },
    ),
    ("decisions_do_not_outlive_tokens", {"routes.0.cache_ttl": "5m", "issuers.0.max_lifetime": "5m"}),
    ("denials_are_kept_shorter", {"policy.cache": {"ttl": "1s", "deny_ttl": "1s"}}),
    ("denials_are_kept_shorter", {"policy.cache": {"enabled": False, "ttl": "1s"}}),
    ("leeway_is_less_than_a_life", {"issuers.0.max_lifetime": "31s", "issuers.0.leeway": "30s"}),
    (
        "effects_rest_on_fresh_and_protected_keys",
        {"issuers.0.jwks": {"url": "http://keys.bank.example/", "unsafe_http": True}, "routes.1.effects": []},
    ),
    ("effects_rest_on_fresh_and_protected_keys", {"issuers.0.jwks": {"url": "http://127.0.0.1:8000/jwks.json"}}),
    ("effects_rest_on_whole_identities", {"workload.require_certificate": False, "routes.1.effects": []}),
    ("api_tokens_are_of_known_issuers", {"api.rollout": {"token": OPERATORS}}),
    ("api_tokens_travel_protected", {"server.http": "localhost:9190", "api.rollout": {"token": OPERATORS}}),
    ("api_tokens_travel_protected", {"server.http": "0.0.0.0:9190"}),
    (
        "local_callers_come_through_a_unix_socket",
        {"server.http": "unix:///run/h.sock", "api.decisions": {"local": True}},
    ),
    ("candidates_run_on_engines_of_ours", {"policy.candidate": {"path": "next"}}),
    ("candidates_are_tried_on_known_routes", {"policy.candidate": {"path": "next", "routes": ["read-transfer"]}}),
    ("checks_come_from_here_or_over_mtls", {"server.listen": "localhost:9191"}),
    ("checks_come_from_here_or_over_mtls", {"server.listen": "[::1]:9191"}),
    ("checks_come_from_here_or_over_mtls", {"server.listen": "unix:///run/check.sock"}),
    (
        "checks_come_from_here_or_over_mtls",
        {"server": {"listen": "0.0.0.0:9191", "tls": {"certificate": "a", "private_key": "b", "client_ca": "c"}}},
    ),
    ("tls_is_not_for_unix_sockets", {"server.listen": "unix:///run/c.sock"}),
    ("effects_leave_a_record", {"telemetry.records.output": "none", "routes.1.effects": []}),
]
REFUSED += [*audit_cases.REFUSED, *authority_cases.REFUSED, *judgement_cases.REFUSED]
ACCEPTED += [*audit_cases.ACCEPTED, *authority_cases.ACCEPTED, *judgement_cases.ACCEPTED]

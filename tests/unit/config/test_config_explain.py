"""What `explain` says follows the settings, for each way of protecting a route."""

from __future__ import annotations

import pytest

from extauthz.config import load_text
from extauthz.config.explain import explain

from .conftest import REMOVE
from .judgement_cases import BACKGROUND, by

HTTP = "attributes.sources.2"


def told(text, changes, route="read-transfer"):
    config = load_text(text(changes))
    explanation = explain(config, config.route(route))
    return {chapter.layer: "\n".join(chapter.says) for chapter in explanation.chapters}


OWN = {
    "identity": {"socket": "unix:///run/agent.sock"},
    "sts": {"url": "https://authority.bank.example/token"},
    "routes.0.caller": "self",
    "routes.0.exchange": {"audience": "ledger", "audiences": ["archive"]},
}


@pytest.mark.parametrize(
    ("changes", "layer", "words"),
    [
        ({}, "request", "GET /v1/transfers/{transfer_id} on edge.bank.example"),
        ({"routes.0.match.hosts": [], "routes.0.match.methods": []}, "request", "Any method"),
        ({"routes.0.match": REMOVE, "routes.0.resource.id": "", "routes.0.attributes": []}, "request", "No request"),
        ({"routes.0.workloads": []}, "workload", "Nobody"),
        ({"routes.0.workloads": [], "routes.0.public": True}, "workload", "need no workload identity"),
        (
            {"workload": REMOVE, "routes.0.workloads": [], "routes.1.workloads": [], "routes.0.public": True},
            "workload",
            "No trust domain",
        ),
        ({"workload.environments": ["prod", "staging"]}, "workload", "prod or staging"),
        ({"environment": REMOVE}, "workload", "has no name"),
        ({"workload.registered": []}, "workload", "none is"),
        ({}, "transport", "must be there and not expired"),
        ({"workload.require_certificate": False, "routes.1.effects": []}, "transport", "only when Envoy sends it"),
        ({"workload.xfcc": "last"}, "transport", "x-forwarded-client-cert"),
        ({"workload.trust_domains.bank\\.example.trust_bundle": "a.pem"}, "transport", "again here for bank.example"),
        (OWN, "request", "No request reaches it in another way"),
        (OWN, "workload", "Our own service, through a local listener"),
        (OWN, "transport", "None may come"),
        (OWN | {"routes.0.token.binding": "received"}, "transport", "our service received it"),
        (OWN, "answer", "an access token for ledger, in our name, with the scopes of the one that came"),
        (OWN, "answer", "The policy may choose archive instead"),
        (BACKGROUND, "role", "The request goes on at once, with x-extauthz-mode: async"),
        (BACKGROUND, "role", "in the sqlite queue; when it does not fit there, it is judged at once"),
        (BACKGROUND, "role", "nobody is refused for it"),
        (by("token"), "role", "Violations by one token, 3 within 1m, have it refused on this route for 10m"),
        ({"routes.0.token.binding": "required"}, "transport", "must be bound"),
        ({}, "transport", "accepted only with that one"),
        ({"routes.0.credential": "none", "routes.0.token": REMOVE}, "token", "anonymous"),
        ({"routes.0.credential": "workload", "routes.0.token": REMOVE}, "token", "no token is read"),
        ({"routes.0.token.issuers": []}, "token", "every token is refused"),
        ({"routes.0.token.types": ["JWT"]}, "token", "typ jwt"),
        ({"routes.0.token.scopes": ["a", "b"]}, "token", "the scopes a and b"),
        ({"routes.0.token.scopes": ["a"]}, "token", "the scope a."),
        ({"revocation.file": "/run/revoked.yaml"}, "token", "/run/revoked.yaml every 2s"),
        ({}, "token", "cannot be revoked"),
        ({"routes.0.attributes": []}, "attribute", "None beside"),
        ({}, "attribute", "within 100ms, asked each time"),
        ({f"{HTTP}.ttl": "30s"}, "attribute", "kept 30s"),
        ({}, "attribute", "context.properties.region = limits.region"),
        ({f"{HTTP}.fields.tenant.required": False}, "attribute", "may be missing"),
        ({"policy.engine": "embedded"}, "role", "inside this process"),
        ({}, "role", "extauthz runs"),
        (
            {"policy": {"sidecar": {"supervise": False, "address": "unix:///run/opa.sock"}}},
            "role",
            "in the OPA at unix:///run/opa.sock",
        ),
        ({"routes.0.cache_ttl": 0}, "reuse", "Not at all"),
        ({"policy.cache.enabled": False}, "reuse", "Not at all"),
        ({"routes.0.cache_ttl": "1m", "policy.cache": {"ttl": "20s", "deny_ttl": "3s"}}, "reuse", "at most 20s"),
        ({}, "engine", "within 500ms"),
        ({}, "engine", "shed after sheddable routes (503): it is normal"),
        ({"routes.0.criticality": "critical"}, "engine", "shed last"),
        (
            {"routes.0.break_glass": True, "break_glass": {"keys": "grants.json", "audience": "bank.example"}},
            "engine",
            "overrides the policy, at most 1h long",
        ),
        ({f"{HTTP}.ttl": "30s", f"{HTTP}.stale_if_error": "1m"}, "engine", "up to 90s old"),
        ({"routes.0.policy_headers": ["x-limit"]}, "answer", "x-limit, when the policy sets them"),
        ({"routes.0.forward_token": False}, "answer", "the token stays here"),
    ],
)
def test_words(text, changes, layer, words):
    assert words in told(text, changes)[layer]


def test_facts_are_the_routes_settings(text):
    config = load_text(text({}))
    facts = explain(config, config.route("create-transfer")).as_json()["facts"]
    assert facts["effects"] == ["money"]
    assert facts["cache_ttl"] == 5.0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("closed", ["It fails closed."]),
        (
            "degrade",
            [
                "Without the policy engine: decided by the last known good policy, in this process.",
                "Without its attribute sources: decided by the policy, without their values.",
            ],
        ),
        (
            {"introspection": "open", "revocations": "open"},
            [
                "Without introspection: let through, its token verified by nobody.",
                "Without revocations: decided by what was known.",
            ],
        ),
    ],
)
def test_what_happens_when_a_part_is_away(text, word, said):
    config = load_text(text({"routes.0.on_failure": word}))
    chapters = {chapter.layer: chapter.says for chapter in explain(config, config.routes[0]).chapters}
    assert set(said) <= set(chapters["engine"])

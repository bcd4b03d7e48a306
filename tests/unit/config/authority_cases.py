"""The rules of `config.checks.authority`: what each refuses and where, a near miss, and what is only advised."""

from __future__ import annotations

from typing import Any

from .conftest import REMOVE

ENTRY = {
    "name": "edge",
    "spiffe_id": "spiffe://bank.example/edge",
    "attestors": ["join_token"],
    "selectors": ["join:edge"],
}
STS = {"issuer": "https://authority.bank.example"}
USERS = {"users": {"alice": {"audiences": ["edge"]}}}


def authority(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    attestation = {"attestors": [{"kind": "join_token"}]}
    block = {"trust_domain": "bank.example", "attestation": attestation, "entries": list(entries), "sts": STS, **more}
    return {"authority": block, "audit": {"directory": "audit"}}


def entry(**more: Any) -> dict[str, Any]:
    return {**ENTRY, **more}


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "replicas_share_their_keys",
        {**authority(), "store": {"kind": "redis", "url": "rediss://redis.bank.example"}},
        "authority.keys.kind",
        "one of them alone",
    ),
    (
        "development_users_stay_in_development",
        authority(sts={**STS, "development": USERS}),
        "authority.sts.development",
        "in the environment prod",
    ),
    (
        "development_users_stay_in_development",
        {**authority(sts={**STS, "development": USERS}), "environment": REMOVE},
        "authority.sts.development",
        "(none)",
    ),
    (
        "entries_are_of_the_own_trust_domain",
        authority(entry(spiffe_id="spiffe://other.example/edge")),
        "authority.entries[0].spiffe_id",
        "other.example is not",
    ),
    (
        "entries_are_of_the_own_trust_domain",
        authority(entry(), entry(name="me", spiffe_id="spiffe://bank.example/authority")),
        "authority.entries[1].spiffe_id",
        "own SPIFFE ID",
    ),
    (
        "entries_are_of_the_own_trust_domain",
        authority(entry(dns_names=["edge.bank.example", "ca.bank.example"]), dns_names=["ca.bank.example"]),
        "authority.entries[0].dns_names",
        "ca.bank.example is the authority's own name",
    ),
    ("entries_agree", authority(entry(), entry()), "authority.entries[1]", "called edge"),
    (
        "entries_agree",
        authority(entry(), entry(name="too", tenant="acme")),
        "authority.entries[1]",
        "edge and too have one SPIFFE ID",
    ),
    (
        "entries_name_attestors_that_are_there",
        authority(entry(attestors=["join_token", "cluster"])),
        "authority.entries[0].attestors[1]",
        "called cluster",
    ),
    (
        "lives_fit_into_the_authoritys",
        authority(entry(svid_ttl="3h"), ca={"max_svid_ttl": "2h"}),
        "authority.entries[0].svid_ttl",
        "longer than authority.ca.max_svid_ttl, 2h",
    ),
    (
        "lives_fit_into_the_authoritys",
        authority(entry(jwt_ttl="20m"), signing={"longest_token": "10m"}),
        "authority.entries[0].jwt_ttl",
        "longer than",
    ),
    (
        "lives_fit_into_the_authoritys",
        authority(sts={**STS, "lifetime": "20m"}, signing={"longest_token": "10m"}),
        "authority.sts.lifetime",
        "longer than",
    ),
    (
        "lives_fit_into_the_authoritys",
        {
            **authority(sts={**STS, "development": {**USERS, "lifetime": "20m"}}, signing={"longest_token": "10m"}),
            "environment": "test",
        },
        "authority.sts.development.lifetime",
        "longer than",
    ),
    (
        "exchanges_are_decided_by_a_policy",
        {**authority(entry(exchange_to=["model"])), "policy": {}},
        "authority.entries[0].exchange_to",
        "without a policy",
    ),
]
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    (
        "replicas_share_their_keys",
        {
            **authority(keys={"kind": "encrypted", "passphrase_env": "P"}),
            "store": {"kind": "redis", "url": "rediss://redis.bank.example"},
        },
    ),
    ("replicas_share_their_keys", {**authority(), "store": {"kind": "sqlite", "path": "store.db"}}),
    (
        "development_users_stay_in_development",
        {**authority(sts={**STS, "development": USERS}), "environment": "dev"},
    ),
    ("development_users_stay_in_development", authority(sts={**STS, "development": USERS}, unsafe_development=True)),
    ("entries_are_of_the_own_trust_domain", authority(entry())),
    (
        "entries_are_of_the_own_trust_domain",
        authority(entry(dns_names=["edge.bank.example", "localhost"]), dns_names=["ca.bank.example", "localhost"]),
    ),
    ("entries_agree", authority(entry(), entry(name="too", selectors=["join:too"]))),
    ("entries_name_attestors_that_are_there", authority(entry())),
    ("lives_fit_into_the_authoritys", authority(entry(svid_ttl="2h", jwt_ttl="1h"), ca={"max_svid_ttl": "2h"})),
    ("exchanges_are_decided_by_a_policy", authority(entry(exchange_to=["model"]))),
]
ADVICE: list[tuple[str, dict[str, Any], str]] = [
    ("state_outlives_the_authority", authority(), "authority"),
    ("state_outlives_the_authority", {**authority(), "store": {"kind": "memory"}}, "store"),
    (
        "development_is_loud",
        authority(sts={**STS, "development": USERS}, unsafe_development=True),
        "authority.unsafe_development",
    ),
    (
        "development_is_loud",
        {
            **authority(sts={**STS, "development": {**USERS, "from_anywhere": True}}, listen="0.0.0.0:8443"),
            "environment": "dev",
        },
        "authority.sts.development.from_anywhere",
    ),
    (
        "rotation_waits_for_long_polls",
        authority(ca={"agent_seen_within": "30s"}),
        "authority.ca.agent_seen_within",
    ),
]

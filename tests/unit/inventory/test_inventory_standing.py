"""Each opening that stands is found, with why and what to do; a tight configuration has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.inventory import MODEL, server

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.inventory import Inventory

SECRET = {"client": {"id": "checker", "secret_env": "SECRET"}, "url": "https://issuer.example/introspect"}
TIGHT = server(workload={"trust_domains": {"bank.example": {"trust_bundle": "identity"}}, "registered": [MODEL]})
TIGHT["identity"] = {"socket": "unix:///run/agent.sock"}


def issuer(**changes: Any) -> dict[str, Any]:
    return {**TIGHT, "issuers": [{**TIGHT["issuers"][0], **changes}]}


def workload(**changes: Any) -> dict[str, Any]:
    return {**TIGHT, "workload": {**TIGHT["workload"], **changes}}


def route(**changes: Any) -> dict[str, Any]:
    return {**TIGHT, "routes": [{**TIGHT["routes"][0], **changes}]}


def authority(**changes: Any) -> dict[str, Any]:
    sts = {"issuer": "https://authority.example", **changes.pop("sts", {})}
    entry = {"name": "a", "spiffe_id": MODEL, "attestors": ["k8s"], "selectors": ["k8s:ns:model"]}
    entries = [{**entry, **changes.pop("entry", {})}]
    cluster = {
        "kind": "kubernetes",
        "name": "k8s",
        "cluster": "c",
        "issuer": "https://cluster.example",
        "audiences": ["authority"],
        "namespaces": ["model"],
        **changes.pop("cluster", {}),
    }
    block = {
        "trust_domain": "bank.example",
        "sts": sts,
        "entries": entries,
        "attestation": {"attestors": [cluster, *changes.pop("attestors", [])]},
        **changes,
    }
    return {
        "version": 1,
        "environment": "dev",
        "store": {"kind": "memory"},
        "policy": {"path": "p"},
        "audit": {"directory": "audit"},
        "authority": block,
    }


def kinds(found: Inventory) -> list[str]:
    return [one.kind for one in found.standing]


@pytest.mark.parametrize("settings", [TIGHT, authority()], ids=["server", "authority"])
def test_a_tight_configuration_has_none(made: Callable[..., Inventory], settings: dict[str, Any]):
    assert kinds(made(tight=settings)) == []


USERS = {"development": {"users": {"alice": {"audiences": ["edge"]}}}}
OPENINGS = {
    "client secret": (issuer(introspection=SECRET), ["static_secret"]),
    "tokens for a month": (issuer(max_lifetime="30d"), ["long_lifetime"]),
    "plain http": (issuer(jwks={"url": "http://issuer.example/k", "unsafe_http": True}), ["unsafe_setting"]),
    "every registered": (
        {**TIGHT, "workload": {"trust_domains": TIGHT["workload"]["trust_domains"]}},
        ["open_registration"],
    ),
    "registered by pattern": (workload(registered=["spiffe://bank.example/env/prod/ns/*/sa/*"]), ["wildcard"]),
    "every environment": (workload(environments=["*"]), ["wildcard"]),
    "chain not checked": (workload(trust_domains={"bank.example": {}}), ["unchecked_chain"]),
    "no certificate": (workload(require_svid_profile=False), ["relaxed_check"]),
    "callers by pattern": (route(workloads=["spiffe://bank.example/env/prod/ns/model/sa/*"]), ["wildcard"]),
    "break glass": (route(name="break-glass"), ["break_glass"]),
    "emergency purpose": (
        route(token={**TIGHT["routes"][0]["token"], "purposes": ["emergency-access"]}),
        ["break_glass"],
    ),
    "anonymous": (
        {**route(credential="none", public=True, token=None, workloads=[])},
        ["anonymous"],
    ),
    "development": (authority(sts=USERS), ["development_user"]),
    "join token": (authority(attestors=[{"kind": "join_token"}]), ["join_token"]),
    "template": (
        authority(entry={"spiffe_id": "spiffe://bank.example/env/prod/ns/{k8s.ns}/sa/x"}),
        ["template"],
    ),
    "every namespace": (authority(cluster={"namespaces": ["*"]}), ["wildcard"]),
    "accounts by pattern": (authority(cluster={"service_accounts": ["model/*"]}), ["wildcard"]),
    "tokens by hand": (authority(cluster={"require_pod": False}), ["relaxed_check"]),
    "copies of evidence": (authority(cluster={"once": False}), ["replay"]),
    "passphrase": (authority(keys={"kind": "encrypted", "passphrase_env": "P"}), ["static_secret"]),
}


@pytest.mark.parametrize("name", OPENINGS)
def test_an_opening_is_found(made: Callable[..., Inventory], name: str):
    settings, expected = OPENINGS[name]
    if name == "anonymous":
        del settings["routes"][0]["token"]
    found = made(opening=settings)
    assert kinds(found) == expected
    assert all(one.why and one.remedy and one.where for one in found.standing)


def test_a_secret_is_named_and_never_read(made: Callable[..., Inventory], tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "hunter2")
    found = made(opening=issuer(introspection=SECRET))
    assert found.standing[0].where == "storage: issuers.main.introspection.client.secret_env"
    assert "hunter2" not in repr(found)


def test_keys_that_cannot_be_read_are_a_gap(made: Callable[..., Inventory], tmp_path):
    found = made(edge={**TIGHT, "api_keys": {"file": "nowhere.yaml"}})
    assert found.standing == ()
    assert found.gaps[0].startswith("storage: the file of api_keys cannot be read")


def test_a_policy_of_another_servers_users_is_a_gap(made: Callable[..., Inventory]):
    settings = {"version": 1, "policy": {"path": "p", "compat": "opa-envoy-plugin"}}
    assert "policy.compat" in made(edge=settings).gaps[0]

"""Registration entries: which one fits, what a template gives, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from extauthz.attestation.attestor import Attested
from extauthz.attestation.entries import Entries, EntrySettings, Registration
from extauthz.attestation.refusal import Refused
from extauthz.errors import ConfigError

ORCHESTRATOR = "spiffe://bank.example/env/prod/ns/orchestration/sa/orchestrator"
TEMPLATE = "spiffe://bank.example/env/prod/ns/{k8s.ns}/sa/{k8s.sa}"


def entry(**changes: Any) -> EntrySettings:
    return EntrySettings.model_validate(
        {
            "name": "orchestrator",
            "spiffe_id": ORCHESTRATOR,
            "attestors": ["kubernetes"],
            "selectors": ["k8s:ns:orchestration", "k8s:sa:orchestrator"],
            **changes,
        }
    )


def pod(namespace: str = "orchestration", account: str = "orchestrator", *more: str) -> Attested:
    selectors = {"k8s:cluster:prod", f"k8s:ns:{namespace}", f"k8s:sa:{account}", *more}
    return Attested("kubernetes", frozenset(selectors), "0" * 64, 0.0)


def code(found: Registration | Refused) -> str:
    return found.code if isinstance(found, Refused) else found.spiffe_id


def template(**changes: Any) -> EntrySettings:
    return entry(**{"name": "any", "spiffe_id": TEMPLATE, "selectors": ["k8s:cluster:prod"], **changes})


def test_every_selector_must_have_been_attested() -> None:
    entries = Entries([entry()])
    assert code(entries.match(pod())) == ORCHESTRATOR
    refused = entries.match(pod("orchestration", "other"))
    assert isinstance(refused, Refused)
    assert refused.code == "attestation.no_entry"
    assert "k8s:sa:other" in refused.detail


def test_the_attestor_must_be_named() -> None:
    entries = Entries([entry(attestors=["staging"])])
    assert code(entries.match(pod())) == "attestation.no_entry"


def test_nothing_registered_is_nothing_given() -> None:
    assert code(Entries([]).match(pod())) == "attestation.no_entry"
    assert code(Entries([]).of(ORCHESTRATOR)) == "attestation.no_entry"


def test_the_most_specific_entry_counts() -> None:
    wide = entry(name="wide", spiffe_id="spiffe://bank.example/wide", selectors=["k8s:ns:orchestration"])
    for order in ([wide, entry()], [entry(), wide]):
        assert code(Entries(order).match(pod())) == ORCHESTRATOR


def test_a_tie_is_refused_with_the_names() -> None:
    other = entry(name="b", spiffe_id="spiffe://bank.example/b", selectors=["k8s:cluster:prod", "k8s:ns:orchestration"])
    refused = Entries([entry(), other]).match(pod())
    assert isinstance(refused, Refused)
    assert (refused.code, refused.detail) == ("attestation.ambiguous_entry", "b, orchestrator")


def test_a_template_takes_whole_segments() -> None:
    entries = Entries([template()])
    assert code(entries.match(pod("model", "scorer"))) == "spiffe://bank.example/env/prod/ns/model/sa/scorer"


@pytest.mark.parametrize("account", ["a/../admin", "..", ".", "", "a%2fb", "a b", "ä"])
def test_a_template_takes_nothing_else(account) -> None:
    assert code(Entries([template()]).match(pod("model", account))) == "attestation.entry_conflict"


def test_a_template_needs_one_value() -> None:
    entries = Entries([template()])
    assert code(entries.match(pod("model", "scorer", "k8s:sa:other"))) == "attestation.entry_conflict"
    missing = Attested("kubernetes", frozenset({"k8s:cluster:prod"}), "0" * 64, 0.0)
    assert code(entries.match(missing)) == "attestation.entry_conflict"


def test_a_template_never_gives_out_what_was_registered_alone() -> None:
    """Otherwise whoever may create a service account of that name would become the registered workload."""
    named = entry(selectors=["k8s:ns:orchestration", "k8s:sa:orchestrator", "k8s:node:safe"])
    refused = Entries([template(), named]).match(pod())
    assert isinstance(refused, Refused)
    assert (refused.code, "orchestrator" in refused.detail) == ("attestation.entry_conflict", True)


def test_an_entry_is_found_again_by_its_svid() -> None:
    entries = Entries([template(), entry(audiences=["https://orchestration"])])
    exact = entries.of(ORCHESTRATOR)
    assert isinstance(exact, Registration)
    assert exact.entry.audiences == ("https://orchestration",)
    other = entries.of("spiffe://bank.example/env/prod/ns/model/sa/scorer")
    assert isinstance(other, Registration)
    assert other.entry.name == "any"
    for unknown in (
        "spiffe://bank.example/env/prod/ns/model",
        "spiffe://bank.example/env/dev/ns/model/sa/scorer",
        "spiffe://evil.example/env/prod/ns/model/sa/scorer",
        "spiffe://bank.example/env/prod/ns/model/sa/..",
        "https://bank.example",
    ):
        assert code(entries.of(unknown)) == "attestation.no_entry"


def test_two_templates_that_cover_one_id_are_ambiguous() -> None:
    other = template(name="b", spiffe_id="spiffe://bank.example/env/{k8s.ns}/ns/{k8s.sa}/sa/scorer")
    found = Entries([template(), other]).of("spiffe://bank.example/env/prod/ns/model/sa/scorer")
    assert code(found) == "attestation.ambiguous_entry"


def test_two_templates_never_give_out_one_id() -> None:
    weak = template(name="weak", spiffe_id="spiffe://bank.example/env/{k8s.env}/ns/{k8s.ns}/sa/{k8s.sa}")
    entries = Entries([template(selectors=["k8s:node:safe"]), weak])
    refused = entries.match(pod("model", "scorer", "k8s:env:prod"))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.detail) == ("attestation.entry_conflict", "weak would give out the SPIFFE ID of any")


def test_one_workload_may_be_attested_in_two_ways() -> None:
    join = entry(name="by-hand", attestors=["join_token"], selectors=["join:by-hand"])
    entries = Entries([entry(), join])
    found = entries.match(Attested("join_token", frozenset({"join:by-hand"}), "0" * 64, 0.0))
    assert code(found) == ORCHESTRATOR
    assert entries.named("by-hand") is join
    assert [each.name for each in entries] == ["orchestrator", "by-hand"]


def test_one_workload_gets_the_same_however_it_is_attested() -> None:
    join = entry(name="by-hand", attestors=["join_token"], selectors=["join:by-hand"], exchange_to=["https://storage"])
    with pytest.raises(ConfigError, match="differ in more"):
        Entries([entry(), join])


def test_names_are_distinct() -> None:
    with pytest.raises(ConfigError, match="two entries"):
        Entries([entry(), entry()])


@pytest.mark.parametrize(
    "changes",
    [
        {"spiffe_id": "spiffe://bank.example"},
        {"spiffe_id": "spiffe://bank.example/"},
        {"spiffe_id": "https://bank.example/x"},
        {"spiffe_id": "spiffe://bank.example/a{k8s.ns}"},
        {"spiffe_id": "spiffe://bank.example/{k8s.ns}x"},
        {"spiffe_id": "spiffe://{k8s.ns}/x"},
        {"spiffe_id": "spiffe://bank.example/{ns}"},
        {"spiffe_id": "spiffe://bank.example/{k8s.ns}/{"},
        {"spiffe_id": "spiffe://bank.example/{k8s.ns:0}"},
        {"selectors": []},
        {"selectors": ["k8s"]},
        {"selectors": ["k8s:ns:a", "k8s:ns:a"]},
        {"attestors": []},
        {"svid_ttl": "2d"},
        {"jwt_ttl": "2h"},
        {"dns_names": ["Upper.example"]},
        {"dns_names": ["a..b"]},
        {"dns_names": ["*"]},
        {"dns_names": ["*.bank.example"]},
        {"dns_names": [f"h{number}.bank.example" for number in range(33)]},
        {"spiffe_id": TEMPLATE, "dns_names": ["a.example"]},
        {"environment": "Prod"},
        {"admin": True},
    ],
)
def test_entries_that_are_refused(changes) -> None:
    with pytest.raises(ValidationError):
        entry(**changes)


def test_what_an_entry_gives_unless_it_says_otherwise() -> None:
    made = entry(dns_names=["orchestrator.bank.example", "localhost"])
    assert (made.svid_ttl, made.jwt_ttl) == (3600.0, 300.0)
    assert (made.audiences, made.exchange_to, made.tenant) == ((), (), "")
    assert made.trust_domain == "bank.example"

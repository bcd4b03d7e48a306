"""Purposes and settings: what cannot be meant is refused when it is loaded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz.sts.lattice import Lattice
from extauthz.sts.metadata import metadata
from extauthz.sts.settings import StsSettings
from extauthz.sts.subject import own_issuer
from tests.support.sts import IDP, STS, settings

PURPOSES = {"payment": ("fraud-scoring",), "fraud-scoring": ("risk-explanation", "feature-read")}


def test_down_and_nowhere_else():
    lattice = Lattice(PURPOSES)
    names = ("payment", "fraud-scoring", "risk-explanation", "feature-read", "unknown")
    allowed = {(old, new) for old in names for new in names if lattice.narrower(old, new) and old != new}
    assert allowed == {
        ("payment", "fraud-scoring"),
        ("payment", "risk-explanation"),
        ("payment", "feature-read"),
        ("fraud-scoring", "risk-explanation"),
        ("fraud-scoring", "feature-read"),
    }
    assert all(lattice.narrower(name, name) for name in names)


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({"a": ["a"]}, "a > a"),
        ({"a": ["b"], "b": ["a"]}, "a > b > a"),
        ({"top": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, "a > b > c > a"),
    ],
)
def test_cycles_are_refused(graph, cycle):
    with pytest.raises(ValueError, match=f"a cycle: {cycle}"):
        Lattice(graph)
    with pytest.raises(ValidationError, match="a cycle"):
        settings(purposes=graph)


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4), max_size=6))
def test_never_both_ways(graph):
    """Whatever loads is an order: two purposes are never narrower than each other."""
    try:
        lattice = Lattice(graph)
    except ValueError:
        return
    for old in "abcdef":
        for new in "abcdef":
            if old != new and lattice.narrower(old, new):
                assert not lattice.narrower(new, old)
                assert all(lattice.narrower(old, below) for below in graph.get(new, ()))


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "http://authority.bank.example"},
        {"issuer": f"{STS}/"},
        {"issuer": f"{STS}/path"},
        {"issuer": "https://user@authority.bank.example"},
        {"issuer": "authority"},
        {"lifetime": "2h"},
        {"transaction_lifetime": "10m"},
        {"max_depth": 9},
        {"max_depth": 0},
        {"carried": ["tenant", "aud"]},
        {"carried": ["act"]},
        {"carried": ["tenant"]},  # alice has roles
        {"development": {"users": {}}},
        {"purposes": {"Payment": []}},
        {"unknown": 1},
    ],
)
def test_settings_that_are_refused(changes):
    with pytest.raises(ValidationError):
        settings(**changes)


def test_issuers_are_listed_once_and_are_not_us():
    entry = {"name": "idp", "issuer": IDP, "algorithms": ["ES256"], "jwks": {"url": f"{IDP}/jwks"}}
    for listed in (
        [entry, entry],
        [entry, {**entry, "issuer": "https://other.example"}],
        [{**entry, "issuer": STS}],
    ):
        with pytest.raises(ValidationError):
            settings(subject_issuers=listed)


def test_nothing_is_on_by_default():
    bare = StsSettings(issuer=STS)
    assert (bare.subject_issuers, bare.transmitters, bare.development, bare.opaque_audiences) == ((), (), None, ())
    assert bare.longest == 900.0
    assert metadata(bare) == {
        "issuer": STS,
        "token_endpoint": f"{STS}/token",
        "introspection_endpoint": f"{STS}/introspect",
        "revocation_endpoint": f"{STS}/revoke",
        "jwks_uri": f"{STS}/jwks.json",
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange", "client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "ES384", "RS256", "EdDSA"],
        "token_endpoint_auth_methods_supported": ["tls_client_auth"],
        "introspection_endpoint_auth_methods_supported": ["tls_client_auth"],
        "revocation_endpoint_auth_methods_supported": ["tls_client_auth"],
        "tls_client_certificate_bound_access_tokens": True,
    }


def test_longest_covers_every_token_that_may_be_about():
    assert settings().longest == 3600 + 60 + 600
    assert own_issuer(settings()).claims["roles"] == "roles"
    assert own_issuer(StsSettings(issuer="http://127.0.0.1:8080")).outbound_urls == ("http://127.0.0.1:8080/jwks.json",)

"""API keys: the file, its reload, expiry, the rate, and what a key proves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.authn.api_key import ApiKeys
from extauthz.authn.api_key_file import parse
from extauthz.authn.api_key_settings import ApiKeySettings
from extauthz.clock import ManualClock
from extauthz.errors import ConfigError
from extauthz.model import Deny, Subject
from tests.support.api_keys import KEY, keys, request, row, write
from tests.support.certs import assert_denied


@pytest.fixture
def path(tmp_path):
    return tmp_path / "api-keys.yaml"


def test_a_key_proves_a_service(path) -> None:
    made, _ = keys(path)
    assert made.verify(request(KEY), "rates") == Subject(
        type="service",
        id="rates-partner",
        credential="api_key",
        scopes=frozenset({"rates:read"}),
        token_id="partner1",
        expires_at=1814313600.0,
        claims={"roles": ["rates_reader"], "scopes": ["rates:read"], "tenant": "acme"},
        digest=row()["sha256"][:16],
    )


def test_without_a_tenant_there_is_none(path) -> None:
    made, _ = keys(path, row(tenant=..., roles=..., scopes=...))
    found = made.verify(request(KEY), "rates")
    assert isinstance(found, Subject)
    assert found.claims == {"roles": [], "scopes": []}


def test_without_a_header_or_a_file() -> None:
    made = ApiKeys(ApiKeySettings(), ManualClock())
    missing = made.verify(request(), "rates")
    assert_denied(missing, "token.missing")
    assert isinstance(missing, Deny)
    assert missing.message == "No API key."
    assert_denied(made.verify(request(KEY), "rates"), "token.api_key_unknown")
    assert made.reload() is False
    assert made.usage() == []


def test_a_key_expires(path) -> None:
    made, clock = keys(path)
    clock.advance(1814313600.0 - clock.now() - 0.5)
    assert isinstance(made.verify(request(KEY), "rates"), Subject)
    clock.advance(0.5)
    assert_denied(made.verify(request(KEY), "rates"), "token.expired")


def test_a_broken_file_changes_nothing_and_keys_still_expire(path) -> None:
    made, clock = keys(path)
    path.write_text("keys: [")
    assert made.reload() is False
    assert str(path) in made.problem
    assert isinstance(made.verify(request(KEY), "rates"), Subject)
    clock.advance(365 * 86400.0)
    assert_denied(made.verify(request(KEY), "rates"), "token.expired")
    path.unlink()
    assert made.reload() is False


def test_a_changed_file_counts_at_once(path) -> None:
    made, _ = keys(path)
    assert made.reload() is False
    write(path, row(routes=["limits"]))
    assert made.reload() is True
    assert_denied(made.verify(request(KEY), "rates"), "token.api_key_route")
    write(path)
    assert made.reload() is True
    assert_denied(made.verify(request(KEY), "rates"), "token.api_key_unknown")


def test_a_bucket_that_fills_again(path) -> None:
    made, clock = keys(path)
    assert [isinstance(made.verify(request(KEY), "rates"), Subject) for _ in range(4)] == [True, True, True, False]
    refused = made.verify(request(KEY), "rates")
    assert_denied(refused, "token.rate_limited")
    assert isinstance(refused, Deny)
    assert refused.ttl == pytest.approx(20.0)
    clock.advance(19.9)
    assert_denied(made.verify(request(KEY), "rates"), "token.rate_limited")
    clock.advance(0.2)
    assert isinstance(made.verify(request(KEY), "rates"), Subject)
    assert_denied(made.verify(request(KEY), "rates"), "token.rate_limited")
    clock.advance(86400.0)
    assert [isinstance(made.verify(request(KEY), "rates"), Subject) for _ in range(4)] == [True, True, True, False]


def test_a_reload_refills_no_bucket(path) -> None:
    made, _ = keys(path)
    for _ in range(3):
        made.verify(request(KEY), "rates")
    write(path, row(scopes=[]))
    assert made.reload() is True
    assert_denied(made.verify(request(KEY), "rates"), "token.rate_limited")


def test_usage_is_told(path) -> None:
    made, clock = keys(path)
    for _ in range(5):
        made.verify(request(KEY), "rates")
    assert made.usage() == [
        {
            "id": "partner1",
            "subject": "rates-partner",
            "routes": ["rates"],
            "expires_at": 1814313600.0,
            "count": 3,
            "limited": 2,
            "last_used": clock.now(),
        }
    ]


def test_operators_are_told_of_keys_that_are_used(path) -> None:
    made, _ = keys(path, row(), row(id="partner2", sha256="0" * 64))
    assert made.status() == {"keys": 2, "problem": "", "used": []}
    made.verify(request(KEY), "rates")
    path.write_text("keys: [")
    made.reload()
    status = made.status()
    assert [used["id"] for used in status["used"]] == ["partner1"]
    assert str(path) in status["problem"]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"id": "short"}, "keys[0].id"),
        ({"id": "UPPER123"}, "keys[0].id"),
        ({"sha256": "00"}, "keys[0].sha256"),
        ({"sha256": "G" * 64}, "keys[0].sha256"),
        ({"subject": ""}, "keys[0].subject"),
        ({"subject": "a\nb"}, "keys[0].subject"),
        ({"tenant": "a\rb"}, "keys[0].tenant"),
        ({"scopes": ["a b"]}, "keys[0].scopes[0]"),
        ({"roles": ["a", "a"]}, "keys[0].roles"),
        ({"routes": []}, "keys[0].routes"),
        ({"routes": ["*"]}, "keys[0].routes[0]"),
        ({"routes": ["a", "a"]}, "keys[0].routes"),
        ({"expires": ...}, "keys[0].expires"),
        ({"expires": None}, "keys[0].expires"),
        ({"expires": "never"}, "keys[0].expires"),
        ({"expires": 1814313600}, "keys[0].expires"),
        ({"expires": "2027-06-30"}, "keys[0].expires"),
        ({"expires": "2027-06-31T00:00:00Z"}, "keys[0].expires"),
        ({"expires": "2027-06-30T00:00:00"}, "keys[0].expires"),
        ({"expires": "2028-01-17T08:00:01Z"}, "keys[0].expires"),
        ({"expires": "9999-12-31T23:59:59Z"}, "keys[0].expires"),
        ({"rate": ...}, "keys[0].rate"),
        ({"rate": {"requests": 0, "per": "1s"}}, "keys[0].rate.requests"),
        ({"rate": {"requests": 1, "per": "0"}}, "keys[0].rate.per"),
        ({"rate": {"requests": 1, "per": 1}}, "keys[0].rate.per"),
        ({"admin": True}, "keys[0].admin"),
    ],
)
def test_a_row_that_is_refused(path, changes, place) -> None:
    with pytest.raises(ConfigError) as caught:
        keys(path, row(**changes))
    assert place in {problem.key for problem in caught.value.problems}
    assert all(problem.line > 0 and problem.remedy for problem in caught.value.problems)


def test_a_year_is_the_most(path) -> None:
    keys(path, row(expires="2028-01-16T08:00:00Z"))


@pytest.mark.parametrize("content", [b"", b"{}", b"version: 2", b"[]", b"keys: []", b"version: 1\nkeys: x", b"\xff"])
def test_a_file_that_is_refused(path, content) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        ApiKeys(ApiKeySettings(file=path), ManualClock())


def test_no_id_twice_and_no_more_rows_than_allowed(path) -> None:
    with pytest.raises(ConfigError, match="two keys"):
        keys(path, row(), row())
    with pytest.raises(ConfigError, match="more than 1"):
        ApiKeys(ApiKeySettings(file=write(path, row(), row(id="partner2")), max_keys=1), ManualClock())


@given(st.binary(max_size=200))
def test_a_file_is_read_or_refused(content) -> None:
    try:
        rows = parse(content, "f", now=0.0, max_keys=10)
    except ConfigError:
        return
    assert isinstance(rows, tuple)


@given(st.text(max_size=80))
def test_a_header_is_a_key_or_refused(value) -> None:
    made = ApiKeys(ApiKeySettings(), ManualClock())
    assert isinstance(made.verify(request(value), "rates"), Deny)

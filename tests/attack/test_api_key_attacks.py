"""Attacks on API keys: SECURITY-TESTS A 20."""

from __future__ import annotations

import hashlib
import logging

import pytest

from extauthz.authn.api_key import HEADER
from extauthz.errors import ConfigError
from extauthz.model import Subject
from tests.support.api_keys import KEY, SECRET, keys, request, row, told_twice, write
from tests.support.certs import assert_denied

pytestmark = pytest.mark.attack


@pytest.fixture
def made(tmp_path):
    return keys(tmp_path / "api-keys.yaml")[0]


def test_the_honest_key_passes(made) -> None:
    assert isinstance(made.verify(request(KEY), "rates"), Subject)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        SECRET,
        KEY[:-1],
        KEY + "s",
        KEY + "\n",
        " " + KEY,
        KEY.upper(),
        "XAK_" + KEY[4:],
        KEY.replace("partner1", "Partner1"),
        KEY.replace("partner1", "partner"),
        KEY.replace("partner1", "../../x."),
        KEY.replace("_s", "_é"),
        KEY.replace("_s", "_\0"),
        "Bearer " + KEY,
        "xak_partner1_" + hashlib.sha256(KEY.encode()).hexdigest(),
        "x" * 100_000,
    ],
    ids=range(17),
)
def test_anything_else_than_a_key_is_malformed(made, value) -> None:
    assert_denied(made.verify(request(value), "rates"), "token.malformed")


def test_a_second_key_is_not_a_second_try(made) -> None:
    assert_denied(made.verify(request("xak_partner1_" + "a" * 43, KEY), "rates"), "request.header_duplicated")
    assert_denied(made.verify(request(KEY, KEY), "rates"), "request.header_duplicated")
    assert_denied(made.verify(told_twice(KEY), "rates"), "request.header_duplicated")


def test_no_other_place_is_looked_at(made) -> None:
    for headers in ({"authorization": f"Bearer {KEY}"}, {"x_api_key": KEY}, {"cookie": f"x-api-key={KEY}"}):
        assert_denied(made.verify(request(**headers), "rates"), "token.missing")


def test_who_does_not_hold_the_secret_learns_nothing(tmp_path) -> None:
    """Unknown, wrong, expired, for another route, used up: one answer, the same object."""
    expired = row(id="expired1", expires="2026-01-01T00:00:00Z")
    made, _ = keys(tmp_path / "k.yaml", row(), expired)
    for _ in range(4):
        made.verify(request(KEY), "rates")
    answers = [
        made.verify(request(f"xak_{name}_{'a' * 43}"), route)
        for name in ("partner1", "unknown1", "expired1")
        for route in ("rates", "transfers")
    ]
    assert_denied(answers[0], "token.api_key_unknown")
    assert all(answer is answers[0] for answer in answers)


def test_wrong_secrets_do_not_use_up_the_rate(made) -> None:
    for _ in range(100):
        made.verify(request(f"xak_partner1_{'a' * 43}"), "rates")
        made.verify(request(KEY), "transfers")
    assert isinstance(made.verify(request(KEY), "rates"), Subject)
    assert made.usage()[0]["count"] == 1


@pytest.mark.parametrize("route", ["transfers", "rates2", "", "RATES", "*"])
def test_a_key_opens_only_its_routes(made, route) -> None:
    assert_denied(made.verify(request(KEY), route), "token.api_key_route")


def test_a_key_is_not_usable_by_its_hash(made) -> None:
    """A reader of the file has no key."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    assert_denied(made.verify(request(f"xak_partner1_{digest[:43]}"), "rates"), "token.api_key_unknown")


def test_the_secret_of_one_key_is_not_another_keys(tmp_path) -> None:
    made, _ = keys(tmp_path / "k.yaml", row(), row(id="partner2", sha256="0" * 64))
    assert_denied(made.verify(request(f"xak_partner2_{SECRET}"), "rates"), "token.api_key_unknown")
    assert_denied(made.verify(request(f"xak_partner3_{SECRET}"), "rates"), "token.api_key_unknown")


def test_all_zeros_are_nobodys_digest(tmp_path) -> None:
    """The digest that is compared with for an unknown id lets nobody in, even where it should be met."""
    made, _ = keys(tmp_path / "k.yaml")
    made._keys.clear()
    assert_denied(made.verify(request(KEY), "rates"), "token.api_key_unknown")


def test_a_key_that_was_pasted_into_the_file_is_not_repeated(tmp_path, caplog) -> None:
    path = tmp_path / "k.yaml"
    for wrong in (row(sha256=KEY), row(id=KEY), row(expires=KEY), row(subject=[KEY]), row(key=KEY), row(rate=KEY)):
        with pytest.raises(ConfigError) as caught:
            keys(path, wrong)
        assert SECRET not in str(caught.value)
    made, _ = keys(path)
    write(path, row(sha256=KEY))
    with caplog.at_level(logging.DEBUG):
        assert made.reload() is False
    assert SECRET not in caplog.text + made.problem


def test_nothing_that_is_kept_or_told_holds_the_key(made) -> None:
    found = made.verify(request(KEY), "rates")
    refused = [made.verify(request(KEY), "transfers"), made.verify(request(KEY + ","), "rates")]
    assert SECRET not in repr((found, refused, made.usage()))
    assert HEADER not in repr(found)

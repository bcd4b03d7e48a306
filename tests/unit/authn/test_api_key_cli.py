"""`extauthz api-key`: a key that was made works, and nothing is told that should not be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from extauthz.authn.api_key import ApiKeys
from extauthz.authn.api_key_new import new_key
from extauthz.authn.api_key_settings import ApiKeySettings
from extauthz.cli import app
from extauthz.clock import SystemClock
from extauthz.errors import ConfigError
from extauthz.model import Subject
from tests.support.api_keys import request, row, write

ROUTE = {
    "name": "rates",
    "match": {"path": "/v1/rates"},
    "public": True,
    "credential": "api_key",
    "action": "rates.read",
    "resource": {"type": "rates"},
    "policy": "extauthz/rates/decision",
}
OTHER = {**ROUTE, "name": "open", "match": {"path": "/v1/open"}, "credential": "none"}
NEW = ("new", "--subject", "rates-partner", "--route", "rates", "--tenant", "acme", "--scope", "rates:read")


@dataclass
class Said:
    code: int
    out: str
    err: str


def run(*arguments: object) -> Said:
    done = CliRunner().invoke(app, ["api-key", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Said(done.exit_code, done.stdout, done.stderr)


def later(days: float) -> str:
    return datetime.fromtimestamp(SystemClock().now() + days * 86400, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def config(tmp_path):
    def write_config(*rows: dict[str, Any], **changes: Any):
        write(tmp_path / "api-keys.yaml", *rows)
        file = tmp_path / "extauthz.yaml"
        settings = {
            "version": 1,
            "api_keys": {"file": "api-keys.yaml"},
            "policy": {"path": "."},
            "routes": [ROUTE, OTHER],
            **changes,
        }
        file.write_text(json.dumps(settings))
        return file

    return write_config


def test_a_new_key_works_once_its_row_is_in_the_file(tmp_path) -> None:
    said = run(*NEW, "--role", "reader", "--requests", 5, "--per", "1s")
    lines = said.out.splitlines()
    key = next(line for line in lines if line.startswith("xak_"))
    assert said.out.count(key) == 1
    rows = yaml.safe_load(said.out[said.out.index("- ") :])
    made = ApiKeys(ApiKeySettings(file=write(tmp_path / "k.yaml", *rows)), SystemClock())
    found = made.verify(request(key), "rates")
    assert isinstance(found, Subject)
    assert (found.id, found.claims["roles"], found.claims["tenant"]) == ("rates-partner", ["reader"], "acme")
    assert key not in (tmp_path / "k.yaml").read_text()


def test_two_keys_are_never_alike() -> None:
    first, second = (json.loads(run(*NEW, "--json").out) for _ in range(2))
    assert first["key"] != second["key"]
    assert first["row"]["id"] != second["row"]["id"]
    assert first["key"] not in json.dumps(first["row"])


def test_a_key_is_not_shown_by_accident() -> None:
    made = new_key()
    assert made.key not in repr(made)


@pytest.mark.parametrize(
    "options",
    [("--per", "60"), ("--tenant", "a\nb"), ("--scope", "a b"), ("--route", "*"), ("--role", "")],
)
def test_options_that_no_file_would_take(options) -> None:
    with pytest.raises(ConfigError):
        run(*NEW, *options)


def test_a_key_lives_at_most_a_year() -> None:
    assert run(*NEW, "--days", "366").code == 2


def test_keys_are_listed_without_their_hashes(config) -> None:
    file = config(
        row(expires=later(100)), row(id="partner2", expires=later(3.5)), row(id="partner3", expires=later(-1))
    )
    said = run("list", file)
    assert [line.split("  ")[:3] for line in said.out.splitlines()] == [
        ["partner1", "valid", "rates-partner"],
        ["partner2", "ends in 3 days", "rates-partner"],
        ["partner3", "expired", "rates-partner"],
    ]
    listed = json.loads(run("list", file, "--json").out)
    assert [each["state"] for each in listed] == ["valid", "ends in 3 days", "expired"]
    assert row()["sha256"] not in said.out + json.dumps(listed)


def test_check_says_what_opens_nothing(config) -> None:
    assert run("check", config(row(expires=later(100)))).code == 0
    said = run("check", config(row(expires=later(3.5), routes=["rates", "open", "gone"])))
    assert said.code == 1
    assert said.err.splitlines() == [
        "partner1: the route open takes no API keys",
        "partner1: no route is called gone",
        "partner1: ends in 3 days",
    ]


def test_check_without_a_file(config) -> None:
    with pytest.raises(ConfigError, match="names no file"):
        run("check", config(api_keys={}, routes=[OTHER]))

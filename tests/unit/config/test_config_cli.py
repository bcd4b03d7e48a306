"""`extauthz config check | schema | explain`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extauthz.cli.config import app
from extauthz.errors import ConfigError

EXAMPLE = str(Path(__file__).parents[3] / "docs" / "extauthz.example.yaml")


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def file(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "extauthz.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_check_accepts(file, text):
    name = file(text({}))
    result = run("check", name)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith(f"{name} is accepted: 2 routes")
    assert f"{name}:" in result.stdout
    assert "warning: " in result.stdout


def test_check_says_that_an_empty_file_denies_everything(file):
    result = run("check", file(""))
    assert result.exit_code == 0
    assert "no routes, so everything is denied, 0 warnings" in result.stdout


def test_check_refuses_with_file_line_key_and_remedy(file):
    name = file("server:\n  workers: 0\n  drian: 5s\n")
    result = run("check", name)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{name}:2: server.workers: the value is below 1 (fix: write at least 1)",
        f"{name}:3: server.drian: unknown key (fix: did you mean `drain`?)",
        f"{name} is refused: 2 problems",
    ]


def test_check_of_a_file_that_is_not_there(tmp_path):
    result = run("check", str(tmp_path / "none.yaml"))
    assert result.exit_code == 1
    assert "cannot be read" in result.stdout


def test_check_for_machines(file, text):
    accepted = json.loads(run("check", file(text({})), "--json").stdout)
    assert accepted["ok"] is True
    assert accepted["routes"] == ["read-transfer", "create-transfer"]
    assert len(accepted["digest"]) == 64
    assert accepted["problems"] == []
    result = run("check", file("x: 1\n"), "--json")
    assert result.exit_code == 1
    refused = json.loads(result.stdout)
    assert refused["ok"] is False
    assert refused["problems"][0]["line"] == 1
    assert set(refused["problems"][0]) == {"file", "line", "key", "message", "remedy"}


def test_schema():
    result = run("schema")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["properties"]["routes"]


def test_explain_in_words():
    result = run("explain", "create-transfer", EXAMPLE)
    assert result.exit_code == 0
    for words in (
        "POST /v1/transfers on edge.bank.example",
        "effects on the world: money",
        "Callers need no workload identity",
        "A JWT of https://issuer.bank.example (bank), signed with ES256, typ at+jwt, living at most 15m",
        "It must be for https://api.bank.example.",
        "Its purpose must be payment.",
        "resource.properties.amount = body:/amount, number",
        "data.extauthz.payments.decision",
        "An allow at most 5s.",
        "A denial at most 2s.",
        "Refused (503)",
        "It fails closed.",
        "copies that the client sent are removed",
    ):
        assert words in result.stdout


def test_explain_a_workload_route():
    result = run("explain", "settle-batch", EXAMPLE)
    assert "Only spiffe://bank.example/env/prod/ns/orchestration/sa/orchestrator." in result.stdout
    assert "The token must be bound to it" in result.stdout
    assert "No Authorization header" in result.stdout


def test_explain_for_machines():
    told = json.loads(run("explain", "read-transfer", EXAMPLE, "--json").stdout)
    assert told["route"] == "read-transfer"
    layers = [chapter["layer"] for chapter in told["chapters"]]
    assert layers[:5] == ["request", "workload", "transport", "token", "attribute"]
    assert told["facts"]["policy"] == "extauthz/payments/decision"


def test_explain_a_route_that_is_not_there():
    result = run("explain", "create-transfers", EXAMPLE)
    assert isinstance(result.exception, ConfigError)
    assert "did you mean `create-transfer`?" in str(result.exception)


def test_the_command_tells_refusals_in_plain_lines(tmp_path):
    file = tmp_path / "extauthz.yaml"
    file.write_text("x: 1\n")
    command = [sys.executable, "-m", "extauthz", "config", "explain", "r", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{file}:1: x: unknown key" in done.stderr

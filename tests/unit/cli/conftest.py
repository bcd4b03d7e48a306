"""The command line in this process, and a policy made by `extauthz policy new`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from extauthz.cli import app
from tests.support.parts import require_opa

POLICIES = Path(__file__).resolve().parents[3] / "policies"


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    def __call__(self, *arguments: object, stdin: str | None = None) -> Said:
        done = CliRunner().invoke(app, ["policy", *map(str, arguments)], input=stdin)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def cli() -> Cli:
    require_opa()
    return Cli()


@pytest.fixture
def policy(cli: Cli, tmp_path: Path) -> Path:
    directory = tmp_path / "policy"
    assert cli("new", directory).code == 0
    return directory


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, old
    file.write_text(text.replace(old, new))


@pytest.fixture
def asked(policy: Path) -> dict[str, Any]:
    return json.loads((policy / "inputs" / "transfer.json").read_text())

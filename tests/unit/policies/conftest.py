"""The shipped policies, and OPA to ask them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.parts import require_opa

POLICIES = Path(__file__).resolve().parents[3] / "policies"


class Opa:
    """The `opa` tool, at work in the policy directory."""

    def __init__(self, tool: Path) -> None:
        self.tool = tool

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.tool, *arguments], cwd=POLICIES, input=stdin, capture_output=True, text=True, check=False
        )

    def eval(self, query: str, document: Any = None) -> Any:
        """The value of the query; fails when it is undefined."""
        options = ["--stdin-input"] if document is not None else []
        stdin = json.dumps(document) if document is not None else None
        done = self.run("eval", "--bundle", ".", "--format", "json", *options, query, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["result"][0]["expressions"][0]["value"]


@pytest.fixture(scope="session")
def opa() -> Opa:
    return Opa(require_opa())


@pytest.fixture(scope="session")
def policies() -> Path:
    return POLICIES


@pytest.fixture(scope="session")
def reasons() -> dict[str, dict[str, str]]:
    """Code → message and remedy."""
    return yaml.safe_load((POLICIES / "extauthz" / "tables" / "reasons" / "data.yaml").read_text())


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    return json.loads((POLICIES / "schemas" / "input.json").read_text())


@pytest.fixture(scope="session")
def sources() -> dict[str, str]:
    """Path below `policies/` → text, of every policy file that is not a test."""
    files = sorted(file for file in POLICIES.rglob("*.rego") if not file.name.endswith("_test.rego"))
    return {file.relative_to(POLICIES).as_posix(): file.read_text() for file in files}

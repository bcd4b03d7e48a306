from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.leftovers import processes_of
from tests.support.parts import require_envoy, require_opa


@pytest.fixture(scope="session")
def parts() -> None:
    require_envoy()
    require_opa()


@dataclass(frozen=True)
class Demo:
    """One run of `extauthz demo --json`."""

    exit_code: int
    output: str
    progress: str
    processes: list[str]
    files: list[str]

    @property
    def result(self) -> dict[str, Any]:
        return json.loads(self.output.splitlines()[-1])


@pytest.fixture
def folder():
    """A temporary folder whose path is short enough for sockets below it."""
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture(scope="session")
def demo(parts) -> Demo:
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as made:
        return _run(Path(made))


def _run(folder: Path) -> Demo:
    ran = subprocess.run(
        [sys.executable, "-m", "extauthz", "demo", "--json", "--load", "2"],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return Demo(ran.returncode, ran.stdout, ran.stderr, processes_of(folder), left)

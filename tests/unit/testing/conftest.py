from __future__ import annotations

import shutil
from pathlib import Path

import pytest

SAMPLE = Path(__file__).resolve().parents[3] / "examples" / "payments-service"


@pytest.fixture
def sample(tmp_path) -> Path:
    """A copy of the sample project, to be changed at will."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "sample", ignore=shutil.ignore_patterns("__pycache__", ".extauthz")))

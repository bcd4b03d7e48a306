"""docs/authority.md and docs/rotation.md: the configuration loads without a warning of ours, the commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extauthz.cli import app
from extauthz.config.loader import inspect_bytes
from tests.support import pages

DOCS = Path(__file__).parents[3] / "docs"
COMMANDS = sorted(
    {
        line.removeprefix("$ ").partition(" < ")[0].partition(" > ")[0]
        for page in ("authority.md", "rotation.md")
        for line in (DOCS / page).read_text().splitlines()
        if line.startswith("$ extauthz authority")
    }
)


def test_the_page_shows_a_configuration_that_is_accepted() -> None:
    (shown, *_) = pages.blocks(DOCS / "authority.md")
    report = inspect_bytes(shown.text.encode(), "extauthz.yaml")
    assert report.config is not None, report.problems
    ours = [warning for warning in report.warnings if warning.key.startswith(("authority", "store"))]
    assert {warning.message for warning in ours} == {"there is no such file here"}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_understood(command: str, tmp_path: Path) -> None:
    """It gets as far as the configuration file, which is not there."""
    words = [str(tmp_path / "none.yaml") if word == "extauthz.yaml" else word for word in shlex.split(command)[1:]]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "none.yaml" in str(result.exception)


def test_links_lead_somewhere() -> None:
    for page in ("authority.md", "rotation.md"):
        for target in re.findall(r"\]\(([a-z0-9-]+\.md)\)", (DOCS / page).read_text()):
            assert (DOCS / target).is_file(), target

"""What a project's own pytest run says when it cannot begin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import extauthz

SOURCES = str(Path(extauthz.__file__).resolve().parents[1])


def _pytest(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "clerk", *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_refused_configuration_is_told_by_file_and_line(sample):
    file = sample / "extauthz.yaml"
    file.write_text(file.read_text().replace("environment: prod", "enviroment: prod"))
    ran = _pytest(sample)
    assert ran.returncode == 1
    assert "the Check server cannot be used" in ran.stdout
    assert "extauthz.yaml:4: enviroment" in ran.stdout
    assert "Traceback" not in ran.stdout


def test_a_file_that_is_not_there_is_named(sample):
    ran = _pytest(sample, "--extauthz-config", "other.yaml")
    assert ran.returncode == 1
    assert "other.yaml" in ran.stdout


def test_a_folder_belongs_to_an_address(sample):
    ran = _pytest(sample, "--extauthz-folder", ".extauthz")
    assert ran.returncode == 1
    assert "belongs to the server at --extauthz-address" in ran.stdout


def test_without_the_folder_a_token_says_what_is_missing(sample):
    ran = _pytest(sample, "--extauthz-address", "127.0.0.1:1")
    assert ran.returncode == 1
    assert "python -m extauthz.testing prepare" in ran.stdout


def test_loading_it_costs_little():
    heavy = "{'grpc', 'cryptography', 'pydantic', 'extauthz.config'} & sys.modules.keys()"
    code = f"import sys, extauthz.testing.plugin; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": SOURCES}, check=True)

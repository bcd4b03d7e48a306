"""docs/policies.md, from an empty folder to a promoted policy: its commands in their order, and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from extauthz.policy.authoring import checking, lints
from tests.support.leftovers import processes_of
from tests.support.pages import Block, blocks
from tests.support.parts import require_embedded, require_opa

pytestmark = [pytest.mark.e2e, pytest.mark.opa, pytest.mark.timeout(600)]

DOC = Path(__file__).resolve().parents[2] / "docs" / "policies.md"
PAGE = blocks(DOC)
SECONDS = 200


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """A block as a reader's shell runs it, stopping at the first command that fails."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def follow(folder: Path) -> None:
    output = ""
    for block in PAGE:
        if block.kind == "file":
            (folder / block.what).write_text(block.text)
        elif block.kind in ("run", "fails"):
            done = run(block, folder)
            output = done.stdout
            log = folder / "server.log"
            told = f"{block.text}\n{output}\n{log.read_text() if log.is_file() else ''}"
            assert done.returncode == (0 if block.kind == "run" else 1), told
        elif block.kind == "shows":
            at = 0
            for line in block.text.splitlines():
                found = output.find(line, at)
                assert found >= 0, f"{line!r} is not shown, after what was, in:\n{output}"
                at = found + len(line)


def test_a_newcomer_gets_from_an_empty_folder_to_a_promoted_policy(folder):
    require_opa()
    require_embedded()
    try:
        follow(folder)
        assert (folder / "results.xml").is_file()
        assert list((folder / "recorded").rglob("*cases.yaml"))
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((folder / "server.pid").read_text()), signal.SIGTERM)
    assert processes_of(folder) == []


def test_hooks_and_ci_run_verbs_that_exist(folder):
    """Their commands pass on a new policy; `diff` finds nothing widened against the policy itself."""
    require_opa()
    (hooks,) = [yaml.safe_load(block.text) for block in PAGE if block.kind == "hooks"]
    (job,) = [yaml.safe_load(block.text) for block in PAGE if block.kind == "job"]
    steps = [step["run"] for step in job["jobs"]["policy"]["steps"] if "run" in step]
    commands = [hook["entry"] for hook in hooks["repos"][0]["hooks"]] + [
        one for one in steps if one.startswith("extauthz")
    ]
    assert len(commands) == 7
    made = "extauthz policy new policy && extauthz policy build policy --output live.tar.gz"
    for command in [made, *commands]:
        done = run(Block("run", "", command), folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}"


def test_the_page_lists_every_check_of_ours():
    sources = "".join(Path(module.__file__).read_text() for module in (checking, lints))
    used = set(re.findall(r'"([a-z]+-[a-z]+|nondeterministic|case)"', sources)) | {"reason-message", "reason-remedy"}
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", DOC.read_text(), re.MULTILINE)) - {"new", "bench"}
    assert listed == used

"""docs/rollout.md and docs/authzen.md: their files are written, their server is started, their commands are run.

`file NAME` writes, `serve` starts the server, `run` runs a script, `says` is what that script's output must hold: each line,
`…` standing for anything. A script whose output is not there yet is run again: comparing happens off the path.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.cli.policy import VERBS
from tests.support import pages, parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.pages import Block

DOCS = Path(__file__).parents[3] / "docs"
SOCKET = "/run/extauthz/"
SECONDS = 60.0
pytestmark = [pytest.mark.opa, pytest.mark.embedded]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket's name is bounded."""
    parts.require_opa()
    parts.require_embedded()
    with tempfile.TemporaryDirectory(prefix="xa-") as name:
        yield Path(name)


class Reader:
    """A person with two terminals in `folder`, whose /run/extauthz is that folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: subprocess.Popen[bytes] | None = None
        tools = folder / "bin"
        tools.mkdir()
        (tools / "extauthz").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m extauthz "$@"\n')
        (tools / "extauthz").chmod(0o755)
        root = str(DOCS.parent)
        self.environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": root}

    def here(self, text: str) -> str:
        return text.replace(SOCKET, f"{self.folder}/")

    def write(self, block: Block) -> None:
        file = self.folder / block.what
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.here(block.text))

    def serve(self, block: Block) -> None:
        log = (self.folder / "server.log").open("wb")
        command = shlex.split(self.here(block.text))
        self.server = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stderr=log, start_new_session=True
        )
        log.close()
        path = self.folder / "http.sock"
        while not _answers(path):
            assert self.server.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.05)

    def run(self, script: str, *, good: bool = True) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(script)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not good, done.stdout
        return done.stdout

    def sees(self, script: str, expected: str) -> None:
        """Runs until the output holds what the page says, or the test's own timeout ends it."""
        patterns = [
            ".*".join(re.escape(part) for part in re.sub(r" +", " ", line).split("…")) for line in expected.splitlines()
        ]
        end = time.monotonic() + SECONDS
        while True:
            output = re.sub(r" +", " ", self.run(script, good=False))
            missing = [pattern for pattern in patterns if not re.search(pattern, output)]
            if not missing:
                return
            assert time.monotonic() < end, f"{missing}\nin\n{output}\n{(self.folder / 'server.log').read_text()}"
            time.sleep(0.2)

    def leave(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            assert self.server.wait(SECONDS) == 0


def _answers(path: Path) -> bool:
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
            probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b" 200 " in probe.recv(64)
        except OSError:
            return False


@pytest.mark.parametrize("page", ["rollout.md", "authzen.md"])
def test_the_page_works_as_it_stands(folder: Path, page: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing: the page's commands use it")
    reader = Reader(folder)
    found = pages.blocks(DOCS / page)
    assert {block.kind for block in found} == {"file", "serve", "run", "says"}
    try:
        for block, following in zip(found, [*found[1:], None], strict=True):
            if block.kind == "file":
                reader.write(block)
            elif block.kind == "serve":
                reader.serve(block)
            elif block.kind == "run" and following is not None and following.kind == "says":
                reader.sees(block.text, following.text)
            elif block.kind == "run":
                reader.run(block.text)
    finally:
        reader.leave()
    if page == "rollout.md":
        kinds = {json.loads(line)["type"] for line in (folder / "records.jsonl").read_text().splitlines()}
        assert kinds == {"check", "comparison"}


@pytest.mark.parametrize("page", ["rollout.md", "authzen.md", "adr/0006-staged-rollout.md"])
def test_every_link_and_verb_is_there(page: str) -> None:
    text = (DOCS / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (DOCS / page).parent.joinpath(link).exists(), link
    for verb in re.findall(r"`?extauthz policy ([a-z]+)", text):
        assert verb in {*VERBS, "diff", "replay"}, verb

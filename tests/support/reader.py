"""A person with two terminals: writes files, starts `extauthz serve`, runs commands and reads what they print."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOCKET = "/run/extauthz/"
SECONDS = 60.0


class Reader:
    """In `folder`, which is /run/extauthz as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: subprocess.Popen[bytes] | None = None
        tools = folder / "bin"
        tools.mkdir()
        (tools / "extauthz").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m extauthz "$@"\n')
        (tools / "extauthz").chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def here(self, text: str) -> str:
        return text.replace(SOCKET, f"{self.folder}/")

    def write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.here(text))

    def serve(self, command: str) -> None:
        """Returns once /readyz says 200 on the Unix socket `/run/extauthz/http.sock`."""
        log = (self.folder / "server.log").open("wb")
        self.server = subprocess.Popen(
            shlex.split(command), cwd=self.folder, env=self.environment, stderr=log, start_new_session=True
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

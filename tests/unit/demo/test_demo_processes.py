"""Parts end, with all that they started."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from extauthz.demo import processes
from extauthz.demo.processes import Part

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def part(tmp_path):
    made = Part("parent", [sys.executable, "-u", "-c", PARENT], tmp_path / "log")
    made.start()
    deadline = time.monotonic() + 30
    while not made.log.read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield made
    made.kill()


def test_descendants_are_found(part):
    child = int(part.log.read_text())
    assert processes.descendants([part.pid]) == [child]
    assert processes.descendants([child]) == []


def test_stopping_takes_the_children_that_do_not_listen_along(part):
    pid, child = part.pid, int(part.log.read_text())
    processes.stop([part])
    assert not part.running
    assert processes.wait_gone([pid, child], 5.0) == []


def test_a_paused_part_is_stopped_too(part):
    pid = part.pid
    os.kill(pid, signal.SIGSTOP)
    processes.stop([part])
    assert processes.wait_gone([pid], 5.0) == []


def test_killing_takes_the_children_along(part):
    child = int(part.log.read_text())
    part.kill()
    assert part.pid == 0
    assert processes.wait_gone([child], 5.0) == []


def test_stopping_twice_is_nothing(part):
    processes.stop([part])
    processes.stop([part])
    assert not part.running


def test_a_port_that_is_taken_is_said(tmp_path):
    part = Part(
        "envoy",
        [sys.executable, "-c", "print(\"cannot bind '127.0.0.1:1': Address already in use\")"],
        tmp_path / "log",
    )
    part.start()
    part.reap()
    assert "taken by another program" in str(part.failed())

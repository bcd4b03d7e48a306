"""`extauthz demo` as a user starts it: every row as expected, and nothing left afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from extauthz.demo.attempts import SCENARIOS
from tests.support.leftovers import processes_of

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.opa, pytest.mark.timeout(240)]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(demo, scenario):
    row = next(row for row in demo.result["scenarios"] if row["name"] == scenario.name)
    assert (row["status"], row["layer"], row["code"]) == (scenario.status, scenario.layer, scenario.code), row
    assert row["ok"] is True, row


def test_the_last_line_is_one_object(demo):
    result = demo.result
    assert result["ok"] is True
    assert len(demo.output.splitlines()) == 1
    assert {"name", "expected", "status", "layer", "code", "ok"} <= result["scenarios"][0].keys()
    assert demo.exit_code == 0, demo.progress


def test_what_authorization_added_was_measured(demo):
    rows = {row["name"]: row for row in demo.result["scenarios"]}
    # Four doors, one of them twice, and a call that leaves a zone before each but the first.
    assert rows["wire-transfer"]["checks"] == 9
    assert rows["wire-transfer"]["added_us"] > 0
    assert rows["tenant-crossing"]["checks"] == 1


def test_load_goes_through_and_the_forbidden_half_does_not(demo):
    load = demo.result["load"]
    assert load["ok"] is True
    assert load["allowed"] > 0
    assert load["denied"] == {"attribute.tenant_mismatch": load["denied"]["attribute.tenant_mismatch"]}
    assert (load["wrong"], load["hung"], load["failed"]) == (0, 0, {})


def test_nothing_is_left(demo):
    assert demo.processes == []
    assert demo.files == []


def test_no_traceback_was_logged(demo):
    assert "Traceback" not in demo.progress


def _started(folder, *options):
    command = [sys.executable, "-u", "-m", "extauthz", "demo", *options]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _read_until(process, text):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_an_interrupted_start_leaves_nothing(parts, folder, number):
    with _started(folder) as process:
        _read_until(process, "an agent, an Envoy and an authorization server")
        time.sleep(0.3)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


def test_kept_until_it_is_told_to_end(parts, folder):
    with _started(folder, "--keep", "--scenario", "wire-transfer") as process:
        shown = _read_until(process, "Ctrl-C")
        assert "curl" in shown
        with _started(folder, "--keep") as second:
            said, _ = second.communicate(timeout=60)
        assert second.returncode == 2
        assert "running already" in said
        with _started(folder, "--down") as ending:
            said, _ = ending.communicate(timeout=60)
        assert (ending.returncode, said.strip()) == (0, "The demonstration has ended.")
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert processes_of(folder) == []
    assert [path.name for path in folder.iterdir()] == [f"xa-demo-{os.getuid()}.lock"]


def test_a_scenario_that_there_is_not(parts):
    ran = subprocess.run(
        [sys.executable, "-m", "extauthz", "demo", "--scenario", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 2
    assert "wire-transfer" in ran.stderr


def test_a_missing_part_is_named(parts):
    ran = subprocess.run(
        [sys.executable, "-m", "extauthz", "demo"],
        env={**os.environ, "EXTAUTHZ_OPA": "/nonexistent/opa"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 3
    assert "the opa tool is missing" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_port_that_is_taken_is_named(parts, folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with _started(folder, "--port", str(taken.getsockname()[1])) as process:
            said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "choose another with --port" in said
    assert list(folder.iterdir()) == []

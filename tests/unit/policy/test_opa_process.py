from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from extauthz.errors import EngineFault, MissingPart
from extauthz.policy.loader import load
from extauthz.policy.opa_process import OpaProcess
from tests.support.engines import CLOCK, CONTRACT, eventually, question, sidecar, states, stop, write_policy
from tests.support.parts import require_opa

pytestmark = pytest.mark.opa


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="opa-") as made:
        yield Path(made)


@pytest.fixture
def bundle(tmp_path):
    return load(write_policy(tmp_path / "policy", CONTRACT)).bundle()


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    return bool(states(pid) - {"Z"})


async def test_it_starts_ready_and_stops_without_a_trace(bundle, directory):
    opa = OpaProcess(require_opa(), bundle, directory, clock=CLOCK)
    await opa.start()
    pid = opa.pid
    socket = directory / "opa.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    await opa.stop()
    assert opa.pid is None
    assert not alive(pid)
    assert not socket.exists()
    await opa.stop()


async def test_a_policy_that_opa_refuses_is_a_fault_and_nothing_is_left(directory):
    opa = OpaProcess(require_opa(), b"no bundle", directory, clock=CLOCK)
    with pytest.raises(EngineFault) as caught:
        await opa.start()
    assert caught.value.code == "engine.unavailable"
    assert opa.pid is None


async def test_a_tool_that_cannot_run_is_a_missing_part(bundle, directory):
    opa = OpaProcess(directory / "none", bundle, directory, clock=CLOCK)
    with pytest.raises(MissingPart):
        await opa.start()


async def test_a_path_too_long_for_a_socket_is_told(bundle, directory):
    deep = directory / ("d" * 100)
    deep.mkdir()
    with pytest.raises(EngineFault) as caught:
        await OpaProcess(require_opa(), bundle, deep, clock=CLOCK).start()
    assert "too long" in caught.value.detail


@pytest.mark.fault
async def test_it_is_started_again_each_time_it_dies(bundle, directory):
    opa = OpaProcess(require_opa(), bundle, directory, clock=CLOCK)
    await opa.start()
    try:
        for _ in range(2):
            dead = opa.pid
            os.kill(dead, signal.SIGKILL)
            await eventually(lambda dead=dead: opa.pid not in {None, dead})
    finally:
        await opa.stop()
    assert opa.restarts == 2


@pytest.mark.fault
async def test_a_stopped_opa_ends_all_the_same(bundle, directory):
    opa = OpaProcess(require_opa(), bundle, directory, clock=CLOCK)
    await opa.start()
    pid = opa.pid
    await stop(pid)
    await opa.stop()
    assert not alive(pid)


PARENT = """
import asyncio, sys
from pathlib import Path
from extauthz.clock import SystemClock
from extauthz.policy.opa_process import OpaProcess

async def main(tool, bundle, directory):
    opa = OpaProcess(Path(tool), Path(bundle).read_bytes(), Path(directory), clock=SystemClock())
    await opa.start()
    print(opa.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.fault
async def test_it_never_outlives_a_parent_that_was_killed(bundle, directory):
    file = directory / "given.tar.gz"
    file.write_bytes(bundle)
    command = [sys.executable, "-c", PARENT, str(require_opa()), str(file), str(directory)]
    parent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        pid = int(await parent.stdout.readline())
        assert alive(pid)
    finally:
        parent.kill()
        await parent.wait()
    await eventually(lambda: not alive(pid))


async def test_its_log_shows_no_input(tmp_path, caplog):
    caplog.set_level("DEBUG")
    policy = write_policy(tmp_path, {"a.rego": 'package a\n\nallowed if {\n\tprint("value", input.secret)\n}\n'})
    async with sidecar(policy) as (engine, _):
        await engine.evaluate(question("a/allowed", {"secret": "s3cr3t"}))
    assert "s3cr3t" not in caplog.text


async def test_its_environment_holds_none_of_our_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("EXTAUTHZ_TEST_SECRET", "s3cr3t")
    policy = write_policy(tmp_path, {"a.rego": "package a\n\nleaked := opa.runtime().env.EXTAUTHZ_TEST_SECRET\n"})
    async with sidecar(policy) as (engine, _):
        with pytest.raises(EngineFault) as caught:
            await engine.evaluate(question("a/leaked"))
    assert caught.value.code == "engine.undefined"

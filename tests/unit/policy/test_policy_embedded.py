from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from extauthz.errors import ConfigError, EngineFault, MissingPart
from extauthz.model import Allow
from extauthz.policy.embedded import LoadedPolicy
from extauthz.policy.loader import load
from tests.support.engines import CONTRACT, embedded, eventually, question, write_policy
from tests.support.parts import require_embedded

pytestmark = pytest.mark.embedded


@pytest.fixture
def policy(tmp_path):
    return write_policy(tmp_path / "policy", CONTRACT)


async def test_a_full_queue_is_told_at_once_and_empties(policy):
    async with embedded(policy, threads=1, queue=2) as engine:
        slow = [
            asyncio.get_running_loop().create_task(engine.evaluate(question("contract/slow", seconds=0.3)))
            for _ in range(3)
        ]
        await asyncio.sleep(0.05)
        with pytest.raises(EngineFault) as caught:
            await engine.evaluate(question("contract/echo", {"result": True}))
        assert caught.value.code == "engine.unavailable"
        faults = await asyncio.gather(*slow, return_exceptions=True)
        assert {one.code for one in faults} == {"engine.deadline"}
        await eventually(lambda: engine._places == 3)
        assert (await engine.evaluate(question("contract/echo", {"result": True}))).decision == Allow()


async def test_a_cancelled_question_holds_its_place_until_its_thread_is_free(policy):
    async with embedded(policy, threads=1, queue=1) as engine:
        for _ in range(5):
            task = asyncio.get_running_loop().create_task(engine.evaluate(question("contract/slow", seconds=0.1)))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises((asyncio.CancelledError, EngineFault)):
                await task
        await eventually(lambda: engine._places == 2)
        assert (await engine.evaluate(question("contract/echo", {"result": True}))).decision == Allow()


async def test_input_that_is_not_json_is_our_own_fault(policy):
    async with embedded(policy) as engine:
        query = question("contract/echo")
        query.input = b'{"result":true'
        with pytest.raises(EngineFault) as caught:
            await engine.evaluate(query)
    assert caught.value.code == "engine.internal"


def test_a_policy_that_does_not_compile_is_told_with_file_and_line(tmp_path):
    root = write_policy(tmp_path, {"sub/bad.rego": "package bad\n\nx if y\n"})
    with pytest.raises(ConfigError) as caught:
        LoadedPolicy(require_embedded(), load(root))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(root.resolve() / "sub" / "bad.rego"), 3)


def test_a_library_that_is_not_ours_is_a_missing_part(policy, tmp_path):
    (tmp_path / "lib.so").write_text("no library")
    for file in (tmp_path / "lib.so", tmp_path / "none.so"):
        with pytest.raises(MissingPart):
            LoadedPolicy(file, load(policy))


FORKED = """
import ctypes, os, sys
from pathlib import Path
from extauthz.errors import EngineFault
from extauthz.policy.embedded import LoadedPolicy
from extauthz.policy.loader import load

policy = LoadedPolicy(Path(sys.argv[1]), load(Path(sys.argv[2])))
out = ctypes.create_string_buffer(1000)
assert policy.evaluate(b"other/allowed", b"{}", 1.0, out) == b"true"
pid = os.fork()
if pid == 0:
    try:
        policy.evaluate(b"other/allowed", b"{}", 1.0, out)
    except EngineFault as fault:
        os._exit(42 if fault.code == "engine.internal" else 1)
    os._exit(2)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_forked_child_refuses_instead_of_hanging(policy):
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(require_embedded()), str(policy)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 42

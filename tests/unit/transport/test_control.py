import asyncio
import json
import tempfile
from contextlib import asynccontextmanager, suppress

import pytest

from extauthz.transport.control import MAX_REQUEST, ControlError, ControlServer, ask


async def double(request):
    return request["number"] * 2


async def fail(_request):
    raise RuntimeError("broken")


async def wait(_request):
    await asyncio.Event().wait()


@asynccontextmanager
async def server():
    with tempfile.TemporaryDirectory(prefix="xa-") as folder:
        path = f"{folder}/c.sock"
        serving = ControlServer(path, {"double": double, "fail": fail, "wait": wait})
        await serving.start()
        try:
            yield path
        finally:
            await serving.close()


async def test_a_command_is_answered():
    async with server() as path:
        assert await ask(path, "double", 5, number=21) == 42


async def test_unknown_commands_and_failures_are_told(caplog):
    async with server() as path:
        with pytest.raises(ControlError, match="unknown command"):
            await ask(path, "shutdown", 5)
        with pytest.raises(ControlError, match="RuntimeError: broken"):
            await ask(path, "fail", 5)
    assert "control command failed" in caplog.text


async def test_a_worker_that_does_not_answer_is_not_waited_for():
    async with server() as path:
        with pytest.raises(ControlError, match="no answer within"):
            await ask(path, "wait", 0.05)
    with pytest.raises(ControlError, match="FileNotFoundError"):
        await ask(path, "double", 5, number=1)


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b'"x"\n', b"{}\n", b'{"command": []}\n', b"\xff\n", b"no json\n"])
async def test_what_is_no_request(line):
    async with server() as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line)
        assert json.loads(await reader.readline()) == {"error": "unknown command"}
        writer.close()
        await writer.wait_closed()


async def test_a_request_without_end_is_not_kept():
    async with server() as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"a" * (3 * MAX_REQUEST))
        assert json.loads(await reader.readline()) == {"error": "unknown command"}
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

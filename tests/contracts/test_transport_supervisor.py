"""`extauthz serve` as an operator's init system sees it: a process, its signals, its HTTP endpoints, its leftovers."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import httpx
import pytest

from extauthz.transport import control
from tests.support import transports
from tests.support.fake_service import REFUSE, events, question, told

pytestmark = pytest.mark.envoy
RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.02s",
                    "maxBackoff": "0.2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ]
    }
)
"""What `grpc_service.retry_policy` is to an Envoy in front of several grpcio workers."""


@pytest.fixture(params=["envoy", "grpcio"])
def transport(request):
    transports.require(request.param)
    return request.param


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="xa-") as name:
        yield Path(name)


class Server:
    def __init__(self, folder, process, settings):
        self.folder = folder
        self.process = process
        self.settings = settings
        self.lines = []
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self):
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().rstrip())

    async def said(self, text):
        await transports.until(lambda: any(text in line for line in self.lines))

    def shared(self):
        return (self.folder / "shared").read_text().split()

    @property
    def run_dir(self):
        return Path(self.shared()[1])

    async def get(self, path):
        host = self.settings["http"]
        uds = host.removeprefix("unix://") if host.startswith("unix://") else None
        transport = httpx.AsyncHTTPTransport(uds=uds)
        async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=10) as client:
            return await client.get(f"http://{'server' if uds else host}{path}")

    def channel(self, *, retries=False):
        options = [("grpc.use_local_subchannel_pool", 1)]
        if retries:
            options.append(("grpc.service_config", RETRIES))
        return grpc.aio.insecure_channel(self.settings["listen"], options)

    def signal(self, number):
        self.process.send_signal(number)

    async def ended(self):
        code = await self.process.wait()
        await self._reading
        return code

    async def workers(self):
        return json.loads((await self.get("/readyz?verbose")).text)["workers"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configuration(folder, **settings):
    values = {"listen": f"127.0.0.1:{free_port()}", "http": f"127.0.0.1:{free_port()}", "drain": "10s", **settings}
    (folder / "extauthz.yaml").write_text(json.dumps({"version": 1, "server": values}))
    return values


@asynccontextmanager
async def supervised(folder, **settings):
    values = configuration(folder, **settings)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.supervise", str(folder / "extauthz.yaml"), stdout=asyncio.subprocess.PIPE
    )
    server = Server(folder, process, values)
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await server.ended()
        if (folder / "shared").exists():
            shutil.rmtree(server.run_dir, ignore_errors=True)  # what a killed supervisor leaves


@asynccontextmanager
async def serving(folder, **settings):
    async with supervised(folder, **settings) as server:
        await server.said("serving:")
        yield server


def alive(pid):
    """A zombie is not alive: it waits for whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_it_serves_says_so_and_leaves_nothing(folder, transport):
    async with serving(folder, transport=transport, workers=2) as server:
        line = next(line for line in server.lines if "serving:" in line)
        for part in (server.settings["listen"], server.settings["http"], f"transport {transport}", "workers 2", "r1"):
            assert part in line
        assert (await server.get("/healthz")).text == "ok\n"
        assert (await server.get("/readyz")).status_code == 200
        workers = await server.workers()
        assert [worker["transport"] for worker in workers] == [transport] * 2
        run_dir = server.run_dir
        assert run_dir.stat().st_mode & 0o777 == 0o700
        async with server.channel() as channel:
            assert told(await transports.method(channel)(question())) == "null"
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        assert not run_dir.exists()
        assert not any(alive(worker["pid"]) for worker in workers)
        assert server.shared()[-1] == "stop"


async def test_metrics_of_all_workers_on_one_page(folder, transport):
    async with serving(folder, transport=transport, workers=2) as server:
        page = (await server.get("/metrics")).text
        for worker in "01":
            assert f'fake_checks_total{{worker="{worker}",route="a"}} 0' in page
            assert f'fake_reloads{{worker="{worker}"}} 0' in page
            assert f'extauthz_worker_restarts_total{{worker="{worker}"}} 0' in page
        assert page.count("# TYPE fake_checks_total counter") == 1
        assert "extauthz_workers 2" in page


async def test_sigterm_answers_what_is_in_flight(folder, transport):
    async with serving(folder, transport=transport) as server, server.channel() as channel:
        calls = [transports.method(channel)(question("slow:1.5")) for _ in range(16)]
        while (await server.workers())[0]["in_flight"] != 16:  # noqa: ASYNC110 - another process sets no events
            await asyncio.sleep(0.02)
        server.signal(signal.SIGTERM)
        await server.said("draining")
        assert (await server.get("/readyz")).status_code == 503
        assert {told(answer) for answer in await asyncio.gather(*calls)} == {"slept"}
        assert await server.ended() == 0
        assert any("drained: 0 Checks" in line for line in server.lines)


async def test_a_second_signal_ends_it_at_once(folder, transport):
    async with serving(folder, transport=transport, drain="600s") as server, server.channel() as channel:
        call = transports.method(channel)(question("slow:600"))
        while (await server.workers())[0]["in_flight"] != 1:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        workers = await server.workers()
        server.signal(signal.SIGINT)
        await server.said("draining")
        server.signal(signal.SIGINT)
        assert await server.ended() == 0
        assert not alive(workers[0]["pid"])
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_a_worker_that_dies_is_started_again(folder, transport):
    async with serving(folder, transport=transport, workers=2) as server:
        before = {worker["worker"]: worker["pid"] for worker in await server.workers()}
        os.kill(before[0], signal.SIGKILL)
        await server.said("worker 0 ended with -9")
        while not all(worker["ready"] for worker in await server.workers()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
        after = {worker["worker"]: worker["pid"] for worker in await server.workers()}
        assert after[0] != before[0]
        assert after[1] == before[1]
        assert 'extauthz_worker_restarts_total{worker="0"} 1' in (await server.get("/metrics")).text
        async with server.channel() as channel:
            assert told(await transports.method(channel)(question())) == "null"


async def test_workers_end_when_the_supervisor_is_killed(folder, transport):
    async with serving(folder, transport=transport, workers=2) as server:
        workers = await server.workers()
        server.signal(signal.SIGKILL)
        await server.ended()
        await transports.until(lambda: not any(alive(worker["pid"]) for worker in workers))


async def test_sighup_reloads_every_worker(folder):
    async with serving(folder, transport="grpcio", workers=2) as server:
        server.signal(signal.SIGHUP)
        await server.said("reloaded")
        assert server.shared()[2:] == ["prepare", "commit"]
        assert events(server.run_dir).count("reload") == 2


async def test_a_changed_file_reloads(folder):
    async with serving(folder, transport="grpcio") as server:
        text = (folder / "extauthz.yaml").read_text()
        await asyncio.sleep(2.5)  # the watcher has seen the first contents
        (folder / "extauthz.yaml").write_text(f"# changed\n{text}")
        await server.said("reloaded")
        assert server.shared()[2:] == ["prepare", "commit"]


async def test_a_broken_configuration_changes_nothing_and_is_named(folder):
    async with serving(folder, transport="grpcio") as server:
        (folder / "extauthz.yaml").write_text("version: 1\nnonsense: true\n")
        server.signal(signal.SIGHUP)
        await server.said("reload refused")
        assert any("extauthz.yaml:2" in line and "nonsense" in line for line in server.lines)
        assert server.shared()[2:] == ["prepare"]
        assert events(server.run_dir).count("reload") == 0
        assert (await server.get("/readyz")).status_code == 200


async def test_a_worker_that_refuses_takes_all_back(folder):
    async with serving(folder, transport="grpcio", workers=2) as server:
        (server.run_dir / REFUSE).touch()
        server.signal(signal.SIGHUP)
        await server.said("reload refused: fake.yaml:1: refused")
        assert server.shared()[2:] == ["prepare", "abandon"]


async def test_what_takes_a_restart_is_refused(folder):
    async with serving(folder, transport="grpcio") as server:
        configuration(folder, transport="grpcio", http=server.settings["http"])
        server.signal(signal.SIGHUP)
        await server.said("server.listen: this takes a restart")
        assert server.shared()[2:] == ["prepare", "abandon"]


async def test_a_taken_port_is_told_and_nothing_is_left(folder):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        async with supervised(folder, transport="grpcio", listen=listen) as server:
            assert await server.ended() == 4
            assert any(f"refused: cannot listen on {listen}" in line for line in server.lines)
            assert not server.run_dir.exists()
            assert server.shared()[-1] == "stop"


async def test_workers_that_do_not_start_end_it(folder, transport, monkeypatch):
    monkeypatch.setenv("FAKE_SERVICE_FAILS", "1")
    async with supervised(folder, transport=transport, workers=2) as server:
        assert await server.ended() == 4
        assert any("refused: worker" in line and "before it served" in line for line in server.lines)
        assert not server.run_dir.exists()


async def test_a_signal_during_start_ends_it_cleanly(folder):
    async with supervised(folder, transport="grpcio") as server:
        await transports.until((folder / "shared").exists)
        server.signal(signal.SIGHUP)
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        assert not server.run_dir.exists()


async def test_unix_sockets_for_checks_and_for_http(folder, transport):
    listen, http = (f"unix://{folder}/{name}.sock" for name in ("check", "http"))
    async with serving(folder, transport=transport, listen=listen, http=http) as server:
        assert (await server.get("/readyz")).status_code == 200
        async with server.channel() as channel:
            assert told(await transports.method(channel)(question())) == "null"


async def test_a_drained_worker_loses_nothing_while_another_serves(folder, transport):
    """Calls without a pause, on a connection that is told to go: each is answered, by one worker or the other."""
    async with serving(folder, transport=transport, workers=2) as server:
        stop = asyncio.Event()
        # grpcio cancels a call that arrives while its server closes (ADR 1): its callers retry, Envoy-hosted ones need not.
        channels = [server.channel(retries=transport == "grpcio") for _ in range(4)]

        async def call_on(channel):
            count = 0
            while not stop.is_set():
                assert told(await transports.method(channel)(question(), timeout=10, wait_for_ready=True)) == "null"
                count += 1
            return count

        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(call_on(channel)) for channel in channels]
            await asyncio.sleep(0.5)
            left = await control.ask(str(server.run_dir / "worker-0.sock"), "drain", 20, grace=3)
            os.kill((await server.workers())[0]["pid"], signal.SIGTERM)
            await asyncio.sleep(1)
            stop.set()
        assert left == 0
        assert all(caller.result() > 10 for caller in callers)
        for channel in channels:
            await channel.close()

"""What both transports promise, on real worker processes: deadline, abort, limits, floods, drain, health, addresses."""

import asyncio
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from extauthz.check import messages
from extauthz.clock import SystemClock
from extauthz.errors import ExtauthzError
from extauthz.supervisor.process import WorkerProcess
from extauthz.transport import frames
from tests.support.certs import HOUR, TestCa
from tests.support.fake_service import question, told
from tests.support.transports import MAX_CHECK, RawClient, method, running

pytestmark = pytest.mark.envoy
HEALTH = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


@pytest.fixture(params=["envoy", "grpcio"])
def transport(request):
    return request.param


@pytest.fixture
def run_dir():
    """Short: a Unix socket's path has room for a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="xa-") as folder:
        yield Path(folder)


@pytest.fixture
async def worker(transport, run_dir):
    async with running(transport, run_dir) as started:
        yield started


@asynccontextmanager
async def client(worker):
    async with worker.channel() as channel:
        yield method(channel)


async def code_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_the_callers_deadline_is_the_budget(worker):
    async with client(worker) as check:
        assert 0 < float(told(await check(question("echo"), timeout=20))) <= 20
        assert told(await check(question("echo"))) == "inf"


async def test_a_caller_that_goes_away_has_its_check_cancelled(worker):
    async with client(worker) as check:
        call = check(question("slow:600"))
        await until_in_flight(worker, 1)
        call.cancel()
        await worker.told("cancelled")
        await until_in_flight(worker, 0)
        assert told(await check(question())) == "null"


async def test_a_caller_whose_deadline_passes_has_its_check_cancelled(worker):
    async with client(worker) as check:
        assert await code_of(check(question("slow:600"), timeout=0.2)) == grpc.StatusCode.DEADLINE_EXCEEDED
        await worker.told("cancelled")


async def test_a_connection_that_breaks_has_its_checks_cancelled(worker):
    async with RawClient.connect(worker.address) as raw:
        for _ in range(3):
            stream = raw.open()
            raw.h2.send_data(stream, frames.frame(question("slow:600")), end_stream=True)
        await raw.flush()
        await until_in_flight(worker, 3)
    await until_in_flight(worker, 0)
    assert worker.events().count("cancelled") == 3


async def test_large_requests_up_to_the_limit(worker):
    async with client(worker) as check:
        room = MAX_CHECK - len(question("x", b"1")) - 16
        assert told(await check(question("x", b"b" * room))) == "null"
        assert await code_of(check(question("x", b"b" * MAX_CHECK))) == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert told(await check(question())) == "null"


async def test_a_frame_that_announces_too_much_is_refused_before_it_is_sent(worker):
    async with RawClient.connect(worker.address) as raw:
        announced = b"\x00" + (2**31).to_bytes(4, "big")
        answer = await raw.ask(announced)
        assert answer["grpc-status"] in {"8", "13"}


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", b"\x00\x00\x00\x00", b"\x00\x00\x00\x00\x09abc"],
    ids=["empty", "one byte", "no length", "cut"],
)
async def test_a_malformed_frame_is_never_judged(worker, transport, body):
    """Envoy's side gets an error status. grpcio may leave the stream without an answer; it holds nothing for it."""
    async with RawClient.connect(worker.address) as raw:
        try:
            async with asyncio.timeout(1):
                answer = await raw.ask(body)
        except TimeoutError:
            answer = {"data": "0", "end": "never"}
        assert answer["data"] == "0"
        if transport == "envoy":
            assert answer["grpc-status"] in {"12", "13"}
    await until_in_flight(worker, 0)
    async with client(worker) as check:
        assert told(await check(question())) == "null"


async def test_compressed_messages_are_not_taken(worker):
    async with client(worker) as check:
        call = check(question("x", b"b" * 10_000), compression=grpc.Compression.Gzip)
        assert await code_of(call) == grpc.StatusCode.UNIMPLEMENTED


async def test_only_grpc_is_spoken(worker, transport):
    """grpcio takes any content type for its own; what it hears is judged as a Check all the same."""
    wrong = [{"verb": "GET"}, {"path": "/other/Method"}, {"path": "/"}]
    if transport == "envoy":
        wrong += [{"content_type": "text/plain"}, {"content_type": "application/grpc-web"}]
    for headers in wrong:
        async with RawClient.connect(worker.address) as raw:
            answer = await raw.ask(frames.frame(question()), **headers)
            assert answer["data"] == "0"
            assert answer.get("grpc-status", "12") == "12"
            assert "grpc-status" in answer or answer.get(":status", "400")[0] == "4" or answer["end"] != "stream"


async def test_http_1_is_not_spoken(worker):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(worker.address.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.read()
    assert b"200" not in answer[:20]
    writer.close()
    await writer.wait_closed()


async def test_checks_run_side_by_side(worker):
    async with client(worker) as check:
        answers = await asyncio.gather(*(check(question("slow:0.5")) for _ in range(100)))
        assert {told(answer) for answer in answers} == {"slept"}


async def test_more_checks_than_are_allowed_are_refused_and_the_rest_answered(transport, run_dir):
    async with running(transport, run_dir, max_concurrent=8) as worker:
        channels = [worker.channel() for _ in range(4)]
        calls = [method(channel)(question("slow:1")) for channel in channels for _ in range(8)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        codes = [a.code() if isinstance(a, grpc.aio.AioRpcError) else told(a) for a in answers]
        assert set(codes) == {"slept", grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count("slept") >= 8
        assert told(await method(channels[0])(question())) == "null"
        for channel in channels:
            await channel.close()


async def test_reset_floods_leave_it_serving_and_nothing_behind(worker):
    for _ in range(4):
        async with RawClient.connect(worker.address) as raw:
            for _ in range(200):
                stream = raw.open()
                raw.h2.send_data(stream, frames.frame(question("slow:600")), end_stream=True)
                raw.h2.reset_stream(stream)
            await raw.flush()
    await until_in_flight(worker, 0)
    async with client(worker) as check:
        assert told(await check(question())) == "null"


async def test_bodies_that_never_end_are_not_kept(worker):
    async with RawClient.connect(worker.address) as raw:
        stream = raw.open()
        raw.h2.send_data(stream, b"\x00\x00\x00\xff\xff" + b"a" * 1000)
        await raw.flush()
    await until_in_flight(worker, 0)


async def test_a_drain_loses_no_check_in_flight(worker):
    async with client(worker) as check:
        calls = [check(question("slow:1")) for _ in range(20)]
        await until_in_flight(worker, 20)
        left = await worker.process.ask("drain", 20, grace=15)
        assert left == 0
        answers = await asyncio.gather(*calls)
        assert {told(answer) for answer in answers} == {"slept"}
        assert "drain" in worker.events()
        await worker.process.stop()
        assert await code_of(check(question())) == grpc.StatusCode.UNAVAILABLE


async def test_a_drain_does_not_wait_longer_than_it_may(worker):
    async with client(worker) as check:
        call = check(question("slow:600"))
        await until_in_flight(worker, 1)
        await worker.process.ask("drain", 20, grace=0.5)
        await worker.process.stop()
        assert await code_of(call) in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_new_connections_are_refused_after_a_drain(worker):
    async with client(worker) as check:
        assert told(await check(question())) == "null"
    await worker.process.ask("drain", 20, grace=5)

    async def refused():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", int(worker.address.rpartition(":")[2]))
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    while not await refused():  # noqa: ASYNC110 - another process sets no events
        await asyncio.sleep(0.1)


async def test_health_follows_the_service(worker):
    async with worker.channel() as channel:
        ask = method(channel, HEALTH)
        serving = health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()
        for name in ("", messages.SERVICE, "grpc.health.v1.Health"):
            assert await ask(health_pb2.HealthCheckRequest(service=name).SerializeToString()) == serving
        unknown = health_pb2.HealthCheckRequest(service="other").SerializeToString()
        assert await code_of(ask(unknown)) == grpc.StatusCode.NOT_FOUND


async def test_a_health_watch_tells_of_a_drain(worker):
    async with worker.channel() as channel:
        watch = channel.unary_stream(WATCH)(b"")
        assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == 1
        other = channel.unary_stream(WATCH)(health_pb2.HealthCheckRequest(service="x").SerializeToString())
        assert health_pb2.HealthCheckResponse.FromString(await other.read()).status == 3
        other.cancel()
        drain = asyncio.get_running_loop().create_task(worker.process.ask("drain", 20, grace=3))
        assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == 2
        watch.cancel()
        await drain


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_services_and_shows_their_files(worker, version):
    def ask(**values):
        return reflection_pb2.ServerReflectionRequest(**values).SerializeToString()

    async with worker.channel() as channel:
        call = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")()
        await call.write(ask(list_services=""))
        listed = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
        names = {service.name for service in listed.list_services_response.service}
        assert {messages.SERVICE, "grpc.health.v1.Health"} <= names
        await call.write(ask(file_containing_symbol="envoy.service.auth.v3.CheckRequest"))
        shown = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
        assert len(shown.file_descriptor_response.file_descriptor_proto) >= 4
        await call.write(ask(file_containing_symbol="no.such.Thing"))
        missing = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
        assert missing.error_response.error_code == 5
        await call.write(b"\xff")
        assert await code_of(call.read()) == grpc.StatusCode.INVALID_ARGUMENT


async def test_reflection_ends_with_its_caller(worker):
    async with worker.channel() as channel:
        call = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK


async def test_a_unix_socket_serves_and_is_not_open_to_all(transport, run_dir):
    path = run_dir / "check.sock"
    async with running(transport, run_dir, f"unix://{path}") as worker:
        assert path.stat().st_mode & 0o777 == 0o660
        async with client(worker) as check:
            assert told(await check(question())) == "null"


async def test_mtls_takes_our_peers_and_nobody_else(transport, run_dir):
    now = SystemClock().now()
    window = {"not_before": now - HOUR, "not_after": now + HOUR}
    ours, others = (TestCa(name, **window) for name in ("ours", "others"))
    server = ours.leaf(dns=["localhost"], **window)
    files = {"certificate": server.pem.encode(), "private_key": key_pem(server), "client_ca": ours.pem.encode()}
    for name, content in files.items():
        (run_dir / name).write_bytes(content)
    paths = {name: str(run_dir / name) for name in files}

    def credentials(leaf):
        pair = {} if leaf is None else {"private_key": key_pem(leaf), "certificate_chain": leaf.pem.encode()}
        return grpc.ssl_channel_credentials(root_certificates=ours.pem.encode(), **pair)

    async with running(transport, run_dir, **paths) as worker:
        mine = ours.leaf("spiffe://bank.example/env/prod/ns/edge/sa/gateway", **window)
        async with worker.channel(credentials(mine)) as channel:
            assert told(await method(channel)(question())) == "null"
        expired = ours.leaf("spiffe://bank.example/x", not_before=now - 2 * HOUR, not_after=now - HOUR)
        foreign = others.leaf("spiffe://bank.example/x", **window)
        for leaf in (None, foreign, expired):
            async with worker.channel(credentials(leaf)) as channel:
                assert await code_of(method(channel)(question(), timeout=5)) == grpc.StatusCode.UNAVAILABLE
        async with worker.channel() as channel:
            assert await code_of(method(channel)(question(), timeout=5)) == grpc.StatusCode.UNAVAILABLE


async def test_two_workers_share_a_port(transport, run_dir):
    async with running(transport, run_dir) as one:
        other = WorkerProcess(replace(one.process.spec, index=1), transport)
        await other.start()
        try:
            channels = [one.channel() for _ in range(24)]
            for channel in channels:
                assert told(await method(channel)(question())) == "null"
            pages = [await process.ask("metrics") for process in (one.process, other)]
            counts = [int(page.split('fake_checks_total{route="a"} ')[1].split()[0]) for page in pages]
            assert sum(counts) == 24
            assert all(counts)
            for channel in channels:
                await channel.close()
        finally:
            await other.stop()


async def test_a_worker_whose_supervisor_has_gone_ends(transport, run_dir):
    async with running(transport, run_dir) as worker:
        worker.let_go()
        assert await worker.process.wait() in {0, -15}


async def test_a_service_that_cannot_start_stops_its_worker(transport, run_dir, monkeypatch):
    monkeypatch.setenv("FAKE_SERVICE_FAILS", "1")
    with pytest.raises(ExtauthzError, match="before it served"):
        async with running(transport, run_dir):
            pass


async def until_in_flight(worker, count):
    while (await worker.process.ask("status"))["in_flight"] != count:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.02)


def key_pem(leaf):
    return leaf.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

"""The load generator against a small server: it sends what it is told, and counts what comes back."""

from __future__ import annotations

import asyncio
import json

import pytest

from bench import generator
from bench.generator import Target
from bench.variants import BY_NAME
from extauthz.errors import ExtauthzError


@pytest.fixture(scope="module")
def program():
    return generator.build()


class Peer:
    """An HTTP server that keeps what it read: (host, token, body) of each request."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = (await reader.readexactly(int(headers["content-length"]))).decode()
                token = headers["authorization"].removeprefix("Bearer ")
                self.seen.append((headers["host"], token, body))
                status = b"403 Forbidden" if token == "bad" else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 3\r\n\r\nok\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def _run(program, tmp_path, tokens: list[str], *, rate: float = 0.0, seconds: float = 5.0):
    (tmp_path / "tokens").write_text("\n".join(tokens) + "\n")
    peer = Peer()
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server:
        target = Target(server.sockets[0].getsockname()[1], 0, tmp_path, tmp_path, "")
        variant = BY_NAME["fresh-envoy"]
        line = generator.command(
            program, target, variant, tmp_path / "tokens", conns=2, rate=rate, warmup=0.0, seconds=seconds
        )
        sample, said = await asyncio.to_thread(generator.run, line, seconds)
    return peer, sample, said


async def test_each_fresh_token_is_sent_once_with_host_and_body(program, tmp_path) -> None:
    tokens = [f"t{number}" for number in range(40)]
    peer, sample, said = await _run(program, tmp_path, tokens)
    assert sorted(token for _, token, _ in peer.seen) == sorted(tokens)
    assert {(host, body) for host, _, body in peer.seen} == {("fresh-envoy.bench", generator.BODY)}
    assert (sample.requests, sample.errors, sample.exhausted) == (40, 0, True)
    assert said["statuses"] == {"200": 40}
    assert 0 < sample.p50_us <= sample.p99_us


async def test_an_answer_with_another_status_is_an_error(program, tmp_path) -> None:
    _, sample, _ = await _run(program, tmp_path, ["good", "bad", "good2"])
    assert sample.errors == 1
    assert "403" in sample.fault


async def test_a_fixed_rate_is_kept(program, tmp_path) -> None:
    _, sample, _ = await _run(program, tmp_path, [f"t{number}" for number in range(1000)], rate=100, seconds=0.5)
    assert sample.requests == 51  # due at 0, 10, … 500 ms
    assert not sample.exhausted


def test_a_generator_that_cannot_reach_its_target_says_so(program, tmp_path) -> None:
    (tmp_path / "tokens").write_text("t\n")
    target = Target(1, 0, tmp_path, tmp_path, "")
    line = generator.command(
        program, target, BY_NAME["no-authz"], tmp_path / "tokens", conns=1, rate=0.0, warmup=0.0, seconds=0.1
    )
    with pytest.raises(ExtauthzError, match="loadgen:"):
        generator.run(line, 0.1)


def test_its_own_tests_pass() -> None:
    done = generator.go("test", "-count=1", "-json", ".")
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stdout
    assert sum(one["Action"] == "pass" and "Test" in one for one in results) == 4

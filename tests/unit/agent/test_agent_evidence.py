"""Evidence: from a file, the environment, standard input, a metadata service, a provider; never in an error."""

import asyncio
import io
import json
import os
from contextlib import asynccontextmanager

import pytest
from pydantic import ValidationError

from extauthz.agent.attest import MAX_EVIDENCE, NoEvidence, evidence
from extauthz.agent.settings import AgentSettings, Instance, JoinToken, Kubernetes, Oidc


@asynccontextmanager
async def answering(respond):
    """An HTTP server; `respond(method, path, headers)` gives status and body."""

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        method, path, _ = first.split(" ")
        status, body = respond(method, path, headers)
        length = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(f"HTTP/1.1 {status} X\r\n{length}{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_file_is_read_each_time(tmp_path):
    file = tmp_path / "token"
    fetch = evidence(Kubernetes(kind="kubernetes", token_file=file))
    with pytest.raises(NoEvidence, match="cannot be read"):
        await fetch()
    for token in ("one", "two"):
        file.write_text(f"{token}\n")
        assert await fetch() == token


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"a" * (MAX_EVIDENCE + 1)])
async def test_a_file_without_evidence(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(NoEvidence, match="holds no evidence"):
        await evidence(JoinToken(kind="join_token", token_file=tmp_path / "token"))()


async def test_the_environment_forgets_it(monkeypatch):
    monkeypatch.setenv("JOIN", "xjt_secret")
    fetch = evidence(JoinToken(kind="join_token", token_env="JOIN"))
    assert "JOIN" not in os.environ
    assert await fetch() == await fetch() == "xjt_secret"
    with pytest.raises(NoEvidence, match="JOIN"):
        await evidence(JoinToken(kind="join_token", token_env="JOIN"))()


async def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("xjt_secret\nmore\n"))
    assert await evidence(JoinToken(kind="join_token", stdin=True))() == "xjt_secret"


async def test_the_metadata_service_is_asked_as_aws_wants_it():
    def respond(method, path, headers):
        if (method, path) == ("PUT", "/latest/api/token"):
            return 200, f"session-{headers['x-aws-ec2-metadata-token-ttl-seconds']}"
        if headers.get("x-aws-ec2-metadata-token") != "session-60":
            return 401, ""
        return 200, {"document": '{"region": "eu"}', "signature": "c2ln"}[path.rpartition("/")[2]]

    async with answering(respond) as url:
        found = json.loads(await evidence(Instance(kind="instance", url=url))())
    assert found == {"document": '{"region": "eu"}', "signature": "c2ln"}


@pytest.mark.parametrize("body", ["the.id.token", '{"count": 1, "value": "the.id.token"}'])
async def test_a_providers_token(monkeypatch, body):
    monkeypatch.setenv("REQUEST_TOKEN", "bearer-secret")
    seen = []

    def respond(_method, path, headers):
        seen.append((path, headers.get("authorization")))
        return 200, body

    async with answering(respond) as url:
        kind = Oidc(kind="oidc", url=f"{url}/token?audience=authority", bearer_env="REQUEST_TOKEN")
        assert await evidence(kind)() == "the.id.token"
    assert seen == [("/token?audience=authority", "Bearer bearer-secret")]


@pytest.mark.parametrize(
    ("status", "body"), [(403, "the.id.token"), (200, ""), (200, "{}"), (200, '{"value": 1}'), (200, "a" * 20_000)]
)
async def test_what_a_source_says_is_in_no_error(status, body):
    async with answering(lambda *_: (status, body)) as url:
        with pytest.raises(NoEvidence) as caught:
            await evidence(Oidc(kind="oidc", url=url))()
    assert "the.id.token" not in str(caught.value)


async def test_a_source_that_is_away():
    async with answering(lambda *_: (200, "")) as url:
        pass
    with pytest.raises(NoEvidence, match="cannot be asked"):
        await evidence(Instance(kind="instance", url=url))()


GOOD = {
    "authority": "https://authority.example:8443",
    "trust_bundle": "b.pem",
    "attestation": {"kind": "kubernetes", "token_file": "t"},
}


def test_good_settings():
    assert AgentSettings(**GOOD).attestor == "kubernetes"
    named = {**GOOD["attestation"], "attestor": "cluster-2"}
    assert AgentSettings(**{**GOOD, "attestation": named}).attestor == "cluster-2"


@pytest.mark.parametrize(
    "bad",
    [
        {"authority": "http://authority.example"},
        {"authority": "https://authority.example/path"},
        {"authority": "https://user@authority.example"},
        {"socket": "127.0.0.1:8080"},
        {"socket_mode": "0888"},
        {"attestation": {"kind": "join_token"}},
        {"attestation": {"kind": "join_token", "token_file": "t", "stdin": True}},
        {"attestation": {"kind": "oidc", "token_file": "t", "bearer_env": "X"}},
        {"attestation": {"kind": "instance"}},
        {"attestation": {"kind": "magic"}},
        {"aliases": {"default": "ALL"}},
        {"aliases": {"spiffe://x": "ALL"}},
        {"aliases": {"mine": "nothing"}},
        {"renew_at": 0.95},
        {"poll": "10m"},
        {"trust_domain": "Bank.Example"},
    ],
)
def test_bad_settings(bad):
    with pytest.raises(ValidationError):
        AgentSettings(**{**GOOD, **bad})

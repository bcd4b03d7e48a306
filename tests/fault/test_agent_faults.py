"""The agent when the authority is away, slow, wrong, or not the authority; when clocks differ; when it is killed."""

import asyncio
import base64
import json
import logging
import os
import signal
import stat
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from extauthz.agent.agent import Agent
from extauthz.clock import SystemClock
from extauthz.workload_api import messages
from extauthz.workload_api.client import WorkloadApiClient
from tests.support import scripted_authority
from tests.support.identities import Domain, until

pytestmark = [
    pytest.mark.fault,
    # httpcore leaves a connection to the garbage collector when it is cancelled within the TLS handshake.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ATTEST, RENEW, TRUST, JWT = "/v1/attest", "/v1/renew", "/v1/trust", "/v1/jwt-svid"


class Skewed(SystemClock):
    """A machine whose clock is `ahead` seconds ahead."""

    def __init__(self, ahead):
        self.ahead = ahead

    def now(self):
        return SystemClock.now() + self.ahead


@pytest.fixture
async def authority():
    async with scripted_authority.running() as found:
        yield found


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Pauses are short, so that a test sees many attempts."""
    monkeypatch.setattr("extauthz.agent.renew.FIRST_PAUSE", 0.1)
    monkeypatch.setattr("extauthz.agent.renew.PAUSE_WITHOUT", 0.1)
    monkeypatch.setattr("extauthz.agent.follow.FIRST_PAUSE", 0.1)
    monkeypatch.setattr("extauthz.agent.follow.LONGEST_PAUSE", 0.2)


@asynccontextmanager
async def running(authority, folder, clock=None, **settings):
    agent = Agent(scripted_authority.settings(authority, folder, **settings), clock or SystemClock())
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


async def status(agent):
    """What FetchX509SVID says now: OK, or the code that it ends with."""
    async with grpc.aio.insecure_channel(agent._settings.socket) as channel:
        call = channel.unary_stream(f"/{messages.SERVICE}/FetchX509SVID")(b"", metadata=(messages.SECURITY_HEADER,))
        try:
            await call.read()
        except grpc.aio.AioRpcError as error:
            return error.code().name
        call.cancel()
        return "OK"


async def test_an_authority_that_is_down_at_the_start(authority, tmp_path, caplog):
    await authority.stop()
    async with running(authority, tmp_path) as agent:
        await until(lambda: agent.held.failures >= 2)
        assert await status(agent) == "PERMISSION_DENIED"
        await authority.start()
        await until(lambda: agent.held.identity)
        assert await status(agent) == "OK"
    assert "no identity: the authority cannot be asked" in caplog.text


async def test_an_authority_that_is_down_at_renewal(authority, tmp_path, caplog):
    authority.life = 6.0
    async with running(authority, tmp_path) as agent:
        await until(lambda: agent.held.identity)
        first = agent.held.identity.svid.serial
        authority.spoil(RENEW, 503)
        authority.spoil(ATTEST, 503)
        await until(lambda: agent.held.alarm)
        assert await status(agent) == "OK", "what is held is served to its end"
        assert agent.held.identity.svid.serial == first
        authority.life = 3600.0
        authority.faults.clear()
        await until(lambda: agent.held.identity and agent.held.identity.svid.serial != first)
        assert not agent.held.alarm
    assert "cannot be renewed yet" in caplog.text
    assert any(one.levelno == logging.ERROR and "cannot be renewed:" in one.getMessage() for one in caplog.records)


async def test_a_certificate_that_ends_is_no_longer_given_out_and_the_workload_attests_again(authority, tmp_path):
    authority.life = 3.0
    async with running(authority, tmp_path) as agent:
        await until(lambda: agent.held.identity)
        for path in (RENEW, ATTEST, TRUST):
            authority.spoil(path, 503)
        await until(lambda: agent.held.identity is None)
        await until(lambda: not agent.api.streams)
        assert await status(agent) == "PERMISSION_DENIED"
        authority.faults.clear()
        authority.life = 3600.0
        authority.join_tokens["xjt_good"] = "/app"
        await until(lambda: agent.held.identity)
        assert await status(agent) == "OK"
        assert authority.calls.count(ATTEST) >= 2


async def test_a_slow_authority_costs_no_more_than_the_timeout(authority, tmp_path):
    slow = asyncio.Event()

    async def wait(_body, _peer):
        await slow.wait()
        return 503, {}

    authority.spoil(ATTEST, wait)
    async with running(authority, tmp_path, timeout="200ms") as agent:
        await until(lambda: agent.held.failures >= 2)
        authority.faults.clear()
        await until(lambda: agent.held.identity)
    slow.set()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'{"spiffe_id": 1}',
        b'{"a":1,"a":2}',
        b"{" * 5000,
        b'"' + b"a" * 5_000_000 + b'"',
    ],
    ids=["empty", "text", "list", "null", "mistyped", "duplicate", "deep", "huge"],
)
async def test_garbage_is_refused_and_the_agent_lives(authority, tmp_path, answer):
    for path in (ATTEST, TRUST):
        authority.spoil(path, answer)
    async with running(authority, tmp_path) as agent:
        await until(lambda: agent.held.failures >= 1)
        assert agent.held.identity is None
        del authority.faults[ATTEST]
        await until(lambda: agent.held.identity)
        await until(lambda: authority.calls.count(TRUST) >= 2)
        del authority.faults[TRUST]
        authority.next_trust()
        await until(lambda: agent.held.identity.sequence == 2)


async def forged(authority, caplog, folder, change, why, **settings):
    """An attestation whose answer went through `change` is refused with these words, and nothing is served."""

    async def answer(body, _peer):
        return 200, change(authority.grant(json.loads(body)["csr"], "/app"))

    authority.spoil(ATTEST, answer)
    async with running(authority, folder, **settings) as agent:
        await until(lambda: agent.held.failures >= 1)
        assert agent.held.identity is None
        assert await status(agent) == "PERMISSION_DENIED"
    assert why in caplog.text


async def test_a_certificate_for_another_key_is_refused(authority, tmp_path, caplog):
    other = Domain.svid(authority.domain).chain_pem().decode()
    await forged(authority, caplog, tmp_path, lambda a: {**a, "certificate_chain": other}, "for another key")


async def test_a_certificate_that_nobody_would_trust_is_refused(authority, tmp_path, caplog):
    trust = {"sequence": 1, "trust_domains": {authority.domain.name: {"keys": []}}}
    await forged(authority, caplog, tmp_path, lambda a: {**a, "trust": trust}, "not issued by the trust bundle")


async def test_another_workloads_name_is_refused(authority, tmp_path, caplog):
    change = lambda a: {**a, "spiffe_id": "spiffe://bank.example/other"}  # noqa: E731 - one of several
    await forged(authority, caplog, tmp_path, change, "another workload")


async def test_a_foreign_trust_domain_sends_no_evidence(authority, tmp_path, caplog):
    async with running(authority, tmp_path, trust_domain="other.example") as agent:
        await until(lambda: agent.held.failures >= 1)
    assert authority.calls == []
    assert "cannot be asked" in caplog.text


async def test_another_workload_that_poses_as_the_authority_sees_no_evidence(tmp_path):
    impostor = scripted_authority.Authority(Domain(), path="/payments")
    await impostor.start()
    try:
        async with running(impostor, tmp_path) as agent:
            await until(lambda: agent.held.failures >= 2)
        assert impostor.calls == []
    finally:
        await impostor.stop()


async def test_an_authority_of_another_ca_sees_no_evidence(authority, tmp_path):
    (tmp_path / "other").mkdir()
    async with running(authority, tmp_path) as agent:
        await until(lambda: agent.held.identity)
    calls = len(authority.calls)
    settings = scripted_authority.settings(authority, tmp_path)
    settings.trust_bundle.write_text(Domain().ca.pem)
    agent = Agent(settings, SystemClock())
    await agent.start()
    try:
        await until(lambda: agent.held.failures >= 2)
    finally:
        await agent.stop()
    assert len(authority.calls) == calls


@pytest.mark.parametrize("code", [401, 403])
async def test_a_refused_renewal_is_attested_anew(authority, tmp_path, code):
    authority.life = 3.0
    async with running(authority, tmp_path) as agent:
        await until(lambda: agent.held.identity)
        authority.join_tokens["xjt_good"] = "/app"
        authority.spoil(RENEW, code)
        await until(lambda: agent.held.renewals == 2)
        assert authority.calls.count(ATTEST) == 2


async def test_a_distrusted_authority_is_left_at_once(authority, tmp_path):
    async with running(authority, tmp_path) as agent:
        await until(lambda: agent.held.identity and authority.acknowledged)
        authority.join_tokens["xjt_good"] = "/app"
        authority.domain.rotate()
        authority.domain.old.clear()
        await authority.stop()
        await authority.start()  # under a certificate of the new one, as the real listener
        authority.next_trust()
        await until(lambda: agent.held.renewals == 2)
        assert agent.held.identity.svid.chain[0].issuer == authority.domain.ca.certificate.subject
        assert not agent.held.outcast


async def test_a_clock_that_is_ahead_of_the_certificates_end(authority, tmp_path, caplog):
    async with running(authority, tmp_path, Skewed(7200)) as agent:
        await until(lambda: agent.held.failures >= 1)
        assert agent.held.identity is None
    assert "set the clock right" in caplog.text


@pytest.mark.parametrize("ahead", [-7200, 3000])
async def test_a_clock_that_is_wrong_within_reason_still_renews_in_time(authority, tmp_path, ahead):
    async with running(authority, tmp_path, Skewed(ahead)) as agent:
        await until(lambda: agent.held.identity)
        assert await status(agent) == "OK"
        assert 0 < agent.held.lasts <= 3661


async def test_jwt_svids_outlive_the_authority_to_their_end_and_no_longer(authority, tmp_path):
    clock = Skewed(0)
    async with running(authority, tmp_path, clock) as agent:
        await until(lambda: agent.held.identity)
        client = WorkloadApiClient(agent._settings.socket)
        try:
            first = await client.jwt_svid(["db"])
            authority.spoil(JWT, 503)
            clock.ahead = 200  # past half of 300 s
            assert (await client.jwt_svid(["db"])).token == first.token
            clock.ahead = 297
            with pytest.raises(Exception, match="UNAVAILABLE"):
                await client.jwt_svid(["db"])
        finally:
            await client.close()


async def test_a_jwt_svid_of_somebody_else_is_refused(authority, tmp_path):
    async def other(_body, _peer):
        return 200, {"token": authority.domain.token("/other", ["db"]), "expires_at": 0}

    authority.spoil(JWT, other)
    async with running(authority, tmp_path) as agent:
        await until(lambda: agent.held.identity)
        client = WorkloadApiClient(agent._settings.socket)
        try:
            with pytest.raises(Exception, match="UNAVAILABLE"):
                await client.jwt_svid(["db"])
        finally:
            await client.close()


@asynccontextmanager
async def process(folder, settings, token):
    """`extauthz agent` as a process of its own, its join token on standard input; what it logs."""
    (folder / "extauthz.yaml").write_text(
        f"agent:\n  authority: {settings.authority}\n  trust_bundle: {folder}/bootstrap.pem\n"
        f"  attestation: {{kind: join_token, stdin: true}}\n  socket: {settings.socket}\n"
    )
    (folder / "join-token").unlink()
    with (folder / "log").open("ab") as output:
        found = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "extauthz", "agent", str(folder / "extauthz.yaml")),
            stdin=asyncio.subprocess.PIPE,
            stderr=output,
            stdout=output,
            env={**os.environ, "TMPDIR": str(folder)},
        )
    found.stdin.write(token.encode() + b"\n")
    found.stdin.close()
    try:
        await until(lambda: b"ready: " in (folder / "log").read_bytes() or found.returncode is not None)
        yield found
    finally:
        if found.returncode is None:
            found.kill()
        await found.wait()


async def test_a_killed_agents_socket_is_taken_over(authority, tmp_path):
    settings = scripted_authority.settings(authority, tmp_path)
    async with process(tmp_path, settings, "xjt_good") as first:
        first.kill()
        await first.wait()
    assert stat.S_ISSOCK((tmp_path / "agent.sock").stat().st_mode)
    authority.join_tokens["xjt_good"] = "/app"
    (tmp_path / "log").write_bytes(b"")
    (tmp_path / "join-token").touch()
    async with process(tmp_path, settings, "xjt_good") as second:
        assert second.returncode is None
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0
    assert not (tmp_path / "agent.sock").exists()


async def test_no_secret_is_in_a_file_a_log_or_the_process_list(authority, tmp_path):
    settings = scripted_authority.settings(authority, tmp_path)
    async with process(tmp_path, settings, "xjt_good") as agent:
        client = WorkloadApiClient(settings.socket)
        try:
            context = await anext(client.x509_contexts())
            token = (await client.jwt_svid(["db"])).token
        finally:
            await client.close()
        assert isinstance(context.svid.key, ec.EllipticCurvePrivateKey)
        scalar = context.svid.key.private_numbers().private_value.to_bytes(32)
        secrets = [
            scalar,
            scalar.hex().encode(),
            b"PRIVATE KEY",
            b"xjt_good",
            token.encode(),
            token.split(".")[2].encode(),
        ]
        secrets += [base64.b64encode(context.svid.key_der()[skip:])[:40] for skip in range(3)]
        places = [path for path in tmp_path.rglob("*") if path.is_file()]
        places += [Path(f"/proc/{agent.pid}/{name}") for name in ("cmdline", "environ")]
        assert {"log", "bootstrap.pem", "cmdline"} <= {place.name for place in places}
        for place in places:
            content = place.read_bytes()
            assert not [secret for secret in secrets if secret in content], place
        opened = [str(link.readlink()) for link in Path(f"/proc/{agent.pid}/fd").iterdir()]
        assert not [name for name in opened if "(deleted)" in name]

"""TLS with an SVID: who the server must be, what is left on disk."""

import asyncio
import ssl

import httpx
import pytest

from extauthz.workload_api.identity import IdentityError
from extauthz.workload_api.tls import client_context, matches
from tests.support import scripted_authority
from tests.support.identities import Domain


@pytest.fixture
async def server():
    async with scripted_authority.running() as found:
        yield found


async def call(server, context):
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=5) as http:
        return await http.get(f"https://127.0.0.1:{server.port}/v1/trust?after=0&wait=0&acknowledged=7")


async def test_the_server_is_known_by_its_spiffe_id_and_sees_ours(server):
    domain = server.domain
    context = client_context(domain.svid(), domain.bundle().authorities, "spiffe://bank.example/authority")
    assert (await call(server, context)).status_code == 200
    assert server.acknowledged == [7]
    bare = client_context(None, domain.bundle().authorities, "spiffe://*/authority")
    assert (await call(server, bare)).status_code == 401


@pytest.mark.parametrize(
    "wanted", ["spiffe://bank.example/other", "spiffe://other.example/authority", "spiffe://*/other"]
)
async def test_another_server_gets_nothing(server, wanted):
    context = client_context(server.domain.svid(), server.domain.bundle().authorities, wanted)
    with pytest.raises(httpx.ConnectError, match="the server is not"):
        await call(server, context)
    assert server.calls == []


async def test_without_an_id_the_host_name_counts(server):
    context = client_context(None, server.domain.bundle().authorities)
    with pytest.raises(httpx.ConnectError, match=r"IP address mismatch|Hostname mismatch"):
        await call(server, context)


async def test_an_authority_that_is_not_ours(server):
    context = client_context(None, Domain().bundle().authorities, "spiffe://bank.example/authority")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await call(server, context)


async def test_asyncios_own_streams_check_it_too(server):
    wrong = client_context(None, server.domain.bundle().authorities, "spiffe://bank.example/other")
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", server.port, ssl=wrong)


def test_nobody_trusted_is_refused_and_nothing_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    domain = Domain()
    with pytest.raises(IdentityError):
        client_context(domain.svid(), ())
    client_context(domain.svid(), domain.bundle().authorities)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ("spiffe://a/authority", "spiffe://a/authority", True),
        ("spiffe://a/authority", "spiffe://a/authority/x", False),
        ("spiffe://*/authority", "spiffe://a/authority", True),
        ("spiffe://*/authority", "spiffe://a/b/authority", False),
        ("spiffe://*/authority", "spiffe:///authority", False),
        ("spiffe://a/*", "spiffe://a/authority", False),
    ],
)
def test_matching(wanted, found, same):
    assert matches(wanted, found) is same

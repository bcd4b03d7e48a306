"""What strangers, and workloads that want to be more than they are, get from the authority."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from extauthz.authority import endpoints, workloads
from extauthz.clock import SystemClock
from tests.support.authority import (
    ENTRIES,
    RunningAuthority,
    Svid,
    audit_text,
    authorities,
    csr,
    entry,
    new_key,
    running,
    svid_of,
)
from tests.support.certs import TestCa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.attack
NOW = SystemClock().now()
FOR_PEERS = (
    ("POST", "/v1/renew"),
    ("POST", "/v1/jwt-svid"),
    ("GET", "/v1/trust"),
    ("GET", "/v1/revocations"),
)


@pytest.fixture
async def authority(tmp_path: Path) -> AsyncIterator[RunningAuthority]:
    async with running(tmp_path, ca={"fallback_anchors": str(anchors(tmp_path))}) as found:
        yield found


FALLBACK = TestCa("fallback", not_before=NOW - 86400, not_after=NOW + 86400)
STRANGE = TestCa("strange", not_before=NOW - 86400, not_after=NOW + 86400)


def anchors(directory: Path) -> Path:
    file = directory / "fallback.pem"
    file.write_text(FALLBACK.pem)
    return file


def forged(of: TestCa, *uris: str, ends: float = NOW + 3600, **more: Any) -> Svid:
    made = of.leaf(*uris, not_before=NOW - 7200, not_after=ends, **more)
    return Svid(uris[0], made.key, made.pem, int(ends), {})


async def refused(answer: httpx.Response) -> str:
    assert answer.is_error, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert found["message"]
    assert found["remedy"]
    return str(found["error"])


@pytest.mark.parametrize(("method", "path"), FOR_PEERS)
async def test_nobody_without_a_certificate(authority: RunningAuthority, method: str, path: str) -> None:
    async with authority.client() as http:
        answer = await http.request(method, path, json={"csr": csr(new_key())})
        assert await refused(answer) == "transport.certificate_missing"
        assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/token", "/introspect", "/revoke"])
async def test_no_token_client_without_a_certificate(authority: RunningAuthority, path: str) -> None:
    async with authority.client() as http:
        form = {"token": "x", "grant_type": "client_credentials", "audience": "model"}
        answer = await http.post(path, data=form)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_nobody_with_a_certificate_of_an_authority_that_is_not_trusted(authority: RunningAuthority) -> None:
    mallory = forged(STRANGE, "spiffe://bank.example/agent")
    async with authority.client(mallory) as http:
        with pytest.raises(httpx.TransportError):  # the handshake ends it
            await http.get("/v1/trust")


@pytest.mark.parametrize(
    ("svid", "code"),
    [
        (forged(FALLBACK, "spiffe://evil.example/agent"), "workload.trust_domain"),
        (
            forged(FALLBACK, "spiffe://bank.example/agent", "spiffe://bank.example/model"),
            "transport.certificate_profile",
        ),
        (
            forged(FALLBACK, "spiffe://bank.example/agent", usage={"key_cert_sign": True}),
            "transport.certificate_profile",
        ),
        (forged(FALLBACK, "spiffe://bank.example"), "workload.id_malformed"),
        (forged(FALLBACK, "https://bank.example/agent"), "workload.id_malformed"),
    ],
)
async def test_a_trusted_authority_may_not_certify_just_anything(
    authority: RunningAuthority, svid: Svid, code: str
) -> None:
    async with authority.client(svid) as http:
        assert await refused(await http.post("/v1/renew", json={"csr": csr(new_key())})) == code
        answer = await http.post("/token", data={"grant_type": "client_credentials", "audience": "model"})
        assert answer.json()["error"] == "invalid_client"


async def test_an_expired_certificate_ends_the_handshake(authority: RunningAuthority) -> None:
    late = forged(FALLBACK, "spiffe://bank.example/agent", ends=NOW - 1)
    async with authority.client(late) as http:
        with pytest.raises(httpx.TransportError):
            await http.post("/v1/renew", json={"csr": csr(new_key())})


async def test_a_connection_does_not_outlive_its_certificate(tmp_path: Path) -> None:
    async with running(tmp_path, entries=[entry("agent", svid_ttl="2s")]) as authority:
        svid = await authority.attest("agent")
        async with authority.client(svid) as http:
            assert (await http.get("/v1/trust")).status_code == 200
            await asyncio.sleep(max(0.0, svid.expires_at + 1 - SystemClock().now()))
            assert await refused(await http.get("/v1/trust")) == "transport.certificate_expired"


@pytest.mark.parametrize("by_certificate", [True, False])
async def test_a_revoked_workload_is_nobody_also_on_a_connection_that_it_has(
    authority: RunningAuthority, by_certificate: bool
) -> None:
    svid = await authority.attest("gateway")
    async with authority.client(svid) as http:
        assert (await http.get("/v1/trust")).status_code == 200
        value = svid.x5t if by_certificate else svid.spiffe_id
        order = {"kind": "workload", "value": value, "reason": "stolen"}
        assert (await authority.operator("POST", "/revoke", order)).status_code == 200
        for method, path in FOR_PEERS:
            assert await refused(await http.request(method, path, json={})) == "workload.revoked"
        answer = await http.post("/token", data={"grant_type": "client_credentials", "audience": "orchestrator"})
        assert answer.json()["error"] == "invalid_client"
    evidence = await authority.join_token("gateway")
    async with authority.client() as http:
        asked = {"attestor": "join_token", "evidence": evidence, "csr": csr(new_key())}
        answer = await http.post("/v1/attest", json=asked)
        if by_certificate:
            assert svid_of(answer, new_key()).spiffe_id == svid.spiffe_id  # the workload itself is in good standing
        else:
            assert await refused(answer) == "workload.revoked"


async def test_renewing_does_not_escape_a_revocation(authority: RunningAuthority) -> None:
    """Whoever stole a certificate's key could renew it before the theft was noticed."""
    stolen = await authority.attest("gateway")
    second = await authority.renew(stolen)
    third = await authority.renew(second)
    order = {"kind": "workload", "value": stolen.x5t, "reason": "stolen"}
    assert (await authority.operator("POST", "/revoke", order)).status_code == 200
    for svid in (stolen, second, third):
        async with authority.client(svid) as http:
            assert await refused(await http.post("/v1/renew", json={"csr": csr(new_key())})) == "workload.revoked"
            form = {"grant_type": "client_credentials", "audience": "orchestrator"}
            assert (await http.post("/token", data=form)).json()["error"] == "invalid_client"
    fresh = await authority.attest("gateway")
    async with authority.client(fresh) as http:
        assert (await http.get("/v1/trust")).status_code == 200


async def test_nobody_renews_who_is_not_registered_any_more(authority: RunningAuthority) -> None:
    gone = forged(FALLBACK, "spiffe://bank.example/gone")
    async with authority.client(gone) as http:
        assert await refused(await http.post("/v1/renew", json={"csr": csr(new_key())})) == "attestation.no_entry"
        asked = {"audience": ["x"]}
        assert await refused(await http.post("/v1/jwt-svid", json=asked)) == "attestation.no_entry"


async def test_no_template_gives_out_the_authoritys_own_name(tmp_path: Path) -> None:
    template = entry("any", spiffe_id="spiffe://bank.example/{k8s.sa}", dns_names=[])
    ca = {"fallback_anchors": str(anchors(tmp_path))}
    async with running(tmp_path, entries=[template], ca=ca) as authority:
        for name, answered in (("authority", "workload.unregistered"), ("other", None)):
            async with authority.client(forged(FALLBACK, f"spiffe://bank.example/{name}")) as http:
                answer = await http.post("/v1/renew", json={"csr": csr(new_key())})
                assert answer.json().get("error") == answered


async def test_the_listeners_own_identity_is_no_client(authority: RunningAuthority) -> None:
    """Whoever steals the listener's key holds the authority's SVID: it renews nothing, and it gets no token."""
    stolen = forged(FALLBACK, "spiffe://bank.example/authority")
    async with authority.client(stolen) as http:
        assert await refused(await http.post("/v1/renew", json={"csr": csr(new_key())})) == "attestation.no_entry"
        answer = await http.post("/token", data={"grant_type": "client_credentials", "audience": "model"})
        assert answer.json()["error"] == "invalid_client"


async def test_a_compromised_ca_is_distrusted_at_once(authority: RunningAuthority) -> None:
    svid = await authority.attest("agent")
    old = authorities(svid.trust)
    async with authority.client(svid) as http:
        held = asyncio.gather(http.get("/v1/trust", params={"after": svid.trust["sequence"], "wait": 20}))
        await asyncio.sleep(0.1)
        rotated = (await authority.operator("POST", "/rotate", {"what": "ca", "compromised": True})).json()
        (news,) = await held  # who was connected learns of it on the connection that it has
        assert news.json()["sequence"] == rotated["sequence"]
        assert await refused(await http.get("/v1/trust")) == "transport.certificate_untrusted"
    fresh = await authority.trust_pem()
    assert set(fresh.split("-----BEGIN CERTIFICATE-----\n")).isdisjoint(
        one for one in old.split("-----BEGIN CERTIFICATE-----\n") if one and one not in FALLBACK.pem
    )
    async with authority.client(svid, trusted=fresh) as http:
        with pytest.raises(httpx.TransportError):
            await http.get("/v1/trust")
    without_fallback = "".join(
        f"-----BEGIN{one}" for one in old.split("-----BEGIN")[1:] if one.strip() not in FALLBACK.pem
    )
    async with authority.client(trusted=without_fallback) as http:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):  # the listener's is new as well
            await http.get("/healthz")
    assert (await authority.attest("agent")).spiffe_id == svid.spiffe_id


async def test_a_join_token_serves_once(authority: RunningAuthority) -> None:
    asked = {"attestor": "join_token", "evidence": await authority.join_token("agent"), "csr": csr(new_key())}
    async with authority.client() as http:
        answers = await asyncio.gather(*(http.post("/v1/attest", json=asked) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 403, 403, 403, 403]
        assert await refused(await http.post("/v1/attest", json=asked)) == "attestation.join_token"
    assert asked["evidence"] not in audit_text(authority.directory)


async def test_a_bad_request_does_not_use_the_evidence_up(authority: RunningAuthority) -> None:
    key = new_key()
    asked = {"attestor": "join_token", "evidence": await authority.join_token("agent"), "csr": "nonsense"}
    async with authority.client() as http:
        assert await refused(await http.post("/v1/attest", json=asked)) == "request.csr_malformed"
        svid_of(await http.post("/v1/attest", json={**asked, "csr": csr(key)}), key)


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"{", "authority.malformed", 400),
        (b"[]", "authority.malformed", 400),
        (b'{"attestor": "join_token", "evidence": "x"}', "authority.malformed", 400),
        (b'{"attestor": "join_token", "evidence": "x", "csr": 1}', "authority.malformed", 400),
        (b'{"attestor": "a", "evidence": "x", "csr": "y", "csr": "z"}', "authority.malformed", 400),
        (
            b'{"attestor": "a", "evidence": "x", "csr": "y", "spiffe_id": "spiffe://bank.example/x"}',
            "authority.malformed",
            400,
        ),
        (b"[" * 5000, "authority.malformed", 400),
        (b"\xff", "authority.malformed", 400),
        (b'{"attestor": "\\ud800", "evidence": "x", "csr": "y"}', "authority.malformed", 400),
        (b'{"attestor": "a", "evidence": "\\ud800", "csr": "y"}', "request.csr_malformed", 400),
        (b'{"attestor": "a", "evidence": "x", "csr": "\\ud800"}', "request.csr_malformed", 400),
        (b'{"attestor": "a", "evidence": "x", "csr": "' + b"A" * 20_000 + b'"}', "request.csr_malformed", 400),
        (b'{"a": "' + b"A" * endpoints.MAX_BODY + b'"}', "authority.too_large", 413),
    ],
)
async def test_bodies_are_strict_and_bounded(authority: RunningAuthority, body: bytes, code: str, status: int) -> None:
    async with authority.client() as http:
        answer = await http.post("/v1/attest", content=body)
        assert (await refused(answer), answer.status_code) == (code, status)


async def test_evidence_is_bounded(authority: RunningAuthority) -> None:
    async with authority.client() as http:
        asked = {"attestor": "join_token", "evidence": "x" * 17_000, "csr": csr(new_key())}
        assert await refused(await http.post("/v1/attest", json=asked)) == "attestation.too_large"
        asked = {"attestor": "nobody", "evidence": "x", "csr": csr(new_key())}
        assert await refused(await http.post("/v1/attest", json=asked)) == "attestation.attestor_unknown"


@pytest.mark.parametrize(
    "audience", [[], ["x"] * 17, [""], ["a b"], ["x" * 3000], [1], ["\u202e"], [["x"]], ["a\r\nb"]]
)
async def test_audiences_of_jwt_svids_are_plain(authority: RunningAuthority, audience: list[Any]) -> None:
    svid = await authority.attest("agent")
    async with authority.client(svid) as http:
        answer = await http.post("/v1/jwt-svid", json={"audience": audience})
        assert await refused(answer) == "authority.audience"


@pytest.mark.parametrize(
    "query", ["after=-1", "wait=x", "acknowledged=9999999999999999", "after=1.5", "instance=a%20b"]
)
async def test_queries_are_strict(authority: RunningAuthority, query: str) -> None:
    svid = await authority.attest("agent")
    async with authority.client(svid) as http:
        assert await refused(await http.get(f"/v1/trust?{query}")) == "authority.malformed"


async def test_an_acknowledgement_of_the_future_counts_for_nothing(authority: RunningAuthority) -> None:
    svid = await authority.attest("agent")
    async with authority.client(svid) as http:
        assert (await http.get("/v1/trust", params={"acknowledged": svid.trust["sequence"] + 5})).status_code == 200
    status = (await authority.operator("GET", "/status")).json()
    assert status["agents"] == {"connected": 1, "behind": [f"{svid.spiffe_id}#{svid.x5t}"]}


async def test_a_flood_of_polls_is_bounded_and_harms_nobody_else(tmp_path: Path) -> None:
    bounds = {"polls_per_workload": 2, "polls": 3}
    async with running(tmp_path, listener=bounds) as authority:
        svid, other = await authority.attest("agent"), await authority.attest("model")
        query = {"after": svid.trust["sequence"], "wait": 20}
        async with authority.client(svid) as http, authority.client(other) as theirs:
            held = [asyncio.ensure_future(http.get("/v1/trust", params=query)) for _ in range(2)]  # noqa: TID251 - cancelled
            await until_polls(authority, 2)
            answer = await http.get("/v1/trust", params=query)
            assert (await refused(answer), answer.status_code) == ("authority.polls", 429)
            assert (await http.get("/v1/trust")).status_code == 200  # without waiting
            held.append(asyncio.ensure_future(theirs.get("/v1/revocations", params={"wait": 20})))  # noqa: TID251 - the same
            await until_polls(authority, 3)
            assert await refused(await theirs.get("/v1/trust", params=query)) == "authority.polls"
            for one in held:
                one.cancel()
            await asyncio.gather(*held, return_exceptions=True)
        await until_polls(authority, 0)  # who goes away gives the place back


async def until_polls(authority: RunningAuthority, count: int) -> None:
    assert authority.service is not None
    for _ in range(500):
        if len(authority.service._polls) == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(len(authority.service._polls))


async def test_strangers_do_not_fill_the_disk(authority: RunningAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "STRANGERS_PER_SECOND", 0.0)
    asked = {"attestor": "join_token", "evidence": "x", "csr": "y"}
    async with authority.client() as http:
        for _ in range(workloads.STRANGERS + 20):
            assert await refused(await http.post("/v1/attest", json=asked)) == "request.csr_malformed"
        page = (await http.get("/metrics")).text
    assert sum(line["event"] == "identity.refused" for line in authority.audit()) == workloads.STRANGERS
    assert 'extauthz_authority_refusals_total{code="request.csr_malformed"} 120.0' in page
    assert "extauthz_authority_unrecorded_total 20.0" in page


async def test_what_cannot_be_recorded_is_not_issued(tmp_path: Path) -> None:
    async with running(tmp_path) as authority:
        svid = await authority.attest("gateway")
        evidence = await authority.join_token("agent")
        in_the_way = tmp_path / "audit" / ".authority-0.head"  # where the next head is written
        in_the_way.mkdir()
        async with authority.client(svid) as http:
            for path, body in (
                ("/v1/attest", {"attestor": "join_token", "evidence": evidence, "csr": csr(new_key())}),
                ("/v1/renew", {"csr": csr(new_key())}),
                ("/v1/jwt-svid", {"audience": ["x"]}),
            ):
                answer = await http.post(path, json=body)
                assert (await refused(answer), answer.status_code) == ("authority.unavailable", 503)
                assert answer.headers["retry-after"] == "1"
                assert "BEGIN" not in answer.text
            order = {"what": "ca", "compromised": False}
            assert (await authority.operator("POST", "/rotate", order)).status_code == 503
            in_the_way.rmdir()
            assert (await http.post("/v1/renew", json={"csr": csr(new_key())})).status_code == 200


async def test_a_workloads_token_is_no_key_to_another_ones(authority: RunningAuthority) -> None:
    """A token is bound to the certificate of who asked; an exchange by somebody else than its audience fails."""
    assert {one["name"] for one in ENTRIES} >= {"gateway", "model"}
    gateway, model = await authority.attest("gateway"), await authority.attest("model")
    async with authority.client(gateway) as http:
        form = {"grant_type": "client_credentials", "audience": "orchestrator"}
        token = (await http.post("/token", data=form)).json()["access_token"]
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "audience": "model",
    }
    async with authority.client(model) as http:
        assert (await http.post("/token", data=form)).status_code == 400
        assert (await http.post("/introspect", data={"token": token})).json() == {"active": False}

"""The one door: SVIDs, tokens, trust, and what another replica does reaching this one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.authn.trust import TrustBundle
from extauthz.ca import profile, trust
from extauthz.ca.certificate_authority import CertificateAuthority, Issued, Spec
from extauthz.ca.fault import CaFault
from extauthz.clock import ManualClock
from extauthz.errors import ConfigError
from extauthz.keys import successor
from extauthz.keys.algorithms import KINDS
from extauthz.keys.jws import JwsKey
from extauthz.keys.protector import KeyProtector
from extauthz.keys.provider import EncryptedKeys
from extauthz.store.memory import MemoryStore
from extauthz.store.store import StoreError
from tests.support.ca import DOMAIN, ID, RemoteKeys, authority, csr, facts
from tests.support.certs import TestCa, assert_denied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cryptography import x509

OTHER = f"spiffe://{DOMAIN}/env/prod/ns/pay/sa/other"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def ca(clock: ManualClock) -> AsyncIterator[CertificateAuthority]:
    made = authority(clock=clock)
    await made.start()
    yield made
    await made.close()


async def issue(ca: CertificateAuthority, spiffe_id: str = ID, **spec: Any) -> Issued:
    issued = await ca.x509(csr(), Spec(spiffe_id, **spec))
    assert isinstance(issued, Issued)
    return issued


def digest(certificate: x509.Certificate) -> bytes:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


# X.509-SVIDs


async def test_an_svid_says_what_its_entry_says(ca: CertificateAuthority, clock: ManualClock) -> None:
    issued = await issue(ca, dns_names=("api.pay.svc",))
    read = facts(issued.certificate)
    assert (read.uri, read.x5t, read.not_after) == (ID, issued.x5t, issued.expires_at)
    assert (issued.spiffe_id, issued.expires_at, issued.not_before) == (ID, clock.now() + 3600, clock.now() - 60)
    assert issued.chain == profile.pem(issued.certificate)
    assert int(issued.serial, 16) == issued.certificate.serial_number
    assert issued.authority == ca.state().x509[0].kid
    bundle = trust.read(ca.trust().trust_domains[DOMAIN])
    assert TrustBundle(bundle.authorities).trusted_until(issued.certificate, clock.now()) == issued.expires_at


@pytest.mark.parametrize(("ttl", "life"), [(None, 3600), (60.0, 60), (90_000.0, 86_400), (30 * 86_400.0, 86_400)])
async def test_a_life_is_bounded_by_the_configuration(
    ca: CertificateAuthority, clock: ManualClock, ttl: float | None, life: int
) -> None:
    assert (await issue(ca, ttl=ttl)).expires_at == clock.now() + life


async def test_an_entry_of_another_domain_is_a_fault(ca: CertificateAuthority) -> None:
    with pytest.raises(CaFault):
        await ca.x509(csr(), Spec("spiffe://other.example/a"))


async def test_a_bad_request_is_a_refusal(ca: CertificateAuthority) -> None:
    assert_denied(await ca.x509("hello", Spec(ID)), "request.csr_malformed")


# predecessors


async def test_a_renewal_names_those_before_it_newest_first(ca: CertificateAuthority, clock: ManualClock) -> None:
    line = [await issue(ca)]
    for _ in range(3):
        clock.advance(600)
        line.append(await issue(ca, replaces=line[-1].certificate))
    before = [digest(issued.certificate) for issued in reversed(line[:-1])]
    assert list(successor.read(line[-1].certificate).digests) == before
    facts(line[-1].certificate)


async def test_only_those_replaced_within_the_longest_token_stay(ca: CertificateAuthority, clock: ManualClock) -> None:
    first = await issue(ca, ttl=86_400.0)
    clock.advance(10)
    second = await issue(ca, ttl=86_400.0, replaces=first.certificate)
    clock.advance(3599)
    third = await issue(ca, ttl=86_400.0, replaces=second.certificate)
    assert successor.read(third.certificate).digests == (digest(second.certificate), digest(first.certificate))
    clock.advance(1)
    third = await issue(ca, ttl=86_400.0, replaces=second.certificate)
    assert successor.read(third.certificate).digests == (digest(second.certificate),)


async def test_at_most_eight_are_named(ca: CertificateAuthority, clock: ManualClock) -> None:
    issued = await issue(ca)
    for _ in range(12):
        clock.advance(1)
        issued = await issue(ca, replaces=issued.certificate)
    assert len(successor.read(issued.certificate).digests) == 8


async def test_a_workload_under_another_name_inherits_nothing(ca: CertificateAuthority) -> None:
    first = await issue(ca)
    renewed = await issue(ca, OTHER, replaces=first.certificate)
    assert successor.read(renewed.certificate) == successor.NONE


# JWT-SVIDs and other tokens


async def test_a_jwt_svid_verifies_with_the_bundle(ca: CertificateAuthority, clock: ManualClock) -> None:
    svid = await ca.jwt_svid(ID, ["payments", "ledger"])
    (key,) = trust.read(ca.trust().trust_domains[DOMAIN]).jwt_keys
    header = jwt.get_unverified_header(svid.token)
    assert header == {"alg": "ES256", "kid": key["kid"], "typ": "JWT"}
    claims = jwt.decode(
        svid.token,
        jwt.PyJWK(dict(key)),
        ["ES256"],
        audience="ledger",
        options={"verify_exp": False, "verify_iat": False},
    )
    now = int(clock.now())
    assert uuid.UUID(claims.pop("jti"))
    assert claims == {"sub": ID, "aud": ["payments", "ledger"], "iat": now, "exp": now + 300}
    assert svid.expires_at == now + 300


@pytest.mark.parametrize(
    ("spiffe_id", "audience"),
    [
        (ID, []),
        (ID, ["a"] * 17),
        (ID, [""]),
        (ID, ["a" * 2049]),
        ("spiffe://other.example/a", ["a"]),
        (f"spiffe://{DOMAIN}", ["a"]),
        ("", ["a"]),
    ],
)
async def test_a_jwt_svid_is_for_somebody_and_of_this_domain(
    ca: CertificateAuthority, spiffe_id: str, audience: list[str]
) -> None:
    with pytest.raises(CaFault):
        await ca.jwt_svid(spiffe_id, audience)


async def test_no_token_outlives_its_keys_place_in_the_jwks(ca: CertificateAuthority, clock: ManualClock) -> None:
    now = int(clock.now())
    assert ca.signer.sign({"exp": now + 3600}, typ="at+jwt")
    for claims in ({}, {"exp": now + 3601}, {"exp": str(now)}, {"exp": float(now)}, {"exp": True}):
        with pytest.raises(CaFault):
            ca.signer.sign(claims, typ="at+jwt")
    assert (await ca.jwt_svid(ID, ["a"], ttl=7200)).expires_at == now + 3600


async def test_the_signer_follows_rotation(ca: CertificateAuthority, clock: ManualClock) -> None:
    claims = {"exp": int(clock.now()) + 60}
    first = jwt.get_unverified_header(ca.signer.sign(claims, typ="at+jwt"))["kid"]
    rotated = await ca.rotate("jwt", compromised=True)
    assert rotated.revoked == (first,)
    assert jwt.get_unverified_header(ca.signer.sign(claims, typ="at+jwt"))["kid"] == rotated.next
    assert [key["kid"] for key in ca.signer.jwks()["keys"]] == [rotated.next]


async def test_one_key_can_be_distrusted(ca: CertificateAuthority) -> None:
    kid = ca.state().jwt[0].kid
    assert (await ca.distrust("jwt", kid)).revoked == (kid,)
    assert kid not in str(ca.signer.jwks())


async def test_an_rsa_authority_signs_too(clock: ManualClock) -> None:
    ca = authority(clock=clock, ca={"algorithm": "RS256"}, signing={"algorithm": "RS256"})
    await ca.start()
    facts((await issue(ca)).certificate)
    assert jwt.get_unverified_header((await ca.jwt_svid(ID, ["a"])).token)["alg"] == "RS256"
    await ca.close()


async def test_an_authority_whose_keys_are_elsewhere(clock: ManualClock) -> None:
    ca = authority(RemoteKeys(), clock=clock)
    await ca.start()
    issued = await issue(ca)
    bundle = trust.read(ca.trust().trust_domains[DOMAIN])
    assert TrustBundle(bundle.authorities).trusted_until(issued.certificate, clock.now())
    assert (await ca.jwt_svid(ID, ["a"])).token
    await ca.close()


# trust


async def test_trust_is_fallback_anchors_and_federated_domains_too(tmp_path: Path, clock: ManualClock) -> None:
    fallback, federated = tmp_path / "fallback.pem", tmp_path / "other.json"
    old, new = TestCa(name="old"), TestCa(name="new")
    fallback.write_text(old.pem)
    key = JwsKey(KINDS["ES256"].generate())
    foreign = profile.authority(key, "other.example", now=clock.now(), lifetime=3600)
    document = trust.write(trust.Bundle((foreign,), (key.jwk(),), 3, 60))
    federated.write_text(json.dumps(document))
    files = {"fallback_anchors": fallback, "federated": {"other.example": federated, DOMAIN: tmp_path / "own"}}
    ca = authority(clock=clock, ca=files, tick_every=0.02)
    await ca.start()
    first = ca.trust()
    assert first.as_json()["trust_domains"]["other.example"] == document
    assert trust.read(first.trust_domains[DOMAIN]).authorities[1:] == (old.certificate,)
    fallback.write_text(new.pem)
    second = await ca.wait(first.sequence, 10)
    assert second.sequence == first.sequence + 1
    assert trust.read(second.trust_domains[DOMAIN]).authorities[1:] == (new.certificate,)
    for broken in ("", "garbage"):
        fallback.write_text(broken)
        federated.write_text(broken)
        await asyncio.sleep(0.06)
    assert ca.trust() == second
    await ca.close()


@pytest.mark.parametrize("content", ["garbage", None])
async def test_broken_anchors_stop_a_start(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "fallback.pem"
    if content is not None:
        path.write_text(content)
    for settings in ({"fallback_anchors": path}, {"federated": {"other.example": path}}):
        with pytest.raises(ConfigError, match=r"fallback\.pem"):
            await authority(ca=settings).start()


async def test_an_acknowledgement_of_what_was_never_given_out_counts_as_none(ca: CertificateAuthority) -> None:
    sequence = ca.trust().sequence
    for given, kept in [(sequence, sequence), (sequence + 1, 0), (-1, 0), (0, 0)]:
        await ca.acknowledge("agent", given)
        assert await ca.agents.connected() == {"agent": kept}


async def test_a_change_by_another_replica_arrives_at_once(clock: ManualClock) -> None:
    store = MemoryStore(clock)
    protector = KeyProtector(b"p" * 16)
    one, two = (authority(EncryptedKeys(protector), store, clock, tick_every=60) for _ in range(2))
    await one.start()
    await two.start()
    sequence = two.trust().sequence
    waiting = asyncio.gather(two.wait(sequence, 10))
    await asyncio.sleep(0.01)
    rotated = await one.rotate("x509", compromised=True)
    (seen,) = await waiting
    assert seen.sequence == rotated.sequence
    assert seen == one.trust()
    assert (await issue(two)).authority == rotated.next
    await one.rotate("jwt")
    await two.acknowledge("agent", one.trust().sequence)  # given out by the first: the second looks before it judges
    assert await two.agents.connected() == {"agent": one.trust().sequence}
    await one.close()
    await two.close()


async def test_a_store_that_fails_for_a_while_is_asked_again(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore(clock)
    ca = authority(store=store, clock=clock, tick_every=0.01)
    await ca.start()

    async def fail(*_: Any) -> bytes | None:
        raise StoreError("the store is down")

    with monkeypatch.context() as broken:
        broken.setattr(store, "get", fail)
        await asyncio.sleep(0.05)
    assert "the store is down" in caplog.text
    clock.advance(86_400)
    await ca.wait(ca.trust().sequence, 10)
    assert len(ca.signer.jwks()["keys"]) == 2
    await ca.close()


async def test_a_change_of_anchors_is_not_lost_with_the_store(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fallback.pem"
    path.write_text(TestCa().pem)
    other = tmp_path / "other.json"
    other.write_text('{"keys": []}')
    store = MemoryStore(clock)
    files = {"fallback_anchors": path, "federated": {"other.example": other}}
    ca = authority(store=store, clock=clock, ca=files, tick_every=3600)
    await ca.start()
    first = ca.trust()
    new = TestCa()
    path.write_text(new.pem)
    other.write_text("garbage")

    async def fail(*_: Any) -> bytes | None:
        raise StoreError("the store is down")

    with monkeypatch.context() as broken:
        broken.setattr(store, "get", fail)
        with pytest.raises(StoreError):
            await ca.tick()
    assert ca.trust() == first
    await ca.tick()
    assert trust.read(ca.trust().trust_domains[DOMAIN]).authorities[1:] == (new.certificate,)
    assert ca.trust().trust_domains["other.example"] == {"keys": []}
    assert "other.json" in caplog.text
    await ca.close()

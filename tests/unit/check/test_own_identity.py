"""The server's own identity: taken as a whole, followed over renewal and rotation, shown to nobody but the authority."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.authn.settings import IdentitySettings
from extauthz.check.own_identity import ServerIdentity
from extauthz.clock import ManualClock, SystemClock
from extauthz.errors import OutboundError
from extauthz.keys import successor
from extauthz.workload_api.identity import IdentityError, X509Context, svid
from extauthz.workload_api.server import WorkloadApi
from tests.support.certs import EPOCH, HOUR, TestCa
from tests.support.identities import Domain, Tokens, served, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from extauthz.authn.x509_svid import Leaf

US = "spiffe://bank.example/env/prod/ns/edge/sa/gateway"
SOCKET = "unix:///run/agent.sock"


def given(
    ca: TestCa, *trusted: TestCa, not_after: float = EPOCH + HOUR, after: Sequence[Leaf] = (), **others: TestCa
) -> X509Context:
    """`after`: the certificates that it names as its predecessors."""
    before = [hashlib.sha256(leaf.certificate.public_bytes(Encoding.DER)).digest() for leaf in after]
    leaf = ca.leaf(US, not_after=not_after, plain=[successor.extension(before)] if before else ())
    trust = {"bank.example": tuple(one.certificate for one in trusted or (ca,))}
    trust |= {name.replace("_", "."): (one.certificate,) for name, one in others.items()}
    return X509Context(svid([leaf.certificate], leaf.key), trust)


def identity(**settings: Any) -> ServerIdentity:
    return ServerIdentity(IdentitySettings.model_validate({"socket": SOCKET, **settings}), ManualClock())


async def test_there_is_nothing_before_there_is_all_of_it() -> None:
    ends: list[float] = []
    clock = ManualClock()
    made = ServerIdentity(IdentitySettings(socket=SOCKET), clock, ends.append)
    assert (made.leaf, made.shown(), made.ready, made.status()) == (None, None, False, {"ready": False})
    with pytest.raises(OutboundError, match="no identity"):
        made.context()
    ca = TestCa()
    first = given(ca)
    await made.take(first)
    assert made.leaf is not None
    assert (made.leaf.uri, ends, made.ready) == (US, [EPOCH + HOUR], True)
    assert isinstance(made.context(), ssl.SSLContext)
    assert made.status() == {"ready": True, "id": US, "not_after": EPOCH + HOUR}
    assert made.trust_bundle("bank.example").trusted_until(first.svid.chain[0], clock.now()) is not None
    clock.advance(HOUR)
    assert (made.ready, made.shown()) == (False, None)


async def test_after_a_renewal_the_former_certificate_is_shown_for_a_while() -> None:
    made, ca = identity(overlap="5m"), TestCa()
    clock: Any = made._clock
    await made.take(given(ca))
    first = made.leaf
    assert first is not None
    clock.advance(60)
    await made.take(given(ca, not_after=EPOCH + 2 * HOUR, after=[first]))
    newest, shown = made.leaf, made.shown()
    assert newest is not None
    assert shown is not None
    assert newest.x5t != first.x5t == shown.leaf.x5t
    clock.advance(300)
    shown = made.shown()
    assert shown is not None
    assert shown.leaf.x5t == newest.x5t


async def test_a_former_certificate_is_not_shown_to_its_end() -> None:
    made, ca = identity(overlap="1d"), TestCa()
    clock: Any = made._clock
    await made.take(given(ca))
    assert made.leaf is not None
    await made.take(given(ca, not_after=EPOCH + 2 * HOUR, after=[made.leaf]))
    clock.advance(HOUR - 11)
    assert made.shown().leaf.x5t != made.leaf.x5t  # type: ignore[union-attr]  # there is one
    clock.advance(1)
    shown = made.shown()
    assert shown is not None
    assert made.leaf is not None
    assert shown.leaf.x5t == made.leaf.x5t


async def test_of_several_former_certificates_the_oldest_that_is_named_is_shown() -> None:
    made, ca = identity(overlap="5m"), TestCa()
    clock: Any = made._clock
    leaves = []
    for _ in range(3):
        await made.take(given(ca, not_after=EPOCH + 2 * HOUR, after=leaves[::-1]))
        assert made.leaf is not None
        leaves.append(made.leaf)
        clock.advance(60)
    for leaf, wait in zip(leaves, (180, 60, 0), strict=True):
        assert made.shown().leaf.x5t == leaf.x5t  # type: ignore[union-attr]  # there is one
        clock.advance(wait)


@pytest.mark.attack
async def test_a_former_certificate_that_the_new_one_does_not_name_is_dropped_at_once() -> None:
    """Attested anew without proof: the former key may be a thief's, and nothing fits both certificates."""
    made, ca = identity(overlap="1d"), TestCa()
    await made.take(given(ca))
    first = made.leaf
    assert first is not None
    await made.take(given(ca, after=[first]))
    assert made.shown().leaf.x5t == first.x5t  # type: ignore[union-attr]  # there is one
    await made.take(given(ca))
    assert made.leaf is not None
    assert made.shown().leaf.x5t == made.leaf.x5t  # type: ignore[union-attr]  # there is one


async def test_of_a_short_life_a_short_part_is_left() -> None:
    made, ca = identity(overlap="1d"), TestCa()
    clock: Any = made._clock
    short = ca.leaf(US, not_before=EPOCH - 60, not_after=EPOCH + 20)
    await made.take(X509Context(svid([short.certificate], short.key), {"bank.example": (ca.certificate,)}))
    assert made.leaf is not None
    first = made.leaf
    await made.take(given(ca, after=[first]))
    clock.advance(18.3)
    assert made.shown().leaf.x5t == first.x5t  # type: ignore[union-attr]  # there is one
    clock.advance(0.1)
    assert made.shown().leaf.x5t == made.leaf.x5t  # type: ignore[union-attr]  # there is one


@pytest.mark.attack
async def test_a_distrusted_authority_is_dropped_at_once_everywhere() -> None:
    made, old, new = identity(overlap="1d"), TestCa("old"), TestCa("new")
    await made.take(given(old))
    former = made.leaf
    assert former is not None
    bundle = made.trust_bundle("bank.example")
    revision, context = bundle.revision, made.context()
    again = given(old, old, new, after=[former])
    await made.take(again)
    assert made.leaf is not None
    renewed = given(new, old, new, after=[made.leaf, former])
    await made.take(renewed)
    assert made.shown().leaf.x5t == former.x5t  # type: ignore[union-attr]  # there is one
    assert made.context() is not context
    await made.take(X509Context(renewed.svid, {"bank.example": (new.certificate,)}))
    assert bundle.revision == revision + 2
    assert bundle.trusted_until(former.certificate, EPOCH) is None
    assert made.shown().leaf.x5t == made.leaf.x5t  # type: ignore[union-attr]  # there is one


@pytest.mark.attack
async def test_to_distrust_everything_takes_our_own_identity_along() -> None:
    made, ca = identity(), TestCa()
    await made.take(given(ca))
    nothing = given(ca)
    with pytest.raises(IdentityError):
        await made.take(X509Context(nothing.svid, {"bank.example": ()}))
    assert (made.leaf, made.ready) == (None, False)
    assert made.trust_bundle("bank.example").trusted_until(nothing.svid.chain[0], EPOCH) is None


async def test_a_domain_that_is_not_named_any_more_is_not_trusted_any_more() -> None:
    made, ca, other = identity(), TestCa(), TestCa("partner")
    leaf = other.leaf("spiffe://partner.example/a").certificate
    bundle = made.trust_bundle("partner.example")
    assert bundle.trusted_until(leaf, EPOCH) is None
    await made.take(given(ca, partner_example=other))
    assert bundle.trusted_until(leaf, EPOCH) is not None
    await made.take(given(ca))
    assert bundle.trusted_until(leaf, EPOCH) is None


def write(directory: Path, ca: TestCa, *parts: str) -> None:
    leaf = ca.leaf(US)
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    contents = {"certificate": leaf.pem.encode(), "private_key": key, "trust_bundle": ca.pem.encode()}
    for name in parts or contents:
        (directory / name).write_bytes(contents[name])


async def test_files_are_followed_and_a_half_written_pair_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("extauthz.check.own_identity._LOOK", 0.01)
    ca = TestCa()
    write(tmp_path, ca)
    names = ("certificate", "private_key", "trust_bundle")
    settings = IdentitySettings.model_validate({name: tmp_path / name for name in names})
    made = ServerIdentity(settings, ManualClock())
    await made.start()
    try:
        first = made.leaf
        assert first is not None
        write(tmp_path, ca, "certificate")
        await until(lambda: "another key" in caplog.text)
        assert made.leaf is first
        (tmp_path / "private_key").unlink()
        await until(lambda: "cannot be read" in caplog.text)
        assert made.leaf is first
        write(tmp_path, ca)
        await until(lambda: made.leaf is not first)
        assert made.ready
    finally:
        await made.close()
    assert "BEGIN" not in caplog.text


async def test_a_start_without_an_agent_ends_and_is_not_ready(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = identity(socket=f"unix://{tmp_path}/nobody.sock", wait="50ms")
    async with asyncio.timeout(10):
        await made.start()
    assert not made.ready
    assert "no identity of our own" in caplog.text
    await made.close()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"socket": "/run/agent.sock"},
        {"socket": "tcp://127.0.0.1:1"},
        {"certificate": "c"},
        {"certificate": "c", "private_key": "k"},
        {"socket": SOCKET, "certificate": "c", "private_key": "k", "trust_bundle": "t"},
    ],
)
def test_it_comes_from_one_place(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"socket|validation"):
        IdentitySettings.model_validate(settings)


async def test_a_workload_api_is_followed_over_renewal_rotation_and_its_own_absence(tmp_path: Path) -> None:
    """The agent's socket, for real: what it serves next holds here next, and while it is away the last word holds."""
    domain, clock = Domain(), SystemClock()
    api = WorkloadApi(Tokens(domain), clock)
    address = f"unix://{tmp_path}/agent.sock"
    made = ServerIdentity(IdentitySettings(socket=address, wait="20s"), clock)
    api.publish(domain.identity("/gateway"))
    async with served(api.methods(), address):
        await made.start()
        first = made.leaf
        assert first is not None
        assert first.uri == "spiffe://bank.example/gateway"
        old = domain.svid("/caller").chain[0]
        bundle = made.trust_bundle("bank.example")
        assert bundle.trusted_until(old, clock.now()) is not None
        domain.ca = domain.new_ca()  # the old one is not published any more
        api.publish(domain.identity("/gateway", sequence=2))
        await until(lambda: made.leaf is not first)
        assert bundle.trusted_until(old, clock.now()) is None
        second = made.leaf
    try:
        assert made.leaf is second
        assert made.ready
        api.publish(domain.identity("/gateway", sequence=3))
        async with served(api.methods(), address):
            await until(lambda: made.leaf is not second)
            assert made.ready
    finally:
        await made.close()

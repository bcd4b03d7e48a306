"""The parts of the authority that have a life of their own: its certificate, its memory of revocations, its polls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from extauthz.authority.certificate import OwnCertificate
from extauthz.authority.metrics import FAMILIES
from extauthz.authority.operator import Named, _things
from extauthz.authority.peers import Anchors, Peers
from extauthz.authority.polls import Polls
from extauthz.authority.refusal import CODES, REMEDIES, refusal, refusal_of
from extauthz.authority.revocations import RevocationBook
from extauthz.authority.settings import AuthoritySettings, ListenerSettings
from extauthz.ca.certificate_authority import CertificateAuthority
from extauthz.ca.settings import CaSettings, SigningSettings
from extauthz.clock import ManualClock, SystemClock
from extauthz.codes import CODES as CHECK_CODES
from extauthz.config import load_text
from extauthz.errors import ConfigError
from extauthz.keys.provider import MemoryKeys
from extauthz.model import deny
from extauthz.store.memory import MemoryStore
from extauthz.store.revocations import LOG
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

DOMAIN = "bank.example"


class Kept:
    def __init__(self) -> None:
        self.events: list[str] = []

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        assert fields
        self.events.append(event)

    async def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(SystemClock().now())


@pytest.fixture
async def ca(clock: ManualClock) -> AsyncIterator[CertificateAuthority]:
    made = CertificateAuthority(DOMAIN, MemoryStore(clock), MemoryKeys(), clock, CaSettings(), SigningSettings())
    await made.start()
    yield made
    await made.close()


async def test_the_listeners_certificate_is_renewed_at_half_its_life(
    ca: CertificateAuthority, clock: ManualClock
) -> None:
    audit = Kept()
    peers = Peers(DOMAIN, ca.trust, RevocationBook(MemoryStore(clock), clock), clock)
    own = OwnCertificate(
        "spiffe://bank.example/authority", ("x",), ca=ca, anchors=peers.anchors, audit=audit, clock=clock
    )
    assert own.expires_at == 0
    tls = await own.start()
    first, ends = tls._newest, own.expires_at
    await own.refresh()
    assert tls._newest is first
    clock.advance(1700)
    await ca._rotation.tick()
    await own.refresh()
    assert tls._newest is first
    clock.advance(200)
    await ca._rotation.tick()
    await own.refresh()
    assert tls._newest is not first
    assert own.expires_at > ends
    assert audit.events == ["identity.issued"] * 2


async def test_new_anchors_are_taken_and_a_distrusted_ca_is_left_at_once(
    ca: CertificateAuthority, clock: ManualClock
) -> None:
    audit = Kept()
    peers = Peers(DOMAIN, ca.trust, RevocationBook(MemoryStore(clock), clock), clock)
    own = OwnCertificate(
        "spiffe://bank.example/authority", ("x",), ca=ca, anchors=peers.anchors, audit=audit, clock=clock
    )
    tls = await own.start()
    first = tls._newest
    await ca.rotate("x509")
    await own.refresh()
    second = tls._newest
    assert second is not first
    assert audit.events == ["identity.issued"]  # the same certificate, other anchors
    await ca.rotate("x509", compromised=True)
    await own.refresh()
    assert tls._newest is not second
    assert audit.events == ["identity.issued"] * 2
    assert own._issued is not None
    assert peers.anchors().trust(own._issued.certificate, clock.now())


async def test_what_the_store_forgets_or_withholds_is_not_trusted(clock: ManualClock) -> None:
    store = MemoryStore(clock)
    book = RevocationBook(store, clock)
    now = clock.now()
    assert not await book.workload_revoked("spiffe://bank.example/a")
    await book.revoke("workload", "spiffe://bank.example/a", until=now + 100, reason="")
    await book.revoke("key", "kid", until=now + 100, reason="")
    await book.revoke("jti", "root", until=now + 50, reason="")
    assert await book.workload_revoked("spiffe://bank.example/a", "thumb")
    token = {"digest": "0" * 64, "jti": "j", "sub": "s", "kid": "k", "issued_at": now}
    assert await book.revoked(**token, ancestors=["root"])
    assert await book.revoked(**{**token, "kid": "kid"}, ancestors=[])
    assert not await book.revoked(**token, ancestors=[])
    clock.advance(60)
    assert not await book.revoked(**token, ancestors=["root"])  # forgotten when it may be
    assert await book.workload_revoked("spiffe://bank.example/a")
    await store.append(LOG, b"nonsense", expires=now + 1000)
    with pytest.raises(StoreError):
        await book.workload_revoked("spiffe://bank.example/b")


async def test_a_store_that_went_back_in_time_is_read_again(clock: ManualClock) -> None:
    store = MemoryStore(clock)
    book = RevocationBook(store, clock)
    until = clock.now() + 100
    for value in "abc":
        await book.revoke("workload", value, until=until, reason="")
    assert await book.workload_revoked("a")
    book._store = MemoryStore(clock)
    book._log._store = book._store
    await book.revoke("workload", "z", until=until, reason="")
    assert await book.workload_revoked("z")
    assert not await book.workload_revoked("a")


async def test_polls_have_places() -> None:
    polls = Polls(ListenerSettings(polls=3, polls_per_workload=2))
    with polls.place("a") as one, polls.place("a") as two, polls.place("a") as three, polls.place("b") as other:
        assert (one, two, three, other) == (True, True, False, True)
        with polls.place("c") as late:
            assert late is False
        assert len(polls) == 3
    assert len(polls) == 0


class Request:
    """A client that stays until it is told to go."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def forever() -> str:
    await asyncio.Event().wait()
    return "never"


async def test_a_poll_ends_with_an_answer_a_fault_or_nobody_left() -> None:
    async def answer() -> str:
        return "news"

    async def fault() -> str:
        raise StoreError("no")

    polls, request = Polls(ListenerSettings()), Request()
    assert await polls.hold(request, answer()) == "news"  # type: ignore[arg-type]  # as much of one as it needs
    with pytest.raises(StoreError):
        await polls.hold(request, fault())  # type: ignore[arg-type]  # the same
    request.gone.set()
    assert await polls.hold(request, forever()) is None  # type: ignore[arg-type]  # the same
    polls.end()
    assert await polls.hold(Request(), forever()) is None  # type: ignore[arg-type]  # the same


def test_a_token_is_named_by_what_it_says_of_itself() -> None:
    digest = "a" * 64
    assert _things(digest) == [Named("token", digest)]
    assert [thing.kind for thing in _things("opaque")] == ["token"]
    assert [thing.kind for thing in _things("a.b.c")] == ["token"]
    assert [thing.kind for thing in _things("e30.W10.x")] == ["token"]  # a list
    assert [thing.kind for thing in _things("e30.eyJqdGkiOjV9.x")] == ["token"]  # a number
    assert _things("e30.eyJqdGkiOiJqIn0.x")[1] == Named("jti", "j")


def test_refusals_of_all_sources_have_one_shape() -> None:
    for code in CODES:
        found = refusal(code, "detail")
        assert found.body() == {"error": code, "message": found.message, "remedy": found.remedy}
        assert 400 <= found.status < 600
    assert set(REMEDIES) <= set(CHECK_CODES)
    found = refusal_of(deny("workload.revoked", "who"))
    assert found.remedy == "Ask the authority's operator."
    assert (found.code, found.status, found.detail) == ("workload.revoked", 403, "who")


def test_no_anchors_trust_nobody() -> None:
    leaf: Any = x509.Certificate.__new__
    assert Anchors(0, ()).trust(leaf, 0.0) is False


BLOCK = """
audit: {directory: audit}
authority:
  trust_domain: bank.example
  sts: {issuer: 'https://authority.bank.example'}
"""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("  listen: unix:///run/a.sock\n", "listen is host:port"),
        ("  admin: 127.0.0.1:1\n", "admin is a Unix socket"),
        ("  dns_names: []\n", "dns_names"),
        ("  dns_names: ['A B']\n", "DNS name"),
        ("  listener: {longest_poll: 61s}\n", "longest_poll"),
    ],
)
def test_settings_that_make_no_authority(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_text(BLOCK + line)


def test_the_smallest_authority_gives_nothing_to_anybody() -> None:
    settings = load_text(BLOCK).authority
    assert isinstance(settings, AuthoritySettings)
    assert settings.entries == ()
    assert settings.attestation.attestors == ()
    assert settings.sts.development is None
    assert settings.own_id == "spiffe://bank.example/authority"


def test_the_page_lists_every_metric_and_every_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "authority.md").read_text()
    for name, (text, labels) in FAMILIES.items():
        written = ", ".join(f"`{label}`" for label in labels) or "–"
        assert f"| `{name}` | {written} | {text} |" in page
    for code in CODES:
        assert f"| `{code}` |" in page

"""SECURITY-TESTS A17, A18: exchanged tokens, our own service as the caller, and renewed certificates, through a Check.

Everything is real but the token service, which answers what a test says.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.authn import x509_svid
from extauthz.check.messages import CheckRequest
from extauthz.errors import OutboundError
from extauthz.keys import successor
from extauthz.model import Allow, Exchange, Obligations
from extauthz.policy.engine import Evaluation
from extauthz.sts.answers import Refused
from extauthz.workload_api.identity import X509Context, svid
from tests.support import parts
from tests.support.bank import AUDIENCE, GATEWAY, Answer, Bank, open_bank, read, route
from tests.support.certs import Leaf, TestCa
from tests.support.exchanges import Service
from tests.support.tokens import b64

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

pytestmark = [pytest.mark.attack, pytest.mark.opa, pytest.mark.embedded]
US = "spiffe://bank.example/env/prod/ns/orchestration/sa/orchestrator"
OTHER = "spiffe://bank.example/env/prod/ns/model/sa/scorer"
TXN = "txn-token"
TOKEN = {"issuers": ["main"], "audiences": [AUDIENCE]}
WAYS = {
    "plain": {},
    "exchanged": {"exchange": {"audience": "ledger", "audiences": ["archive"], "purposes": ["reporting"]}},
    "transaction": {"exchange": {"audience": "ledger", "kind": "transaction_token"}},
    "in-transaction": {"token": {**TOKEN, "header": "txn-token", "types": ["txntoken+jwt"]}},
    "egress": {
        "caller": "self",
        "workloads": [US],
        "token": {**TOKEN, "binding": "received"},
        "exchange": {"audience": "ledger"},
    },
    "egress-of-others": {"caller": "self", "workloads": [GATEWAY]},
}


class Hop:
    """A server with an identity, and what stands in for the token service."""

    def __init__(self, bank: Bank, ca: TestCa) -> None:
        self.bank = bank
        self.ca = ca
        self.pipeline = bank.app._active.pipeline  # type: ignore[union-attr]  # it is started
        exchanger = self.pipeline.exchanger
        assert exchanger is not None
        self.service = Service(bank.clock, exchanger._own)
        exchanger._service = self.service

    async def ask(self, way: str, token: str | None = None, *, peer: Leaf | None = None, **how: Any) -> Answer:
        if peer is not None:
            self.bank._leaves[peer.uris[0]] = peer
            how["caller"] = peer.uris[0]
        return await self.bank.ask(token, route=way, path=f"/v1/{way}", **how)


def own_files(directory: Path, ca: TestCa) -> dict[str, str]:
    leaf = ca.leaf(US)
    (directory / "svid.pem").write_text(leaf.pem)
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "svid.key").write_bytes(key)
    (directory / "own.pem").write_text(ca.pem)
    return {"certificate": "svid.pem", "private_key": "svid.key", "trust_bundle": "own.pem"}


@pytest.fixture
async def hop(tmp_path: Path) -> AsyncIterator[Hop]:
    parts.require_opa()
    parts.require_embedded()
    ca = TestCa()
    routes = [
        route(name, match={"path": f"/v1/{name}", "methods": ["POST"]}, **{"token": TOKEN, **changes})
        for name, changes in WAYS.items()
    ]
    routes = json.loads(json.dumps(routes))  # no anchors in the file
    bank = await open_bank(
        tmp_path,
        identity=own_files(tmp_path, ca),
        sts={"url": "https://authority.bank.example/token"},
        workload={
            "trust_domains": {"bank.example": {"trust_bundle": "identity"}, "partner.example": {}},
            "environments": ["prod"],
        },
        routes=routes,
    )
    bank.ca = ca
    yield Hop(bank, ca)
    await bank.close()


def carried(answer: Answer) -> Mapping[str, str]:
    """What of the request's credentials goes upstream, when the request had both headers."""
    came = {"authorization": "what came", TXN: "what came"}
    kept = {name: value for name, value in came.items() if name not in answer.removed}
    return kept | {name: answer.headers[name] for name in came if name in answer.headers}


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code, answer.layer) == (status, code, code.partition(".")[0])
    assert "authorization" not in answer.headers
    assert TXN not in answer.headers


async def test_the_upstream_gets_another_token_and_never_the_one_that_came(hop: Hop) -> None:
    came = hop.bank.token()
    first = await hop.ask("exchanged", came, headers={TXN: "smuggled"})
    assert first.status == 200
    sent = carried(first)
    assert set(sent) == {"authorization"}
    assert came not in sent["authorization"]
    again = await hop.ask("exchanged", came)
    assert again.headers["authorization"] == sent["authorization"]
    assert [call[0] for call in hop.service.calls] == [came]
    await hop.bank.close()
    record = hop.bank.records()[0]
    assert record["exchange"]["audience"] == "ledger"
    assert record["exchange"]["actor"] == US
    assert record["exchange"]["token"] == hashlib.sha256(sent["authorization"][7:].encode()).hexdigest()[:16]
    assert [r["cached"].get("exchange") for r in hop.bank.records()] == [False, True]
    assert sent["authorization"][7:40] not in json.dumps(hop.bank.records())


async def test_a_transaction_token_replaces_whatever_came(hop: Hop) -> None:
    answer = await hop.ask("transaction", headers={TXN: "smuggled"})
    sent = carried(answer)
    assert set(sent) == {TXN}
    assert "smuggled" not in sent[TXN]
    assert "authorization" in answer.removed


@pytest.mark.parametrize("name", [TXN, "txn_token", "txn-token_"])
async def test_a_transaction_token_from_outside_is_removed_everywhere(hop: Hop, name: str) -> None:
    answer = await hop.ask("plain", headers={name: "smuggled"})
    assert answer.status == 200
    assert name in answer.removed


async def test_a_transaction_token_is_taken_from_its_own_header_only(hop: Hop) -> None:
    claims = hop.bank.issuer.claims(aud=AUDIENCE, roles=["wire-operator"], region="eu", req_wl=GATEWAY)
    token = hop.bank.issuer.sign(hop.bank.issuer.header(typ="txntoken+jwt"), claims)
    answer = await hop.ask("in-transaction", "unverified", headers={TXN: token})
    assert answer.status == 200
    assert carried(answer) == {TXN: token}  # what came unverified in Authorization does not go on
    for way, headers, code in (
        ("in-transaction", {}, "token.missing"),
        ("in-transaction", {TXN: f"{token},{token}"}, "token.malformed"),
        ("in-transaction", {TXN: f"Bearer {token}"}, "token.malformed"),
        ("in-transaction", {TXN: token + "a" * 8192}, "token.too_large"),
        ("in-transaction", {TXN: hop.bank.token()}, "token.type"),
        ("plain", {TXN: token}, "token.type"),
    ):
        assert_refused(await hop.ask(way, token, headers=headers), 401, code)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (OutboundError("away"), 503, "engine.exchange_unavailable"),
        (Refused("invalid_client", "who are you"), 503, "engine.exchange_unavailable"),
        (Refused("invalid_scope", "the scope is too wide"), 403, "token.exchange_refused"),
    ],
)
async def test_without_another_token_nothing_goes_on(hop: Hop, fault: Any, status: int, code: str) -> None:
    hop.service.answer = fault
    answer = await hop.ask("exchanged")
    assert_refused(answer, status, code)
    assert "too wide" not in answer.body
    assert "www-authenticate" not in answer.headers
    await hop.bank.close()
    assert hop.bank.records()[0]["result"]["reasons"][0]["detail"]


async def test_a_slow_token_service_is_not_waited_for_longer_than_the_caller_waits(hop: Hop) -> None:
    hop.service.gate.clear()
    assert_refused(await hop.ask("exchanged", budget=0.05), 503, "engine.deadline")
    hop.service.gate.set()


@pytest.mark.parametrize(
    "changes", [{"aud": "payroll"}, {"sub": "root"}, {"scope": "transfers:read admin"}, {"exp": 1_900_000_000}]
)
async def test_a17_what_the_service_widens_is_not_forwarded(hop: Hop, changes: dict[str, Any]) -> None:
    hop.service.changes = changes
    assert_refused(await hop.ask("exchanged"), 503, "engine.exchange_unavailable")


class Policy:
    """An engine whose policy allows, and may ask for an exchange of its own."""

    revision = "r1"

    def __init__(self, asked: Exchange | None = None) -> None:
        self.answer = Evaluation(Allow(Obligations(exchange=asked)), "r1")

    async def evaluate(self, _query: Any) -> Evaluation:
        return self.answer


async def test_a17_a_policy_chooses_among_what_the_route_lists_and_nothing_else(hop: Hop) -> None:
    hop.bank.use_engine(Policy(Exchange("archive", ("transfers:read",), "reporting")))
    assert (await hop.ask("exchanged")).status == 200
    wanted = hop.service.calls[0][1]
    assert (wanted.audience, wanted.scopes, wanted.purpose) == ("archive", ("transfers:read",), "reporting")
    for asked in (Exchange("payroll"), Exchange(purpose="marketing")):
        hop.bank.use_engine(Policy(asked))
        assert_refused(await hop.ask("exchanged"), 503, "engine.invalid_result")
    hop.bank.use_engine(Policy(Exchange("archive")))
    assert_refused(await hop.ask("plain"), 503, "engine.invalid_result")
    assert len(hop.service.calls) == 1


@pytest.mark.parametrize("revoked", [{"jti": ["t-1"]}, {"jti": ["root-1"]}, {"sub": ["alice"]}])
async def test_a_revoked_subject_or_ancestor_never_meets_a_cached_exchange(hop: Hop, revoked: dict[str, Any]) -> None:
    token = hop.bank.token(ancestors=["root-1"])
    assert (await hop.ask("exchanged", token)).status == 200
    assert len(hop.service.calls) == 1
    (hop.bank.directory / "revoked.json").write_text(json.dumps(revoked))
    hop.bank.app._active.revocations.reload()  # type: ignore[union-attr]  # it is started
    assert_refused(await hop.ask("exchanged", token), 401, "token.revoked")
    assert len(hop.service.calls) == 1


# Our own service as the caller


async def test_our_own_service_calls_on_with_what_it_received(hop: Hop) -> None:
    hop.bank.use_engine(Policy())
    bound = hop.bank.token(cnf={"x5t#S256": hop.bank.leaf(GATEWAY).x5t})
    answer = await hop.ask("egress", bound, caller="")
    assert answer.status == 200
    assert answer.headers["x-extauthz-workload"] == US
    assert set(carried(answer)) == {"authorization"}
    assert bound not in answer.headers["authorization"]


@pytest.mark.parametrize("caller", [GATEWAY, US])
async def test_a_peer_cannot_come_through_the_local_listener(hop: Hop, caller: str) -> None:
    assert_refused(await hop.ask("egress", caller=caller), 403, "workload.ambiguous")


async def test_being_us_is_not_enough(hop: Hop) -> None:
    assert_refused(await hop.ask("egress-of-others", caller=""), 403, "workload.route_denied")


async def test_nobody_gets_to_a_local_route_by_host_and_path(hop: Hop) -> None:
    message = CheckRequest()
    http = message.attributes.request.http
    http.method, http.path, http.host = "POST", "/v1/egress", "orchestration.bank.example"
    http.headers["authorization"] = f"Bearer {hop.bank.token()}"
    answer = read(await hop.bank.app.check(message.SerializeToString(), 0.5))
    assert_refused(answer, 400, "request.route_unknown")


async def test_our_identity_must_be_valid_and_trusted_and_not_revoked(hop: Hop) -> None:
    (hop.bank.directory / "revoked.json").write_text(json.dumps({"workload": [US]}))
    hop.bank.app._active.revocations.reload()  # type: ignore[union-attr]  # it is started
    assert_refused(await hop.ask("egress", caller=""), 403, "workload.revoked")
    (hop.bank.directory / "revoked.json").write_text("{}")
    hop.bank.app._active.revocations.reload()  # type: ignore[union-attr]  # it is started
    hop.bank.clock.advance(3601)
    now = int(hop.bank.clock.now())
    token = hop.bank.token(iat=now, exp=now + 60)
    assert_refused(await hop.ask("egress", token, caller=""), 503, "engine.identity_unavailable")
    assert not (await hop.bank.app.status())["ready"]


# Renewed certificates (A18)


def renewed(ca: TestCa, spiffe_id: str, *former: Leaf) -> Leaf:
    """A certificate that says it has replaced `former`, as our CA writes it."""
    digests = [hashlib.sha256(one.der).digest() for one in former]
    return ca.leaf(spiffe_id, plain=[successor.extension(digests)])


def bound_to(hop: Hop, leaf: Leaf, **claims: Any) -> str:
    """A token that was given out to the workload of `leaf`, as the authority binds it."""
    return hop.bank.token(cnf={"x5t#S256": leaf.x5t}, client_id=leaf.uris[0], act={"sub": leaf.uris[0]}, **claims)


async def test_a_token_survives_its_holders_renewals(hop: Hop) -> None:
    first, between = hop.ca.leaf(GATEWAY), hop.ca.leaf(GATEWAY)
    token = bound_to(hop, first)
    for holder in (first, renewed(hop.ca, GATEWAY, first), renewed(hop.ca, GATEWAY, between, first)):
        assert (await hop.ask("plain", token, peer=holder)).status == 200


async def test_a18_a_token_is_refused_from_everybody_else(hop: Hop) -> None:
    victim = hop.ca.leaf(GATEWAY)
    thieves = {
        "another certificate of the same workload": hop.ca.leaf(GATEWAY),
        "a successor of another certificate": renewed(hop.ca, GATEWAY, hop.ca.leaf(GATEWAY)),
    }
    for leaf in thieves.values():
        refused = await hop.ask("plain", bound_to(hop, victim), peer=leaf)
        assert_refused(refused, 401, "transport.binding_mismatch")


async def test_a18_the_older_certificate_does_not_stand_for_the_newer(hop: Hop) -> None:
    old = hop.ca.leaf(GATEWAY)
    token = bound_to(hop, renewed(hop.ca, GATEWAY, old))
    assert_refused(await hop.ask("plain", token, peer=old), 401, "transport.binding_mismatch")


async def test_a18_a_successor_of_another_name_gets_nothing(hop: Hop) -> None:
    """An authority that is trusted here names a certificate of another workload as its leaf's predecessor."""
    victim = hop.ca.leaf(OTHER)
    refused = await hop.ask("plain", bound_to(hop, victim), peer=renewed(hop.ca, GATEWAY, victim))
    assert_refused(refused, 401, "transport.binding_mismatch")


async def test_a18_a_successor_of_a_domain_that_only_envoy_verified_gets_nothing(hop: Hop) -> None:
    partner = "spiffe://partner.example/env/prod/ns/edge/sa/gateway"
    settings = hop.pipeline._workloads._settings
    assert settings.trust_domains["partner.example"].trust_bundle is None
    ca, first = TestCa("partner"), TestCa("partner").leaf(partner)
    token = hop.bank.token(cnf={"x5t#S256": first.x5t}, client_id=partner)
    for leaf, code in (
        (first, "workload.route_denied"),
        (renewed(ca, partner, first), "workload.route_denied"),
    ):
        assert_refused(await hop.ask("plain", token, peer=leaf), 403, code)
        known = hop.pipeline._workloads._judge(x509_leaf(leaf))
        assert known.workload.predecessors == ()


def x509_leaf(leaf: Leaf) -> Any:
    return x509_svid.parse(leaf.envoy)


async def test_a18_a_self_made_successor_gets_nothing(hop: Hop) -> None:
    victim = hop.ca.leaf(GATEWAY)
    forged = renewed(TestCa("somebody"), GATEWAY, victim)
    refused = await hop.ask("plain", bound_to(hop, victim), peer=forged)
    assert_refused(refused, 403, "transport.certificate_untrusted")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x30\x00",
        successor.encode([b"x" * 32])[:-1],
        successor.encode([b"x" * 32]) + b"\x00",
        b"\x30\x82\x01\x32" + (b"\x04\x20" + b"x" * 32) * 9,
        b"\x30\x44" + (b"\x04\x20" + b"x" * 32) * 2,
    ],
    ids=["empty", "none", "cut", "longer", "nine", "twice"],
)
async def test_a_malformed_extension_names_nobody(hop: Hop, value: bytes) -> None:
    leaf = hop.ca.leaf(GATEWAY, plain=[x509.UnrecognizedExtension(successor.OID, value)])
    token = hop.bank.token(cnf={"x5t#S256": b64(b"x" * 32)}, client_id=GATEWAY)
    assert_refused(await hop.ask("plain", token, peer=leaf), 401, "transport.binding_mismatch")
    assert (await hop.ask("plain", peer=leaf)).status == 200


async def test_a_certificate_authority_that_is_distrusted_ends_with_the_next_check(hop: Hop) -> None:
    """An open connection is no excuse: the peer's facts are cached, its trust is not."""
    assert (await hop.ask("plain")).status == 200
    identity = hop.bank.app._active.identity  # type: ignore[union-attr]  # it is started
    assert identity is not None
    other = TestCa("new")
    leaf = other.leaf(US)
    await identity.take(X509Context(svid([leaf.certificate], leaf.key), {"bank.example": (other.certificate,)}))
    assert_refused(await hop.ask("plain"), 403, "transport.certificate_untrusted")
    assert (await hop.ask("plain", peer=other.leaf(GATEWAY))).status == 200


# What a token says of its actors and its ancestors


@pytest.mark.parametrize(
    "claims",
    [
        {"act": "gateway"},
        {"act": {"sub": ["x"]}},
        {"act": {}},
        {"act": {"sub": "a\nb"}},
        {"act": None},
        {"ancestors": "t-0"},
        {"ancestors": ["t-0", 1]},
        {"ancestors": [""]},
        {"ancestors": [f"t-{number}" for number in range(9)]},
    ],
)
async def test_a17_malformed_actors_and_ancestors(hop: Hop, claims: dict[str, Any]) -> None:
    assert_refused(await hop.ask("plain", hop.bank.token(**claims)), 401, "token.claims")


async def test_a17_the_chain_of_actors_is_bounded_and_told(hop: Hop) -> None:
    chain: dict[str, Any] = {"sub": "a1"}
    for number in range(2, 9):
        chain = {"sub": f"a{number}", "act": chain}
    assert (await hop.ask("plain", hop.bank.token(act=chain))).status == 200
    assert_refused(await hop.ask("plain", hop.bank.token(act={"sub": "a9", "act": chain})), 401, "token.claims")
    await hop.bank.close()
    assert hop.bank.records()[0]["subject"]["act"] == [f"a{number}" for number in range(8, 0, -1)]


async def test_to_revoke_a_certificate_ends_what_replaced_it(hop: Hop) -> None:
    """Whoever stole the key of the first could have renewed it."""
    stolen = hop.ca.leaf(GATEWAY)
    (hop.bank.directory / "revoked.json").write_text(json.dumps({"workload": [stolen.x5t]}))
    hop.bank.app._active.revocations.reload()  # type: ignore[union-attr]  # it is started
    assert_refused(await hop.ask("plain", peer=renewed(hop.ca, GATEWAY, stolen)), 403, "workload.revoked")
    assert (await hop.ask("plain", peer=hop.ca.leaf(GATEWAY))).status == 200

"""Security events (RFC 8935): who may push them, what they end, and that none is lost or counted twice."""

from __future__ import annotations

from typing import Any

import pytest

from extauthz.errors import ExtauthzError
from extauthz.store.store import StoreError
from extauthz.sts.events import EventRefused
from tests.support.sts import GATEWAY, IDP, MODEL, SCORER, STORAGE, STS, TRANSMITTER, Desk, desk
from tests.support.tokens import EPOCH, Issuer

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
ALICE = {"format": "iss_sub", "iss": IDP, "sub": "alice"}


def event(bench: Desk, kind: str = f"{CAEP}session-revoked", typ: str = "secevent+jwt", **changes: Any) -> str:
    claims = {
        "iss": TRANSMITTER,
        "aud": [STS],
        "iat": EPOCH,
        "jti": "event-1",
        "sub_id": ALICE,
        "events": {kind: {"event_timestamp": EPOCH}},
        **changes,
    }
    kept = {name: value for name, value in claims.items() if value is not ...}
    return bench.transmitter.sign(bench.transmitter.header(typ=typ), kept)


async def refusal(bench: Desk, token: str) -> str:
    answer = await bench.service.event(token)
    assert isinstance(answer, EventRefused), "it was taken"
    assert await bench.store.last("revocations") == 0
    return answer.error


async def test_a_session_that_ended_takes_its_tokens_with_it():
    bench = desk()
    user = bench.user_token()
    first = await bench.exchanged(GATEWAY, user, MODEL)
    bench.clock.advance(60)
    late = await bench.exchanged(GATEWAY, user, MODEL)
    assert await bench.service.event(event(bench)) is None
    assert (await bench.refused(GATEWAY, user))[1] == "token.revoked"
    for token in (first, late):  # exchanged after the event happened, before it was told
        assert (await bench.refused(SCORER, token, STORAGE))[1] == "token.revoked"
    assert await bench.exchanged(GATEWAY, bench.user_token(sub="bob"), MODEL)
    bench.clock.advance(10)
    fresh = bench.user_token(iat=EPOCH + 70, exp=EPOCH + 400)
    assert await bench.exchanged(GATEWAY, fresh, MODEL)
    record = next(fields for name, fields in bench.audit.records if name == "revocation.added")
    assert record == {
        "transmitter": "idp",
        "jti": "event-1",
        "events": [f"{CAEP}session-revoked"],
        "subjects": ["alice"],
    }


async def test_an_event_counts_once():
    bench = desk()
    token = event(bench)
    assert await bench.service.event(token) is None
    assert await bench.service.event(token) is None
    assert await bench.store.last("revocations") == 1
    assert await bench.service.event(event(bench, jti="event-2")) is None
    assert await bench.store.last("revocations") == 2


async def test_an_event_that_was_not_stored_is_to_be_sent_again():
    bench = desk()
    bench.store.down = True
    with pytest.raises(StoreError):
        await bench.service.event(event(bench))
    bench.store.down, bench.audit.full = False, True
    with pytest.raises(ExtauthzError):
        await bench.service.event(event(bench))
    assert await bench.store.last("revocations") == 1  # done, though not recorded


@pytest.mark.parametrize(
    ("kind", "inside", "ends"),
    [
        (f"{CAEP}session-revoked", {}, True),
        (f"{CAEP}credential-change", {"change_type": "revoke", "credential_type": "password"}, True),
        (f"{CAEP}credential-change", {"change_type": "create"}, False),
        (f"{CAEP}credential-change", {}, True),
        (f"{CAEP}token-claims-change", {"claims": {"role": "x"}}, True),
        (f"{CAEP}assurance-level-change", {"change_direction": "decrease"}, True),
        (f"{CAEP}assurance-level-change", {"change_direction": "increase"}, False),
        (f"{CAEP}device-compliance-change", {}, False),
        (f"{RISC}account-disabled", {"reason": "hijacking"}, True),
        (f"{RISC}account-purged", {}, True),
        (f"{RISC}credential-compromise", {}, True),
        (f"{RISC}account-enabled", {}, False),
        ("https://schemas.openid.net/secevent/ssf/event-type/verification", {"state": "x"}, False),
    ],
)
async def test_what_ends_a_session(kind, inside, ends):
    bench = desk()
    assert await bench.service.event(event(bench, events={kind: inside})) is None
    assert await bench.store.last("revocations") == int(ends)
    assert bench.audit.records[-1][0] == ("revocation.added" if ends else "event.ignored")


@pytest.mark.parametrize(
    ("subject", "named"),
    [
        (ALICE, "alice"),
        ({**ALICE, "iss": TRANSMITTER}, "alice"),
        ({"format": "opaque", "id": "alice"}, "alice"),
        ({"format": "complex", "user": ALICE, "session": {"format": "opaque", "id": "s"}}, "alice"),
        ({"subject_type": "iss_sub", "iss": IDP, "sub": "alice"}, "alice"),
        ({"user": ALICE, "tenant": {"format": "opaque", "id": "t"}}, "alice"),
        ({**ALICE, "iss": "https://other.example"}, None),
        ({"format": "email", "email": "alice@example.org"}, None),
        ({"format": "opaque"}, None),
        ({"format": "opaque", "id": 7}, None),
        ({"format": "opaque", "id": "a\nb"}, None),
        ({"format": "complex", "user": {"format": "complex", "user": ALICE}}, None),
        ({"format": []}, None),
        ({}, None),
        ("alice", None),
        (..., None),
    ],
)
async def test_whose(subject, named):
    bench = desk()
    token = event(bench, sub_id=subject)
    if named is None:
        assert await refusal(bench, token) == "invalid_request"
    else:
        assert await bench.service.event(token) is None
        [entry] = (await bench.book.log.read()).entries
        assert (entry.kind, entry.value, entry.before) == ("subject", named, EPOCH + 2)


async def test_subject_within_the_event():
    """As CAEP had it before the final SSF."""
    bench = desk()
    token = event(bench, sub_id=..., events={f"{CAEP}session-revoked": {"subject": ALICE}})
    assert await bench.service.event(token) is None
    assert await bench.store.last("revocations") == 1


@pytest.mark.attack
async def test_only_transmitters_are_heard():
    bench = desk()
    stranger = Issuer(issuer=TRANSMITTER)
    assert (
        await refusal(bench, stranger.sign(stranger.header(typ="secevent+jwt"), {"iss": TRANSMITTER})) == "invalid_key"
    )
    assert await refusal(bench, event(bench, iss=IDP)) == "invalid_issuer"
    assert await refusal(bench, event(bench, iss=...)) == "invalid_issuer"
    assert await refusal(bench, event(bench, typ="at+jwt")) == "invalid_request"
    assert await refusal(bench, event(bench, typ="JWT")) == "invalid_request"
    assert await refusal(bench, "a.b.c") == "invalid_request"
    assert await refusal(desk(transmitters=[]), event(bench)) == "invalid_issuer"


@pytest.mark.attack
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"aud": "https://other.example"}, "invalid_audience"),
        ({"aud": ...}, "invalid_audience"),
        ({"aud": [[STS]]}, "invalid_audience"),
        ({"jti": ...}, "invalid_request"),
        ({"jti": ""}, "invalid_request"),
        ({"jti": "x" * 513}, "invalid_request"),
        ({"jti": 7}, "invalid_request"),
        ({"iat": ...}, "invalid_request"),
        ({"iat": "now"}, "invalid_request"),
        ({"iat": True}, "invalid_request"),
        ({"iat": EPOCH + 31}, "invalid_request"),
        ({"iat": EPOCH - 86401}, "invalid_request"),
        ({"events": ...}, "invalid_request"),
        ({"events": {}}, "invalid_request"),
        ({"events": []}, "invalid_request"),
        ({"events": {f"{CAEP}session-revoked": "x"}}, "invalid_request"),
        ({"events": {f"urn:{n}": {} for n in range(9)}}, "invalid_request"),
    ],
)
async def test_envelope(changes, error):
    bench = desk()
    assert await refusal(bench, event(bench, **changes)) == error

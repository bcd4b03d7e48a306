"""Records of the real token service: their digests are those that decisions tell of the same tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.audit.query import Query
from extauthz.audit.reconstruct import reconstruct
from extauthz.audit.reconstruct_gather import gather
from extauthz.audit.search import Archive
from extauthz.demo.zones import EDGE, MODEL, STORAGE, Zone
from extauthz.model import Subject
from extauthz.telemetry.trail import ExchangeFacts, Trail
from tests.support import sts
from tests.support.audit_hops import Server, trail

if TYPE_CHECKING:
    from pathlib import Path


def check(at: float, zone: Zone, token: str, caller: str, made: str = "", audience: str = "") -> Trail:
    """A decision about the bearer of a token of the desk's, and the token that went on."""
    claims = sts.claims_of(token)
    act = []
    inside = claims.get("act")
    while inside:
        act.append(inside["sub"])
        inside = inside.get("act")
    digest = sts.digest(token)
    subject = Subject("user", claims["sub"], "jwt", digest=digest, token_id=claims["jti"], act=tuple(act))
    found = trail(at, zone, f"{zone.kind}-route", subject, caller, trace="")
    if made:
        found.exchange = ExchangeFacts(audience, caller, "", sts.digest(made)[:16], sts.claims_of(made)["jti"])
        found.exchange_cached = False
    return found


async def test_the_token_services_records_link_the_hops(tmp_path: Path) -> None:
    desk = sts.desk()
    users = await desk.signed_in()
    desk.clock.advance(1)
    first = await desk.exchanged(sts.GATEWAY, users, sts.MODEL)
    desk.clock.advance(1)
    second = await desk.exchanged(sts.SCORER, first, sts.STORAGE)
    authority, edge, model, store = (Server(tmp_path / name) for name in ("authority", "edge", "model", "store"))
    started = desk.clock.now() - 2
    for number, (event, fields) in enumerate(desk.audit.records):
        authority.told(event, fields, started + number)
    edge.decided(check(1 - 0.125, EDGE, users, sts.GATEWAY.spiffe_id, first, sts.MODEL))
    model.decided(check(1.125, MODEL, first, sts.GATEWAY.spiffe_id))
    model.decided(check(2 - 0.125, MODEL, first, sts.SCORER.spiffe_id, second, sts.STORAGE))
    asked = store.decided(check(2.125, STORAGE, second, sts.SCORER.spiffe_id))
    for server in (authority, edge, model, store):
        server.save()
    with Archive([server.directory for server in (authority, edge, model, store)]) as archive:
        archive.refresh()
        evidence, remarks = gather(archive, asked)
        story = reconstruct(evidence, asked, remarks)
        assert len(list(archive.find(Query(subject=("alice",), event=("token.*",))))) == 3
    assert story is not None
    assert story.remarks == ()
    [root] = story.roots
    assert [step.evidence.event for step in root.walk()] == [
        "token.issued", "decision.allowed", "token.exchanged", "decision.allowed", "decision.allowed", "token.exchanged",
        "decision.allowed",
    ]  # fmt: skip

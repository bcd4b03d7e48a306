"""Clocks that disagree. There is no way to move one process's clock alone on every machine, so the tokens' times are
moved: what an issuer writes whose clock is ahead of ours, or behind it, at both sides of the leeway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from extauthz.demo.tokens import Mint
from tests.faults.lab import Plan, now
from tests.faults.oracle import Kind
from tests.faults.people import bearer
from tests.faults.rows import Family, Scenario
from tests.faults.setup import AUDIENCE, TENANT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.faults.lab import Lab
    from tests.faults.rows import Row

TXN_ISSUER: Final = "https://transactions.faults.example"
TXN_TYPE: Final = "txntoken+jwt"
EDGE: Final = 2
"""Seconds on either side of the leeway: tokens count in whole seconds, and an answer takes a moment."""
ACCESS, TRANSACTION = 30, 5
CODES: Final = frozenset({"token.expired", "token.not_yet_valid"})


async def skew(lab: Lab, row: Row) -> None:
    kinds = [*_around(lab, "pay", ACCESS), *_around(lab, "txn", TRANSACTION)]
    async with lab.load(kinds) as load:
        begun = now()
        await asyncio.sleep(3)
        row.hold(await load.good(begun, 20), "a token within the leeway was refused")
        late = load.answers
    row.codes.update(one.label for one in late)
    row.take(late)
    row.facts["boundary"] = f"leeway ± {EDGE} s: {ACCESS} s access tokens, {TRANSACTION} s transaction tokens"
    row.operator = "extauthz_denials_total{code=token.expired|token.not_yet_valid}"
    row.hold(await lab.server.metric("extauthz_denials_total", code="token.expired"), "no denial was counted")


def _around(lab: Lab, route: str, leeway: int) -> list[Kind]:
    """Tokens at both sides of each boundary."""
    found = []
    for inside in (True, False):
        shift = leeway - EDGE if inside else leeway + EDGE
        word = "within" if inside else "beyond"
        sorts: dict[str, Callable[[int, int], dict[str, Any]]] = {
            "ended": lambda at, by: {"exp": at - by, "iat": at - by - 60},
            "of the future": lambda at, by: {"iat": at + by, "exp": at + by + 60},
            "not before": lambda at, by: {"nbf": at + by},
        }
        for name, claims in sorts.items():
            headers = _headers(lab, route, claims, shift)
            must = "allow" if inside else "identity"
            found.append(Kind(f"{route}: {name}, {word} {leeway} s", route, must, f"/{route}/{TENANT}", headers, CODES))
    return found


def _headers(
    lab: Lab, route: str, claims: Callable[[int, int], dict[str, Any]], shift: int
) -> Callable[[], Mapping[str, str]]:
    mint = lab.people.mint
    other = Mint(TXN_ISSUER, mint.private_key, mint.clock, mint.key_id)

    def make() -> Mapping[str, str]:
        moved = claims(int(mint.clock.now()), shift)
        if route == "pay":
            return bearer(lab.people.token(**moved))
        body = {"sub": "alice", "aud": AUDIENCE, "tenant": TENANT, "roles": ["teller"], **moved}
        return {"txn-token": other.sign(body, lifetime=60, header={"typ": TXN_TYPE})}

    return make


def _transactions(_: Lab, tree: dict[str, Any]) -> None:
    """A second issuer, of transaction tokens, and a route that takes them."""
    main = tree["issuers"][0]
    own = {key: value for key, value in main.items() if key != "introspection"}
    other = {"name": "transactions", "issuer": TXN_ISSUER, "types": [TXN_TYPE], "leeway": f"{TRANSACTION}s"}
    tree["issuers"].append({**own, **other})
    pay = next(route for route in tree["routes"] if route["name"] == "pay")
    token = {"issuers": ["transactions"], "audiences": [AUDIENCE], "header": "txn-token", "types": [TXN_TYPE]}
    tree["routes"].append({**pay, "name": "txn", "match": {"path": "/txn/{tenant}"}, "token": token})


FAMILIES: Final = (
    Family(
        "clocks",
        Plan(("pay", "txn"), adjust=_transactions),
        (
            Scenario(
                "clock-skew",
                "clocks apart, both directions (tokens' times moved)",
                "30 s leeway, 5 s for transaction tokens: allowed inside, refused beyond",
                skew,
            ),
        ),
    ),
)

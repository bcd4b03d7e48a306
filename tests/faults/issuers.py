"""Whoever is asked about tokens and attributes is away, slow, or answers nonsense."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from extauthz.clock import SystemClock
from extauthz.demo.tokens import Mint, new_key
from tests.faults.lab import Plan, now
from tests.faults.oracle import Kind
from tests.faults.people import IDENTITY, bearer
from tests.faults.rows import Family, Scenario, course
from tests.faults.setup import ISSUER, TENANT
from tests.faults.web import Asked, Said, Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.lab import Lab
    from tests.faults.rows import Course, Row

GARBAGE: Final = (
    Said(body=b"<html>sign in</html>", headers={"content-type": "text/html"}),
    Said(503, {"error": "temporarily_unavailable"}),
    Said(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{"),
    Said(body={"active": "true"}),
    Said(body=[True]),
    Said(body=b"{" * 5000),
    Said(302, {}, {"location": "http://127.0.0.1:1/"}),
)
"""None of it is a key set, an introspection answer or an attribute."""


def grown(lab: Lab, name: str, **labels: str) -> Callable[[], Awaitable[str]]:
    """A sign: this metric has grown since the first look."""
    first: list[float] = []

    async def sign() -> str:
        value = await lab.server.metric(name, **labels)
        first.append(value)
        shown = ",".join(f"{key}={label}" for key, label in labels.items())
        return f"{name}{{{shown}}}" if value > first[0] else ""

    return sign


def served(row: Row, seen: Course, *routes: str) -> None:
    """No honest request was refused."""
    for route in routes:
        codes = {code: count for code, count in seen.codes(route).items() if not code.startswith("200")}
        row.hold(not codes, f"{route} was refused: {codes}")


async def keys_down(lab: Lab, row: Row) -> None:
    """Known keys serve; a key that nobody has published is unknown; one that is published meanwhile is found later."""
    fresh = Mint(ISSUER, new_key(), SystemClock(), "faults-2")
    path = f"/pay/{TENANT}"
    token = lab.people.token(fresh)
    codes = IDENTITY | {"token.keys_unavailable"}
    strange = Kind("pay with an unknown key", "pay", "identity", path, lambda: bearer(token), codes)
    kinds = [*lab.people.kinds("pay", "read"), strange]
    known = lab.issuer.answer
    turn = 0

    def nonsense(_: Asked) -> Said:
        nonlocal turn
        turn += 1
        return GARBAGE[turn % len(GARBAGE)]

    async def fault() -> None:
        lab.issuer.down()
        await asyncio.sleep(3)
        lab.issuer.answer = nonsense
        await lab.issuer.up()
        await asyncio.sleep(4)

    async def repair() -> None:
        lab.issuer.answer = known

    sign = grown(lab, "extauthz_jwks_fetches_total", outcome="error")
    await sign()
    seen = await course(lab, row, fault=fault, repair=repair, sign=sign, kinds=kinds, during=0.5)
    served(row, seen, "pay", "read")
    row.facts["new_key_taken_s"] = round(await _published(lab, row, fresh), 1)


async def _published(lab: Lab, row: Row, fresh: Mint) -> float:
    """Seconds until a token of the newly published key is allowed."""
    lab.people.published.append(fresh)
    token, begun = lab.people.token(fresh), now()
    kind = Kind("pay with a new key", "pay", "allow", f"/pay/{TENANT}", lambda: bearer(token))
    async with lab.load([kind], rate=20) as load:
        row.hold(await load.good(seconds=20), "a key that was published is not taken")
        return load.last_bad(begun)


async def keys_stale(lab: Lab, row: Row) -> None:
    """Beyond `refresh + stale_if_error` (here 1 s + 3 s; as shipped 5 min + 1 h) known keys serve no more."""

    async def fault() -> None:
        lab.issuer.down()
        await asyncio.sleep(6)

    sign = grown(lab, "extauthz_jwks_fetches_total", outcome="error")
    await sign()
    gone = frozenset({"token.keys_unavailable"})
    seen = await course(lab, row, fault=fault, repair=lab.issuer.up, sign=sign, during=0.5, tolerated=gone)
    refused = [one.sent for one in seen.during if one.code in gone and one.kind.must == "allow"]
    row.hold(refused, "keys that are too old still serve")
    if refused:
        row.facts["served_on_s"] = round(min(refused) - seen.during[0].sent, 1)


async def spoilt(lab: Lab, row: Row, service: Service, route: str, code: str, upstream: str, *more: str) -> Course:
    """Down, then slow, then nonsense."""
    right = service.answer
    turn = 0

    def nonsense(_: Asked) -> Said:
        nonlocal turn
        turn += 1
        return GARBAGE[turn % len(GARBAGE)]

    async def fault() -> None:
        service.down()
        await asyncio.sleep(1.5)
        service.delay = 2.0
        await service.up()
        await asyncio.sleep(1.5)
        service.answer, service.delay = nonsense, 0.0
        await asyncio.sleep(1.5)

    async def repair() -> None:
        service.answer = right

    sign = grown(lab, "extauthz_upstream_errors_total", upstream=upstream)
    await sign()
    kinds = lab.people.kinds("pay", route, *more)
    seen = await course(lab, row, fault=fault, repair=repair, sign=sign, kinds=kinds, during=0.2)
    found = {label for label in seen.codes(route) if not label.startswith("200")}
    row.hold(code in found, f"{route} was never refused with {code}")
    row.hold(found <= {code, "engine.deadline"}, f"{route} was refused with {', '.join(sorted(found))}")
    served(row, seen, "pay", *more)
    return seen


async def introspection(lab: Lab, row: Row) -> None:
    await spoilt(lab, row, lab.issuer, "session", "engine.introspection_unavailable", "introspection")


async def attributes(lab: Lab, row: Row) -> None:
    seen = await spoilt(lab, row, lab.accounts, "profile", "engine.attributes_unavailable", "attributes", "advice")
    row.hold(seen.codes("advice")["200 degraded"], "advice was never answered with x-extauthz-mode: degraded")


def _short(_: Lab, tree: dict[str, Any]) -> None:
    tree["issuers"][0]["jwks"] |= {"refresh": "1s", "cooldown": "500ms", "stale_if_error": "3s"}


FAMILIES: Final = (
    Family(
        "issuer and attribute source",
        Plan(("pay", "read", "session", "profile", "advice")),
        (
            Scenario(
                "issuer-down",
                "issuer away, then answering nonsense",
                "known keys serve on; an unknown key id is refused; a new key is taken without a restart",
                keys_down,
            ),
            Scenario(
                "introspection-down",
                "introspection away, slow, nonsense",
                "routes with opaque tokens → 503 engine.introspection_unavailable; no other route notices",
                introspection,
                core=True,
            ),
            Scenario(
                "attributes-down",
                "attribute source away, slow, nonsense",
                "routes that read it → 503 engine.attributes_unavailable; degrade → asked without it; no other notices",
                attributes,
            ),
        ),
    ),
    Family(
        "issuer, short lives",
        Plan(("pay", "read"), adjust=_short),
        (
            Scenario(
                "keys-stale",
                "issuer away for longer than stale_if_error",
                "then known keys serve no more: token.keys_unavailable; recovery without a restart",
                keys_stale,
            ),
        ),
    ),
)

"""Everybody comes at once: ten thousand tokens that end in the same second, ten thousand key ids that nobody knows."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt import PyJWT

from extauthz.demo.tokens import ALGORITHM
from tests.faults.lab import Plan, now
from tests.faults.load import p99
from tests.faults.oracle import Kind
from tests.faults.people import IDENTITY, bearer
from tests.faults.rows import Family, Scenario
from tests.faults.setup import AUDIENCE, ISSUER, TENANT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.faults.lab import Lab
    from tests.faults.oracle import Answer
    from tests.faults.people import People
    from tests.faults.rows import Row

COUNT: Final = 10_000
STEADY, STORM = 200.0, 600.0
"""Requests a second: of honest users all the time, and of those who come in the storm."""
COOLDOWN: Final = 1.0
"""Seconds: `jwks.cooldown` of these servers; 30 s as shipped."""
SECONDS: Final = 5.0
RATIO: Final = 2.0
NOISE: Final = 0.010
"""Seconds by which the p99 of a busy machine may differ without anybody's doing."""


def tokens(people: People, count: int, **changes: Any) -> Iterator[str]:
    """Signed with the issuer's key, which is parsed once."""
    key: Any = load_pem_private_key(people.mint.private_key, None)
    at = int(people.clock.now())
    for number in range(count):
        body = {"iss": ISSUER, "sub": f"user-{number}", "aud": AUDIENCE, "iat": at, "exp": at + 3600}
        body |= {"jti": secrets.token_hex(8), "tenant": TENANT, "roles": ["teller"], **changes}
        yield PyJWT().encode(body, key, ALGORITHM, headers={"typ": "at+jwt", "kid": people.mint.key_id})


def strangers(people: People, count: int) -> Iterator[str]:
    """Good form, a key id that nobody has published, a signature that nobody can verify."""
    _, claims, signature = next(tokens(people, 1)).split(".")
    for _ in range(count):
        yield f"{_head(secrets.token_hex(8))}.{claims}.{signature}"


def _head(kid: str) -> str:
    text = json.dumps({"alg": ALGORITHM, "kid": kid, "typ": "at+jwt"}).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


async def refresh(lab: Lab, row: Row) -> None:
    """Steady: known tokens. Storm: the known ones have ended, and everyone comes with a token never seen before."""
    old = await asyncio.to_thread(lambda: list(tokens(lab.people, 200)))
    ended = await asyncio.to_thread(lambda: list(tokens(lab.people, 200, exp=int(lab.people.clock.now()) - 60)))
    fresh = iter(await asyncio.to_thread(lambda: list(tokens(lab.people, COUNT))))
    path = f"/read/{TENANT}"
    known, gone = cycle(old), cycle(ended)
    steady = Kind("a known token", "read", "allow", path, lambda: bearer(next(known)))
    first = Kind("a new token", "read", "allow", path, lambda: bearer(next(fresh)))
    late = Kind("a token that has ended", "read", "identity", path, lambda: bearer(next(gone)), IDENTITY)
    calls = lab.issuer.calls
    quiet = await _measured(lab, row, [steady], STEADY + STORM, SECONDS)
    storm = await _measured(lab, row, [first, first, first, late], STEADY + STORM, SECONDS * 2)
    _compare(row, quiet, (one for one in storm if one.kind is first), "10,000 tokens end at once")
    row.facts["new_tokens"] = sum(1 for one in storm if one.kind is first)
    row.facts["calls_at_issuer"] = lab.issuer.calls - calls


async def unknown_keys(lab: Lab, row: Row) -> None:
    """An honest load, and beside it a flood of tokens each of which names another key."""
    known = cycle(await asyncio.to_thread(lambda: list(tokens(lab.people, 200))))
    strange = iter(await asyncio.to_thread(lambda: list(strangers(lab.people, COUNT))))
    path = f"/read/{TENANT}"
    honest = Kind("a known token", "read", "allow", path, lambda: bearer(next(known)))
    codes = IDENTITY | {"token.keys_unavailable"}
    flood = Kind("an unknown key", "read", "identity", path, lambda: bearer(next(strange)), codes)
    quiet = await _measured(lab, row, [honest], STEADY + STORM, SECONDS)
    calls, begun = lab.issuer.calls, now()
    storm = await _measured(lab, row, [honest, flood, flood, flood], STEADY + STORM, SECONDS * 2)
    asked, seconds = lab.issuer.calls - calls, now() - begun
    _compare(row, quiet, (one for one in storm if one.kind is honest), "unknown keys")
    row.facts["unknown_keys"] = sum(1 for one in storm if one.kind is flood)
    row.facts["calls_at_issuer"] = f"{asked} in {seconds:.0f} s (cool-down {COOLDOWN:g} s)"
    row.hold(asked <= seconds / COOLDOWN + 2, f"the issuer was asked {asked} times in {seconds:.0f} s")
    row.operator = "extauthz_denials_total{code=token.key_unknown}"
    row.hold(await lab.server.metric("extauthz_denials_total", code="token.key_unknown"), "no denial was counted")


async def _measured(lab: Lab, row: Row, kinds: list[Kind], rate: float, seconds: float) -> list[Answer]:
    async with lab.load(kinds, rate, in_turn=True) as load:
        await asyncio.sleep(seconds)
    row.take(load.answers)
    row.codes.update(one.label for one in load.answers)
    return load.answers


def _compare(row: Row, quiet: Iterable[Answer], storm: Iterable[Answer], what: str) -> None:
    before, during = p99(quiet), p99(storm)
    row.facts["p99_ms"] = f"{before * 1e3:.1f} steady, {during * 1e3:.1f} in the storm"
    row.facts["p99_ratio"] = round(during / before, 2) if before else None
    row.hold(during <= max(before * RATIO, before + NOISE), f"{what}: p99 {before * 1e3:.1f} → {during * 1e3:.1f} ms")


def _cooldown(_: Lab, tree: dict[str, Any]) -> None:
    tree["issuers"][0]["jwks"] |= {"cooldown": f"{COOLDOWN:g}s", "refresh": "5m"}


FAMILIES: Final = (
    Family(
        "storms",
        Plan(("read",), adjust=_cooldown),
        (
            Scenario(
                "refresh-storm",
                "refresh storm: 10,000 tokens end at once",
                f"p99 ≤ {RATIO:g}× steady; ended tokens refused; no call at the issuer for each",
                refresh,
            ),
            Scenario(
                "unknown-keys",
                "10,000 unknown key ids",
                f"one call at the issuer a cool-down; p99 of honest requests ≤ {RATIO:g}× steady",
                unknown_keys,
            ),
        ),
    ),
)

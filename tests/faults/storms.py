"""Everybody comes at once: ten thousand tokens that end in the same second, ten thousand key ids that nobody knows."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from itertools import cycle
from statistics import median
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
    from collections.abc import Iterator

    from tests.faults.lab import Lab
    from tests.faults.oracle import Answer
    from tests.faults.people import People
    from tests.faults.rows import Row

COUNT: Final = 10_000
RATE: Final = 400.0
"""Requests a second, in the storm as before it: what is compared is what the requests are, not how many."""
ROUNDS: Final = 8
"""Quiet and storm take turns, and medians are compared: the machine has other things to do."""
COOLDOWN: Final = 1.0
"""Seconds: `jwks.cooldown` of these servers; 30 s as shipped."""
QUIET: Final = 2.0
"""Seconds; a storm lasts about as long."""
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
    ended = await asyncio.to_thread(lambda: list(tokens(lab.people, 200, exp=int(lab.people.clock.now()) - 60)))
    fresh = iter(await asyncio.to_thread(lambda: list(tokens(lab.people, COUNT + 2000))))
    path, gone = f"/read/{TENANT}", cycle(ended)
    first = Kind("a new token", "read", "allow", path, lambda: bearer(next(fresh)))
    late = Kind("a token that has ended", "read", "identity", path, lambda: bearer(next(gone)), IDENTITY)
    calls = lab.issuer.calls
    storm = await _rounds(lab, row, [first] * 5 + [late], first)
    row.facts["new_tokens"] = sum(1 for one in storm if one.kind is first)
    row.facts["calls_at_issuer"] = lab.issuer.calls - calls


async def unknown_keys(lab: Lab, row: Row) -> None:
    """An honest load, and beside it a flood of tokens each of which names another key."""
    known = cycle(await asyncio.to_thread(lambda: list(tokens(lab.people, 200))))
    strange = iter(await asyncio.to_thread(lambda: list(strangers(lab.people, COUNT + 2000))))
    path = f"/read/{TENANT}"
    honest = Kind("a known token", "read", "allow", path, lambda: bearer(next(known)))
    codes = IDENTITY | {"token.keys_unavailable"}
    flood = Kind("an unknown key", "read", "identity", path, lambda: bearer(next(strange)), codes)
    calls, begun = lab.issuer.calls, now()
    storm = await _rounds(lab, row, [honest] + [flood] * 5, honest)
    asked, seconds = lab.issuer.calls - calls, now() - begun
    row.facts["unknown_keys"] = sum(1 for one in storm if one.kind is flood)
    row.facts["calls_at_issuer"] = f"{asked} in {seconds:.0f} s (cool-down {COOLDOWN:g} s)"
    row.hold(asked <= seconds / COOLDOWN + 2, f"the issuer was asked {asked} times in {seconds:.0f} s")
    row.operator = "extauthz_denials_total{code=token.key_unknown}"
    row.hold(await lab.server.metric("extauthz_denials_total", code="token.key_unknown"), "no denial was counted")


async def _rounds(lab: Lab, row: Row, kinds: list[Kind], honest: Kind) -> list[Answer]:
    """Quiet, storm, quiet, storm … The answers of the storms; the median p99 of the honest ones is compared."""
    known = cycle(await asyncio.to_thread(lambda: list(tokens(lab.people, 200))))
    steady = Kind("steady", "read", "allow", f"/read/{TENANT}", lambda: bearer(next(known)))
    before, during, storm = [], [], []
    for _ in range(ROUNDS):
        before.append(p99(await _measured(lab, row, [steady], QUIET)))
        answers = await _measured(lab, row, kinds, COUNT / ROUNDS / RATE * len(kinds) / (len(kinds) - 1))
        during.append(p99(one for one in answers if one.kind is honest))
        storm += answers
    steady_p99, storm_p99 = median(before), median(during)
    row.facts["p99_ms"] = f"{steady_p99 * 1e3:.1f} steady, {storm_p99 * 1e3:.1f} in the storm"
    row.facts["p99_ratio"] = round(storm_p99 / steady_p99, 2)
    within = storm_p99 <= max(steady_p99 * RATIO, steady_p99 + NOISE)
    row.hold(within, f"p99 {steady_p99 * 1e3:.1f} → {storm_p99 * 1e3:.1f} ms, more than {RATIO:g}×")
    return storm


async def _measured(lab: Lab, row: Row, kinds: list[Kind], seconds: float) -> list[Answer]:
    async with lab.load(kinds, RATE, in_turn=True) as load:
        await asyncio.sleep(seconds)
    row.take(load.answers)
    row.codes.update(one.label for one in load.answers)
    return load.answers


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
                f"p99 ≤ {RATIO:g}× steady, or {NOISE * 1e3:g} ms more; ended tokens refused; no call at the issuer for each",
                refresh,
            ),
            Scenario(
                "unknown-keys",
                "10,000 unknown key ids",
                f"one call at the issuer a cool-down; p99 of honest requests ≤ {RATIO:g}× steady, or {NOISE * 1e3:g} ms more",
                unknown_keys,
            ),
        ),
    ),
)

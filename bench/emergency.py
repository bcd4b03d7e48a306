"""A compromised CA, under load: what it signed is distrusted at once, and the platform comes back by itself.

`python -m bench.emergency` gives the operator's order (`rotate ca --compromised`) to the platform of `bench.rotation`,
and nothing else. A stolen certificate of the old CA is tried from then on, in handshakes and on a connection that
stands; honest transfers go on. There is an outage, because an honest workload's certificate is as worthless as the
thief's until its agent has attested again; it is measured, not hidden.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.rotation import PATIENCE, failures, loaded, say_so, warm, watched
from extauthz.demo.zones import MODEL, STORAGE
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from extauthz.demo.dev_ca import Identity
    from extauthz.demo.lab import Answer, Lab
    from extauthz.demo.load import Load
    from extauthz.demo.zones import Zone

FEATURES: Final = "/v1/features/acme/wire"
QUIET: Final = 10.0
"""Seconds without a failure that end an outage."""
NO_ANSWER: Final = frozenset({"0", "503"})
"""The client does not trust the edge's old certificate; an Envoy does not trust the next one's."""


@dataclass
class Outage:
    """Of an emergency rotation. Seconds from the order."""

    refused_after: dict[str, float]
    """Where → when a certificate of the distrusted CA was refused for the first time, for good."""
    first_failure: float | None
    last_failure: float | None
    requests: int
    failures: Counter[str]
    recovered: bool
    unknown: Counter[str]
    """Failures that are no clean denial."""

    def line(self) -> str:
        parts = ", ".join(f"{where} {seconds:.1f} s" for where, seconds in self.refused_after.items())
        return (
            f"requests={self.requests} failures={self.failures.total()} {dict(self.failures)}\n"
            f"  the old CA's certificate is refused after: {parts}\n"
            f"  first failure after {_short(self.first_failure)}, last one after {_short(self.last_failure)}; "
            f"recovered={self.recovered}"
        )


def _short(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


async def emergency(say: Callable[[str], None] = lambda _: None) -> Outage:
    """The CA's key is stolen, and its certificates with it. Raises ExtauthzError when the platform does not start."""
    async with warm(say) as (_, lab):
        return await _emergency(lab, say)


async def _emergency(lab: Lab, say: Callable[[str], None]) -> Outage:
    admin = lab.platform.authority.admin
    stolen = await lab.attest("join_token", await admin.join_token(MODEL.name))
    async with watched(lab), loaded(lab) as load, contextlib.AsyncExitStack() as stack:
        await asyncio.sleep(3)
        before = failures(load)
        say(f"the CA is compromised; failures so far: {dict(before)}")
        token = lab.hop(MODEL, STORAGE, stolen)
        held = await stack.enter_async_context(lab.connection(stolen))
        if (await lab.over(held, STORAGE, token, FEATURES)).status != 200:
            raise ExtauthzError("the stolen certificate is refused before the order")
        ordered = time.monotonic()
        await admin.rotate("ca", compromised=True)
        probes = asyncio.gather(
            _refused(lab, MODEL, stolen, ordered),
            _refused(lab, STORAGE, stolen, ordered),
            _refused_on(lambda: lab.over(held, STORAGE, token, FEATURES), ordered),
        )
        first, last = await _recovery(load, ordered)
        places = (MODEL.name, STORAGE.name, "an open connection")
        refused = dict(zip(places, await probes, strict=True))
        await asyncio.sleep(5)
        after = load.allowed
        await asyncio.sleep(3)
        recovered = load.allowed > after
    found = failures(load) - before
    unknown = Counter({name: count for name, count in found.items() if name.isdigit() and name not in NO_ANSWER})
    return Outage(refused, first, last, load.total, found, recovered, unknown)


async def _recovery(load: Load, ordered: float) -> tuple[float | None, float | None]:
    """First and last failure, once there was none for a while."""
    known, first, last = failures(load).total(), None, None
    while time.monotonic() - ordered < PATIENCE:
        await asyncio.sleep(0.1)
        now, seconds = failures(load).total(), time.monotonic() - ordered
        if now > known:
            known, last = now, seconds
            first = first or seconds
        if seconds - (last or 0.0) > QUIET:
            break
    return first, last


async def _refused(lab: Lab, zone: Zone, identity: Identity, ordered: float) -> float:
    """Seconds until the zone's Envoy refuses the certificate in the handshake; that it is we who refuse it, because it
    shows a certificate of the old CA itself, does not count."""
    while time.monotonic() - ordered < PATIENCE:
        found = await lab.handshake(zone, identity)
        if found is not None and "ALERT" in str(found.body.get("alert")):
            return time.monotonic() - ordered
        await asyncio.sleep(0.05)
    raise ExtauthzError(f"{zone.name} still accepts what the distrusted CA signed")


async def _refused_on(ask: Callable[[], Awaitable[Answer]], ordered: float) -> float:
    """Seconds until a connection that stands is of no use any more. Raises ExtauthzError when it was closed before."""
    answer = await ask()
    while answer.status == 200:
        await asyncio.sleep(0.05)
        answer = await ask()
    if answer.code != "transport.certificate_untrusted":
        raise ExtauthzError(f"an open connection: {answer.status} {answer.code}")
    return time.monotonic() - ordered


def main() -> int:
    try:
        outage = asyncio.run(emergency(say_so))
    except ExtauthzError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(outage.line())
    return 0 if outage.recovered and not outage.unknown else 1


if __name__ == "__main__":
    sys.exit(main())

"""Rotation under load: everything that can be replaced is, while honest transfers go on, and none of them fails.

`python -m bench.rotation` runs the whole demonstration (five Envoys with SDS, five authorization servers, tokens that
are exchanged and bound at each hop) with lives of seconds (`short_lives`), under a steady load of transfers by users
who sign in again every few requests, and meanwhile orders CA and signing-key rotations and kills an agent. Rotations
are counted as seen from outside: certificates that the Envoys show, their issuers, key ids of the tokens.

The other case, a CA that is compromised, is `bench.emergency`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import httpx
from cryptography import x509

from bench.short_lives import Kubelet, Lives
from extauthz.demo.lab import Lab
from extauthz.demo.load import Load
from extauthz.demo.platform import Platform
from extauthz.demo.runner import Runner
from extauthz.demo.zones import EDGE, MODEL, ZONES
from extauthz.errors import ExtauthzError
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from extauthz.demo.zones import Zone

HONEST_DENIALS: Final = frozenset({"attribute.tenant_mismatch"})
"""What the forbidden half of the load must get."""
PER_TOKEN: Final = 10
LOOK: Final = 0.5
PATIENCE: Final = 240.0


@dataclass(frozen=True)
class Plan:
    """How often each thing rotates, at least."""

    leaves: int = 5
    authorities: int = 2
    signing: int = 2
    restarts: int = 1


SHORT: Final = Plan(leaves=2, authorities=1, signing=1)


@dataclass
class Seen:
    """What has been seen from outside so far."""

    leaves: dict[str, list[str]] = field(default_factory=lambda: {zone.name: [] for zone in ZONES})
    """Zone → fingerprints of the certificates that its Envoy has shown, in order."""
    issuers: list[str] = field(default_factory=list)
    """Subjects of the CAs that signed them."""
    kids: list[str] = field(default_factory=list)
    """Keys that users' tokens were signed with."""
    bundle: set[str] = field(default_factory=set)
    """Subjects of all CAs that the trust bundle has named."""

    @property
    def rotations(self) -> Plan:
        return Plan(
            min(max(0, len(shown) - 1) for shown in self.leaves.values()),
            max(0, len(self.issuers) - 1),
            max(0, len(self.kids) - 1),
        )


@dataclass
class Result:
    requests: int
    failures: Counter[str]
    seen: Seen
    restarts: int
    seconds: float
    tracebacks: list[str]
    records: list[str]
    """What the authorization servers wrote of the failures, a few of them."""

    @property
    def ok(self) -> bool:
        return not self.failures and not self.tracebacks

    def line(self) -> str:
        found = self.seen.rotations
        leaves = {name: len(shown) - 1 for name, shown in self.seen.leaves.items()}
        text = (
            f"requests={self.requests} leaf rotations={found.leaves} CA rotations={found.authorities} "
            f"signing rotations={found.signing} agent restarts={self.restarts} failures={self.failures.total()}"
        )
        details = [f"{self.seconds:.0f} s, certificates of each zone replaced: {leaves}"]
        if self.failures:
            details += [f"failures: {dict(self.failures)}", *self.records]
        if self.tracebacks:
            details.append(f"tracebacks: {self.tracebacks}")
        return "\n".join([text, *(f"  {one}" for one in details)])


class Watch:
    """Looks at the platform as a stranger may: what Envoys show, what `/bundle` and `/token` say."""

    def __init__(self, lab: Lab) -> None:
        self.seen = Seen()
        self._lab = lab

    async def run(self) -> None:
        """Until it is cancelled. What cannot be reached now is looked at again."""
        while True:
            try:
                await self._trust()
                await self._tokens()
                for zone in ZONES:
                    await self._leaf(zone)
            except (ExtauthzError, httpx.HTTPError, OSError):
                await asyncio.sleep(LOOK)
            await asyncio.sleep(LOOK)

    async def _trust(self) -> None:
        pem = await self._lab.platform.authority.admin.trust()
        named = {one.subject.rfc4514_string() for one in x509.load_pem_x509_certificates(pem.encode())}
        if named != self.seen.bundle:
            await self._lab.believe()  # as any client that follows the bundle
            self.seen.bundle |= named

    async def _tokens(self) -> None:
        head = (await self._lab.sign_in()).split(".")[0]
        _grown(self.seen.kids, json.loads(base64.urlsafe_b64decode(head + "=="))["kid"])

    async def _leaf(self, zone: Zone) -> None:
        shown = x509.load_der_x509_certificate(await served(self._lab, zone))
        _grown(self.seen.leaves[zone.name], f"{shown.serial_number:x}")
        _grown(self.seen.issuers, shown.issuer.rfc4514_string())


def _grown(known: list[str], found: str) -> None:
    if found not in known:
        known.append(found)


async def served(lab: Lab, zone: Zone) -> bytes:
    """DER of the certificate that a zone's Envoy shows now. Raises OSError."""
    context = lab._context(lab.svid(MODEL))  # noqa: SLF001 - the lab's own hands
    port = lab.platform.layout.zone(zone).port
    async with asyncio.timeout(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=zone.host)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return shown


async def _replaced(lab: Lab, zone: Zone, before: bytes) -> None:
    for _ in range(int(PATIENCE / LOOK)):
        if await served(lab, zone) != before:
            return
        await asyncio.sleep(LOOK)
    raise ExtauthzError(f"{zone.name} still shows the old certificate")


def failures(load: Load) -> Counter[str]:
    """Whatever an honest user, or an attacker, must not see."""
    found = Counter({code: count for code, count in load.denied.items() if code not in HONEST_DENIALS})
    found += load.failed
    found["allowed but forbidden"] += len(load.wrong)
    found["hang"] += load.hung
    return +found


async def _until(done: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    for _ in range(int(seconds / LOOK)):
        if done():
            return True
        await asyncio.sleep(LOOK)
    return False


async def _rotated(lab: Lab, what: str) -> None:
    admin = lab.platform.authority.admin
    before = (await admin.active())[what]
    await admin.rotate(what)
    for _ in range(int(PATIENCE / LOOK)):
        if (await admin.active())[what] != before:
            return
        await asyncio.sleep(LOOK)
    raise ExtauthzError(f"the next {what} key did not become active")


async def rotate(plan: Plan, say: Callable[[str], None] = lambda _: None) -> Result:
    """The whole of it. Raises ExtauthzError when the platform does not start."""
    async with warm(say) as (platform, lab):
        return await _rotations(platform, lab, plan, say)


@contextlib.asynccontextmanager
async def warm(
    say: Callable[[str], None] = lambda _: None, lives: Lives | None = None
) -> AsyncIterator[tuple[Platform, Lab]]:
    """A warm platform with short lives; its clients trust what the bundle says."""
    async with Platform(progress=say, adjust=(lives or Lives()).adjust) as platform, Kubelet(platform).working():
        lab = Lab(platform)
        try:
            await Runner(platform, lab).warm_up(60)
            yield platform, lab
        finally:
            await lab.close()


@contextlib.asynccontextmanager
async def loaded(lab: Lab, per_token: int = PER_TOKEN) -> AsyncIterator[Load]:
    load = Load(lab, per_token)
    tasks = Tasks()
    running = tasks.start(load.run(), "load")
    try:
        yield load
    finally:
        load.stop.set()
        await running


@contextlib.asynccontextmanager
async def watched(lab: Lab) -> AsyncIterator[Watch]:
    watch = Watch(lab)
    tasks = Tasks()
    tasks.start(watch.run(), "watch")
    try:
        yield watch
    finally:
        await tasks.close()


async def _rotations(platform: Platform, lab: Lab, plan: Plan, say: Callable[[str], None]) -> Result:
    started = time.monotonic()
    async with watched(lab) as watch, loaded(lab) as load:
        for number in range(max(plan.authorities, plan.signing)):
            if number < plan.authorities:
                say(f"CA rotation {number + 1}")
                await _rotated(lab, "ca")
            if number < plan.signing:
                say(f"signing rotation {number + 1}")
                await _rotated(lab, "signing")
        for number in range(plan.restarts):
            say(f"agent restart {number + 1}: {failures(load) or 'no failure so far'}")
            name = f"{EDGE.name}.agent"
            before = await served(lab, EDGE)
            await platform.kill(name)
            await platform.restart(name)
            await _replaced(lab, EDGE, before)
        say("leaf rotations")
        await _until(lambda: _done(watch.seen.rotations, plan))
    seconds, found = time.monotonic() - started, failures(load)
    records = await asyncio.to_thread(_records, platform, set(found))
    return Result(load.total, found, watch.seen, plan.restarts, seconds, platform.tracebacks(), records)


def _records(platform: Platform, codes: set[str]) -> list[str]:
    """Decision records with one of these codes, of all zones; they hold no secret."""
    found: list[str] = []
    for place in platform.layout.zones.values():
        lines = place.records.read_text(errors="replace").splitlines() if place.records.exists() else []
        found += [f"{place.zone.name}: {line}" for line in lines if any(code in line for code in codes)][:3]
    return found


def _done(found: Plan, plan: Plan) -> bool:
    return found.leaves >= plan.leaves and found.authorities >= plan.authorities and found.signing >= plan.signing


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rotation", description=__doc__)
    parser.add_argument("--restarts", type=int, help="how often the edge's agent is killed")
    parser.add_argument("--short", action="store_true", help="fewer rotations, under two minutes")
    options = parser.parse_args()
    try:
        plan = SHORT if options.short else Plan()
        if options.restarts is not None:
            plan = replace(plan, restarts=options.restarts)
        result = asyncio.run(rotate(plan, say_so))
    except ExtauthzError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(result.line())
    return 0 if result.ok else 1


def say_so(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

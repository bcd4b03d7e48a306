"""Rotation under load: everything that can be replaced is, while honest transfers go on, and none of them fails.

`python -m bench.rotation` runs the whole demonstration (five Envoys with SDS, five authorization servers, tokens that
are exchanged and bound at each hop) with lives of seconds (`short_lives`), under a steady load of transfers by users
who sign in again every few requests, and meanwhile orders CA and signing-key rotations and kills an agent. Rotations
are counted as seen from outside: certificates that the Envoys show, their issuers, key ids of the tokens.

`--emergency` measures the other case: the CA is compromised, what it signed is distrusted at once, and the platform
comes back by itself. Its outage is reported, not hidden.
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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx
from cryptography import x509

from bench.short_lives import Kubelet, Lives
from extauthz.demo.lab import Lab
from extauthz.demo.load import Load
from extauthz.demo.platform import Platform
from extauthz.demo.runner import Runner
from extauthz.demo.zones import EDGE, MODEL, STORAGE, ZONES
from extauthz.errors import ExtauthzError
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from extauthz.demo.dev_ca import Identity
    from extauthz.demo.zones import Zone

HONEST_DENIALS: Final = frozenset({"attribute.tenant_mismatch"})
"""What the forbidden half of the load must get."""
PER_TOKEN: Final = 10
LOOK: Final = 0.5
PATIENCE: Final = 240.0
QUIET: Final = 10.0
"""Seconds without a failure that end an outage."""


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
            details.append(f"failures: {dict(self.failures)}")
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
            await platform.kill(name)
            await platform.restart(name)
        say("leaf rotations")
        await _until(lambda: _done(watch.seen.rotations, plan))
    return Result(
        load.total, failures(load), watch.seen, plan.restarts, time.monotonic() - started, platform.tracebacks()
    )


def _done(found: Plan, plan: Plan) -> bool:
    return found.leaves >= plan.leaves and found.authorities >= plan.authorities and found.signing >= plan.signing


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
    async with watched(lab) as watch, loaded(lab) as load:
        await asyncio.sleep(3)
        before = failures(load)
        say(f"the CA is compromised; failures so far: {dict(before)}")
        ordered = time.monotonic()
        await admin.rotate("ca", compromised=True)
        probes = asyncio.gather(*(_refused(lab, zone, stolen, ordered) for zone in (MODEL, STORAGE)))
        first, last = await _recovery(load, ordered)
        refused = dict(zip((MODEL.name, STORAGE.name), await probes, strict=True))
        await asyncio.sleep(5)
        after = load.allowed
        await asyncio.sleep(3)
        recovered = load.allowed > after
        say(f"certificates shown: {watch.seen.leaves}")
    found = failures(load) - before
    unknown = Counter({name: count for name, count in found.items() if name.isdigit() and name != "503"})
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
    """Seconds until the zone's Envoy refuses the certificate in the handshake."""
    while time.monotonic() - ordered < PATIENCE:
        if await lab.handshake(zone, identity) is not None:
            return time.monotonic() - ordered
        await asyncio.sleep(0.05)
    raise ExtauthzError(f"{zone.name} still accepts what the distrusted CA signed")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rotation", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer rotations, under two minutes")
    parser.add_argument("--emergency", action="store_true", help="distrust the CA under load, and report the outage")
    options = parser.parse_args()
    try:
        if options.emergency:
            outage = asyncio.run(emergency(_say))
            print(outage.line())
            return 0 if outage.recovered and not outage.unknown else 1
        result = asyncio.run(rotate(SHORT if options.short else Plan(), _say))
    except ExtauthzError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(result.line())
    return 0 if result.ok else 1


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""The server's own identity: from a SPIFFE Workload API, or from files, and followed from then on.

1. Trust bundles are replaced first and whatever comes with them: a CA that is distrusted is refused by the next Check.
2. The TLS contexts for our own calls are made anew under that trust, also those of certificates that we have already;
   one that is not trusted itself any more is dropped. So no authority is met on an old connection, either.
3. Who calls us as ourselves (`leaf`) is known by the newest certificate. One that cannot be used changes nothing.
4. For our own calls a certificate that the new one names as its predecessor is shown for `overlap` longer: Envoy's
   open connections still show it to the upstream, and what is bound to it is accepted with it and with its successor,
   while what is bound to the successor would not be accepted with it.
5. A certificate that the new one does not name is not shown any more. Nothing is accepted on both kinds of
   connection then, and the former one may have been replaced for a reason. The tokens that were exchanged with it are
   not handed out any more (they are kept by certificate); Envoy's open connections are refused until they end.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extauthz.authn import x509_svid
from extauthz.authn.files import WatchedFile
from extauthz.authn.trust import TrustBundle
from extauthz.errors import ConfigError, ExtauthzError, OutboundError
from extauthz.keys.successor import MAX_PREDECESSORS
from extauthz.model import Deny
from extauthz.tasks import Tasks
from extauthz.workload_api.client import WorkloadApiClient
from extauthz.workload_api.identity import IdentityError, Svid, X509Context, parse_pem, svid
from extauthz.workload_api.tls import client_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from cryptography import x509

    from extauthz.authn.settings import IdentitySettings
    from extauthz.authn.x509_svid import Leaf
    from extauthz.clock import Clock

log = logging.getLogger(__name__)
AUTHORITY: Final = "spiffe://{}/authority"
"""The SPIFFE ID that the server must prove that we call with our own certificate."""
_LOOK: Final = 2.0
"""Seconds between two looks at the files."""
_BEFORE_THE_END: Final = 10.0
"""Seconds before its end when a certificate is not shown any more …"""
_SHARE_OF_LIFE: Final = 50
"""… or this part of its life, where that is less."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A certificate of ours with the TLS context that shows it."""

    svid: Svid
    leaf: Leaf
    context: ssl.SSLContext

    @property
    def shown_until(self) -> float:
        """Seconds since the epoch; for a certificate that was replaced."""
        life = self.leaf.not_after - self.leaf.not_before
        return self.leaf.not_after - min(_BEFORE_THE_END, life / _SHARE_OF_LIFE)


class ServerIdentity:
    """Implements `authn.own_identity.OwnIdentity`. `changed` is told the notAfter of each new certificate."""

    def __init__(
        self, settings: IdentitySettings, clock: Clock, changed: Callable[[float], None] = lambda _end: None
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._changed = changed
        self._trust: dict[str, TrustBundle] = {}
        self._newest: Shown | None = None
        self._former: list[tuple[Shown, float]] = []
        """Certificates that were replaced, the oldest first, and until when each is shown (monotonic)."""
        self._there = asyncio.Event()
        self._tasks = Tasks()

    async def start(self) -> None:
        """Follow the source in the background; waits for the first identity, at most `settings.wait`."""
        self._tasks.start(self._follow(), "identity")
        try:
            async with asyncio.timeout(self.settings.wait):
                await self._there.wait()
        except TimeoutError:
            log.warning("no identity of our own within %g s; Checks that need it are refused", self.settings.wait)

    async def close(self) -> None:
        await self._tasks.close()

    @property
    def leaf(self) -> Leaf | None:
        return None if self._newest is None else self._newest.leaf

    @property
    def ready(self) -> bool:
        """Whether there is a certificate that is valid now."""
        return self._newest is not None and self._clock.now() < self._newest.leaf.not_after

    def status(self) -> dict[str, Any]:
        newest = self._newest
        if newest is None:
            return {"ready": False}
        return {"ready": self.ready, "id": newest.svid.spiffe_id, "not_after": newest.leaf.not_after}

    def trust_bundle(self, trust_domain: str) -> TrustBundle:
        return self._trust.setdefault(trust_domain, TrustBundle())

    def shown(self) -> Shown | None:
        """The certificate for our own calls; None while there is none that is valid."""
        while self._former:
            former, until = self._former[0]
            if self._clock.monotonic() < until and self._clock.now() < former.shown_until:
                return former
            self._former.pop(0)
        return self._newest if self.ready else None

    def context(self) -> ssl.SSLContext:
        """For `Outbound(verify=…)`: calls to the authority, which must prove that it is. Raises OutboundError."""
        shown = self.shown()
        if shown is None:
            raise OutboundError("the server has no identity of its own yet")
        return shown.context

    async def _follow(self) -> None:
        settings = self.settings
        if settings.socket is None:
            async for given in _from_files(settings):
                await self._taken(given)
            return
        client = WorkloadApiClient(settings.socket)
        try:
            async for given in client.x509_contexts():
                await self._taken(given)
        finally:
            await client.close()

    async def _taken(self, given: X509Context) -> None:
        try:
            await self.take(given)
        except ExtauthzError as error:
            log.error("identity kept as it was: %s", error)  # noqa: TRY400 - the message says all

    async def take(self, given: X509Context) -> None:
        """Steps 1 to 5 of the module's docstring. Raises IdentityError when the new certificate cannot be used."""
        for name in self._trust.keys() | given.trust.keys():  # 1
            self.trust_bundle(name).replace(given.trust.get(name, ()))
        authorities = given.trust.get(given.svid.trust_domain, ())
        kept = await self._again(self._newest, authorities)  # 2
        again = [(await self._again(shown, authorities), until) for shown, until in list(self._former)]
        former = [(shown, until) for shown, until in again if shown is not None]
        try:
            newest = await _prepared(given.svid, authorities)
        except IdentityError:
            self._newest, self._former = kept, former
            raise
        if kept is not None and kept.leaf.x5t != newest.leaf.x5t:
            former.append((kept, self._clock.monotonic() + self.settings.overlap))
        continued = [(shown, until) for shown, until in former if shown.leaf.x5t in newest.leaf.predecessors]  # 5
        self._newest, self._former = newest, continued[-MAX_PREDECESSORS:]  # 3, 4
        self._changed(newest.leaf.not_after)
        self._there.set()

    async def _again(self, shown: Shown | None, authorities: Sequence[x509.Certificate]) -> Shown | None:
        """`shown` under the trust in force; None when it is not trusted by it."""
        if (
            shown is None
            or self.trust_bundle(shown.svid.trust_domain).trusted_until(shown.leaf.certificate, self._clock.now())
            is None
        ):
            return None
        try:
            return await _prepared(shown.svid, authorities)
        except IdentityError:
            return None


async def _prepared(own: Svid, authorities: Sequence[x509.Certificate]) -> Shown:
    leaf = x509_svid.facts(own.chain[0])
    if isinstance(leaf, Deny):
        raise IdentityError("the certificate is no X.509-SVID")
    server = AUTHORITY.format(own.trust_domain)
    return Shown(own, leaf, await asyncio.to_thread(client_context, own, authorities, server))


async def _from_files(
    settings: IdentitySettings, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AsyncIterator[X509Context]:
    """The identity in the files, now and whenever one of them has changed and all fit together again."""
    paths = (settings.certificate, settings.private_key, settings.trust_bundle)
    files = [WatchedFile(path) for path in paths if path is not None]
    contents: list[bytes] = [b""] * len(files)
    while True:
        try:
            news = [await asyncio.to_thread(file.changed) for file in files]
            contents = [old if new is None else new for old, new in zip(contents, news, strict=True)]
            if any(new is not None for new in news):
                yield _parsed(*contents)
        except (ConfigError, IdentityError) as error:
            log.error("identity kept as it was: %s", error)  # noqa: TRY400 - the message says all
        await sleep(_LOOK)


def _parsed(certificate: bytes, private_key: bytes, trust_bundle: bytes) -> X509Context:
    """Raises IdentityError."""
    try:
        key = load_pem_private_key(private_key, None)
    except (ValueError, TypeError):
        raise IdentityError("identity.private_key is not an unencrypted PEM key") from None
    own = svid(parse_pem(certificate), key)  # type: ignore[arg-type]  # a key of another kind certifies nothing
    return X509Context(own, {own.trust_domain: parse_pem(trust_bundle)})

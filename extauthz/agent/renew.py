"""Keeps one X.509-SVID fresh: attests, renews before the end, tries again when the authority is away.

1. The key is made here for every certificate, and leaves this process only over the socket that serves it.
2. Without a valid certificate: attest. With one: renew with it, at `renew_at` of what is left of its life, ± 10 %, so
   that a fleet that was started at once does not renew at once.
3. A certificate that serves no longer is attested anew: renewal is refused (401, 403), our own trust bundle no longer
   vouches for it (that is not waited for: its authority was distrusted), or every third attempt of those that fail
   (a server that distrusts our certificate breaks the handshake off without a word).
4. Whatever fails is tried again after a pause with full jitter that grows up to a twentieth of the certificate's life,
   a minute at most. What is held goes on being served until it ends.
5. When `alarm_at` of its life is left and renewal still fails, every further failure is an error in the log.

The clock may be wrong in both directions: what is left of a life is never taken for more than the whole of it.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.agent.authority import Refusal
from extauthz.agent.pause import Pause
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.agent.attest import Fetch
    from extauthz.agent.authority import Authority
    from extauthz.agent.held import Held
    from extauthz.agent.settings import AgentSettings
    from extauthz.clock import Clock
    from extauthz.keys.signer import PrivateKey
    from extauthz.workload_api.identity import Identity

log = logging.getLogger(__name__)

SPREAD: Final = 0.1
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
PAUSE_WITHOUT: Final = 15.0
"""The longest pause while there is no certificate to live on."""
SHARE_OF_LIFE: Final = 20
SHORTEST: Final = 0.05
TRIES: Final = 3
LOOK: Final = 30.0
"""The longest sleep in one piece: a machine that was suspended, or whose clock was set, is noticed."""
_NOT_YOU: Final = frozenset({401, 403})


class Renewal:
    def __init__(
        self,
        settings: AgentSettings,
        authority: Authority,
        evidence: Fetch,
        held: Held,
        clock: Clock,
        *,
        pause: Pause | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._authority = authority
        self._evidence = evidence
        self._held = held
        self._clock = clock
        self._rest = pause or Pause()
        self._jitter = jitter
        self._failures = 0

    def wake(self) -> None:
        """The identity may have become worthless (`Held.outcast`)."""
        if self._held.outcast:
            self._rest.wake()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if await self._fresh():
                self._failures = 0
                await self._wait_for_renewal()
            else:
                self._failures += 1
                await self._rest.sleep(self._pause())

    async def _fresh(self) -> bool:
        """One attempt to get a new certificate; the reason of a failure is in the log."""
        identity = self._held.identity
        try:
            answer = await self._obtain(identity)
            if isinstance(answer, Refusal):
                self._failed(f"the authority refuses: {answer}")
                return False
            self._held.take(answer, renewed=identity is not None)
        except ExtauthzError as error:
            self._failed(str(error))
            return False
        return True

    async def _obtain(self, identity: Identity | None) -> Identity | Refusal:
        key = ec.generate_private_key(ec.SECP256R1())  # 1
        csr = request(key)
        if identity is not None and not self._held.outcast and self._failures % TRIES != TRIES - 1:  # 2, 3
            answer = await self._authority.renew(identity, csr, key)
            if not isinstance(answer, Refusal) or answer.status not in _NOT_YOU:
                return answer
            log.warning("the authority refuses to renew, attesting again: %s", answer)  # 3
        return await self._authority.attest(await self._evidence(), csr, key, identity)

    def _failed(self, why: str) -> None:
        self._held.failures += 1
        identity = self._held.identity
        if identity is None:
            log.error("no identity: %s", why)
            return
        left = identity.svid.not_after - self._clock.now()
        if left <= self._settings.alarm_at * self._held.lasts:  # 5
            self._held.alarm = True
            log.error("the certificate ends in %d s and cannot be renewed: %s", left, why)
        else:
            log.warning("the certificate cannot be renewed yet, %d s are left: %s", left, why)

    async def _wait_for_renewal(self) -> None:
        identity = self._held.identity
        if identity is None:
            return
        wait = self._held.lasts * self._settings.renew_at * (1 - SPREAD + 2 * SPREAD * self._jitter())
        due, due_by_clock = self._clock.monotonic() + wait, self._clock.now() + wait
        while (rest := min(due - self._clock.monotonic(), due_by_clock - self._clock.now())) > 0:
            await self._rest.sleep(min(rest, LOOK))
            if self._held.outcast:
                log.warning("our trust bundle no longer vouches for our certificate")
                return

    def _pause(self) -> float:
        identity = self._held.identity
        longest = PAUSE_WITHOUT if identity is None else min(LONGEST_PAUSE, self._held.lasts / SHARE_OF_LIFE)
        grown: float = FIRST_PAUSE * 2 ** min(self._failures - 1, 16)
        return max(SHORTEST, min(longest, grown) * self._jitter())  # 4


def request(key: PrivateKey) -> str:
    """A certificate signing request that says nothing but "this key is mine". PEM."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )

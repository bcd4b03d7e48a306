"""What the agent holds now, and who is told when it changes."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from extauthz.agent.grant import leads_to
from extauthz.sds.secrets import Material
from extauthz.workload_api.identity import to_pem

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.agent.grant import Trust
    from extauthz.clock import Clock
    from extauthz.sds.server import SecretServer
    from extauthz.workload_api.identity import Identity
    from extauthz.workload_api.server import WorkloadApi

log = logging.getLogger(__name__)


class Held:
    """One identity, from the first attestation on. `changed` is called after every change of it, also its end."""

    def __init__(self, clock: Clock, sds: SecretServer, api: WorkloadApi, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._sds = sds
        self._api = api
        self._changed = changed
        self._identity: Identity | None = None
        self._lasts = 0.0
        self._outcast = False
        self.renewals = 0
        self.failures = 0
        self.alarm = False
        """Whether the end is near and renewal fails."""

    @property
    def identity(self) -> Identity | None:
        """None before the first attestation, and once the certificate has ended."""
        identity = self._identity
        return identity if identity is not None and self._clock.now() < identity.svid.not_after else None

    @property
    def lasts(self) -> float:
        """Seconds that the certificate was good for when it came, by its own dates and by our clock."""
        return self._lasts

    @property
    def outcast(self) -> bool:
        """Whether our own trust bundle no longer vouches for our certificate: nobody will accept it."""
        return self._outcast

    def take(self, identity: Identity, *, renewed: bool) -> None:
        """A new certificate with the trust that came with it. Raises SecretsError; nothing has changed then.

        A newer trust than the one that came may have been polled while the answer was under way: it stays.
        """
        current = self.identity
        if renewed and current is not None and current.sequence > identity.sequence:
            identity = replace(identity, trust=current.trust, sequence=current.sequence)
        self._publish(identity)
        self.renewals += 1
        self.alarm = False
        svid = identity.svid
        self._lasts = min(svid.not_after - self._clock.now(), svid.not_after - svid.not_before)
        log.info("%s, serial %s, for %d s", svid.spiffe_id, svid.serial, svid.not_after - self._clock.now())

    def trust(self, trust: Trust) -> None:
        """Another version of the trust bundles. Raises SecretsError; nothing has changed then."""
        identity = self.identity
        if identity is not None and trust.sequence != identity.sequence:
            self._publish(replace(identity, trust=trust.bundles, sequence=trust.sequence))
            log.info("trust sequence %d, domains %s", trust.sequence, ", ".join(trust.bundles))

    def expire(self) -> None:
        """To be called now and then: what has ended is no longer given out by the Workload API.

        Envoy keeps what it has: nothing better could be pushed, and its peers judge the certificate's end themselves.
        """
        if self._identity is not None and self.identity is None:
            log.error("the certificate of %s has ended", self._identity.svid.spiffe_id)
            self._identity = None
            self._api.publish(None)
            self._changed()

    def acknowledged(self) -> int:
        """The trust sequence that everybody connected here has in force; with nobody connected, our own."""
        found = [one for one in (self._sds.acknowledged(), self._api.acknowledged()) if one is not None]
        identity = self.identity
        return min([*found, identity.sequence if identity else 0])

    def _publish(self, identity: Identity) -> None:
        svid = identity.svid
        trust = {name: to_pem(bundle.authorities) for name, bundle in identity.trust.items()}
        self._sds.publish(Material(svid.spiffe_id, svid.chain_pem(), svid.key_pem(), trust, identity.sequence))
        self._api.publish(identity)
        self._identity = identity
        own = identity.trust.get(svid.trust_domain)
        self._outcast = own is None or not leads_to(svid, own.authorities, self._clock.now())
        self._changed()

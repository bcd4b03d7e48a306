"""The attestors of one authority, by name, and the one door to them.

1. the evidence is bounded before anything looks at it
2. the attestor is one that is configured
3. what it vouches for is still good now
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.attestation.attestor import MAX_EVIDENCE, Attested
from extauthz.attestation.instance import InstanceAttestor
from extauthz.attestation.join_token import JoinTokenAttestor
from extauthz.attestation.kubernetes import KubernetesAttestor
from extauthz.attestation.oidc import OidcAttestor
from extauthz.attestation.refusal import Refused
from extauthz.attestation.settings import InstanceSettings, JoinTokenSettings, KubernetesSettings
from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    import httpx

    from extauthz.attestation.attestor import Attestor
    from extauthz.attestation.settings import AttestationSettings, AttestorSettings
    from extauthz.clock import Clock
    from extauthz.store.store import Store


class Attestors:
    """Reads the files that the settings name: raises ConfigError. `transport` stands for the network in tests."""

    def __init__(
        self,
        settings: AttestationSettings,
        *,
        store: Store,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._transport = transport
        self._attestors = {entry.name: self._build(entry) for entry in settings.attestors}

    def start(self) -> None:
        """Begins to fetch keys in the background; does not wait."""
        for attestor in self._attestors.values():
            attestor.start()

    async def close(self) -> None:
        """Ends what `start` began."""
        for attestor in self._attestors.values():
            await attestor.close()

    async def attest(self, name: str, evidence: str) -> Attested | Refused:
        """Raises StoreError when the store cannot say whether the evidence was used: nothing may be issued then."""
        if len(evidence) > MAX_EVIDENCE:  # 1
            return Refused("attestation.too_large", f"{len(evidence)} characters")
        attestor = self._attestors.get(name)
        if attestor is None:  # 2
            return Refused("attestation.attestor_unknown", f"known: {', '.join(sorted(self._attestors))}")
        found = await attestor.attest(evidence)
        if isinstance(found, Attested) and self._clock.now() >= found.expires_at:  # 3
            return Refused("attestation.expired")
        return found

    async def issue_join_token(
        self, entry: str, ttl: float, *, attestor: str = "join_token", instance: str = ""
    ) -> str:
        """A one-time token for the registration entry of this name; `ttl` in seconds. The caller has checked that the
        entry is there; `instance` is the operator's word. Raises ConfigError when no such attestor is configured, and
        StoreError."""
        found = self._attestors.get(attestor)
        if not isinstance(found, JoinTokenAttestor):
            problem = f"no attestor of kind join_token is called {attestor}"
            raise ConfigError((ConfigProblem("", 0, "authority.attestation.attestors", problem, "configure one"),))
        return await found.issue(entry, ttl, instance)

    def _build(self, settings: AttestorSettings) -> Attestor:
        if isinstance(settings, JoinTokenSettings):
            return JoinTokenAttestor(settings, self._store, self._clock)
        if isinstance(settings, InstanceSettings):
            return InstanceAttestor(settings, self._store, self._clock)
        if isinstance(settings, KubernetesSettings):
            return KubernetesAttestor(settings, self._store, self._clock, self._transport)
        return OidcAttestor(settings, self._store, self._clock, self._transport)

"""The zones of the platform, and how each one is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TRUST_DOMAIN: Final = "bank.example"
ENVIRONMENT: Final = "prod"


def spiffe_id(namespace: str, service: str, environment: str = ENVIRONMENT, trust_domain: str = TRUST_DOMAIN) -> str:
    return f"spiffe://{trust_domain}/env/{environment}/ns/{namespace}/sa/{service}"


@dataclass(frozen=True, slots=True)
class Zone:
    """`service` is the workload that runs there, `next` the zone that it calls (empty: none)."""

    name: str
    service: str
    next: str = ""

    @property
    def id(self) -> str:
        """SPIFFE ID of the zone's workload; its Envoy carries it."""
        return spiffe_id(self.name, self.service)

    @property
    def host(self) -> str:
        return f"{self.name}.{TRUST_DOMAIN}"

    @property
    def audience(self) -> str:
        """The `aud` of tokens that this zone accepts."""
        return f"https://{self.host}"


EDGE: Final = Zone("edge", "gateway", next="orchestration")
ORCHESTRATION: Final = Zone("orchestration", "orchestrator", next="model")
MODEL: Final = Zone("model", "fraud-scorer", next="storage")
STORAGE: Final = Zone("storage", "feature-store")
ZONES: Final = (EDGE, ORCHESTRATION, MODEL, STORAGE)
BY_NAME: Final = {zone.name: zone for zone in ZONES}

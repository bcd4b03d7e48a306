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
    """`kind` names the Envoy configuration and the SPIFFE namespace, `service` the workload that runs there."""

    kind: str
    service: str
    next: str = ""
    """The zone that the service calls; empty: none."""
    environment: str = ENVIRONMENT

    @property
    def name(self) -> str:
        return self.kind if self.environment == ENVIRONMENT else f"{self.kind}-{self.environment}"

    @property
    def id(self) -> str:
        """SPIFFE ID of the zone's workload; its Envoy carries it."""
        return spiffe_id(self.kind, self.service, self.environment)

    @property
    def host(self) -> str:
        return f"{self.kind}.{TRUST_DOMAIN}"

    @property
    def audience(self) -> str:
        """The `aud` of tokens that this zone accepts."""
        return f"https://{self.name}.{TRUST_DOMAIN}"


EDGE: Final = Zone("edge", "gateway", next="orchestration")
ORCHESTRATION: Final = Zone("orchestration", "orchestrator", next="model")
MODEL: Final = Zone("model", "fraud-scorer", next="storage")
STORAGE: Final = Zone("storage", "feature-store")
STAGING: Final = Zone("storage", "feature-store", environment="staging")
"""A second storage zone, in an environment of low trust, over the same feature store."""
ZONES: Final = (EDGE, ORCHESTRATION, MODEL, STORAGE, STAGING)
BY_NAME: Final = {zone.name: zone for zone in ZONES}

EXPLANATION: Final = f"https://risk-explanation.{TRUST_DOMAIN}"
"""Audience of the model zone's second service: a token for scoring explains nothing."""
ADMINISTRATION: Final = f"https://administration.{TRUST_DOMAIN}"
"""Audience of what administrators change at the edge; its tokens are opaque."""
RETRAINER: Final = spiffe_id("training", "retrainer")
"""A batch workload that acts in its own name."""

"""How long certificates, tokens and the keys that sign them live, and how one key follows another."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Literal, Self

from pydantic import Field, model_validator

from extauthz.authn.settings import TrustDomainName  # noqa: TC001 - pydantic reads it at run time
from extauthz.keys.signer import KeyAlgorithm  # noqa: TC001 - pydantic reads it at run time
from extauthz.settings import Duration, Settings


class CaSettings(Settings):
    """The certificate authority: what it issues, when its own certificate is replaced, whom else it trusts."""

    algorithm: Literal["ES256", "ES384", "RS256"] = "ES256"
    """Kind of the CA keys that are made from now on. TLS libraries, Envoy's among them, take no EdDSA from a CA."""
    lifetime: Duration = Field(default="7d", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Life of a CA certificate."""
    rotate_after: Duration | None = None
    """Age of the active CA at which its successor is made. Absent: half of its lifetime."""
    publish_for: Duration = Field(default="5m", ge=0)  # type: ignore[assignment]  # parsed by the unit
    """Shortest time that a new CA is in the trust bundle before it signs; also the bundle's refresh hint."""
    acknowledge_within: Duration = Field(default="1h", ge=0)  # type: ignore[assignment]  # parsed by the unit
    """Longest wait for connected agents to acknowledge a new CA; after it, the CA signs whoever is missing."""
    agent_seen_within: Duration = Field(default="2m", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """An agent that has not asked for so long is not connected: nobody waits for it."""
    svid_ttl: Duration = Field(default="1h", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Life of an X.509-SVID whose registration entry names none."""
    max_svid_ttl: Duration = Field(default="24h", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Longest life that a registration entry may ask for. A retired CA stays trusted for so long."""
    fallback_anchors: Path | None = None
    """PEM file with further CA certificates of this trust domain, read again when it changes."""
    federated: dict[TrustDomainName, Path] = Field(default_factory=dict)
    """Other trust domains: a file with the SPIFFE bundle (JWKS form) of each, read again when it changes."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.svid_ttl > self.max_svid_ttl:
            raise ValueError("svid_ttl is longer than max_svid_ttl")
        if self.publish_for > self.acknowledge_within:
            raise ValueError("publish_for is longer than acknowledge_within")
        if self.rotation_age + 2 * self.acknowledge_within + self.svid_ttl > self.lifetime:
            raise ValueError("lifetime is too short: rotate_after + 2 × acknowledge_within + svid_ttl must fit into it")
        return self

    @property
    def rotation_age(self) -> float:
        """Seconds."""
        return self.lifetime / 2 if self.rotate_after is None else self.rotate_after


class SigningSettings(Settings):
    """The keys that sign tokens."""

    algorithm: KeyAlgorithm = "ES256"
    """Kind of the keys that are made from now on; the `alg` of our tokens."""
    rotate_after: Duration = Field(default="24h", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Age of the active key at which its successor is made."""
    publish_for: Duration = Field(default="15m", ge=0)  # type: ignore[assignment]  # parsed by the unit
    """How long a new key is in the JWKS before it signs: longer than any reader's refresh."""
    longest_token: Duration = Field(default="1h", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """No token lives longer. A retired key stays in the JWKS for so long; so do replaced certificates in new ones."""
    jwt_svid_ttl: Duration = Field(default="5m", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Life of a JWT-SVID."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.jwt_svid_ttl > self.longest_token:
            raise ValueError("jwt_svid_ttl is longer than longest_token")
        return self

"""Who asks: tokens of a test issuer and certificates of a test authority, both with real keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from extauthz.clock import SystemClock
from extauthz.demo.dev_ca import DevCa, Identity
from extauthz.demo.tokens import LIFETIME, Mint
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.authn.settings import IssuerSettings
    from extauthz.clock import Clock

_SCHEME: Final = "spiffe://"


@dataclass(frozen=True, slots=True)
class Peer:
    """A workload: its SPIFFE ID, and a certificate with its key."""

    id: str
    identity: Identity = field(repr=False)

    @property
    def envoy(self) -> str:
        """The certificate as Envoy sends it: PEM, percent-encoded."""
        return quote(self.identity.certificate.decode(), safe="")


@dataclass(slots=True)
class Credentials:
    """The issuers and trust domains of one configuration, each with a key of these tests."""

    issuers: Mapping[str, IssuerSettings]
    """By the name that routes use."""
    mints: Mapping[str, Mint]
    """By the same name."""
    authorities: dict[str, DevCa]
    """By trust domain."""
    clock: Clock = field(default_factory=SystemClock)
    _peers: dict[str, Peer] = field(default_factory=dict)
    _claims: dict[str, dict[str, Any]] = field(default_factory=dict)

    def token(
        self,
        subject: str,
        *,
        audience: str,
        issuer: str = "",
        lifetime: float = LIFETIME,
        bound_to: Peer | None = None,
        header: Mapping[str, Any] | None = None,
        claims: Mapping[str, Any],
    ) -> str:
        """A signed access token. Raises ExtauthzError for an issuer that the configuration does not name."""
        name = issuer or self._only_issuer()
        if name not in self.mints:
            raise ExtauthzError(f"no issuer is called {name!r}; extauthz.yaml has: {_list(self.mints)}")
        kind = self.issuers[name].types[0]
        body: dict[str, Any] = {"sub": subject, "aud": audience, "client_id": "tests"}
        if bound_to is not None:
            body["cnf"] = {"x5t#S256": bound_to.identity.sha256}
        body |= claims
        head = {"typ": None if kind == "absent" else kind, **(header or {})}
        token = self.mints[name].sign(body, lifetime=lifetime, header=head)
        self._claims[token] = {"iss": self.mints[name].issuer, **body, "lifetime": f"{lifetime:g}s"}
        return token

    def peer(self, spiffe_id: str, lifetime: float | None = None) -> Peer:
        """A workload's certificate, the same one each time unless `lifetime` (seconds) is given.

        A trust domain that the configuration does not name gets an authority that the server does not trust.
        """
        domain, _, path = spiffe_id.removeprefix(_SCHEME).partition("/")
        if not spiffe_id.startswith(_SCHEME) or not domain or not path:
            raise ExtauthzError(f"{spiffe_id!r} is not the SPIFFE ID of a workload: spiffe://bank.example/ns/batch")
        if lifetime is None and spiffe_id in self._peers:
            return self._peers[spiffe_id]
        authority = self.authorities.setdefault(domain, DevCa(domain, self.clock))
        if lifetime is not None:
            return Peer(spiffe_id, authority.svid(spiffe_id, lifetime=lifetime))
        return self._peers.setdefault(spiffe_id, Peer(spiffe_id, authority.svid(spiffe_id)))

    def claims(self, token: str) -> Mapping[str, Any] | None:
        """The claims of a token that was minted here."""
        return self._claims.get(token)

    def _only_issuer(self) -> str:
        if len(self.mints) != 1:
            raise ExtauthzError(f"say which issuer signs: token(…, issuer=…); extauthz.yaml has: {_list(self.mints)}")
        return next(iter(self.mints))


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(names) or "none"

"""What is compared: each variant is a virtual host of the one front Envoy, and the server that it asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Native = Literal["", "cached", "verify"]


@dataclass(frozen=True, slots=True)
class Server:
    """One `extauthz serve` of its own, so that no variant finds another's cache warm."""

    name: str
    transport: Literal["envoy", "grpcio"]
    engine: Literal["sidecar", "embedded"] = "sidecar"
    caches: bool = True
    """False: the decision cache is off, and the token cache as small as it can be."""
    null: bool = False
    """True: bytes in, the same bytes out; nothing is parsed, verified or decided."""
    admission: bool | None = None
    """Whether load is shed, on one route for each criticality; None: as it comes, on one route."""


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    what: str
    server: Server | None = None
    native: Native = ""
    fresh: bool = False
    """True: no token is sent twice. False: 100 tokens of 100 users take turns."""
    mtls: bool = False
    """True: the client shows an X.509-SVID, which Envoy sends along and the server judges."""
    route: str = "create-transfer"
    """The route that Envoy names."""

    @property
    def authorizes(self) -> bool:
        """False for the limits, which let everything through."""
        return bool(self.native) or (self.server is not None and not self.server.null)

    @property
    def host(self) -> str:
        return f"{self.name}.bench"


NULL_ENVOY: Final = Server("null-envoy", "envoy", null=True)
NULL_GRPCIO: Final = Server("null-grpcio", "grpcio", null=True)
WARM_ENVOY: Final = Server("warm-envoy", "envoy")
WARM_GRPCIO: Final = Server("warm-grpcio", "grpcio")
FRESH_ENVOY: Final = Server("fresh-envoy", "envoy")
UNCACHED_SIDECAR: Final = Server("uncached-sidecar", "envoy", caches=False)
UNCACHED_EMBEDDED: Final = Server("uncached-embedded", "envoy", engine="embedded", caches=False)

VARIANTS: Final = (
    Variant("no-authz", "no authorization (limit)"),
    Variant("native-cached", "Envoy's jwt_authn + rbac, jwt_cache_config", native="cached"),
    Variant("native-verify", "Envoy's jwt_authn + rbac, verifying each", native="verify"),
    Variant("null-envoy", "Envoy-hosted transport, null handler (limit)", NULL_ENVOY),
    Variant("warm-envoy", "extauthz, Envoy-hosted, warm", WARM_ENVOY),
    Variant("warm-envoy-mtls", "the same over mTLS, peer certificate judged", WARM_ENVOY, mtls=True),
    Variant("fresh-envoy", "extauthz, Envoy-hosted, new token each request", FRESH_ENVOY, fresh=True),
    Variant("null-grpcio", "grpcio transport, null handler (limit)", NULL_GRPCIO),
    Variant("warm-grpcio", "extauthz, grpcio, warm", WARM_GRPCIO),
    Variant("uncached-sidecar", "every cache off, OPA sidecar", UNCACHED_SIDECAR, fresh=True),
    Variant("uncached-embedded", "every cache off, embedded OPA", UNCACHED_EMBEDDED, fresh=True),
)
BY_NAME: Final = {variant.name: variant for variant in VARIANTS}


def select(names: Iterable[str]) -> tuple[Variant, ...]:
    """The named variants in their order above; none named: all. Raises KeyError with the unknown name."""
    wanted = list(names)
    for name in wanted:
        BY_NAME[name]
    return tuple(variant for variant in VARIANTS if not wanted or variant.name in wanted)


def servers(variants: Iterable[Variant]) -> tuple[Server, ...]:
    return tuple(dict.fromkeys(variant.server for variant in variants if variant.server is not None))

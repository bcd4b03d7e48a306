"""Bearer tokens of every kind, by a route's rule: JWTs are verified here, opaque ones by asking their issuer.

| `introspect` | a JWT (two dots) | anything else |
| --- | --- | --- |
| `never` | verified here | refused |
| `opaque` | verified here | the one issuer of the rule that answers questions is asked |
| `always` | verified here, then its issuer is asked as well | as `opaque` |

A token with the form of a JWT is never sent to an issuer before its signature, issuer and claims are good.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, Protocol, Self

from extauthz.authn.held import Verified
from extauthz.authn.introspection import Introspector
from extauthz.errors import ConfigError, ConfigProblem
from extauthz.model import Deny, deny

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from extauthz.authn.introspection import Asked
    from extauthz.authn.introspection_client import Send
    from extauthz.authn.revocation import Revocations
    from extauthz.authn.settings import IssuerSettings, TokenRule
    from extauthz.authn.tokens import TokenVerifier
    from extauthz.clock import Clock
    from extauthz.endpoint import Endpoint
    from extauthz.model import Workload
    from extauthz.tasks import Tasks

_DOTS: Final = 2
"""In a compact JWS (RFC 7515 section 3.1)."""


class BearerTokens(Protocol):
    """What judges a bearer token by a rule."""

    async def verify(
        self, token: str, rule: TokenRule, workload: Workload | None, deadline: float = inf
    ) -> Verified | Deny:
        """`deadline`: monotonic seconds."""


class BearerVerifier:
    """Implements BearerTokens over both ways."""

    __slots__ = ("_by_iss", "_by_name", "_jwts", "_of_opaque")

    def __init__(self, jwts: TokenVerifier, introspectors: Iterable[Introspector] = ()) -> None:
        self._jwts = jwts
        self._by_name = {asked.issuer.name: asked for asked in introspectors}
        self._by_iss = {asked.issuer.issuer: asked for asked in self._by_name.values()}
        self._of_opaque: dict[tuple[str, ...], Introspector | None] = {}

    @classmethod
    def of(
        cls,
        issuers: Iterable[IssuerSettings],
        jwts: TokenVerifier,
        revocations: Revocations,
        clock: Clock,
        tasks: Tasks,
        *,
        send: Send,
        own: Send | None,
        asked: Asked,
        endpoint: Callable[[str, float], Endpoint] | None = None,
    ) -> Self:
        """`send` calls with nothing but a client secret, `own` (None: there is none) with the server's certificate.
        `endpoint` makes what watches over an issuer that is asked, by its name and its timeout.

        Raises ConfigError.
        """
        introspectors = []
        for issuer in issuers:
            if issuer.introspection is None:
                continue
            way = own if issuer.introspection.client == "mtls" else send
            if way is None:
                problem = f"issuer {issuer.name}: `client: mtls` needs a certificate of the server's own"
                raise ConfigError((ConfigProblem("", 0, "issuers", problem, "configure `identity`"),))
            watched = None if endpoint is None else endpoint(issuer.name, issuer.introspection.timeout)
            introspectors.append(Introspector(issuer, way, revocations, clock, tasks, asked, watched))
        return cls(jwts, introspectors)

    @property
    def entries(self) -> int:
        """Verified JWTs that are kept now."""
        return self._jwts.entries

    def cached(self, token: str, rule: TokenRule, workload: Workload | None) -> Verified | Deny | None:
        """What is known of this token under this rule, without suspending; None: ask `verify`."""
        if rule.introspect == "never":
            return self._jwts.cached(token, rule, workload)
        if token.count(".") != _DOTS:
            asked = self._opaque(rule)
            return None if asked is None else asked.cached(token, rule, workload)
        local = self._jwts.cached(token, rule, workload)
        if rule.introspect == "opaque" or not isinstance(local, Verified):
            return local
        asked = self._by_iss.get(local.subject.issuer)
        return None if asked is None else asked.cached(token, rule, workload, local.accepted)

    async def verify(
        self, token: str, rule: TokenRule, workload: Workload | None, deadline: float = inf
    ) -> Verified | Deny:
        """Who the token speaks for, or why it is refused.

        `deadline` (monotonic) bounds the wait for an issuer's answer; the wait for its keys is the caller's to bound.
        """
        if rule.introspect != "never" and token.count(".") != _DOTS:
            asked = self._opaque(rule)
            if asked is None:
                return deny("token.malformed", "an opaque token, and no one issuer that the route could ask")
            return await asked.verify(token, rule, workload, deadline)
        local = await self._jwts.verify(token, rule, workload)
        if rule.introspect != "always" or isinstance(local, Deny):
            return local
        asked = self._by_iss.get(local.subject.issuer)
        if asked is None:
            return deny("engine.introspection_unavailable", "the token's issuer has no introspection")
        return await asked.verify(token, rule, workload, deadline, local.accepted)

    def _opaque(self, rule: TokenRule) -> Introspector | None:
        """An opaque token does not say whose it is: it is shown to an issuer only where there is no choice."""
        if rule.issuers not in self._of_opaque:
            able = [self._by_name[name] for name in rule.issuers if name in self._by_name]
            self._of_opaque[rule.issuers] = able[0] if len(able) == 1 else None
        return self._of_opaque[rule.issuers]

"""Step 4 of a Check: the credential becomes a subject.

| `credential` | what came | who judges it |
| --- | --- | --- |
| `jwt` | `Authorization: Bearer …` or `Txn-Token: …`, a JWT or, where the rule lets it, opaque | `authn.bearer` |
| `api_key` | `x-api-key` | `authn.api_key` |
| `workload` | the peer's certificate, verified in step 3 | nobody again |
| `none` | nothing is asked for | |

Exactly the kind that the route names is looked at: no credential stands in for another. What is cached is answered
without suspending.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from extauthz.authn.extract import carried
from extauthz.authn.tokens import digest
from extauthz.authn.workload import subject_of
from extauthz.check.budget import until
from extauthz.model import Deny, Subject, deny

if TYPE_CHECKING:
    from extauthz.authn.api_key import ApiKeys
    from extauthz.authn.bearer import BearerVerifier
    from extauthz.authn.settings import TokenRule
    from extauthz.check.routes import RouteSettings
    from extauthz.clock import Clock
    from extauthz.model import Request, Workload
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.trail import Trail


def presented(request: Request, route: RouteSettings) -> Subject | None:
    """What is known of a token that nobody has verified: its digest alone."""
    token = None if route.token is None else carried(request, route.token)
    return Subject("", "", "opaque", digest=digest(token).hex()[:16]) if isinstance(token, str) else None


class CredentialStage:
    def __init__(self, tokens: BearerVerifier, api_keys: ApiKeys, clock: Clock, metrics: Metrics) -> None:
        self._tokens = tokens
        self._api_keys = api_keys
        self._clock = clock
        self._metrics = metrics

    async def verify(
        self,
        request: Request,
        route: RouteSettings,
        workload: Workload | None,
        deadline: float,
        trail: Trail,
        part: float = 1.0,
    ) -> Subject | Deny | None:
        """Who asks, why they are refused, or None where the route asks for no credential.

        `deadline`: monotonic seconds; `part`: how much of the time until then the credential may wait (`budget`).
        Raises TimeoutError when it passes while an issuer's keys are fetched.
        """
        rule = route.token
        if rule is not None:
            return await self._token(request, rule, workload, deadline, trail, part)
        if route.credential == "api_key":
            return self._api_keys.verify(request, route.name)
        if route.credential == "workload":
            return deny("workload.missing") if workload is None else subject_of(workload)
        return None

    async def _token(
        self,
        request: Request,
        rule: TokenRule,
        workload: Workload | None,
        deadline: float,
        trail: Trail,
        part: float,
    ) -> Subject | Deny:
        token = carried(request, rule)
        if token is None:
            return deny("token.missing")
        if isinstance(token, Deny):
            return token
        verified = self._tokens.cached(token, rule, workload)
        if verified is None:
            now = self._clock.monotonic()
            deadline = until(now, deadline, part)
            async with asyncio.timeout(deadline - now):
                verified = await self._tokens.verify(token, rule, workload, deadline)
        if isinstance(verified, Deny):
            return verified
        trail.token_cached = verified.cached
        if verified.upstream_seconds:
            self._metrics.upstream("jwks", verified.upstream_seconds)
        return verified.subject

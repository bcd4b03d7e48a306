"""OIDC federation: a workload of another platform shows the token that its OpenID provider gave it.

1. the token is verified as a token of this provider, for our audience, young enough (`platform_token`)
2. every claim that the settings require is a text that one of its patterns covers
3. it has not been used

A pattern is no regular expression: `*` stands for one or more characters other than `/` and `:`, so that
`repo:bank/*` covers neither `repo:bank/a/b` nor `repo:bank/a:ref`, and `repo:bank*` not `repo:bank/a`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from extauthz.attestation import used
from extauthz.attestation.attestor import Attested, selector
from extauthz.attestation.platform_token import PlatformTokens
from extauthz.attestation.refusal import Refused

if TYPE_CHECKING:
    import httpx

    from extauthz.attestation.settings import OidcSettings
    from extauthz.clock import Clock
    from extauthz.store.store import Store

_PARTS: Final = re.compile(r"([/:])")


class OidcAttestor:
    kind: Final = "oidc"

    def __init__(
        self,
        settings: OidcSettings,
        store: Store,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._store = store
        self._tokens = PlatformTokens(settings, clock, transport)

    async def attest(self, evidence: str) -> Attested | Refused:
        vouched = await self._tokens.verify(evidence)  # 1
        if isinstance(vouched, Refused):
            return vouched
        settings, subject = self._settings, vouched.subject
        said: dict[str, object] = {name: subject.claims.get(f"claim.{name}") for name in settings.selectors}
        for name, patterns in settings.require.items():  # 2
            value = said[name] = subject.claims.get(f"claim.{name}")
            if not isinstance(value, str):
                return Refused("attestation.claims", f"{name} is missing or no text")
            if not any(covers(pattern, value) for pattern in patterns):
                return Refused("attestation.not_allowed", f"the claim {name}")
        said |= {"iss": subject.issuer, "sub": subject.id}
        selectors = {name: selector("oidc", name, value) for name, value in said.items() if value is not None}
        if unusable := sorted(name for name, text in selectors.items() if text is None):
            return Refused("attestation.claims", f"no plain text: {', '.join(unusable)}")
        if settings.once:  # 3
            refused = await used.use(self._store, vouched.evidence_id, vouched.expires_at, self.name)
            if refused is not None:
                return refused
        found = frozenset(text for text in selectors.values() if text is not None)
        return Attested(self.name, found, vouched.evidence_id, vouched.expires_at)

    def start(self) -> None:
        self._tokens.start()

    async def close(self) -> None:
        await self._tokens.close()


def covers(pattern: str, value: str) -> bool:
    """In linear time: both are split at `/` and `:`, and each part holds at most one `*`."""
    wanted, given = _PARTS.split(pattern), _PARTS.split(value)
    return len(wanted) == len(given) and all(map(_part, wanted, given))


def _part(wanted: str, given: str) -> bool:
    before, star, after = wanted.partition("*")
    if not star:
        return wanted == given
    return len(given) > len(before) + len(after) and given.startswith(before) and given.endswith(after)

"""Tokens that are not made of other tokens: a workload's own, and the development sign-in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from extauthz.sts.answers import Issued, Refused
from extauthz.sts.form import one
from extauthz.sts.mint import Grant
from extauthz.sts.permission import permitted
from extauthz.sts.request import wanted

if TYPE_CHECKING:
    from extauthz.clock import Clock
    from extauthz.sts.form import Form
    from extauthz.sts.interfaces import Client, Policy
    from extauthz.sts.mint import Mint
    from extauthz.sts.settings import DevelopmentSettings, StsSettings

_TIME: Final = re.compile(r"[1-9][0-9]{0,10}")


class ClientCredentials:
    """A workload's own access token (RFC 6749 section 4.4), bound to its certificate."""

    def __init__(self, settings: StsSettings, mint: Mint, policy: Policy, clock: Clock) -> None:
        self._settings = settings
        self._mint = mint
        self._policy = policy
        self._clock = clock

    async def issue(self, client: Client, form: Form) -> Issued | Refused:
        """Raises ExtauthzError; then nothing was issued.

        1. one target, which the client's registration names
        2. scopes and purpose that its registration names; none asked for, none given
        3. the policy allows it
        4. the token is made and its record kept
        """
        asked = wanted(form)
        if isinstance(asked, Refused):
            return asked
        if asked.audience not in client.exchange_to:  # 1
            return Refused("invalid_target", "this workload may not have tokens for this audience", "exchange.target")
        scopes = asked.scopes or frozenset()
        if not scopes <= client.scopes:  # 2
            return Refused("invalid_scope", "this workload is not registered for this scope", "exchange.scope")
        if asked.purpose and asked.purpose not in client.purposes:  # 2
            return Refused("invalid_request", "this workload is not registered for this purpose", "exchange.purpose")
        now = int(self._clock.now())
        grant = Grant(
            subject=client.spiffe_id,
            subject_type="workload",
            client_id=client.spiffe_id,
            audience=asked.audience,
            scopes=scopes,
            purpose=asked.purpose,
            expires=now + int(min(self._settings.lifetime, asked.lifetime or self._settings.lifetime)),
            carried={"tenant": client.tenant} if client.tenant and "tenant" in self._settings.carried else {},
            certificate_sha256=client.certificate_sha256,
        )
        allowed = await permitted(self._policy, client, grant, dict(grant.carried), "token.issue")  # 3
        if isinstance(allowed, Refused):
            return allowed
        return await self._mint.issue(grant, "token.issued", {"grant": "client_credentials", **allowed})  # 4


class SignIn:
    """The development sign-in: a name is enough. `acr` and `auth_time` (seconds) play a stronger or an older one."""

    def __init__(self, settings: DevelopmentSettings, mint: Mint, clock: Clock) -> None:
        self._settings = settings
        self._mint = mint
        self._clock = clock

    async def issue(  # noqa: PLR0911 - one return a refusal, numbered
        self, client: Client | None, form: Form, *, local: bool
    ) -> Issued | Refused:
        """Raises ExtauthzError; then nothing was issued. `local`: the caller is on this machine.

        1. the caller is on this machine, or the settings let others in
        2. the user is listed
        3. audience, scopes, purpose and strength of sign-in are the user's; `auth_time` is not in the future
        4. the token is made and its record kept; it is bound where the caller showed an SVID
        """
        if not local and not self._settings.from_anywhere:  # 1
            return Refused("unauthorized_client", "the development sign-in is for this machine only", "sign_in.remote")
        user = self._settings.users.get(one(form, "username"))
        if user is None:  # 2
            return Refused("invalid_grant", "no such development user", "sign_in.user")
        asked = wanted(form)
        if isinstance(asked, Refused):
            return asked
        purpose = asked.purpose or next(iter(user.purposes), "")
        scopes = frozenset(user.scopes) if asked.scopes is None else asked.scopes
        acr = one(form, "acr") or next(iter(user.acr), "")
        now = int(self._clock.now())
        auth_time = one(form, "auth_time")
        if asked.audience not in user.audiences:  # 3
            return Refused("invalid_target", "the user has no access to this audience", "exchange.target")
        if not scopes <= set(user.scopes):  # 3
            return Refused("invalid_scope", "the user does not have this scope", "exchange.scope")
        if (purpose and purpose not in user.purposes) or (acr and acr not in user.acr):  # 3
            return Refused("invalid_request", "the user does not have this purpose or acr", "sign_in.user")
        if auth_time and (not _TIME.fullmatch(auth_time) or int(auth_time) > now):  # 3
            return Refused("invalid_request", "auth_time is no time in the past", "sign_in.user")
        grant = Grant(
            subject=one(form, "username"),
            subject_type="user",
            client_id=client.spiffe_id if client else "development",
            audience=asked.audience,
            scopes=scopes,
            purpose=purpose,
            expires=now + int(min(self._settings.lifetime, asked.lifetime or self._settings.lifetime)),
            carried={**user.claims, "acr": acr, "auth_time": int(auth_time or now)},
            certificate_sha256=client.certificate_sha256 if client else "",
        )
        return await self._mint.issue(grant, "token.issued", {"grant": "development"})  # 4

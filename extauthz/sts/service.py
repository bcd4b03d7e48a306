"""The token service as a whole, transport-free: a client and a form in, an answer out. The authority makes one."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import ExtauthzError
from extauthz.sts.answers import CLIENT_CREDENTIALS, EXCHANGE, SIGN_IN, Issued, Refused
from extauthz.sts.events import Events
from extauthz.sts.exchange import Exchange
from extauthz.sts.form import one
from extauthz.sts.grants import ClientCredentials, SignIn
from extauthz.sts.introspection import Introspection
from extauthz.sts.lattice import Lattice
from extauthz.sts.metadata import metadata
from extauthz.sts.mint import Mint, TooLarge
from extauthz.sts.opaque import OpaqueTokens, is_opaque
from extauthz.sts.revocation import Revoker
from extauthz.sts.subject import Tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from extauthz.clock import Clock
    from extauthz.keys.signer import TokenSigner
    from extauthz.store.store import Store
    from extauthz.sts.events import EventRefused
    from extauthz.sts.form import Form
    from extauthz.sts.interfaces import Audit, Client, Policy, Revocations
    from extauthz.sts.settings import StsSettings
    from extauthz.sts.signed import Keys

_TOLD: Final = frozenset({EXCHANGE, CLIENT_CREDENTIALS, SIGN_IN, "revocation"})
MAX_TOLD: Final = 256
log = logging.getLogger(__name__)
UNAUTHENTICATED: Final = Refused("invalid_client", "show the certificate of a registered workload", "client.missing")
REVOKED: Final = Refused("invalid_client", "the workload has been revoked", "workload.revoked")
UNAVAILABLE: Final = Refused("temporarily_unavailable", "nothing can be issued at the moment; retry")


class TokenService:
    """`subject_keys` and `transmitter_keys` give the keys of a subject issuer and of a transmitter by their `name`
    (`authn.keys.KeyStore.source`). `random` gives that many unpredictable bytes."""

    def __init__(
        self,
        settings: StsSettings,
        *,
        signer: TokenSigner,
        store: Store,
        revocations: Revocations,
        policy: Policy,
        audit: Audit,
        clock: Clock,
        subject_keys: Callable[[str], Keys],
        transmitter_keys: Callable[[str], Keys],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        opaque = OpaqueTokens(store, random)
        sources = {entry.name: subject_keys(entry.name) for entry in settings.subject_issuers}
        tokens = Tokens(settings, signer, opaque, revocations, clock, sources)
        mint = Mint(settings, signer, opaque, audit, clock, random)
        self._signer = signer
        self._revocations = revocations
        self._audit = audit
        self._exchange = Exchange(settings, Lattice(settings.purposes), tokens, mint, policy, clock)
        self._credentials = ClientCredentials(settings, mint, policy, clock)
        self._sign_in = None if settings.development is None else SignIn(settings.development, mint, clock)
        self._introspection = Introspection(tokens, clock)
        self._revoker = Revoker(settings, tokens, opaque, revocations, audit, clock)
        self.events = Events(settings, store, revocations, audit, clock, transmitter_keys)
        self.metadata: Mapping[str, Any] = metadata(settings)
        if self._sign_in is not None:
            log.warning("DEVELOPMENT SIGN-IN IS ON: whoever reaches the token endpoint can be any configured user")

    def jwks(self) -> dict[str, Any]:
        """Every published key (RFC 7517)."""
        return self._signer.jwks()

    async def token(self, client: Client | None, form: Form, *, local: bool = False) -> Issued | Refused:
        """The token endpoint. `local`: the caller is on this machine. Raises nothing.

        1. the grant is one of ours
        2. the client is a registered workload that has not been revoked; only the development sign-in takes others
        3. the grant's own steps
        4. what could not be asked or recorded refuses; a refusal leaves its own record
        """
        grant = one(form, "grant_type")
        try:
            answer = await self._grant(grant, client, form, local=local)
        except TooLarge as error:
            answer = Refused("invalid_request", str(error), "exchange.too_large")
        except ExtauthzError as error:  # 4
            log.error("nothing was issued: %s: %s", type(error).__name__, error)  # noqa: TRY400 - the text says all
            answer = UNAVAILABLE
        if isinstance(answer, Refused):
            await self._refused(grant, client, form, answer)
        return answer

    async def _grant(self, grant: str, client: Client | None, form: Form, *, local: bool) -> Issued | Refused:
        if grant == SIGN_IN and self._sign_in is not None:
            return await self._sign_in.issue(client, form, local=local)
        known: dict[str, Callable[[Client, Form], Awaitable[Issued | Refused]]] = {
            EXCHANGE: self._exchange.exchange,
            CLIENT_CREDENTIALS: self._credentials.issue,
        }
        issue = known.get(grant)
        if issue is None:  # 1
            return Refused("unsupported_grant_type", "this grant is not supported", "grant.unknown")
        admitted = await self._admit(client, form)  # 2
        return admitted if isinstance(admitted, Refused) else await issue(admitted, form)  # 3

    async def introspect(self, client: Client | None, form: Form) -> Mapping[str, Any] | Refused:
        """The introspection endpoint. Raises ExtauthzError when a token cannot be judged."""
        admitted = await self._admit(client, form)
        return admitted if isinstance(admitted, Refused) else await self._introspection.answer(admitted, form)

    async def revoke(self, client: Client | None, form: Form) -> Refused | None:
        """The revocation endpoint; None is the 200 of RFC 7009. Raises ExtauthzError when nothing was revoked."""
        admitted = await self._admit(client, form)
        answer = admitted if isinstance(admitted, Refused) else await self._revoker.revoke(admitted, form)
        if answer is not None:
            await self._refused("revocation", client, form, answer)
        return answer

    async def event(self, token: str) -> EventRefused | None:
        """The event endpoint; None is the 202 of RFC 8935. Raises ExtauthzError: it is to be sent again."""
        return await self.events.receive(token)

    async def _admit(self, client: Client | None, form: Form) -> Client | Refused:
        """RFC 8705 section 2: the certificate is the credential; a `client_id`, where sent, agrees with it."""
        if client is None or one(form, "client_id") not in ("", client.spiffe_id):
            return UNAUTHENTICATED
        if await self._revocations.workload_revoked(client.spiffe_id, client.certificate_sha256):
            return REVOKED
        return client

    async def _refused(self, grant: str, client: Client | None, form: Form, answer: Refused) -> None:
        """The record of a refusal. Strangers leave none: they could fill the disk."""
        if client is None:
            return
        audience = one(form, "audience")[:MAX_TOLD]
        facts = {
            "client": client.spiffe_id,
            "grant": grant if grant in _TOLD else "other",
            # What stands in the wrong place may be a secret.
            "audience": "" if is_opaque(audience) else audience,
            "error": answer.error,
        }
        with contextlib.suppress(ExtauthzError):  # it stays a refusal
            await self._audit.write("token.refused", {**facts, "code": answer.code, "detail": answer.detail})

"""Token exchange (RFC 8693): a token that a workload received, for one that it may carry on to one service.

What comes out is never wider than what came in: scope, lifetime and purpose only narrow, the audience is one service
that the client's registration and the policy both name, and the client stands in the chain of actors for good.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn import spiffe
from extauthz.model import Deny
from extauthz.sts.answers import JWT, TRANSACTION_TOKEN, Issued, Refused, from_denial
from extauthz.sts.mint import Grant
from extauthz.sts.permission import permitted
from extauthz.sts.request import ExchangeRequest, exchange_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.clock import Clock
    from extauthz.sts.form import Form
    from extauthz.sts.interfaces import Client, Policy
    from extauthz.sts.lattice import Lattice
    from extauthz.sts.mint import Mint
    from extauthz.sts.settings import StsSettings
    from extauthz.sts.subject import Held, Tokens

_STANDARD: Final = ("acr", "auth_time")
"""Claims that mean the same with every issuer (OpenID Connect Core section 2), so that no setting need name them."""


class Exchange:
    def __init__(
        self, settings: StsSettings, lattice: Lattice, tokens: Tokens, mint: Mint, policy: Policy, clock: Clock
    ) -> None:
        self._settings = settings
        self._lattice = lattice
        self._tokens = tokens
        self._mint = mint
        self._policy = policy
        self._clock = clock

    async def exchange(  # noqa: PLR0911, C901 - one return a refusal, numbered
        self, client: Client, form: Form
    ) -> Issued | Refused:
        """Raises ExtauthzError when something that must be asked cannot be asked; then nothing was issued.

        1. the request is well formed (`request.exchange_request`)
        2. the client's registration lets it call this audience
        3. the subject token is valid now, for the client, and not revoked (`subject.Tokens.hold`). It may be bound to
           somebody else's certificate: its holder gave it to the client by calling it, which the audience says
        4. an actor token, where there is one, is the client's own
        5. `may_act`, where the subject token has it, names the client
        6. the subject belongs to the client's tenant
        7. the chain of actors stays within its bound and has no loop: neither the client nor itself twice; and nobody
           calls a user by the name of one of our workloads
        8. scope, purpose and lifetime do not widen; a transaction keeps its audience
        9. the policy allows it (`permission.permitted`)
        10. the token is made and its record kept before it is given out (`mint.Mint.issue`)
        """
        request = exchange_request(form)  # 1
        if isinstance(request, Refused):
            return request
        if request.wanted.audience not in client.exchange_to:  # 2
            return Refused("invalid_target", "this workload may not have tokens for this audience", "exchange.target")
        if request.requested_type == JWT and self._mint.opaque_for(request.wanted.audience):  # 1
            return Refused("invalid_target", "this audience takes opaque tokens only", "exchange.target")
        transaction = request.subject_token_type == TRANSACTION_TOKEN
        held = await self._tokens.hold(request.subject_token, client.names, transaction=transaction)  # 3
        if isinstance(held, Deny):
            return from_denial(held)
        if request.actor_token:  # 4
            refused = await self._tokens.svid(request.actor_token, client.spiffe_id, self._settings.issuer)
            if refused is not None:
                return from_denial(refused)
        if not self._may_act(held, client):  # 5
            return Refused("invalid_request", "the token names another workload that may act", "exchange.may_act")
        if client.tenant and held.subject.claims.get("tenant") != client.tenant:  # 6
            return Refused("invalid_request", "the subject belongs to another tenant", "exchange.tenant")
        grant = self._narrowed(client, request, held)  # 7, 8
        if isinstance(grant, Refused):
            return grant
        allowed = await permitted(self._policy, client, grant, held.subject.claims, "token.exchange")  # 9
        if isinstance(allowed, Refused):
            return allowed
        facts = {"subject_digest": held.subject.digest, "subject_issuer": held.subject.issuer, **allowed}
        issued = await self._mint.issue(grant, "token.exchanged", facts)  # 10
        return replace(issued, issued_token_type=JWT) if request.requested_type == JWT else issued

    def _may_act(self, held: Held, client: Client) -> bool:
        """RFC 8693 section 4.4. What it names beside the client's id and our issuer, we cannot check: refused."""
        if "may_act" not in held.claims:
            return True
        named = held.claims["may_act"]
        known = {"sub": client.spiffe_id, "client_id": client.spiffe_id, "iss": self._settings.issuer}
        return isinstance(named, dict) and "sub" in named and all(known.get(key) == named[key] for key in named)

    def _narrowed(  # noqa: PLR0911 - one return a refusal, numbered
        self, client: Client, request: ExchangeRequest, held: Held
    ) -> Grant | Refused:
        """What the client may have of what it asks for."""
        subject, wanted = held.subject, request.wanted
        chain = (client.spiffe_id, *subject.act)
        if held.own and not all(map(spiffe.parse, subject.act)):  # 7
            return Refused("invalid_request", "the chain of actors is malformed", "exchange.act")
        if len(chain) > self._settings.max_depth or len(held.ancestors) > self._settings.max_depth:  # 7
            return Refused("invalid_request", "the token has gone through too many workloads", "exchange.depth")
        if len({*chain, subject.id}) != len(chain) + 1:  # 7
            return Refused("invalid_request", "the token has been here before", "exchange.loop")
        if not held.knows_workloads and _like_ours(subject.id, client.spiffe_id):  # 7
            return Refused("invalid_request", "its issuer may not speak for our workloads", "token.claims")
        scopes = subject.scopes if wanted.scopes is None else wanted.scopes
        if not scopes <= subject.scopes:  # 8
            return Refused("invalid_scope", "the subject token does not have this scope", "exchange.scope")
        purpose = wanted.purpose or subject.purpose
        if not self._purpose(subject.purpose, purpose):  # 8
            return Refused("invalid_request", "the purpose would not be narrower", "exchange.purpose")
        now = int(self._clock.now())
        expires = self._expires(request, held, now)  # 8
        if expires <= now:
            return Refused("invalid_request", "the subject token is about to expire", "token.expired")
        transaction = self._transaction(client, request, held)
        if transaction is None:  # 8
            return Refused("invalid_target", "a transaction keeps its audience", "exchange.target")
        return Grant(
            subject=subject.id,
            subject_type=subject.type,
            client_id=client.spiffe_id,
            audience=wanted.audience,
            scopes=scopes,
            purpose=purpose,
            expires=expires,
            carried=self._carried(held),
            chain=chain,
            ancestors=held.ancestors,
            # A transaction token travels through the whole call chain: it has no single holder.
            certificate_sha256="" if request.transaction else client.certificate_sha256,
            kind="transaction_token" if request.transaction else "access_token",
            transaction=transaction,
        )

    def _purpose(self, old: str, new: str) -> bool:
        """A token without a purpose is not one for every purpose: only what the settings name may be stated later."""
        if old or not new:
            return self._lattice.narrower(old, new)
        return any(self._lattice.narrower(top, new) for top in self._settings.unstated_purposes)

    def _expires(self, request: ExchangeRequest, held: Held, now: int) -> int:
        """No leeway here: it would add up from hop to hop."""
        limit = self._settings.transaction_lifetime if request.transaction else self._settings.lifetime
        lifetime = min(limit, request.wanted.lifetime or limit)
        return int(min(now + lifetime, held.subject.expires_at))

    def _carried(self, held: Held) -> dict[str, Any]:
        """What the token says of the subject, in the words of its issuer's settings (`issuers[].claims`)."""
        said: Mapping[str, Any] = {name: held.claims.get(name) for name in _STANDARD} | dict(held.subject.claims)
        return {name: said[name] for name in self._settings.carried if said.get(name) is not None}

    def _transaction(self, client: Client, request: ExchangeRequest, held: Held) -> dict[str, Any] | None:
        """The claims of a transaction token (draft-ietf-oauth-transaction-tokens section 5); None: it is refused.

        A replacement keeps transaction, subject, audience and contexts.
        """
        if not request.transaction:
            return {}
        if request.subject_token_type != TRANSACTION_TOKEN:
            return {"txn": self._mint.new_id(), "req_wl": client.spiffe_id, **request.context}
        if (request.wanted.audience,) != held.subject.audience:
            return None
        kept = {name: held.claims[name] for name in ("txn", "tctx", "rctx") if name in held.claims}
        return {**kept, "req_wl": client.spiffe_id}


def _like_ours(name: str, spiffe_id: str) -> bool:
    """Whether `name` reads like one of the workloads of `spiffe_id`'s trust domain, well formed or not."""
    domain = "/".join(spiffe_id.split("/")[:3])
    return name.lower().startswith(domain)

"""What an active introspection answer says, judged like the claims of a token (RFC 7662 section 2.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn.binding import X5T
from extauthz.authn.claims import Accepted, accept
from extauthz.model import Deny, deny

if TYPE_CHECKING:
    from extauthz.authn.settings import IssuerSettings, TokenRule

SCOPE: Final = "scope"
"""Whatever the issuer's JWTs call it (RFC 7662 section 2.2)."""
_UNTYPED: Final = "absent"
"""An answer has no `typ` header; `claims.accept` then refuses members that give another kind of token away."""


def accept_answer(
    answer: dict[str, Any], issuer: IssuerSettings, rule: TokenRule, now: float, digest: str, local: Accepted | None
) -> Accepted | Deny:
    """Judge an answer with `active: true`. `digest`: hex SHA-256 of the token.

    `local` is what a JWT says by itself, judged and found good; None: the token is opaque, the answer is all there is.

    1. `iss`, where it is said, is the issuer that was asked
    2. `token_type`, and `typ` where an issuer says that as well, are accepted: many answer for refresh tokens, too
    3. of an opaque token: the members that its issuer's answers must have are there; who it speaks for is known
    4. of a JWT: the answer is about the very same token, and what it leaves out is as the token says
    5. times, audience, scopes, purpose, binding, sign-in: as for every token (`claims.accept`)
    6. of a JWT: the answer can narrow what it says, never widen it; what it is silent about may come from the answer
    """
    introspection = issuer.introspection
    if introspection is None:
        raise AssertionError("the issuer has no introspection")
    if answer.get("iss", issuer.issuer) != issuer.issuer:  # 1
        return deny("token.issuer", "the introspection answer names another issuer")
    kinds = [answer[name] for name in ("token_type", "typ") if name in answer] or [_UNTYPED]
    if not all(isinstance(kind, str) and kind.lower() in introspection.types for kind in kinds):  # 2
        return deny("token.type", "token_type or typ of the introspection answer")
    if local is not None:
        known = _claims_of(local, issuer)
        if any(name in answer and name in known and answer[name] != known[name] for name in ("sub", "jti")):  # 4
            return deny("token.claims", "the introspection answer is about another token")
        judged = issuer.model_copy(update={"required_claims": (), "scope_claim": SCOPE})
        accepted = accept({**known, **answer}, _UNTYPED, judged, rule, now, digest)  # 5
        return accepted if isinstance(accepted, Deny) else _narrowed(local, accepted, rule)
    judged = issuer.model_copy(update={"required_claims": introspection.required_claims, "scope_claim": SCOPE})
    claims = dict(answer)
    if "sub" not in claims and introspection.clients and "client_id" in claims:  # 3
        # A client's id and a user's may be the same text: the type tells them apart (RFC 9068 section 5).
        judged = judged.model_copy(update={"subject_type": "service", "subject_type_claim": None})
        claims["sub"] = claims["client_id"]
    if "aud" not in claims and introspection.missing_audience == "accept":
        claims["aud"] = list(rule.audiences)
    return accept(claims, _UNTYPED, judged, rule, now, digest, credential="opaque")  # 3, 5


def _claims_of(local: Accepted, issuer: IssuerSettings) -> dict[str, Any]:
    """What a good JWT says, as claims."""
    subject = local.subject
    claims: dict[str, Any] = {
        "sub": subject.id,
        "aud": list(subject.audience),
        "exp": int(subject.expires_at),
        SCOPE: sorted(subject.scopes),
        "acr": local.acr,
        "auth_time": local.auth_time,
    }
    optional = {"jti": subject.token_id, "iat": int(local.issued_at), issuer.purpose_claim: subject.purpose}
    if issuer.subject_type_claim is not None:
        optional[issuer.subject_type_claim] = subject.type
    if local.bound_to.thumbprint:
        optional["cnf"] = {X5T: local.bound_to.thumbprint}
    return {**claims, **{name: value for name, value in optional.items() if value}}


def _narrowed(local: Accepted, answer: Accepted, rule: TokenRule) -> Accepted | Deny:
    """Step 6: who it is comes from the signed token first; what it may do is what both say."""
    scopes = local.subject.scopes & answer.subject.scopes
    if not scopes.issuperset(rule.scopes):
        return deny("token.scope", ", ".join(sorted(set(rule.scopes) - scopes)))
    subject = replace(
        local.subject,
        scopes=scopes,
        expires_at=min(local.subject.expires_at, answer.subject.expires_at),
        claims={**answer.subject.claims, **local.subject.claims, "scopes": sorted(scopes)},
    )
    # The token's own binding is checked on each use, beside this; it alone says who renewed the certificate.
    same = answer.bound_to.thumbprint == local.bound_to.thumbprint
    return replace(
        answer,
        bound_to=local.bound_to if same else answer.bound_to,
        subject=subject,
        not_before=max(local.not_before, answer.not_before),
        expires=min(local.expires, answer.expires),
        issued_at=local.issued_at or answer.issued_at,
        step_up_at=min(local.step_up_at, answer.step_up_at),
    )

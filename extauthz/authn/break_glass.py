"""Break-glass grants: a signed, time-boxed, ticketed word that a named subject may use named routes.

A grant is a compact JWS with `typ: break-glass+jwt` (docs/break-glass.md). It is no credential: it says nothing about
who carries it, so it is judged against a subject that was proven otherwise. Its `typ`, `iss` and keys are its own, so
no access token is a grant and no grant is an access token (RFC 8725 section 3.11).
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn import jose, jwks
from extauthz.authn.claims import MAX_SECONDS
from extauthz.authn.files import WatchedFile, file_error
from extauthz.errors import ConfigError
from extauthz.model import Deny

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.authn.break_glass_settings import BreakGlassSettings
    from extauthz.authn.revocation import Revocations
    from extauthz.clock import Clock
    from extauthz.model import Subject

log = logging.getLogger(__name__)
TYP: Final = "break-glass+jwt"
ALGORITHMS: Final = frozenset({"ES256", "EdDSA"})
MAX_GRANT: Final = 4096
"""Characters of a grant."""
MAX_ROUTES: Final = 32
MAX_USES: Final = 16
CREDENTIALS: Final = frozenset({"jwt", "opaque", "workload"})
"""Kinds of credential beside which a grant counts: somebody answers for them. No API key, nobody anonymous."""
_CLAIMS: Final = frozenset(
    {"iss", "aud", "sub", "sub_iss", "routes", "ticket", "reason", "iat", "nbf", "exp", "jti", "uses"}
)
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,256}")
_NAMED: Final = ("sub", "ticket", "reason", "jti")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified grant says. `expires`: seconds since the epoch; `uses` 0: as often as wanted until then."""

    id: str
    ticket: str
    reason: str
    kid: str
    subject: str
    subject_issuer: str
    routes: tuple[str, ...]
    expires: int
    uses: int = 0


class Grants:
    """Raises ConfigError when made with a file of keys that cannot be used.

    A file that breaks later changes nothing: the keys stay as they were, and that is logged. `reload` may run in a
    thread.
    """

    __slots__ = ("_clock", "_file", "_keys", "_revocations", "_settings")

    def __init__(self, settings: BreakGlassSettings, revocations: Revocations, clock: Clock) -> None:
        self._settings = settings
        self._revocations = revocations
        self._clock = clock
        self._file = WatchedFile(settings.keys)
        self._keys = read_keys(self._file.changed() or b"", settings.keys)

    def reload(self) -> bool:
        """Looks at the file once; whether something changed."""
        try:
            content = self._file.changed()
            if content is None:
                return False
            self._keys = read_keys(content, self._file.path)
        except ConfigError as error:
            log.error("break-glass keys kept as they were: %s", error)  # noqa: TRY400 - the message says all
            return False
        return True

    def verify(  # noqa: PLR0911 - one return a refusal, numbered
        self, text: str, route: str, subject: Subject
    ) -> Grant | str:
        """The grant, when `subject` may use it on `route` now, or why not, in words for an operator.

        1. size and form: a compact JWS, judged as every token is (`jose.parse`)
        2. `typ` says that it is a grant; the algorithm is ES256 or EdDSA
        3. `kid` names one of the keys in force, for that algorithm, and the signature is that key's
        4. issuer and audience are those of the settings
        5. the claims are those of a grant, each well formed: who, where, ticket, reason and id among them
        6. it has begun, has not ended, and was not made to live longer than is allowed
        7. neither it nor its key has been revoked
        8. the route is one of its routes, by its full name
        9. the subject is the one that it names, of the issuer that it names
        """
        if len(text) > MAX_GRANT:  # 1
            return f"longer than {MAX_GRANT} characters"
        parsed = jose.parse(text)
        if isinstance(parsed, Deny):
            return f"not a grant: {parsed.code} {parsed.reasons[0].detail}".rstrip()
        header = parsed.header
        if header.typ != TYP or header.alg not in ALGORITHMS:  # 2
            return f"not of type {TYP}" if header.typ != TYP else "signed with another algorithm than ES256 and EdDSA"
        key = None if header.kid is None else self._keys.find(header.kid, header.alg)
        if key is None or not key.verifies(header.alg, parsed.signature, parsed.signed):  # 3
            return "the signature is of none of the break-glass keys"
        claims = parsed.claims
        if parsed.issuer != self._settings.issuer or claims.get("aud") != self._settings.audience:  # 4
            return "from another issuer, or for another audience"
        grant = grant_of(claims, header.kid or "")  # 5
        if isinstance(grant, str):
            return grant
        digest = hashlib.sha256(text.encode()).hexdigest()
        return (
            self._untimely(claims)  # 6
            or self._revoked(grant, digest, claims["iat"])  # 7
            or _misplaced(grant, route, subject)  # 8, 9
            or grant
        )

    def _untimely(self, claims: dict[str, Any]) -> str:
        now = self._clock.now()
        issued, begins, ends = claims["iat"], claims["nbf"], claims["exp"]
        if now >= ends:
            return "it has ended"
        if now < max(issued, begins) - self._settings.leeway:
            return "it has not begun"
        if not issued <= begins < ends or ends - issued > self._settings.max_duration:
            return f"it was to last longer than {self._settings.max_duration:g} s, or its times contradict each other"
        return ""

    def _revoked(self, grant: Grant, digest: str, issued: int) -> str:
        revoked = self._revocations.token(
            digest=digest, jti=grant.id, sub=grant.subject, kid=grant.kid, issued_at=float(issued)
        )
        return "it has been revoked" if revoked else ""


def _misplaced(grant: Grant, route: str, subject: Subject) -> str:
    if route not in grant.routes:  # 8
        return "for other routes"
    if subject.credential not in CREDENTIALS:  # 9
        return "no credential that somebody answers for stands beside it"
    if (subject.id, subject.issuer) != (grant.subject, grant.subject_issuer):
        return "for another subject"
    return ""


def grant_of(  # noqa: PLR0911 - one return a refusal
    claims: dict[str, Any], kid: str
) -> Grant | str:
    """Step 5: the claims as a grant, or what is wrong with them. Unknown claims are refused: they might be limits."""
    if unknown := sorted(claims.keys() - _CLAIMS):
        return f"unknown claims: {', '.join(unknown)[:64]}"
    for name in ("iat", "nbf", "exp"):
        value = claims.get(name)
        if type(value) is not int or not 0 < value < MAX_SECONDS:
            return f"{name} is missing, or not a whole number of seconds"
    for name in _NAMED:
        if not is_text(claims.get(name)):
            return f"{name} is missing or malformed"
    routes, uses, issuer = claims.get("routes"), claims.get("uses", 0), claims.get("sub_iss", "")
    if not isinstance(routes, list) or not 0 < len(routes) <= MAX_ROUTES or not all(map(is_text, routes)):
        return "routes is not a short list of names"
    if type(uses) is not int or not 0 <= uses <= MAX_USES or ("uses" in claims and not uses):
        return f"uses is not a number from 1 to {MAX_USES}"
    issuer = issuer or spiffe_issuer(claims["sub"])
    if not is_text(issuer):
        return "sub_iss is missing or malformed, and sub is no SPIFFE ID"
    return Grant(
        id=claims["jti"],
        ticket=claims["ticket"],
        reason=claims["reason"],
        kid=kid,
        subject=claims["sub"],
        subject_issuer=issuer,
        routes=tuple(routes),
        expires=claims["exp"],
        uses=uses,
    )


def is_text(value: object) -> bool:
    """One line of at most 256 characters, none of them a control character."""
    return isinstance(value, str) and _TEXT.fullmatch(value) is not None


def spiffe_issuer(subject: str) -> str:
    """The issuer of a workload's own name: its trust domain (`workload.subject_of`); empty for another name."""
    scheme, _, rest = subject.partition("://")
    return f"spiffe://{rest.partition('/')[0]}" if scheme == "spiffe" else ""


def read_keys(content: bytes, path: Path) -> jwks.KeySet:
    """Raises ConfigError for a file without a usable key, or with a key that cannot be named."""
    keys = jwks.parse(content, ALGORITHMS, "break-glass")
    if isinstance(keys, str):
        raise file_error(path, f"is no JWKS: {keys}", "extauthz break-glass keygen prints one")
    if not keys.by_kid or len(keys.by_kid) != len(keys.keys) or keys.refused:
        raise file_error(
            path,
            "has no usable key, or one that cannot be used: P-256 or Ed25519, public, each with a kid of its own",
            "extauthz break-glass keygen makes one",
        )
    return keys

"""Who calls: the workload behind the connection.

Envoy's word about the peer (`source.principal`, `source.certificate`) is the identity; XFCC may only agree with it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.authn import spiffe, x509_svid, xfcc
from extauthz.authn.trust import TrustBundle, TrustBundleFile
from extauthz.lru import SegmentedLru
from extauthz.model import Deny, Subject, Workload, deny

if TYPE_CHECKING:
    from extauthz.authn.own_identity import OwnIdentity
    from extauthz.authn.revocation import Revocations
    from extauthz.authn.settings import WorkloadSettings
    from extauthz.clock import Clock
    from extauthz.model import Request

XFCC: Final = "x-forwarded-client-cert"
IDENTITY: Final = "identity"
"""What stands for a trust bundle that comes from the server's own identity."""
_OUR_FAULT: Final = frozenset(
    {
        "transport.certificate_expired",
        "transport.certificate_not_yet_valid",
        "transport.certificate_profile",
        "transport.certificate_untrusted",
    }
)
_ANY_ENVIRONMENT: Final = "*"
_FOREVER: Final = float("inf")


@dataclass(slots=True, eq=False)
class _Known:
    """A peer that passed everything that does not depend on the time or on the rest of the request."""

    workload: Workload
    hash: str
    not_before: float
    not_after: float
    trusted_until: float
    trust_revision: int
    last_xfcc: str = ""
    """The last header that agreed with this peer: on one connection it is always the same."""


class WorkloadVerifier:
    """`verify` is synchronous and, for a peer that is known, allocates nothing. Raises ConfigError when made."""

    __slots__ = (
        "_cache",
        "_clock",
        "_environments",
        "_own",
        "_own_known",
        "_registered",
        "_revocations",
        "_settings",
        "_templates",
        "_trust",
    )

    def __init__(
        self,
        settings: WorkloadSettings,
        environment: str,
        clock: Clock,
        revocations: Revocations | None = None,
        own: OwnIdentity | None = None,
    ) -> None:
        """`own` is asked for bundles that the settings call `identity`, and for our own name (`own`)."""
        self._settings = settings
        self._clock = clock
        self._revocations = revocations
        self._environments = frozenset(settings.environments or (environment,))
        self._templates = tuple(map(spiffe.PathTemplate, settings.id_templates))
        self._registered = None if settings.registered is None else spiffe.IdPatterns(settings.registered)
        self._own = own
        self._own_known: tuple[x509_svid.Leaf, _Known | Deny] | None = None
        self._trust: dict[str, TrustBundle] = {}
        for name, domain in settings.trust_domains.items():
            if domain.trust_bundle == IDENTITY:
                self._trust[name] = TrustBundle() if own is None else own.trust_bundle(name)
            elif domain.trust_bundle is not None:
                self._trust[name] = TrustBundleFile(domain.trust_bundle)
        self._cache: SegmentedLru[bytes, _Known | Deny] = SegmentedLru(settings.cache_entries)

    def reload(self) -> bool:
        """Look at the trust bundles once; True when one changed."""
        files = [bundle for bundle in self._trust.values() if isinstance(bundle, TrustBundleFile)]
        return sum(bundle.reload() for bundle in files) > 0

    def verify(self, request: Request) -> Workload | Deny | None:
        """The calling workload, a refusal, or None when no identity was presented at all.

        1. XFCC came at most once
        2. an identity is there; XFCC alone is none
        3. the certificate is one SVID, and it names a workload that is known here (kept by the certificate's digest)
        4. Envoy's principal is the certificate's own
        5. the certificate is valid now, and so is its chain where a trust bundle is given: asked on every Check
        6. the workload has not been revoked
        7. XFCC, where it is used, agrees
        """
        if XFCC in request.duplicated_headers:  # 1
            return deny("request.header_duplicated", XFCC)
        header = request.headers.get(XFCC, "") if self._settings.xfcc == "last" else ""
        if not request.certificate and not request.principal:  # 2
            return deny("transport.xfcc_mismatch", "the header came without a peer") if header else None
        if not request.certificate and self._settings.require_certificate:  # 2
            return deny("transport.certificate_missing")
        known = self._known(request)  # 3
        if isinstance(known, Deny):
            return known
        if request.principal and request.principal != known.workload.id:  # 4
            return deny("workload.ambiguous", "principal and certificate differ")
        return self._validity(known) or self._agreement(known, header) or known.workload  # 5, 6, 7

    def own(self, request: Request) -> Workload | Deny:
        """The server's own workload: for a request that our own service sends through a local listener.

        1. nobody else is there: Envoy reports no peer, and no header speaks of one
        2. our identity is there, trusted and valid now; it is named and registered like any caller's
        3. our workload has not been revoked
        """
        if request.certificate or request.principal:  # 1
            return deny("workload.ambiguous", "a peer's identity came through a local listener")
        if self._settings.xfcc == "last" and XFCC in request.headers:  # 1
            return deny("transport.xfcc_mismatch", "the header came without a peer")
        leaf = None if self._own is None else self._own.leaf
        if leaf is None:  # 2
            return deny("engine.identity_unavailable", "no identity has been had yet")
        known = self._own_facts(leaf)
        answer = known if isinstance(known, Deny) else self._validity(known) or known.workload  # 2, 3
        if isinstance(answer, Deny) and answer.code in _OUR_FAULT:
            return deny("engine.identity_unavailable", answer.code)
        return answer

    def _own_facts(self, leaf: x509_svid.Leaf) -> _Known | Deny:
        if self._own_known is not None and self._own_known[0] is leaf:
            known = self._own_known[1]
            if not isinstance(known, Deny) and known.trust_revision == self._revision(known.workload):
                return known
        known = self._judge(leaf)
        self._own_known = (leaf, known)
        return known

    def _validity(self, known: _Known) -> Deny | None:
        now = self._clock.now()
        if now > known.not_after:  # 5
            return deny("transport.certificate_expired")
        if now < known.not_before:  # 5
            return deny("transport.certificate_not_yet_valid")
        if now > known.trusted_until:  # 5
            return deny("transport.certificate_untrusted", "an authority's certificate has expired")
        if self._revocations is not None and self._revocations.workload(known.workload):  # 6
            return deny("workload.revoked")
        return None

    def _agreement(self, known: _Known, header: str) -> Deny | None:
        if not header or header == known.last_xfcc:
            return None
        element = xfcc.last(header)
        if element is None:
            return deny("transport.xfcc_malformed")
        if element.uri != (known.workload.id,):
            return deny("transport.xfcc_mismatch", "the last element names another workload, none, or several")
        if known.hash and element.hash != known.hash:
            return deny("transport.xfcc_mismatch", "the last element's hash is of another certificate")
        known.last_xfcc = header
        return None

    def _known(self, request: Request) -> _Known | Deny:
        """Step 3, from the cache where the certificate (or, without one, the principal) has been seen."""
        # Two key spaces: a principal that spells somebody's certificate must not meet that certificate's entry.
        text = f"c{request.certificate}" if request.certificate else f"p{request.principal}"
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._cache.get(key)
        if known is not None and (isinstance(known, Deny) or known.trust_revision == self._revision(known.workload)):
            return known
        fresh = self._examine(request)
        # A chain's refusal depends on time and bundle, so it is asked again; the other refusals are for good.
        if isinstance(fresh, Deny) and fresh.code == "transport.certificate_untrusted":
            self._cache.discard(key)
        else:
            self._cache.put(key, fresh)
        return fresh

    def _revision(self, workload: Workload) -> int:
        bundle = self._trust.get(workload.trust_domain)
        return 0 if bundle is None else bundle.revision

    def _examine(self, request: Request) -> _Known | Deny:
        if not request.certificate:
            return self._without_certificate(request.principal)
        leaf = x509_svid.parse(request.certificate)
        if isinstance(leaf, Deny):
            return leaf
        return self._judge(leaf)

    def _judge(self, leaf: x509_svid.Leaf) -> _Known | Deny:
        if leaf.profile_problem and self._settings.require_svid_profile:
            return deny("transport.certificate_profile", leaf.profile_problem)
        workload = self._identify(leaf.uri, leaf)
        if isinstance(workload, Deny):
            return workload
        # The revision is read before the chain is checked: a bundle that changes meanwhile makes the entry stale.
        revision = self._revision(workload)
        until = self._trusted_until(workload, leaf)
        if until is None:
            return deny("transport.certificate_untrusted")
        return _Known(workload, leaf.hash, leaf.not_before, leaf.not_after, until, revision)

    def _without_certificate(self, principal: str) -> _Known | Deny:
        workload = self._identify(principal, None)
        if isinstance(workload, Deny):
            return workload
        if workload.trust_domain in self._trust:
            return deny("transport.certificate_missing", "the trust bundle has nothing to verify")
        return _Known(workload, "", 0.0, _FOREVER, _FOREVER, 0)

    def _trusted_until(self, workload: Workload, leaf: x509_svid.Leaf) -> float | None:
        bundle = self._trust.get(workload.trust_domain)
        if bundle is None:
            return _FOREVER
        # Judged at a time when the leaf is valid, so that "expired" and "untrusted" stay apart.
        at = min(max(self._clock.now(), leaf.not_before), leaf.not_after)
        return bundle.trusted_until(leaf.certificate, at)

    def _identify(self, uri: str, leaf: x509_svid.Leaf | None) -> Workload | Deny:
        """The ID's parts by the first template that fits; domain, registration and environment are checked."""
        parsed = spiffe.parse(uri)
        if parsed is None:
            return deny("workload.id_malformed")
        domain = self._settings.trust_domains.get(parsed.trust_domain)
        if domain is None:
            return deny("workload.trust_domain", parsed.trust_domain)
        parts = next((found for t in self._templates if (found := t.match(parsed.segments)) is not None), None)
        if parts is None:
            return deny("workload.unregistered", "no template fits")
        if self._registered is not None and not self._registered.match(parsed.text):
            return deny("workload.unregistered", "not on the list")
        environment = parts.get("environment") or domain.environment
        if _ANY_ENVIRONMENT not in self._environments and (not environment or environment not in self._environments):
            return deny("workload.environment", environment)
        return Workload(
            id=parsed.text,
            trust_domain=parsed.trust_domain,
            namespace=parts.get("namespace", ""),
            environment=environment,
            service=parts.get("service", ""),
            tenant=parts.get("tenant", ""),
            certificate_sha256="" if leaf is None else leaf.x5t,
            expires_at=0.0 if leaf is None else leaf.not_after,
            # Only what an authority says whose signature we check ourselves: without a trust bundle here, a leaf that
            # an over-trusting Envoy let in could name any certificate as its predecessor.
            predecessors=leaf.predecessors if leaf is not None and parsed.trust_domain in self._trust else (),
        )


def subject_of(workload: Workload) -> Subject:
    """The subject where the peer certificate itself is the credential."""
    properties = {"tenant": workload.tenant} if workload.tenant else {}
    return Subject(
        type="workload",
        id=workload.id,
        credential="workload",
        issuer=f"spiffe://{workload.trust_domain}",
        expires_at=workload.expires_at,
        claims=properties,
    )

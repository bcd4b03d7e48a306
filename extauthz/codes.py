"""Every code that we refuse with: layer, HTTP status, what the caller reads, and the remedy.

A code is a stable string, `<layer>.<what>`. Policies bring codes of their own for the layers that they may deny at
(`POLICY_LAYERS`); those carry their message and remedy in the decision itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final


class Layer(StrEnum):
    """The layers of a Check, in the order in which they are asked."""

    REQUEST = "request"
    WORKLOAD = "workload"
    TRANSPORT = "transport"
    TOKEN = "token"  # noqa: S105 - the name of a layer
    ROLE = "role"
    ATTRIBUTE = "attribute"
    ENGINE = "engine"


HTTP_STATUS: Final = {
    Layer.REQUEST: HTTPStatus.BAD_REQUEST,
    Layer.WORKLOAD: HTTPStatus.FORBIDDEN,
    Layer.TRANSPORT: HTTPStatus.FORBIDDEN,
    Layer.TOKEN: HTTPStatus.UNAUTHORIZED,
    Layer.ROLE: HTTPStatus.FORBIDDEN,
    Layer.ATTRIBUTE: HTTPStatus.FORBIDDEN,
    Layer.ENGINE: HTTPStatus.SERVICE_UNAVAILABLE,
}
_OTHER_STATUS: Final = {
    "transport.binding_mismatch": HTTPStatus.UNAUTHORIZED,  # RFC 8705 section 3
    "transport.binding_missing": HTTPStatus.UNAUTHORIZED,
    "token.scope": HTTPStatus.FORBIDDEN,  # RFC 6750 section 3.1
    "token.api_key_route": HTTPStatus.FORBIDDEN,
    "token.rate_limited": HTTPStatus.TOO_MANY_REQUESTS,  # RFC 6585 section 4
    "token.quarantined": HTTPStatus.FORBIDDEN,  # the token is good; what was done with it was not
    "token.break_glass": HTTPStatus.FORBIDDEN,
    "token.exchange_refused": HTTPStatus.FORBIDDEN,  # the credential is good; what it was to be exchanged for is not
}
"""Codes whose status a standard sets apart from their layer's."""
POLICY_LAYERS: Final = frozenset({Layer.WORKLOAD, Layer.TRANSPORT, Layer.TOKEN, Layer.ROLE, Layer.ATTRIBUTE})


@dataclass(frozen=True, slots=True)
class Code:
    code: str
    message: str
    remedy: str

    @property
    def layer(self) -> Layer:
        return Layer(self.code.partition(".")[0])


def http_status(code: str) -> HTTPStatus:
    """The HTTP status that a denial with this code answers with."""
    return _OTHER_STATUS.get(code) or HTTP_STATUS[Layer(code.partition(".")[0])]


def _catalogue(*rows: tuple[str, str, str]) -> dict[str, Code]:
    codes = {code: Code(code, message, remedy) for code, message, remedy in rows}
    if len(codes) != len(rows):
        raise AssertionError("a code is listed twice")
    return codes


CODES: Final = _catalogue(
    ("request.malformed", "The authorization request is malformed.", "Check Envoy's ext_authz filter and its version."),
    ("request.too_large", "The request is larger than the server accepts.", "Send less, or raise server.max_check."),
    ("request.route_unknown", "No route policy covers this request.", "Add a route to extauthz.yaml."),
    ("request.route_mismatch", "The request does not fit the route it was sent to.", "Compare host, method and path."),
    ("request.path_ambiguous", "The path can be read in more than one way.", "Send a normalised path."),
    ("request.header_duplicated", "A security header was sent more than once.", "Send it once."),
    ("request.header_malformed", "A security header is malformed.", "Correct the header."),
    ("request.query_malformed", "The query cannot be read as the policy needs it.", "Correct the query."),
    ("request.body_malformed", "The body cannot be read as its content type says.", "Correct the body."),
    ("request.csr_malformed", "The certificate request cannot be read.", "Send one PKCS #10 request as PEM."),
    ("request.csr_key", "No certificate is issued for this kind of key.", "Use P-256, P-384, Ed25519 or RSA of 2048."),
    ("request.body_truncated", "The body is cut and the policy needs all of it.", "Raise max_request_bytes in Envoy."),
    ("workload.missing", "The caller has no workload identity.", "Call through mTLS with an SVID."),
    ("workload.id_malformed", "The caller's SPIFFE ID is malformed.", "Reissue the certificate."),
    ("workload.ambiguous", "The caller's identities contradict each other.", "Check Envoy's XFCC settings."),
    ("workload.trust_domain", "The caller's trust domain is not trusted here.", "Federate the trust domain."),
    ("workload.environment", "The caller belongs to another environment.", "Call from the same environment."),
    ("workload.unregistered", "The caller's workload is not registered.", "Register the workload."),
    ("workload.revoked", "The caller's workload has been revoked.", "Register the workload again."),
    ("workload.route_denied", "The caller's workload may not call this route.", "Add it to the route's workloads."),
    ("workload.quarantined", "The caller's workload is in quarantine.", "Wait, or ask an operator to release it."),
    ("transport.certificate_missing", "No peer certificate.", "Set include_peer_certificate in Envoy."),
    ("transport.certificate_malformed", "The peer certificate is malformed.", "Reissue the certificate."),
    ("transport.certificate_expired", "The peer certificate has expired.", "Reconnect with a renewed certificate."),
    ("transport.certificate_not_yet_valid", "The peer certificate is not valid yet.", "Check the clocks."),
    ("transport.certificate_profile", "The peer certificate is not an X.509-SVID.", "Issue it as an SVID."),
    ("transport.certificate_untrusted", "The peer certificate has no trusted issuer.", "Update the trust bundle."),
    ("transport.xfcc_malformed", "The client certificate header is malformed.", "Use SANITIZE_SET in Envoy."),
    ("transport.xfcc_mismatch", "The client certificate header contradicts the peer.", "Use SANITIZE_SET in Envoy."),
    ("transport.binding_mismatch", "The token is bound to another certificate.", "Use your own token."),
    ("transport.binding_missing", "The route needs a certificate-bound token.", "Ask for a bound token."),
    ("token.missing", "No bearer token.", "Send Authorization: Bearer."),
    ("token.scheme", "Only the Bearer scheme is accepted.", "Send Authorization: Bearer."),
    ("token.malformed", "The token is malformed.", "Ask for a new token."),
    ("token.too_large", "The token is too large.", "Ask for a token with fewer claims."),
    ("token.header_refused", "The token's header has a parameter that is never accepted.", "Issue plain signed JWTs."),
    ("token.algorithm", "The token's algorithm is not accepted.", "Use the algorithms of the issuer's entry."),
    ("token.type", "This kind of token is not accepted here.", "Use an access token for this API."),
    ("token.issuer", "The token's issuer is not trusted here.", "Use a trusted issuer."),
    ("token.key_unknown", "The token's key is not known.", "Ask for a new token."),
    ("token.key_refused", "The issuer's key is too weak or of the wrong kind.", "Rotate the issuer's key."),
    ("token.keys_unavailable", "The issuer's keys cannot be had.", "Retry; check the issuer's JWKS."),
    ("token.signature", "The token's signature is wrong.", "Ask for a new token."),
    ("token.claims", "A required claim is missing or malformed.", "Ask for a token with the required claims."),
    ("token.expired", "The token has expired.", "Ask for a new token."),
    ("token.not_yet_valid", "The token is not valid yet.", "Check the clocks."),
    ("token.lifetime", "The token lives longer than this issuer may grant.", "Issue shorter tokens."),
    ("token.audience", "The token is for another audience.", "Ask for a token for this service."),
    ("token.purpose", "The token is for another purpose.", "Ask for a token for this purpose."),
    ("token.scope", "The token lacks a scope that the route needs.", "Ask for the scope."),
    ("token.api_key_unknown", "The API key is not known.", "Send the key as it was given out."),
    ("token.api_key_route", "The API key is not for this route.", "Use a key that names the route."),
    ("token.rate_limited", "The API key has been used too often.", "Retry later."),
    ("token.revoked", "The token has been revoked.", "Sign in again."),
    ("token.inactive", "The issuer says that the token is not active.", "Ask for a new token."),
    ("token.step_up", "The sign-in is too weak or too long ago.", "Sign in again as the challenge says."),
    ("token.exchange_refused", "The token may not be exchanged for this service.", "Ask for a token with more rights."),
    ("token.quarantined", "The token is in quarantine.", "Wait, or ask an operator to release it."),
    ("token.break_glass", "The break-glass grant is not valid here.", "Ask for a grant for this route and subject."),
    ("attribute.tenant_quarantined", "The tenant is in quarantine.", "Wait, or ask an operator to release it."),
    ("role.denied", "The policy denies this request.", "Ask for the permission; see the decision record."),
    ("engine.unavailable", "No decision can be made at the moment.", "Retry; check OPA."),
    ("engine.deadline", "No decision was made in time.", "Retry; check the ext_authz timeout."),
    ("engine.undefined", "The policy has no answer.", "Give the entrypoint a default."),
    ("engine.invalid_result", "The policy's answer cannot be used.", "Return the documented decision object."),
    ("engine.attributes_unavailable", "An attribute source did not answer.", "Retry; check the source."),
    ("engine.identity_unavailable", "The server has no identity of its own yet.", "Retry; check the agent."),
    ("engine.exchange_unavailable", "The token cannot be exchanged at the moment.", "Retry; check the authority."),
    ("engine.introspection_unavailable", "The token's issuer cannot be asked.", "Retry; check its introspection."),
    ("engine.revocations_stale", "What has been revoked is not known.", "Retry; check the source of revocations."),
    ("engine.overloaded", "The server sheds load to keep critical routes fast.", "Retry after the time given."),
    ("engine.audit_unavailable", "The audit record cannot be written.", "Retry; check the audit trail's storage."),
    ("engine.queue_full", "Too many requests wait for their judgement.", "Retry; check the judgement queue."),
    ("engine.internal", "No decision can be made.", "See the decision record."),
    ("engine.draining", "The server is shutting down.", "Retry."),
)

"""Layer `transport`: the certificate, and the token that is bound to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts.scenario import denied, refused
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION, STORAGE, spiffe_id

if TYPE_CHECKING:
    from extauthz.demo.dev_ca import Identity
    from extauthz.demo.lab import Answer, Lab

_SHORT: Final = 3.0
"""Seconds that the short-lived certificate lives."""


async def _connect(lab: Lab, svid: Identity) -> Answer:
    """A request goes out only when the handshake is accepted."""
    refusal = await lab.handshake(STORAGE, svid)
    return refusal or await lab.features(svid, lab.hop(MODEL, STORAGE, svid))


async def replayed(lab: Lab) -> Answer:
    """Same workload, other key: a token that was copied out of the pod it belongs to."""
    other = lab.platform.credentials.ca.svid(MODEL.id)
    return await lab.features(other, lab.hop(MODEL, STORAGE))


async def unbound(lab: Lab) -> Answer:
    claims = {
        "sub": "alice",
        "aud": ORCHESTRATION.audience,
        "tenant": "acme",
        "region": "eu",
        "roles": ["wire-operator"],
    }
    return await lab.decide(lab.svid(EDGE), lab.mint.sign({**claims, "purpose": "payment"}))


async def two_names(lab: Lab) -> Answer:
    svid = lab.platform.credentials.ca.svid(MODEL.id, spiffe_id("storage", "feature-store"))
    return await lab.features(svid, lab.hop(MODEL, STORAGE, svid))


async def foreign(lab: Lab) -> Answer:
    svid = DevCa("elsewhere.example").svid(spiffe_id("model", "fraud-scorer", trust_domain="elsewhere.example"))
    return await _connect(lab, svid)


async def forged(lab: Lab) -> Answer:
    """The right name, signed by an authority of the attacker's own."""
    svid = DevCa("bank.example").svid(MODEL.id)
    return await _connect(lab, svid)


async def expired(lab: Lab) -> Answer:
    svid = lab.platform.credentials.ca.svid(MODEL.id, lifetime=-10.0)
    return await _connect(lab, svid)


async def expires_while_open(lab: Lab) -> Answer:
    """The handshake was fine; the certificate ends while the connection stays."""
    svid = lab.platform.credentials.ca.svid(MODEL.id, lifetime=_SHORT)
    token = lab.hop(MODEL, STORAGE, svid)
    async with lab.connection(svid) as client:
        first = await lab.over(client, STORAGE, token, "/v1/features/acme/wire")
        if first.status != 200:  # noqa: PLR2004 - without it nothing is shown
            return first
        await asyncio.sleep(_SHORT)
        return await lab.over(client, STORAGE, token, "/v1/features/acme/wire")


SCENARIOS: Final = (
    denied(
        "stolen-by-twin",
        "a copied token, shown with another certificate of the same workload",
        401,
        "transport.binding_mismatch",
        replayed,
    ),
    denied(
        "unbound-token",
        "a token without certificate binding inside the mesh",
        401,
        "transport.binding_missing",
        unbound,
    ),
    denied(
        "expires-while-open",
        "a certificate that expires on an open connection",
        403,
        "transport.certificate_expired",
        expires_while_open,
    ),
    denied("two-names", "a certificate with two SPIFFE IDs", 403, "transport.certificate_profile", two_names),
    refused("foreign-trust-domain", "a certificate of another trust domain", foreign),
    refused("forged-authority", "the right SPIFFE ID, signed by somebody else", forged),
    refused("expired-certificate", "a certificate that has expired", expired),
)

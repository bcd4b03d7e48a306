"""Layer `token`: forged, stale or meant for something else."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any, Final

from extauthz.demo.attempts.scenario import denied
from extauthz.demo.people import user_claims
from extauthz.demo.tokens import Mint, new_key
from extauthz.demo.zones import EDGE, ORCHESTRATION

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab


def _encode(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(part: str) -> Any:
    return json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def missing(lab: Lab) -> Answer:
    return await lab.edge(None, lab.transfer())


async def expired(lab: Lab) -> Answer:
    now = int(lab.mint.clock.now())
    return await lab.edge(lab.user(iat=now - 400, exp=now - 100), lab.transfer())


async def other_audience(lab: Lab) -> Answer:
    return await lab.edge(lab.user(aud=ORCHESTRATION.audience), lab.transfer())


async def forged_signature(lab: Lab) -> Answer:
    """The issuer's name and key id, another key."""
    attacker = Mint(lab.mint.issuer, new_key(), lab.mint.clock)
    return await lab.edge(attacker.sign(user_claims("alice", EDGE.audience)), lab.transfer())


async def raised_role(lab: Lab) -> Answer:
    """A real token with its claims rewritten."""
    head, payload, signature = lab.user("carol").split(".")
    claims = {**_decode(payload), "roles": ["treasury-operator"]}
    return await lab.edge(f"{head}.{_encode(json.dumps(claims).encode())}.{signature}", lab.transfer())


async def unsigned(lab: Lab) -> Answer:
    head, payload, signature = lab.user().split(".")
    none = {**_decode(head), "alg": "none"}
    return await lab.edge(f"{_encode(json.dumps(none).encode())}.{payload}.{signature}", lab.transfer())


async def stripped(lab: Lab) -> Answer:
    head, payload, _ = lab.user().split(".")
    return await lab.edge(f"{head}.{payload}.", lab.transfer())


async def other_issuer(lab: Lab) -> Answer:
    elsewhere = Mint("https://issuer.elsewhere.example", lab.mint.private_key, lab.mint.clock)
    return await lab.edge(elsewhere.sign(user_claims("alice", EDGE.audience)), lab.transfer())


async def id_token(lab: Lab) -> Answer:
    token = lab.mint.sign(user_claims("alice", EDGE.audience), header={"typ": "JWT"})
    return await lab.edge(token, lab.transfer())


async def other_purpose(lab: Lab) -> Answer:
    return await lab.edge(lab.user(purpose="training"), lab.transfer())


SCENARIOS: Final = (
    denied("no-token", "no token at all", 401, "token.missing", missing),
    denied("expired-token", "a token that ended 100 s ago", 401, "token.expired", expired),
    denied("wrong-audience", "a token for another zone", 401, "token.audience", other_audience),
    denied(
        "forged-signature", "the issuer's key id, signed by somebody else", 401, "token.signature", forged_signature
    ),
    denied("rewritten-claims", "carol's token, with a better role written in", 401, "token.signature", raised_role),
    denied("algorithm-none", "a token that says it needs no signature", 401, "token.algorithm", unsigned),
    denied("signature-stripped", "a real token without its signature", 401, "token.malformed", stripped),
    denied("unknown-issuer", "a token of an issuer that is not trusted", 401, "token.issuer", other_issuer),
    denied("id-token", "an ID token in place of an access token", 401, "token.type", id_token),
    denied("wrong-purpose", "a token for training, used to pay", 401, "token.purpose", other_purpose),
)

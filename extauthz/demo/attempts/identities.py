"""The identity plane: where certificates and tokens come from, how they narrow, and how they end."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts.scenario import allowed, denied
from extauthz.demo.lab import Answer
from extauthz.demo.zones import ADMINISTRATION, EDGE, EXPLANATION, MODEL, ORCHESTRATION, STORAGE

if TYPE_CHECKING:
    from extauthz.demo.lab import Lab

_PATIENCE: Final = 10.0
_POLL: Final = 0.05
_REVOKED: Final = "token.revoked"


# ------------------------------------------------------------------ bootstrap


async def bootstrap(lab: Lab) -> Answer:
    """A new pod: its service-account token becomes an SVID and tokens of its own, and with them it reads its rows."""
    svid = await lab.attest("cluster", lab.platform.cluster.project("model", "fraud-scorer"))
    subject = lab.hop(ORCHESTRATION, MODEL, purpose="fraud-review")
    token = await lab.platform.authority.exchange(svid, subject, STORAGE.audience, scope="features.read")
    return await lab.features(svid, token)


async def bootstrap_without_registration(lab: Lab) -> Answer:
    """The cluster vouches for the pod, but nobody registered it."""
    return await lab.refused_attestation("cluster", lab.platform.cluster.project("model", "coin-miner"))


async def bootstrap_other_audience(lab: Lab) -> Answer:
    token = lab.platform.cluster.project("model", "fraud-scorer", audience="https://kubernetes.default.svc")
    return await lab.refused_attestation("cluster", token)


async def bootstrap_twice(lab: Lab) -> Answer:
    """A copied service-account token, after its pod has attested with it."""
    token = lab.platform.cluster.project("model", "fraud-scorer")
    await lab.attest("cluster", token)
    return await lab.refused_attestation("cluster", token)


# ------------------------------------------------------------------ exchange


async def exchange(lab: Lab) -> Answer:
    token = await lab.sign_in()
    answer = await lab.edge(token, lab.transfer())
    return Answer(
        answer.status,
        answer.layer,
        answer.code,
        {**answer.body, "user_token": hashlib.sha256(token.encode()).hexdigest()[:16]},
        answer.request_id,
        answer.headers,
    )


def _narrowed(answer: Answer) -> str:
    """Every hop has a token of its own: the user's is never seen behind the edge, and each says who carried it."""
    hops = {hop["service"]: hop for hop in answer.body.get("hops", [])}
    expected = {
        "gateway": (EDGE.audience, "payment", []),
        "orchestrator": (ORCHESTRATION.audience, "payment", [EDGE.id]),
        "fraud-scorer": (MODEL.audience, "fraud-review", [ORCHESTRATION.id, EDGE.id]),
        "risk-explanation": (EXPLANATION, "risk-explanation", [ORCHESTRATION.id, EDGE.id]),
        "feature-store": (STORAGE.audience, "fraud-review", [MODEL.id, ORCHESTRATION.id, EDGE.id]),
    }
    if hops.keys() != expected.keys():
        return f"seen: {', '.join(hops)}"
    for service, (audience, purpose, actors) in expected.items():
        seen = hops[service]
        if (seen["aud"], seen["purpose"], seen["actors"]) != (audience, purpose, actors):
            return f"{service} saw a token for {seen['aud']}, {seen['purpose']}, by {seen['actors']}"
        if service != "gateway" and (not seen["bound"] or seen["digest"] == answer.body["user_token"]):
            return f"{service} saw a token that is not its caller's own"
    if len({hop["digest"] for hop in hops.values()}) != len(hops):
        return "two hops saw the same token"
    scopes = [set(hops[name]["scope"].split()) for name in ("gateway", "orchestrator", "fraud-scorer", "feature-store")]
    return "" if scopes[0] >= scopes[1] > scopes[2] > scopes[3] else f"scopes do not narrow: {scopes}"


async def explanation_with_scoring_token(lab: Lab) -> Answer:
    """The orchestrator's token for scoring, used to ask for an explanation."""
    svid, content = lab.svid(ORCHESTRATION), lab.transfer()
    token = lab.hop(ORCHESTRATION, MODEL, purpose="fraud-review")
    return await lab.zone(MODEL, svid, token, content, path="/v1/explain", method="POST")


# ------------------------------------------------------------------ opaque tokens and step-up


async def _limit(lab: Lab, **sign_in: str) -> Answer:
    token = await lab.sign_in(
        "frank", audience=ADMINISTRATION, purpose="administration", scope="limits.write", **sign_in
    )
    return await lab.edge(token, {"amount": 75000}, path="/v1/limits/wire", method="PUT")


async def opaque_step_up(lab: Lab) -> Answer:
    """The token is opaque and introspected; the answer names what is missing; a stronger sign-in has it."""
    weak = await _limit(lab)
    challenge = weak.headers.get("www-authenticate", "")
    if weak.code != "token.step_up" or "insufficient_user_authentication" not in challenge or "mfa" not in challenge:
        return weak
    return await _limit(lab, acr="mfa")


def _not_forwarded(answer: Answer) -> str:
    return "the token went on to the service" if answer.body.get("caller", {}).get("token") else ""


async def step_up_missing(lab: Lab) -> Answer:
    return await _limit(lab)


async def step_up_too_old(lab: Lab) -> Answer:
    return await _limit(lab, acr="mfa", auth_time=str(int(lab.mint.clock.now()) - 900))


async def opaque_unknown(lab: Lab) -> Answer:
    return await lab.edge("xat_" + "A" * 43, {"amount": 75000}, path="/v1/limits/wire", method="PUT")


# ------------------------------------------------------------------ revocation


async def _until(lab: Lab, attempt: str, code: str, content: object = None) -> Answer:
    """The edge's answer to a token, asked again until it is refused with `code`."""
    clock = asyncio.get_running_loop()
    deadline = clock.time() + _PATIENCE
    while True:
        answer = await lab.edge(attempt, content or lab.transfer())
        if answer.code == code or clock.time() > deadline:
            return answer
        await asyncio.sleep(_POLL)


async def revocation(lab: Lab) -> Answer:
    """It worked a moment ago, everything about it is cached, and it is refused as soon as it is revoked."""
    token = await lab.sign_in()
    first = await lab.edge(token, lab.transfer())
    if first.status != 201:  # noqa: PLR2004 - without it nothing is shown
        return first
    await lab.platform.authority.admin.revoke("token", token)
    return await _until(lab, token, _REVOKED)


async def revocation_of_the_tree(lab: Lab) -> Answer:
    """What was exchanged from a revoked token is revoked with it, three hops away."""
    svid = await lab.attest("cluster", lab.platform.cluster.project("model", "fraud-scorer"))
    subject = lab.hop(ORCHESTRATION, MODEL, purpose="fraud-review")
    token = await lab.platform.authority.exchange(svid, subject, STORAGE.audience, scope="features.read")
    first = await lab.features(svid, token)
    if first.status != 200:  # noqa: PLR2004 - the same
        return first
    await lab.platform.authority.admin.revoke("token", subject)
    clock = asyncio.get_running_loop()
    deadline = clock.time() + _PATIENCE
    while True:
        answer = await lab.features(svid, token)
        if answer.code == _REVOKED or clock.time() > deadline:
            return answer
        await asyncio.sleep(_POLL)


# ------------------------------------------------------------------ rotation


async def rotation(lab: Lab) -> Answer:
    """A new certificate authority and a new signing key take over while transfers go through; none of them fails."""
    authority = lab.platform.authority
    before = await authority.admin.active()
    await authority.admin.rotate("ca")
    await authority.admin.rotate("signing")
    clock = asyncio.get_running_loop()
    deadline = clock.time() + 3 * _PATIENCE
    requests = 0
    while True:
        await lab.believe()
        answer = await lab.edge(await lab.sign_in(), lab.transfer())
        requests += 1
        after = await authority.admin.active()
        if answer.status != 201:  # noqa: PLR2004 - created
            return answer
        if all(after[name] != before[name] for name in before):
            return Answer(answer.status, body={**answer.body, "requests": requests, "before": before, "after": after})
        if clock.time() > deadline:
            return Answer(0, code="rotation.unfinished", body={"before": before, "after": after})


# ------------------------------------------------------------------ API keys


async def api_key(lab: Lab) -> Answer:
    return await lab.edge(
        None, path="/v1/rates", method="GET", headers=[("x-api-key", lab.platform.credentials.api_key)]
    )


def _partner(answer: Answer) -> str:
    caller = answer.body.get("caller", {})
    if caller.get("api_key"):
        return "the key went on to the service"
    return "" if caller.get("subject") == "partner-rates" else f"the service saw {caller.get('subject')!r}"


async def api_key_unknown(lab: Lab) -> Answer:
    key = lab.platform.credentials.api_key[:-1] + ("A" if lab.platform.credentials.api_key[-1] != "A" else "B")
    return await lab.edge(None, path="/v1/rates", method="GET", headers=[("x-api-key", key)])


async def api_key_for_money(lab: Lab) -> Answer:
    """The key is good, the route is not one of its own."""
    return await lab.edge(None, lab.transfer(), headers=[("x-api-key", lab.platform.credentials.api_key)])


# ------------------------------------------------------------------ retraining


async def retraining(lab: Lab) -> Answer:
    """A batch job: attested, in its own name, on data whose class, age and place its registration covers."""
    svid = await lab.attest("cluster", lab.platform.cluster.project("training", "retrainer"))
    return await lab.zone(STORAGE, svid, path="/v1/datasets/acme/wire-2026")


async def retraining_old_data(lab: Lab) -> Answer:
    svid = await lab.attest("cluster", lab.platform.cluster.project("training", "retrainer"))
    return await lab.zone(STORAGE, svid, path="/v1/datasets/acme/wire-2019")


async def retraining_in_production(lab: Lab) -> Answer:
    """It asks the production model, as the real-time flow does."""
    svid = await lab.attest("cluster", lab.platform.cluster.project("training", "retrainer"))
    return await lab.score(svid, lab.hop(ORCHESTRATION, MODEL, svid))


async def retraining_for_a_user(lab: Lab) -> Answer:
    """It asks for a token of the real-time flow."""
    svid = await lab.attest("cluster", lab.platform.cluster.project("training", "retrainer"))
    return await lab.refused_exchange(svid, lab.hop(ORCHESTRATION, MODEL), STORAGE.audience)


SCENARIOS: Final = (
    allowed("bootstrap", "a new pod attests, gets an SVID and a token, and reads its rows", bootstrap),
    denied(
        "bootstrap-unregistered",
        "a pod that nobody registered",
        403,
        "attestation.no_entry",
        bootstrap_without_registration,
    ),
    denied(
        "bootstrap-other-audience",
        "a service-account token for the cluster's own API",
        403,
        "attestation.audience",
        bootstrap_other_audience,
    ),
    denied("bootstrap-replayed", "a copied service-account token", 403, "attestation.replayed", bootstrap_twice),
    allowed("exchange", "each hop has a narrower token of its own, bound to its workload", exchange, _narrowed, 201),
    denied(
        "explanation-with-scoring-token",
        "a token for scoring asks for an explanation",
        401,
        "token.audience",
        explanation_with_scoring_token,
    ),
    allowed(
        "opaque-step-up", "an administrator signs in again, more strongly, when asked", opaque_step_up, _not_forwarded
    ),
    denied("step-up-missing", "an administrator's password alone", 401, "token.step_up", step_up_missing),
    denied("step-up-too-old", "a strong sign-in of a quarter of an hour ago", 401, "token.step_up", step_up_too_old),
    denied("opaque-unknown", "an opaque token that nobody issued", 401, "token.inactive", opaque_unknown),
    denied("revocation", "a token that was revoked a moment ago", 401, _REVOKED, revocation),
    denied("revocation-tree", "a token that was exchanged from a revoked one", 401, _REVOKED, revocation_of_the_tree),
    allowed("rotation", "a new CA and a new signing key take over under load", rotation, status=201),
    allowed("api-key", "a partner reads published rates with an API key", api_key, _partner),
    denied("api-key-unknown", "an API key with one letter changed", 401, "token.api_key_unknown", api_key_unknown),
    denied("api-key-for-money", "an API key on a route that moves money", 401, "token.missing", api_key_for_money),
    allowed("retraining", "a batch job reads the dataset that it is registered for", retraining),
    denied(
        "retraining-old-data", "and one that is kept too long", 403, "attribute.retention_exceeded", retraining_old_data
    ),
    denied(
        "retraining-in-production",
        "and asks the production model",
        403,
        "workload.route_denied",
        retraining_in_production,
    ),
    denied(
        "retraining-for-a-user",
        "and asks for a token of the real-time flow",
        400,
        "exchange.target",
        retraining_for_a_user,
    ),
)

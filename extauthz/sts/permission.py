"""Issuing is a policy decision: the question to Rego, in AuthZEN words, and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from extauthz.authn import spiffe
from extauthz.model import Allow
from extauthz.policy.engine import Query
from extauthz.sts.answers import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.clock import Clock
    from extauthz.policy.engine import Engine, Evaluation
    from extauthz.sts.interfaces import Client, Policy
    from extauthz.sts.mint import Grant

_PROPERTIES: Final = frozenset({"issuer", "roles", "tenant", "region", "clearance", "acr"})
"""Of the subject, as policies/schemas/input.json describes them."""


class EnginePolicy:
    """A `Policy` over any policy engine. Nothing is reused: an issued token is the cache."""

    def __init__(self, engine: Engine, clock: Clock, *, entrypoint: str, timeout: float) -> None:
        self._engine = engine
        self._clock = clock
        self._entrypoint = entrypoint
        self._timeout = timeout

    async def ask(self, question: Mapping[str, Any]) -> Evaluation:
        content = orjson.dumps(dict(question), option=orjson.OPT_SORT_KEYS)
        deadline = self._clock.monotonic() + self._timeout
        return await self._engine.evaluate(Query(self._entrypoint, content, 0.0, deadline))


def question(
    client: Client, grant: Grant, subject: Mapping[str, Any], action: Literal["token.exchange", "token.issue"]
) -> dict[str, Any]:
    """May this workload have this token? `subject`: properties that its token proved; `scopes` and `purpose` are those
    of the token to be issued."""
    properties = {name: subject[name] for name in sorted(_PROPERTIES & subject.keys())}
    workload = {"id": client.spiffe_id}
    if (parsed := spiffe.parse(client.spiffe_id)) is not None:
        workload["trust_domain"] = parsed.trust_domain
    known = {"environment": client.environment, "tenant": client.tenant}
    workload |= {name: value for name, value in known.items() if value}
    exchange: dict[str, Any] = {
        "scopes": sorted(grant.scopes),
        "kind": grant.kind,
        "depth": len(grant.chain),
    }
    if grant.purpose:
        exchange["purpose"] = grant.purpose
    return {
        "subject": {"type": grant.subject_type, "id": grant.subject, "properties": properties},
        "action": {"name": action},
        "resource": {"type": "audience", "id": grant.audience},
        "context": {"environment": client.environment, "workload": workload, "exchange": exchange},
    }


async def permitted(
    policy: Policy,
    client: Client,
    grant: Grant,
    subject: Mapping[str, Any],
    action: Literal["token.exchange", "token.issue"],
) -> dict[str, Any] | Refused:
    """What the record says of an allowed decision. Raises EngineFault when there is none."""
    evaluation = await policy.ask(question(client, grant, subject, action))
    decision = evaluation.decision
    if isinstance(decision, Allow):
        return {"decision": "allow", "policy_revision": evaluation.revision}
    detail = f"{decision.reasons[0].detail} (policy {evaluation.revision})"
    return Refused("invalid_target", decision.message, decision.code, detail)

"""Layer `workload`: the right road, the wrong traveller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts.scenario import denied
from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION, RETRAINER, STORAGE, spiffe_id

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab


async def wrong_zone(lab: Lab) -> Answer:
    return await lab.features(lab.svid(EDGE), lab.hop(EDGE, STORAGE))


async def stolen_token(lab: Lab) -> Answer:
    """The fraud scorer's own token for storage, in the hands of the orchestrator."""
    return await lab.features(lab.svid(ORCHESTRATION), lab.hop(MODEL, STORAGE))


async def other_environment(lab: Lab) -> Answer:
    svid = lab.platform.credentials.ca.svid(spiffe_id(MODEL.kind, MODEL.service, "staging"))
    return await lab.features(svid, lab.hop(MODEL, STORAGE, svid))


async def unregistered(lab: Lab) -> Answer:
    svid = lab.platform.credentials.ca.svid(spiffe_id("model", "coin-miner"))
    return await lab.features(svid, lab.hop(MODEL, STORAGE, svid))


async def unknown_form(lab: Lab) -> Answer:
    svid = lab.platform.credentials.ca.svid("spiffe://bank.example/fraud-scorer")
    return await lab.features(svid, lab.hop(MODEL, STORAGE, svid))


async def other_tenant(lab: Lab) -> Answer:
    svid = lab.platform.credentials.ca.svid(RETRAINER)
    return await lab.zone(STORAGE, svid, path="/v1/datasets/globex/wire-2026")


SCENARIOS: Final = (
    denied("storage-from-edge", "the gateway calls storage, past two zones", 403, "workload.route_denied", wrong_zone),
    denied(
        "stolen-by-orchestrator",
        "the fraud scorer's token in another zone's hands",
        403,
        "workload.route_denied",
        stolen_token,
    ),
    denied("staging-in-prod", "staging's fraud scorer calls prod", 403, "workload.environment", other_environment),
    denied("unregistered-workload", "an SVID that nobody registered", 403, "workload.route_denied", unregistered),
    denied("id-without-template", "a SPIFFE ID that names no zone", 403, "workload.unregistered", unknown_form),
    denied(
        "batch-other-tenant",
        "the retrainer reads a tenant outside its scope",
        403,
        "workload.tenant_scope",
        other_tenant,
    ),
)

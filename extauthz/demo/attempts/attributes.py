"""Layer `attribute`: the right person, the wrong data, amount, place or model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts.scenario import denied
from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION, RETRAINER, STAGING, STORAGE, spiffe_id

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab


async def tenant_crossing(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(tenant="globex", region="us"))


async def rows_of_another_tenant(lab: Lab) -> Answer:
    return await lab.features(lab.svid(MODEL), lab.hop(MODEL, STORAGE), "/v1/features/globex/wire")


async def crossing_inside(lab: Lab) -> Answer:
    """A gateway that was taken over asks for another tenant, with alice's own token."""
    return await lab.decide(lab.svid(EDGE), lab.hop(EDGE, ORCHESTRATION), tenant="globex", region="us")


async def above_limit(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(amount=50000.01))


async def second_person(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(amount=10000.01))


async def negative(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(amount=-500))


async def other_currency(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(currency="JPY"))


async def other_region(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(region="uk"))


async def suspended(lab: Lab) -> Answer:
    return await lab.edge(lab.user("mallory"), lab.transfer(tenant="umbrella"))


async def unmasked(lab: Lab) -> Answer:
    svid = lab.platform.credentials.ca.svid(spiffe_id(MODEL.kind, MODEL.service, STAGING.environment))
    return await lab.features(svid, lab.hop(MODEL, STAGING, svid), target=STAGING)


async def staging_model(lab: Lab) -> Answer:
    return await lab.score(lab.svid(ORCHESTRATION), lab.hop(ORCHESTRATION, MODEL), "/v1/score/3.2.0")


async def old_rows(lab: Lab) -> Answer:
    svid = lab.platform.credentials.ca.svid(RETRAINER)
    return await lab.zone(STORAGE, svid, path="/v1/datasets/acme/wire-2019")


SCENARIOS: Final = (
    denied("tenant-crossing", "alice of acme pays from globex", 403, "attribute.tenant_mismatch", tenant_crossing),
    denied(
        "rows-crossing", "globex's rows with a token for acme", 403, "attribute.tenant_mismatch", rows_of_another_tenant
    ),
    denied(
        "crossing-inside",
        "a taken-over gateway asks for globex with alice's token",
        403,
        "attribute.tenant_mismatch",
        crossing_inside,
    ),
    denied("above-limit", "50,000.01 EUR, one cent above the role's limit", 403, "attribute.amount_limit", above_limit),
    denied("four-eyes", "10,000.01 EUR without a second person", 403, "attribute.four_eyes", second_person),
    denied("negative-amount", "-500 EUR", 403, "attribute.amount_invalid", negative),
    denied("other-currency", "a currency that the role may not move", 403, "attribute.currency", other_currency),
    denied("other-region", "booked in a region that is not alice's", 403, "attribute.region_mismatch", other_region),
    denied("suspended-tenant", "a tenant that is not active", 403, "attribute.tenant_suspended", suspended),
    denied(
        "unmasked-in-staging",
        "unmasked rows into an environment of low trust",
        403,
        "attribute.unmasked_low_trust",
        unmasked,
    ),
    denied("staging-model", "a staging model scores in prod", 403, "attribute.model_stage", staging_model),
    denied("past-retention", "a dataset older than its retention", 403, "attribute.retention_exceeded", old_rows),
)

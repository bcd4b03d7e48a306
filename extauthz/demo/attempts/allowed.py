"""What must work: the wire transfer through all four zones, and what its neighbours may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts.scenario import allowed
from extauthz.demo.services.feature_store import MASK
from extauthz.demo.zones import MODEL, RETRAINER, STAGING, STORAGE, spiffe_id

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab


async def transfer(lab: Lab) -> Answer:
    return await lab.edge(await lab.sign_in(), lab.transfer())


def _transferred(answer: Answer) -> str:
    fraud = answer.body.get("fraud", {})
    if not fraud.get("rows"):
        return "no history was read"
    if answer.body.get("status") != "accepted":
        return f"a usual transfer was not accepted: {answer.body.get('status')}"
    return "" if answer.body.get("caller", {}).get("tenant") == "acme" else "the gateway saw another tenant"


async def odd_transfer(lab: Lab) -> Answer:
    return await lab.edge(await lab.sign_in(), lab.transfer(amount=9990.5, counterparty="nobody-knows"))


def _doubted(answer: Answer) -> str:
    reasons = answer.body.get("fraud", {}).get("reasons", [])
    return "" if "new_counterparty" in reasons else f"the new counterparty was not noticed: {reasons}"


async def spoofed_identity(lab: Lab) -> Answer:
    spoofed = [
        ("x-extauthz-subject", "root"),
        ("x-extauthz-tenant", "globex"),
        ("X-ExtAuthz-Mask", ""),
        ("x-extauthz-admin", "1"),
    ]
    return await lab.edge(await lab.sign_in(), lab.transfer(), headers=spoofed)


def _not_fooled(answer: Answer) -> str:
    caller = answer.body.get("caller", {})
    seen = (caller.get("subject"), caller.get("tenant"))
    return "" if seen == ("alice", "acme") else f"the gateway believed {seen}"


async def spoofed_certificate(lab: Lab) -> Answer:
    header = f"By=x;Hash={'0' * 64};URI={MODEL.id}"
    return await lab.edge(await lab.sign_in(), lab.transfer(), headers=[("x-forwarded-client-cert", header)])


def _no_workload(answer: Answer) -> str:
    seen = answer.body.get("caller", {}).get("workload")
    return "" if not seen else f"the gateway believed {seen}"


async def own_rows(lab: Lab) -> Answer:
    return await lab.features(lab.svid(MODEL), lab.hop(MODEL, STORAGE))


def _rows_of_acme(answer: Answer) -> str:
    rows = answer.body.get("rows", [])
    if not rows or answer.body.get("tenant") != "acme" or answer.body.get("transaction_class") != "wire":
        return "rows of acme's wire transfers were expected"
    if any(not row["counterparty"].startswith("acme-") for row in rows):
        return "another tenant's rows came along"
    return "" if all(row["iban"] == MASK != row["geo"] for row in rows) else "restricted fields were not masked"


async def masked_in_staging(lab: Lab) -> Answer:
    ca = lab.platform.credentials.ca
    svid = ca.svid(spiffe_id(MODEL.kind, MODEL.service, STAGING.environment))
    token = lab.hop(MODEL, STAGING, svid)
    return await lab.features(svid, token, "/v1/features/acme/wire?masked=true", target=STAGING)


def _all_masked(answer: Answer) -> str:
    rows = answer.body.get("rows", [])
    fields = ("iban", "holder_name", "device_id", "geo")
    masked = bool(rows) and all(row[name] == MASK for row in rows for name in fields)
    return "" if masked else "a field that needs masking was shown"


async def training(lab: Lab) -> Answer:
    svid = lab.platform.credentials.ca.svid(RETRAINER)
    return await lab.zone(STORAGE, svid, path="/v1/datasets/acme/wire-2026")


SCENARIOS: Final = (
    allowed("wire-transfer", "alice of acme pays 100-900 EUR, through all four zones", transfer, _transferred, 201),
    allowed("odd-transfer", "a larger amount to an unknown counterparty is scored", odd_transfer, _doubted, 201),
    allowed(
        "spoofed-identity-headers",
        "x-extauthz-* sent by the client changes nothing",
        spoofed_identity,
        _not_fooled,
        201,
    ),
    allowed(
        "spoofed-xfcc",
        "x-forwarded-client-cert sent by the client changes nothing",
        spoofed_certificate,
        _no_workload,
        201,
    ),
    allowed(
        "own-rows-only", "the fraud scorer reads acme's wire rows, restricted fields masked", own_rows, _rows_of_acme
    ),
    allowed(
        "masked-in-staging", "staging reads the rows with everything sensitive masked", masked_in_staging, _all_masked
    ),
    allowed("training-data", "the retrainer reads a dataset in its own name", training),
)

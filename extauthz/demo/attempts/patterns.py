"""Credential patterns beside the usual one: roles alone, and a token that is verified and introspected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts.scenario import allowed, denied

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab


async def cancel(lab: Lab, **fields: str) -> Answer:
    """Alice takes back a transfer that she made a moment ago; `fields` replace what she says of it."""
    token, transfer = await lab.sign_in(), lab.transfer()
    made = await lab.edge(token, transfer)
    if made.status != 201:  # noqa: PLR2004 - without it nothing is shown
        return made
    path = f"/v1/transfers/{made.body['transfer_id']}/cancel"
    return await lab.edge(token, {**transfer, **fields}, path=path)


def _cancelled(answer: Answer) -> str:
    return "" if answer.body.get("status") == "cancelled" else "it was not cancelled"


async def cancel_for_another(lab: Lab) -> Answer:
    return await cancel(lab, tenant="globex")


async def usage(lab: Lab) -> Answer:
    """What roles alone do not know: alice is of acme."""
    return await lab.edge(await lab.sign_in(), path="/v1/usage/globex", method="GET")


def _counted(answer: Answer) -> str:
    return "" if isinstance(answer.body.get("transfers"), int) else "no count was read"


async def usage_without_role(lab: Lab) -> Answer:
    return await lab.edge(await lab.sign_in("carol"), path="/v1/usage/acme", method="GET")


SCENARIOS: Final = (
    allowed("cancel-transfer", "a transfer is taken back: token verified, and introspected", cancel, _cancelled),
    denied("cancel-for-another", "and for another tenant", 403, "attribute.tenant_mismatch", cancel_for_another),
    allowed("usage-of-any-tenant", "where roles alone decide, a tenant reads another's count", usage, _counted),
    denied("usage-without-role", "and needs the role", 403, "role.permission_missing", usage_without_role),
)

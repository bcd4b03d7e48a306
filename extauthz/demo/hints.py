"""What to try by hand while the platform runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.demo.zones import EDGE
from extauthz.sts.answers import SIGN_IN

if TYPE_CHECKING:
    from extauthz.demo.layout import Layout


def hints(layout: Layout) -> str:
    """Shell commands, ready to paste."""
    port = layout.zone(EDGE).port
    url = f"https://{EDGE.host}:{port}/v1/transfers"
    reach = f"--cacert {layout.root / 'trust.pem'} --resolve {EDGE.host}:{port}:127.0.0.1"
    body = (
        '{"tenant":"acme","region":"eu","amount":250,"currency":"EUR",'
        '"transaction_type":"wire","counterparty":"acme-party-07"}'
    )
    return f"""
The platform runs. Try it:

  # alice's token (also: bob of globex, carol who may not pay, dave without a role)
  TOKEN=$(curl -s --cacert {layout.trust} {layout.authority}/token -d grant_type={SIGN_IN} -d user=alice \\
    | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')

  # a transfer, through all zones
  curl -s {reach} -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \\
    {url} -d '{body}'

  # the same from another tenant's account: 403, attribute.tenant_mismatch
  curl -s {reach} -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \\
    {url} -d '{body.replace("acme", "globex", 1)}'

  # what each zone decided, and why
  tail -f {layout.root}/*/records.jsonl

Configurations and logs are in {layout.root}. Ctrl-C, or `make down` in another terminal, ends everything.
"""

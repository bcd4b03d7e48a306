"""The demo's inventory, held against what was looked at and agreed to."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extauthz.inventory import mermaid, svg
from extauthz.inventory.graph import graph

if TYPE_CHECKING:
    from tests.support.inventory import Demo

AGREED = Path(__file__).parent / "demo.json"
DOCS = Path(__file__).parents[3] / "docs"
REMEDY = "look at the difference; to agree to it: UPDATE_AGREED=1 pytest tests/unit/inventory"
GRAPH = re.compile(r"(?<=<!-- graph -->\n).*(?=<!-- /graph -->)", re.DOTALL)


def document(demo: Demo) -> dict[str, Any]:
    """Without the digests of files that name the run's folder."""
    whole = demo.inventory.as_json()
    for file in whole["files"]:
        del file["digest"]
    return json.loads(json.dumps(whole))


def agreed(file: Path, found: str) -> None:
    if os.environ.get("UPDATE_AGREED"):
        file.write_text(found)
    assert found == file.read_text(), REMEDY


def test_the_demos_inventory_is_the_one_that_was_agreed_to(demo: Demo):
    agreed(AGREED, json.dumps(document(demo), indent=1) + "\n")


def test_the_page_shows_the_demos_graph(demo: Demo):
    made = graph(demo.inventory)
    page = (DOCS / "inventory.md").read_text()
    agreed(DOCS / "inventory.md", GRAPH.sub(lambda _: f"\n```mermaid\n{mermaid.text(made)}```\n\n", page))
    agreed(DOCS / "inventory.svg", svg.text(made))


def principal(demo: Demo, ending: str) -> Any:
    (found,) = [one for one in demo.inventory.principals if one.id.endswith(ending)]
    return found


def test_who_may_reach_what(demo: Demo):
    retrainer = principal(demo, "ns/training/sa/retrainer")
    assert retrainer.reaches == ("storage/read-dataset",)  # not staging's: it is of another environment
    assert [(held.kind, held.lifetime) for held in retrainer.credentials] == [("x509-svid", 600.0), ("jwt-svid", 300.0)]
    assert retrainer.tenant == "acme"
    gateway = principal(demo, "ns/edge/sa/gateway")
    assert {"edge/call-orchestration", "orchestration/decide-transfer"} <= set(gateway.reaches)
    assert "https://orchestration.bank.example" in gateway.credentials[-1].audiences
    staging = principal(demo, "env/staging/ns/model/sa/fraud-scorer")
    assert staging.reaches == ("storage-staging/read-features",)
    (partner,) = [one for one in demo.inventory.principals if one.kind == "api_key"]
    assert (partner.id, partner.reaches) == ("partner1", ("edge/read-rates",))
    frank = principal(demo, " frank")
    assert frank.reaches == ("edge/change-limit",)
    assert frank.credentials[0].kind == "opaque token"


def test_paths_say_by_whom_and_for_how_long(demo: Demo):
    paths = {path.id: path for path in demo.inventory.paths}
    transfer = paths["edge/create-transfer"]
    assert (transfer.callers, transfer.kinds, transfer.effects) == (("anyone",), ("jwt",), ("money",))
    assert (transfer.lifetime, transfer.access) == (600.0, "write")
    assert transfer.minted_by == ("spiffe://bank.example/authority", "https://lab.bank.example")
    limit = paths["edge/change-limit"]
    assert (limit.kinds, limit.step_up, limit.upstream) == (("jwt", "opaque"), ("mfa", "within 5m"), "no token")
    call = paths["edge/call-orchestration"]
    assert (call.through, call.access, call.binding) == ("self", "call", "received")
    assert call.upstream == "a token for https://orchestration.bank.example"
    dataset = paths["storage/read-dataset"]
    assert (dataset.kinds, dataset.lifetime) == (("workload",), 600.0)  # the retrainer's certificate
    assert demo.inventory.gaps == ()

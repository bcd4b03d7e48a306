"""The rules about asynchronous routes."""

from __future__ import annotations

from typing import Any

from .conftest import REMOVE

QUEUE = {"judgement": {"queue": {"kind": "sqlite", "path": "judgement.sqlite"}}}
ASYNC = {"routes.0.evaluation": "async"}
BACKGROUND = {**QUEUE, **ASYNC}


def by(kind: str, **more: Any) -> dict[str, Any]:
    return {**BACKGROUND, "routes.0.judgement": {"quarantine": {"by": kind}}, **more}


WORKLOAD = {"routes.0.credential": "workload", "routes.0.token": REMOVE}
PLACE = "routes[0].judgement.quarantine.by"
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("asynchronous_routes_have_a_queue", ASYNC, "routes[0].evaluation", "no queue"),
    (
        "asynchronous_routes_are_not_the_plugins",
        {
            "policy.compat": "opa-envoy-plugin",
            "routes.0.attributes": [],
            "routes.1.attributes": [],
            **BACKGROUND,
        },
        "routes[0].evaluation",
        "every request at once",
    ),
    (
        "the_queue_is_no_store_of_another_part",
        {**BACKGROUND, "store": {"kind": "sqlite", "path": "judgement.sqlite"}},
        "judgement.queue.path",
        "file of `store`",
    ),
    ("quarantines_are_by_what_the_route_proves", by("workload", **{"routes.0.public": True}), PLACE, "public route"),
    ("quarantines_are_by_what_the_route_proves", by("token", **WORKLOAD), PLACE, "has no token"),
    ("quarantines_are_by_what_the_route_proves", by("tenant", **WORKLOAD), PLACE, "has no tenant"),
]
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("asynchronous_routes_have_a_queue", BACKGROUND),
    ("asynchronous_routes_are_not_the_plugins", BACKGROUND),
    ("the_queue_is_no_store_of_another_part", {**BACKGROUND, "store": {"kind": "sqlite", "path": "store.sqlite"}}),
    ("quarantines_are_by_what_the_route_proves", by("workload", **WORKLOAD)),
    ("quarantines_are_by_what_the_route_proves", by("token")),
    ("quarantines_are_by_what_the_route_proves", by("tenant")),
]
ADVICE: list[tuple[str, dict[str, Any], str]] = [
    ("a_quarantine_hits_only_who_did_it", by("workload"), PLACE),
    ("the_queue_is_used", QUEUE, "judgement"),
]

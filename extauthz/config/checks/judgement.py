"""Rules about asynchronous routes: there is a queue, and a quarantine that is possible and hits whom it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.config.checks.rule import Finding, advice, error, routes
from extauthz.store.settings import SqliteStoreSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.check.routes import RouteSettings
    from extauthz.config.model import Config
    from extauthz.judgement.settings import QuarantineRule


@error
def asynchronous_routes_have_a_queue(config: Config) -> Iterator[Finding]:
    """What nobody keeps, nobody judges."""
    for place, route in routes(config):
        if route.evaluation == "async" and config.judgement is None and not route.effects:  # with effects: never async
            yield Finding(
                (*place, "evaluation"),
                f"the route {route.name} is judged in the background, and there is no queue for it",
                "add `judgement` with a `queue`, or write `evaluation: sync`",
            )


@error
def asynchronous_routes_are_not_the_plugins(config: Config) -> Iterator[Finding]:
    """The plugin's policy reads Envoy's whole message, credentials included: it cannot wait in a queue."""
    for place, route in routes(config):
        if config.policy.compat and route.evaluation == "async":
            yield Finding(
                (*place, "evaluation"),
                f"the route {route.name} is judged in the background, and policy.compat judges every request at once",
                "write `evaluation: sync`, or remove policy.compat",
            )


@error
def the_queue_is_no_store_of_another_part(config: Config) -> Iterator[Finding]:
    """The authority's store has other tables, and another reader."""
    queue, store = None if config.judgement is None else config.judgement.queue, config.store
    if isinstance(queue, SqliteStoreSettings) and isinstance(store, SqliteStoreSettings) and queue.path == store.path:
        yield Finding(
            ("judgement", "queue", "path"),
            "the queue would be in the file of `store`",
            "name another file",
        )


@error
def quarantines_are_by_what_the_route_proves(config: Config) -> Iterator[Finding]:
    """Otherwise violations would lead to nothing, and nobody would notice."""
    for place, route, rule in _quarantines(config):
        missing = ""
        if rule.by == "workload" and route.public:
            missing = "callers of a public route need no workload identity"
        elif rule.by in {"token", "tenant"} and route.credential not in {"jwt", "api_key"}:
            missing = f"`credential: {route.credential}` has no {rule.by}"
        if missing:
            yield Finding(
                (*place, "judgement", "quarantine", "by"),
                f"the route {route.name} puts into quarantine by {rule.by}, and {missing}",
                "name what the route proves of every caller",
            )


@advice
def a_quarantine_hits_only_who_did_it(config: Config) -> Iterator[Finding]:
    """One user of a gateway could have all of its users refused."""
    for place, route, rule in _quarantines(config):
        if rule.by == "workload" and route.credential == "jwt":
            yield Finding(
                (*place, "judgement", "quarantine", "by"),
                f"one subject of the route {route.name} can put the workload that carries everybody's requests into "
                "quarantine",
                "write `by: token` or `by: tenant`, unless the workload answers for what its subjects do",
            )


@advice
def the_queue_is_used(config: Config) -> Iterator[Finding]:
    """A queue that nobody fills."""
    if config.judgement is not None and all(route.evaluation == "sync" for route in config.routes):
        yield Finding(
            ("judgement",),
            "no route is judged in the background",
            "write `evaluation: async` at a route, or remove this",
        )


def _quarantines(config: Config) -> Iterator[tuple[tuple[str | int, ...], RouteSettings, QuarantineRule]]:
    for place, route in routes(config):
        if route.judgement is not None and route.judgement.quarantine is not None:
            yield place, route, route.judgement.quarantine

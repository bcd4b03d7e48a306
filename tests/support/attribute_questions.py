"""Requests and questions for tests of attribute sources."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import httpx

from extauthz.attributes.plan import AttributePlan, build_plan
from extauthz.attributes.registry import Sources, build_sources
from extauthz.attributes.settings import AttributesSettings, AttributeUse
from extauthz.attributes.source import AttributeQuestion
from extauthz.clock import ManualClock
from extauthz.model import Request, Subject, Workload
from extauthz.outbound import Outbound
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = {"content-type": "application/json"}


def no_outbound() -> Outbound:
    """A client that calls nobody; without TLS to set up, which takes its time."""
    return Outbound(transport=httpx.MockTransport(lambda _: httpx.Response(500)))


def request(
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    path: str = "/v1/transfers/T-1",
    query: str = "",
    method: str = "POST",
    truncated: bool = False,
    duplicated: frozenset[str] = frozenset(),
) -> Request:
    return Request(
        id="r-1",
        method=method,
        scheme="https",
        host="api.bank.example",
        path=path,
        query=query,
        protocol="HTTP/2",
        headers=dict(headers if headers is not None else JSON if body else {}),
        body=body,
        body_truncated=truncated,
        principal="",
        certificate="",
        source_address="10.0.0.1",
        destination_principal="",
        context_extensions={},
        duplicated_headers=duplicated,
    )


def question(
    asked: Request | None = None,
    *,
    subject: Subject | None = None,
    workload: Workload | None = None,
    variables: Mapping[str, str] | None = None,
    deadline: float = math.inf,
    resource_id: str = "T-1",
) -> AttributeQuestion:
    return AttributeQuestion(
        asked or request(),
        subject,
        workload,
        variables or {},
        deadline,
        resource_type="transfer",
        resource_id=resource_id,
    )


def settings(*sources: dict[str, Any]) -> AttributesSettings:
    return AttributesSettings.model_validate({"sources": sources})


def request_source(**fields: Any) -> dict[str, Any]:
    """A source named `asked`; a field is `from` text or the whole rule."""
    rules = {name: rule if isinstance(rule, dict) else {"from": rule} for name, rule in fields.items()}
    return {"kind": "request", "name": "asked", "fields": rules}


def request_plan(**fields: Any) -> AttributePlan:
    """A plan that writes every field to `resource.properties` under its own name."""
    sources = build_sources(
        settings(request_source(**fields)), outbound=lambda _: no_outbound(), clock=ManualClock(), tasks=Tasks()
    )
    path_variables = [str(rule)[5:] for rule in fields.values() if str(rule).startswith("path:")]
    path_variables += [rule["from"][5:] for rule in fields.values() if isinstance(rule, dict)]
    return plan_of(sources, {"asked": {f"resource.properties.{name}": name for name in fields}}, path_variables)


def plan_of(sources: Sources, uses: dict[str, dict[str, str]], variables: list[str] | None = None) -> AttributePlan:
    return build_plan(
        [AttributeUse.model_validate({"source": name, "to": to}) for name, to in uses.items()],
        sources,
        variables=variables,
    )

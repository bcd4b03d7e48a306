"""The policy input: one Check in AuthZEN words (`subject`, `action`, `resource`, `context`).

Its published schema is `policies/schemas/input.json`. What a credential proved goes before what an attribute source
says: a source can add a subject property, never change a verified one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.check.routes import RouteSettings
    from extauthz.model import Request, Subject, Workload

_ANONYMOUS: Final = {"type": "anonymous", "id": ""}


@dataclass(frozen=True, slots=True)
class InputTemplate:
    """What of the policy input does not depend on the request; made once a route."""

    action: str
    resource_type: str
    resource_id: str
    route: str
    environment: str

    @classmethod
    def of(cls, route: RouteSettings, environment: str) -> InputTemplate:
        return cls(route.action, route.resource.type, route.resource.id, route.name, environment)

    def resource(self, variables: Mapping[str, str]) -> str:
        """The id of what is acted on."""
        return self.resource_id.format_map(variables) if self.resource_id else ""

    def fill(
        self,
        request: Request,
        workload: Workload | None,
        subject: Subject | None,
        resource_id: str,
        attributes: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Any]:
        """The whole policy input. `attributes` holds the collected `subject`, `resource` and `context` properties."""
        context: dict[str, Any] = {"route": self.route, "environment": self.environment}
        if workload is not None:
            context["workload"] = {
                "id": workload.id,
                "trust_domain": workload.trust_domain,
                "namespace": workload.namespace,
                "environment": workload.environment,
                "service": workload.service,
                "tenant": workload.tenant,
            }
        if subject is not None:
            context["credential"] = {
                "type": subject.credential,
                "issuer": subject.issuer,
                "audience": subject.audience,
            }
            if subject.act:
                context["credential"]["act"] = subject.act
        if more := attributes.get("context"):
            context["properties"] = more
        return {
            "subject": _subject(subject, workload, attributes.get("subject")),
            "action": {"name": self.action, "properties": {"method": request.method}},
            "resource": {
                "type": self.resource_type,
                "id": resource_id,
                "properties": attributes.get("resource", {}),
            },
            "context": context,
        }


def _subject(subject: Subject | None, workload: Workload | None, more: Mapping[str, Any] | None) -> dict[str, Any]:
    if subject is not None:
        properties = {**more, **subject.claims} if more else subject.claims
        return {"type": subject.type, "id": subject.id, "properties": properties}
    if workload is not None:
        return {"type": "workload", "id": workload.id, "properties": more or {}}
    return {**_ANONYMOUS, "properties": more or {}}

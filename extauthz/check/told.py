"""What an answer says beside the decision: the credential for the upstream, and what Envoy's access log may say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from extauthz.authn.extract import TXN_TOKEN

if TYPE_CHECKING:
    from extauthz.check.exchanged import Granted
    from extauthz.check.pipeline import Facts
    from extauthz.check.routes import RouteSettings
    from extauthz.model import Request
    from extauthz.telemetry.trail import Trail


def credential(settings: RouteSettings, request: Request, granted: Granted | None) -> tuple[str, str] | None:
    """The credential's header that goes upstream where we set it; a transaction token is ours, so it is set again."""
    if granted is not None:
        return granted.header
    verified = settings.token is not None and settings.token.header == TXN_TOKEN
    return (TXN_TOKEN, request.headers[TXN_TOKEN]) if verified and settings.forward_token else None


def metadata(facts: Facts, trail: Trail) -> dict[str, Any]:
    """What Envoy's access log may say of this Check."""
    found: dict[str, Any] = {"decision_id": trail.decision_id}
    if facts.route is not None:
        found["route"] = facts.route.settings.name
    if facts.workload is not None:
        found["workload"] = facts.workload.id
    if facts.subject is not None:
        found["subject"] = facts.subject.id
    if trail.revision:
        found["revision"] = trail.revision
        found["cached"] = trail.decision_cached is True
    if trail.mode:
        found["mode"] = trail.mode
    return found

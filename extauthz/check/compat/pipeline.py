"""The path of a Check under `policy.compat: opa-envoy-plugin`.

    1  layers   only for a request that a route covers: workload and token, as that route asks, fail closed
    2  input    the plugin's document; a request that it cannot describe is denied with HTTP 400, no policy is asked
    3  policy   the whole document, asked each time (the plugin reuses nothing)
    4  answer   the policy's own response, the decision's id in its metadata; in a dry run a denial becomes an allow

A request that no route covers has no layer but its policy; without routes that is every request. A route that Envoy
names must be there. What a layer refuses is refused in a dry run as well, as is a request of step 2.
A policy that cannot answer ends the call as a gRPC error, so that Envoy's own failure mode applies.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from extauthz.check.compat import document
from extauthz.check.compat.descriptors import Descriptors
from extauthz.check.compat.go_text import Unreadable
from extauthz.check.compat.json_text import encode
from extauthz.check.compat.result import DRY_RUN, PluginAllow, PluginDeny, named
from extauthz.check.messages import CheckRequest, CheckResponse, DecodeError
from extauthz.check.pipeline import Facts, Pipeline
from extauthz.check.router import ROUTE_EXTENSION
from extauthz.errors import CallFailed, EngineFault
from extauthz.model import Allow, Deny, deny
from extauthz.policy.engine import Query
from extauthz.telemetry.trail import RouteFacts, Stage, Trail

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.model import Decision
    from extauthz.policy.compat_settings import OpaEnvoyPluginSettings

log = logging.getLogger(__name__)

ROUTE: Final = "opa-envoy-plugin"
"""What records and metrics call a request that no route covers."""
_UNKNOWN, _DEADLINE_EXCEEDED, _INTERNAL, _UNAVAILABLE = 2, 4, 13, 14
"""google.rpc.Code. The plugin says UNKNOWN for whatever its policy got wrong."""
_STATUS: Final = {
    "engine.deadline": _DEADLINE_EXCEEDED,
    "engine.unavailable": _UNAVAILABLE,
    "engine.draining": _UNAVAILABLE,
    "engine.internal": _INTERNAL,
}
_PERMISSION_DENIED: Final = 7
_BAD_REQUEST: Final = 400
_NOT_COVERED: Final = "request.route_unknown"
_ALLOWED: Final = Allow()


class CompatPipeline(Pipeline):
    """`routed`: whether the configuration has routes. Everything else is as in `Pipeline`."""

    def __init__(
        self, plugin: OpaEnvoyPluginSettings, descriptors: Descriptors | None, *, routed: bool, **parts: Any
    ) -> None:
        super().__init__(**parts)
        self._plugin = plugin
        self._descriptors = descriptors
        self._routed = routed
        self._facts = RouteFacts(ROUTE, entrypoint=plugin.entrypoint)
        self._metrics.know((ROUTE,))

    async def check(self, message: bytes, budget: float) -> bytes:
        """As `Pipeline.check`; raises CallFailed beside CancelledError."""
        trail = Trail(self._clock.now(), self._transport)
        facts = Facts()
        decision: Decision = deny("engine.internal")
        deadline = self._clock.monotonic() + min(budget, self._max_deadline)
        try:
            refused = await self._layers(message, deadline, facts, trail) if self._routed else None  # 1
            if refused is not None:
                decision = refused
                return self._answer(refused, facts, trail)
            decision, answer = await self._plugin_answer(message, deadline, facts, trail)
        except EngineFault as fault:
            decision = deny(fault.code, fault.detail)
            raise CallFailed(_STATUS.get(fault.code, _UNKNOWN), str(fault)) from None
        except CallFailed:
            raise
        except Exception:
            log.exception("Check %s failed", trail.decision_id)
            raise CallFailed(_INTERNAL, "no decision can be made") from None
        finally:
            self._record(decision, facts, trail)
        return answer

    async def _layers(self, message: bytes, deadline: float, facts: Facts, trail: Trail) -> Deny | None:
        """Step 1. None: nothing refuses. A fault of a layer is a denial, whatever Envoy's failure mode."""
        try:
            settled = await self._prove(message, deadline, facts, trail)
        except EngineFault as fault:
            settled = deny(fault.code, fault.detail)
        except TimeoutError:
            settled = deny("engine.deadline", "the credential could not be checked in time")
        if facts.route is not None and facts.variables is not None:
            trail.resource_id = facts.route.template.resource(facts.variables)
        if isinstance(settled, Allow):  # a plan of `open`, which no route has here (`the_plugins_contract_has_no_plan`)
            return deny("engine.internal")
        uncovered = settled is not None and settled.code == _NOT_COVERED and facts.route is None
        if uncovered and facts.request is not None and ROUTE_EXTENSION not in facts.request.context_extensions:
            return None
        return settled

    async def _plugin_answer(
        self, message: bytes, deadline: float, facts: Facts, trail: Trail
    ) -> tuple[Decision, bytes]:
        """Steps 2–4."""
        try:
            envoys = CheckRequest.FromString(message)
        except DecodeError:
            raise CallFailed(_INTERNAL, "the message is not a CheckRequest") from None
        if facts.route is None:
            trail.route = self._facts
        if facts.request is None:
            _describe(trail, envoys.attributes)
        try:
            given = document.build(
                envoys, descriptors=self._descriptors, skip_body=self._plugin.skip_request_body_parse
            )
        except Unreadable as reason:  # 2
            return deny("request.malformed", str(reason)), _unreadable(reason)
        finally:
            trail.mark(Stage.PARSE)
        query = Query(trail.route.entrypoint, encode(given), 0.0, deadline)
        evaluation = await self._policy.ask(query, given, trail)  # 3
        trail.mark(Stage.POLICY)
        if self._clock.monotonic() > deadline:
            raise EngineFault("engine.deadline", "the decision came too late")
        return evaluation.decision, self._said(evaluation.decision, facts, trail)

    def _said(self, decision: Decision, facts: Facts, trail: Trail) -> bytes:
        """Step 4. Parts of a message one after the other are one message (protobuf.dev, "Last One Wins")."""
        dry = isinstance(decision, PluginDeny) and self._plugin.dry_run
        if not dry and isinstance(decision, PluginDeny):
            return decision.response + named(trail.decision_id)
        if isinstance(decision, PluginAllow):
            said = decision.response
        elif isinstance(decision, PluginDeny):
            said = DRY_RUN + decision.metadata
        else:
            raise EngineFault("engine.internal", "the engine does not read the plugin's results")
        if facts.route is None:
            return said + named(trail.decision_id)
        if isinstance(decision, PluginAllow) and decision.sets_identity:
            raise EngineFault("engine.invalid_result", "the policy may not set an identity header on this route")
        return said + self._answer(_ALLOWED, facts, trail)


def prepare(plugin: OpaEnvoyPluginSettings, *, routed: bool) -> Callable[..., Pipeline]:
    """What takes `Pipeline`'s parts and makes the pipeline. Blocks: reads the descriptor set. Raises ConfigError."""
    descriptors = Descriptors.read(plugin.proto_descriptor) if plugin.proto_descriptor else None
    return partial(CompatPipeline, plugin, descriptors, routed=routed)


def _unreadable(reason: Unreadable) -> bytes:
    """The plugin's answer to a request that it cannot describe; it has no metadata."""
    text = f"request_parse_error: {reason}"
    response = CheckResponse(status={"code": _PERMISSION_DENIED, "message": text})
    response.denied_response.status.code = _BAD_REQUEST
    response.denied_response.body = text
    return response.SerializeToString()  # type: ignore[no-any-return]  # upb bytes


def _describe(trail: Trail, attributes: Any) -> None:
    http = attributes.request.http
    trail.method = http.method
    trail.host = http.host
    trail.path = http.path.partition("?")[0]
    trail.request_id = http.id
    trail.traceparent = http.headers.get("traceparent", "")
    address = attributes.source.address
    trail.source = address.socket_address.address or address.pipe.path

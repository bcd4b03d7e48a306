"""A request through a server's real configuration, up to the question that its policy would be asked.

1. The request becomes Envoy's CheckRequest, and is read by `check.wire`.
2. `check.router` finds its route.
3. The workload is the named SPIFFE ID, by the configuration's templates and lists; its certificate is not asked for.
4. The token's claims are mapped and judged as the issuer's and the route's settings say. Its signature is not verified
   and its age is not held against it: this is a tool for authors, and it decides nothing.
5. Attributes are collected from the sources that need no other server; the others are named, `--set` gives their
   values.
6. `check.policy_input` writes the policy input, or `check.compat` the one of opa-envoy-plugin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz.attributes.plan import build_plan
from extauthz.attributes.registry import build_sources
from extauthz.attributes.settings import HttpSource
from extauthz.attributes.source import AttributeQuestion
from extauthz.authn import jose
from extauthz.authn.claims import accept
from extauthz.authn.extract import bearer
from extauthz.authn.workload import WorkloadVerifier, subject_of
from extauthz.check import wire
from extauthz.check.compat import document as compat
from extauthz.check.messages import CheckRequest
from extauthz.check.policy_input import InputTemplate
from extauthz.check.router import Router
from extauthz.check.routes import VARIABLE, RouteSettings
from extauthz.model import Deny, Request, Subject, Workload
from extauthz.outbound import Outbound
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.authn.settings import IssuerSettings, TokenRule
    from extauthz.cli.policy.requests import Asked
    from extauthz.clock import Clock
    from extauthz.config import Config

_NOTHING: Final[Mapping[str, Mapping[str, Any]]] = {}


@dataclass(slots=True)
class Question:
    """`input` is what the policy at `entrypoint` would be asked; None when a layer refuses before that.

    `notes` say what was taken on trust, or is missing.
    """

    entrypoint: str = ""
    route: str = ""
    input: dict[str, Any] | None = None
    refused: Deny | None = None
    notes: list[str] = field(default_factory=list)


class Through:
    """`claims` are those of a token that has been verified; None: those of the request's own token are read."""

    def __init__(
        self, config: Config, clock: Clock, *, workload: str = "", claims: dict[str, Any] | None = None
    ) -> None:
        self._config = config
        self._clock = clock
        self._workload = workload
        self._claims = claims

    def ask(self, asked: Asked, route: str = "") -> Question:
        """`route`: as if Envoy's context_extensions named it."""
        question = Question()
        message = check_request(asked, self._workload, route)
        if self._config.policy.compat:
            settings = self._config.policy.opa_envoy_plugin
            question.entrypoint = settings.entrypoint
            question.input = compat.build(message, skip_body=settings.skip_request_body_parse)
            if settings.proto_descriptor is not None:
                question.notes.append("a gRPC body is not read here: proto-descriptor is not used")
            return question
        request = wire.parse(message.SerializeToString())  # 1
        if isinstance(request, Deny):
            question.refused = request
            return question
        matched = Router([(one, one) for one in self._config.routes]).match(request)  # 2
        if isinstance(matched, Deny):
            question.refused = matched
            return question
        self._fill(question, request, matched.route, matched.variables)
        return question

    def _fill(self, question: Question, request: Request, route: RouteSettings, variables: Mapping[str, str]) -> None:
        question.route, question.entrypoint = route.name, route.policy
        workload = self._caller(request, route, question)  # 3
        if isinstance(workload, Deny):
            question.refused = workload
            return
        subject = self._subject(request, route, workload, question)  # 4
        if isinstance(subject, Deny):
            question.refused = subject
            return
        template = InputTemplate.of(route, self._config.environment)
        resource_id = template.resource(variables)
        asked = AttributeQuestion(request, subject, workload, variables, math.inf, route.resource.type, resource_id)
        attributes = self._attributes(route, asked, question)  # 5
        if isinstance(attributes, Deny):
            question.refused = attributes
            return
        question.input = template.fill(request, workload, subject, resource_id, attributes)  # 6

    def _caller(self, request: Request, route: RouteSettings, question: Question) -> Workload | Deny | None:
        settings = self._config.workload
        domains = {
            name: domain.model_copy(update={"trust_bundle": None}) for name, domain in settings.trust_domains.items()
        }
        lenient = settings.model_copy(update={"trust_domains": domains, "require_certificate": False, "xfcc": "ignore"})
        workload = WorkloadVerifier(lenient, self._config.environment, self._clock).verify(request)
        if workload is None and not route.public:
            question.notes.append("the route is for workloads only: name the caller with --workload spiffe://…")
        return workload

    def _subject(
        self, request: Request, route: RouteSettings, workload: Workload | None, question: Question
    ) -> Subject | Deny | None:
        rule = route.token
        if rule is None:
            return subject_of(workload) if workload is not None and route.credential == "workload" else None
        typ, claims = "at+jwt", self._claims
        if claims is None:
            token = bearer(request)
            if token is None:
                question.notes.append("there is no token: the subject is anonymous here; give --claims")
                return None
            parsed = token if isinstance(token, Deny) else jose.parse(token)
            if isinstance(parsed, Deny):
                return parsed
            typ, claims = parsed.header.typ, parsed.claims
            question.notes.append("the token's signature is not verified, and its age is not looked at")
        issuer = self._issuer(rule.issuers, claims)
        if issuer is None:
            question.notes.append(
                "none of the route's issuers issued these claims (iss); the first one's mapping is used"
            )
            issuer = next(one for one in self._config.issuers if one.name == rule.issuers[0])
        judged = accept(_whole(claims, issuer, rule), typ, issuer, rule, _moment(claims), "0" * 64)
        return judged if isinstance(judged, Deny) else judged.subject

    def _issuer(self, names: tuple[str, ...], claims: dict[str, Any]) -> IssuerSettings | None:
        known = [one for one in self._config.issuers if one.name in names]
        if "iss" not in claims and known:
            return known[0]
        return next((one for one in known if one.issuer == claims.get("iss")), None)

    def _attributes(
        self, route: RouteSettings, asked: AttributeQuestion, question: Question
    ) -> Mapping[str, Mapping[str, Any]] | Deny:
        settings = self._config.attributes
        elsewhere = {source.name for source in settings.sources if isinstance(source, HttpSource)}
        for use in route.attributes:
            if use.source in elsewhere:
                question.notes.append(f"source {use.source} is not asked; give --set for: {', '.join(use.to)}")
        uses = tuple(use for use in route.attributes if use.source not in elsewhere)
        if not uses:
            return _NOTHING
        here = settings.model_copy(update={"sources": tuple(s for s in settings.sources if s.name not in elsewhere)})
        sources = build_sources(here, outbound=lambda _: Outbound(), clock=self._clock, tasks=Tasks())
        template = route.match.path if route.match else ""
        plan = build_plan(uses, sources, variables=VARIABLE.findall(template))
        collected = plan.collect_sync(asked)
        if isinstance(collected, Deny) and not asked.request.body and collected.code == "request.body_malformed":
            wanted = ", ".join(target for use in uses for target in use.to)
            question.notes.append(f"the request comes without a body; give --set for what is read from it: {wanted}")
            return _NOTHING
        return _NOTHING if collected is None else collected


def _moment(claims: Mapping[str, Any]) -> float:
    """A time at which a token with these claims is valid: its last second."""
    expires, issued = claims.get("exp"), claims.get("iat", 0)
    return float(expires - 1 if isinstance(expires, int) else issued if isinstance(issued, int) else 0)


def _whole(claims: Mapping[str, Any], issuer: IssuerSettings, rule: TokenRule) -> dict[str, Any]:
    """The claims, and for those that the author left out what the route asks for."""
    moment = int(_moment(claims))
    whole: dict[str, Any] = {"sub": "", "aud": list(rule.audiences), "iat": moment, "exp": moment + 1}
    if rule.scopes:
        whole[issuer.scope_claim] = " ".join(rule.scopes)
    if rule.purposes and "." not in issuer.purpose_claim:
        whole[issuer.purpose_claim] = rule.purposes[0]
    return dict.fromkeys(issuer.required_claims, "given") | whole | dict(claims)


def check_request(asked: Asked, workload: str = "", route: str = "") -> Any:
    """Envoy's message for the request."""
    message = CheckRequest()
    attributes = message.attributes
    if workload:
        attributes.source.principal = workload
    if route:
        attributes.context_extensions["route"] = route
    http = attributes.request.http
    http.id, http.method, http.scheme = asked.id, asked.method, asked.scheme
    http.host, http.path, http.protocol = asked.host, asked.path, asked.protocol
    for name, value in asked.headers.items():
        http.headers[name] = value
    pseudo = {":method": asked.method, ":path": asked.path, ":authority": asked.host, ":scheme": asked.scheme}
    for name, value in pseudo.items():
        http.headers[name] = value
    http.raw_body = asked.body
    if asked.body:
        try:
            http.body = asked.body.decode()
        except UnicodeDecodeError:
            http.body = ""
    return message

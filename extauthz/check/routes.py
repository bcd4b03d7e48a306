"""Route policies: what protects a route.

Empty means refuse: no routes, no workloads, no policy → nothing is allowed.
`check.router` finds the route of a request.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from extauthz.attributes.settings import AttributeUse  # noqa: TC001 - pydantic reads it at run time
from extauthz.authn.settings import TokenRule, WorkloadPattern  # noqa: TC001 - pydantic reads it at run time
from extauthz.check.exchange_settings import ExchangeSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.check.failure_settings import FailurePlan, plan_of
from extauthz.judgement.settings import JudgementRule  # noqa: TC001 - pydantic reads it at run time
from extauthz.settings import Duration, Settings

VARIABLE: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_SEGMENT = re.compile(r"\{[a-z][a-z0-9_]*\}|[^{}*\\?#%]*")
_HEADER = re.compile(r"x-[a-z0-9-]{1,62}")
REST: Final = "**"

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]
Entrypoint = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*(/[a-zA-Z_][a-zA-Z0-9_]*)+$", max_length=256)]


def _policy_header(name: str) -> str:
    if not _HEADER.fullmatch(name) or name.startswith(("x-forwarded-", "x-envoy-", "x-extauthz-")):
        raise ValueError("an own header is expected: x-…, lower case, not x-forwarded-*, x-envoy-* or x-extauthz-*")
    return name


HeaderName = Annotated[str, AfterValidator(_policy_header)]


class Match(Settings):
    """Which requests a route covers."""

    hosts: tuple[str, ...] = ()
    """Host names without port, lower case; `*.example.com` covers every name below. Empty: any host."""
    methods: tuple[str, ...] = ()
    """HTTP methods. Empty: any method."""
    path: str
    """Path template: `/v1/transfers/{transfer_id}`; a variable covers one segment, a last `/**` covers the rest."""

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        segments = self.path.split("/")
        if segments[0] or len(segments) < 2:  # noqa: PLR2004 - a leading slash makes two
            raise ValueError("a path template starts with /")
        body = segments[1:-1] if segments[-1] == REST else segments[1:]
        if not all(_SEGMENT.fullmatch(segment) for segment in body):
            raise ValueError("a segment is plain text or one {variable}; ** may stand only at the end")
        names = VARIABLE.findall(self.path)
        if len(names) != len(set(names)):
            raise ValueError("a variable stands twice")
        for host in self.hosts:
            if host != host.lower() or ":" in host or "*" in host.removeprefix("*."):
                raise ValueError(f"host {host!r}: lower case, no port, * only as a first label")
        for method in self.methods:
            if not method.isalpha() or method != method.upper():
                raise ValueError(f"method {method!r}: upper-case letters are expected")
        return self


class Resource(Settings):
    """What is acted on, in AuthZEN words."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """Resource type, for example `transfer`."""
    id: Annotated[str, Field(max_length=256)] = ""
    """Resource id; may name path variables: `{transfer_id}`."""


class RouteSettings(Settings):
    """What protects a route."""

    name: Name
    """The name that Envoy's `context_extensions.route` refers to; also a metric label."""
    service: Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?)?$")] = ""
    """The service behind the route; a metric label, nothing else."""
    match: Match | None = None
    """Which requests the route covers. Without it the route is reached only by its name."""
    effects: tuple[Literal["money", "secrets", "side_effects"], ...] = ()
    """What the route can do to the world. A route with effects is synchronous and fails closed."""
    criticality: Literal["critical", "normal", "sheddable"] | None = None
    """What is shed first under overload: `sheddable`, then `normal`, and `critical` last. Absent: `critical` with
    effects, else `normal`."""
    evaluation: Literal["sync", "async"] = "sync"
    """`sync`: decided before the request goes on. `async`: caller and credential are verified, the request goes on with
    `x-extauthz-mode: async`, and attributes and policy judge it in the background."""
    judgement: JudgementRule | None = None
    """With `evaluation: async`: what happens when the queue is full, and whom a violation puts into quarantine."""
    on_failure: Literal["closed", "open", "degrade"] | FailurePlan | None = None
    """What happens when a part that a decision needs fails: one word for all parts, or one for each. Absent: closed;
    only where the route has no effects, unknown revocations and a failing audit trail do not stop it."""
    audit: Literal["buffered", "written"] = "buffered"
    """`written`: an allow waits until the operating system has its audit record. `buffered`: it is written soon."""
    break_glass: bool = False
    """True: a valid break-glass grant for this route overrides a refusal of its policy."""
    public: bool = False
    """True: callers need no workload identity (a client at the edge). A presented one is still verified."""
    caller: Literal["peer", "self"] = "peer"
    """`peer`: whoever holds the certificate that Envoy reports. `self`: our own service, through a local listener of
    our Envoy; the caller is this server's own workload. Such a route is reached only where Envoy names it."""
    workloads: tuple[WorkloadPattern, ...] = ()
    """SPIFFE IDs that may call; `*` covers one path segment. Empty with `public: false` refuses everyone."""
    credential: Literal["jwt", "api_key", "workload", "none"] = "jwt"
    """`jwt`: a bearer token by `token` (an opaque one, too, where that says so); `api_key`: a key of `api_keys` that
    names this route; `workload`: the peer certificate is the credential; `none`: anonymous."""
    token: TokenRule | None = None
    """What the bearer token must satisfy; required with `credential: jwt`."""
    action: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=64)]
    """AuthZEN action name, for example `transfer.create`."""
    resource: Resource
    """AuthZEN resource."""
    attributes: tuple[AttributeUse, ...] = ()
    """Attribute sources that this route reads, and where their values go."""
    policy: Entrypoint
    """The policy entrypoint: a rule's path below `data`, for example `extauthz/payments/decision`."""
    cache_ttl: Duration = Field("5s", validate_default=True, ge=0, le=3600)
    """How long a decision may be reused, at most. 0: never."""
    policy_headers: tuple[HeaderName, ...] = ()
    """Header names beside `x-extauthz-*` that the policy may set; client-sent copies of them are removed."""
    detail: Literal["none", "code", "message"] = "message"
    """What a refused caller learns beside the decision id: nothing, layer and code, or the message as well."""
    forward_token: bool = True
    """False: the Authorization header is removed before the request goes upstream."""
    exchange: ExchangeSettings | None = None
    """The upstream gets another token in place of the one that came; needs `sts` and `identity`."""

    @property
    def shed_as(self) -> Literal["critical", "normal", "sheddable"]:
        """`criticality`, spelt out."""
        return self.criticality or ("critical" if self.effects else "normal")

    @property
    def failure_plan(self) -> FailurePlan:
        """`on_failure`, spelt out for every part."""
        return plan_of(self.on_failure, effects=bool(self.effects))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.credential == "jwt") != (self.token is not None):
            raise ValueError("`token` and `credential: jwt` come together")
        if self.credential == "workload" and self.public:
            raise ValueError("`credential: workload` needs a workload: it cannot be public")
        if self.caller == "self" and self.public:
            raise ValueError("`caller: self` is our own service: it cannot be public")
        if self.token is not None and self.token.binding == "received" and self.caller != "self":
            raise ValueError("`binding: received` is for what our own service received: it needs `caller: self`")
        if self.exchange is not None and self.credential != "jwt":
            raise ValueError("`exchange` needs a token to exchange: `credential: jwt`")
        if self.exchange is not None and self.token is not None and self.token.header != "authorization":
            raise ValueError("`exchange` takes the token of the Authorization header, not a transaction token")
        if self.exchange is not None and not self.forward_token:
            raise ValueError("`exchange` never forwards the token that came: `forward_token` has nothing to say")
        return self

    @model_validator(mode="after")
    def _can_keep_its_promises(self) -> Self:
        if self.judgement is not None and self.evaluation != "async":
            raise ValueError("`judgement` is for `evaluation: async`")
        if self.evaluation == "async" and self.exchange is not None:
            raise ValueError("`exchange` is an answer of the policy: it needs `evaluation: sync`")
        if self.break_glass and self.evaluation == "async":
            raise ValueError("`break_glass` overrides a refusal before the request goes on: `evaluation: sync`")
        if self.break_glass and self.credential in {"api_key", "none"}:
            raise ValueError("`break_glass` needs a person or a workload that answers for it: no API key, no anonymous")
        variables = set(VARIABLE.findall(self.match.path)) if self.match else set()
        if unknown := set(VARIABLE.findall(self.resource.id)) - variables:
            raise ValueError(f"resource.id names unknown path variables: {', '.join(sorted(unknown))}")
        return self

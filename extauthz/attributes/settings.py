"""What an operator says about attributes: sources give named values, a route says where they go.

A value goes to `subject.properties.X`, `resource.properties.X[.Y]` or `context.properties.X` of the policy input and
nowhere else. What the caller writes itself (a `request` source) never becomes a property of the subject.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from extauthz.settings import Duration, Settings, Size

TEMPLATE_VARIABLE: Final = re.compile(
    r"\{(subject\.(?:id|type|issuer)|subject\.claims\.[A-Za-z0-9_:./-]{1,128}|resource\.(?:id|type)"
    r"|workload\.(?:id|trust_domain|environment|namespace|service|tenant)|path\.[a-z][a-z0-9_]*)\}"
)
"""What a URL may name. Not headers, query or body: what the caller writes there steers no call of ours."""
_WORD = "[A-Za-z_][A-Za-z0-9_]{0,63}"
_TARGET: Final = re.compile(
    rf"(?:(?:subject|context)\.properties\.{_WORD}|resource\.properties\.{_WORD}(?:\.{_WORD})?)"
)
_TOKEN: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
_POINTER: Final = re.compile(r"(?:/(?:[^~/\x00-\x1f]|~[01])*)+")
SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "txn-token", "dpop"})
"""They carry credentials: `authn` reads those, a policy never does."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_IDENTITY_HEADERS: Final = ("x-extauthz-", "x-forwarded-client-cert")
RESERVED_SUBJECT: Final = frozenset({"issuer", "scopes", "purpose"})
"""Properties of the subject that only a credential sets."""

MAX_INTEGER: Final = 2**53 - 1
"""Beyond it, readers of JSON disagree about a number (RFC 8259 section 6)."""

ValueType = Literal["string", "number", "integer", "boolean", "list"]


def _target(path: str) -> str:
    if not _TARGET.fullmatch(path):
        raise ValueError("a target is subject.properties.X, context.properties.X or resource.properties.X[.Y]")
    if path.rpartition(".")[2] in RESERVED_SUBJECT and path.startswith("subject."):
        raise ValueError("only a credential sets the subject's issuer, scopes and purpose")
    return path


def _pointer(text: str) -> str:
    if not _POINTER.fullmatch(text) or len(text) > 512:  # noqa: PLR2004 - a bound on configuration, not a protocol value
        raise ValueError("a JSON pointer is expected (RFC 6901): /amount, /account/iban, /rows/0")
    return text


def _picker(text: str) -> str:
    kind, _, argument = text.partition(":")
    if text in {"method", "host", "grpc:service", "grpc:method", "grpc:size"}:
        return text
    if kind == "header" and _TOKEN.fullmatch(argument):
        if argument in SECRET_HEADERS or argument.startswith(_IDENTITY_HEADERS):
            raise ValueError(f"{argument} carries a credential or an identity; it is not an attribute")
        return text
    if kind == "path" and re.fullmatch(r"[a-z][a-z0-9_]*", argument):
        return text
    if kind == "query" and re.fullmatch(r"[A-Za-z0-9_.\[\]-]{1,128}", argument):
        return text
    if kind == "body":
        _pointer(argument)
        return text
    raise ValueError(
        "one of header:name (lower case), path:variable, query:name, body:/json/pointer, "
        "grpc:service, grpc:method, grpc:size, method, host is expected"
    )


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > 8:  # noqa: PLR2004 - deeper than any policy reads
        raise ValueError("nested too deeply")
    match value:
        case None | bool() | str():
            return value
        case int() if abs(value) <= MAX_INTEGER:
            return value
        case float() if math.isfinite(value):
            return value
        case list():
            return [_plain(item, depth + 1) for item in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _plain(item, depth + 1) for key, item in value.items()}
    raise ValueError("plain JSON is expected: texts, numbers up to 2^53, booleans, lists, objects; quote dates")


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
ValueName = Annotated[str, Field(pattern=rf"^{_WORD}$")]
Target = Annotated[str, AfterValidator(_target)]
PlainJson = Annotated[Any, AfterValidator(_plain)]
Pointer = Annotated[str, AfterValidator(_pointer)]
Picker = Annotated[str, AfterValidator(_picker)]


class ValueRule(Settings):
    """What a picked value must be."""

    type: ValueType = "string"
    """Type of the value. A value of another type is refused; text from headers, path and query is read strictly."""
    required: bool = True
    """True: without the value the request is refused. False: the policy does not see the property."""
    max_length: Annotated[int, Field(ge=1, le=8192)] = 256
    """Characters of a string, or of each item of a list, at most."""
    max_items: Annotated[int, Field(ge=1, le=1024)] = 64
    """Items of a list, at most."""


class RequestField(ValueRule):
    """A value that the request carries."""

    source: Picker = Field(alias="from")
    """Where it stands: header:name, path:variable, query:name, body:/json/pointer, grpc:service, grpc:method, grpc:size, method, host."""  # noqa: E501 - one line, for the JSON Schema

    @model_validator(mode="after")
    def _type_fits(self) -> Self:
        kind = self.source.partition(":")[0]
        if self.type == "list" and kind not in {"header", "query", "body"}:
            raise ValueError("only a header, a query parameter or a body has lists")
        if self.source == "grpc:size" and self.type != "integer":
            raise ValueError("grpc:size is an integer")
        if self.source in {"method", "host", "grpc:service", "grpc:method"} and self.type != "string":
            raise ValueError(f"{self.source} is a string")
        return self


class ResponseField(ValueRule):
    """A value in the answer of an HTTP source."""

    source: Pointer = Field(alias="from")
    """Where it stands in the JSON answer: a JSON pointer (RFC 6901)."""


class StaticSource(Settings):
    """Values that this file gives."""

    kind: Literal["static"]
    """`static`."""
    name: Name
    """The name that routes refer to."""
    values: Annotated[dict[ValueName, PlainJson], Field(min_length=1)]
    """Values by name; plain JSON."""


class RequestSource(Settings):
    """Values that the request carries. They are what the caller says, so they never become subject properties."""

    kind: Literal["request"]
    """`request`."""
    name: Name
    """The name that routes refer to."""
    fields: Annotated[dict[ValueName, RequestField], Field(min_length=1)]
    """Values by name. A route is held only to those that it uses."""
    max_body: Size = Field("64KiB", validate_default=True, ge=2, le=4 * 1024**2)
    """Size of a JSON body, at most; a larger one is refused."""
    max_depth: Annotated[int, Field(ge=1, le=128)] = 32
    """Nesting of a JSON body, at most."""


class HttpSource(Settings):
    """Values that another service knows."""

    kind: Literal["http"]
    """`http`."""
    name: Name
    """The name that routes refer to."""
    url: Annotated[str, Field(max_length=2048)]
    """URL; may name {subject.id}, {subject.claims.x}, {resource.id}, {workload.service}, {path.x} after the host, percent-encoded."""  # noqa: E501 - one line, for the JSON Schema
    method: Literal["GET", "POST"] = "GET"
    """HTTP method."""
    body: dict[ValueName, Annotated[str, Field(max_length=1024)]] = Field(default_factory=dict)
    """Members of the JSON object that a POST sends; the values may name the same variables."""
    headers: dict[
        Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")], Annotated[str, Field(pattern=r"^[ -~]{0,512}$")]
    ] = Field(default_factory=dict)
    """Fixed request headers, no credentials."""
    bearer_token_file: str = ""
    """File with a bearer token for the service; read at start and at reload."""
    timeout: Duration = Field("100ms", validate_default=True, gt=0, le=30)
    """How long one call may take; the Check's own deadline may be nearer."""
    ttl: Duration = Field("0s", validate_default=True, ge=0, le=86400)
    """How long an answer is reused. 0: never."""
    stale_if_error: Duration = Field("0s", validate_default=True, ge=0, le=86400)
    """How much longer an answer may serve while the service fails. 0: not at all."""
    missing: Literal["deny", "omit"] = "deny"
    """What a 404 means: `deny`: no decision can be made; `omit`: nothing is known, optional values are left out."""
    max_response: Size = Field("64KiB", validate_default=True, ge=64, le=1024**2)
    """Size of an answer, at most."""
    max_entries: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Cached answers, at most."""
    max_concurrent: Annotated[int, Field(ge=1, le=1024)] = 32
    """Calls at the same time, at most."""
    fields: Annotated[dict[ValueName, ResponseField], Field(min_length=1)]
    """Values by name. A route is held only to those that it uses."""

    @model_validator(mode="after")
    def _well_formed_url(self) -> Self:
        fixed = TEMPLATE_VARIABLE.sub("v", self.url)
        if not re.fullmatch(r"[!-~]+", self.url) or set("{}\\#") & set(fixed):
            raise ValueError("url: printable ASCII, known variables, no fragment and no backslash are expected")
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError:
            raise ValueError("url is not a URL") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or set("@{") & set(parts.netloc):
            raise ValueError("url: http(s)://host[:port]/… without credentials; variables stand after the host")
        if not parts.path.startswith("/") or {".", ".."} & set(parts.path.split("/")):
            raise ValueError("url: a path without . and .. is expected, at least /")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.body and self.method != "POST":
            raise ValueError("only a POST has a body")
        if any(set("{}") & set(TEMPLATE_VARIABLE.sub("", text)) for text in self.body.values()):
            raise ValueError("body names an unknown variable")
        if SECRET_HEADERS & self.headers.keys():
            raise ValueError("credentials do not stand in this file; use bearer_token_file")
        if (
            self.bearer_token_file
            and not self.url.startswith("https:")
            and urlsplit(self.url).hostname not in _LOOPBACK
        ):
            raise ValueError("a bearer token is sent over https only")
        if self.stale_if_error and not self.ttl:
            raise ValueError("stale_if_error needs a ttl: without one nothing is kept")
        return self


SourceSettings = Annotated[StaticSource | RequestSource | HttpSource, Field(discriminator="kind")]


class AttributesSettings(Settings):
    """Attribute sources, and what they give."""

    sources: tuple[SourceSettings, ...] = ()
    """The sources that routes may name."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two sources are called {', '.join(sorted(twice))}")
        return self


class AttributeUse(Settings):
    """A source that a route reads, and where its values go."""

    source: Name
    """Name of the source."""
    to: Annotated[dict[Target, ValueName], Field(min_length=1)]
    """Property of the policy input → name of the source's value, as in `resource.properties.amount: amount`."""

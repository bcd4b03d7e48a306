"""Which route a request belongs to.

1. Envoy's `context_extensions` name the route; only Envoy's own configuration can set them, a request header never can.
2. The named route must also fit the request's host, method and path where it says which it covers, so that a slip
   in Envoy's configuration cannot put a request under a weaker policy.
3. Where Envoy names none, host, method and path template decide: a literal segment goes before a variable, a variable
   before `**`; of two routes with the same template the first in the file that covers host and method is taken.
   A route whose caller is our own service (`caller: self`) is found only by its name: otherwise whoever reaches an open
   listener could pass for us by host and path.
4. No route → `request.route_unknown`: nothing is allowed that nobody described.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from urllib.parse import unquote

from extauthz.check.routes import REST, VARIABLE, RouteSettings
from extauthz.model import Deny, Request, deny

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

R = TypeVar("R")
ROUTE_EXTENSION: Final = "route"
_NO_VARIABLES: Final[Mapping[str, str]] = {}
_MAX_SEGMENTS: Final = 64


@dataclass(slots=True)
class Matched(Generic[R]):
    """A route and this request's path variables, percent-decoded."""

    route: R
    variables: Mapping[str, str]


@dataclass(slots=True)
class _Entry(Generic[R]):
    """A route with its match, taken apart once."""

    route: R
    hosts: frozenset[str]
    host_suffixes: tuple[str, ...]
    methods: frozenset[str]
    segments: tuple[str | None, ...]
    """Literal segments; None stands for a variable."""
    variables: tuple[tuple[int, str], ...]
    rest: bool

    def covers(self, request: Request, host: str) -> bool:
        if self.methods and request.method not in self.methods:
            return False
        if not self.hosts and not self.host_suffixes:
            return True
        return host in self.hosts or host.endswith(self.host_suffixes)

    def fits(self, path: list[str]) -> bool:
        fixed = len(self.segments)
        if len(path) < fixed if self.rest else len(path) != fixed:
            return False
        for want, have in zip(self.segments, path, strict=False):
            if (not have) if want is None else want != have:  # a variable is never empty
                return False
        return True

    def matched(self, path: list[str]) -> Matched[R] | Deny:
        if not self.variables:
            return Matched(self.route, _NO_VARIABLES)
        values = {}
        for index, name in self.variables:
            value = path[index]
            if "%" in value:
                try:
                    value = unquote(value, errors="strict")
                except UnicodeDecodeError:
                    return deny("request.path_ambiguous", "a path segment is not UTF-8")
            values[name] = value
        return Matched(self.route, values)


@dataclass(slots=True)
class _Node(Generic[R]):
    literals: dict[str, _Node[R]] = field(default_factory=dict)
    variable: _Node[R] | None = None
    here: list[_Entry[R]] = field(default_factory=list)
    rest: list[_Entry[R]] = field(default_factory=list)


class Router(Generic[R]):
    """Finds routes in time that depends on the path's depth, not on the number of routes."""

    def __init__(self, routes: Iterable[tuple[RouteSettings, R]]) -> None:
        self._named: dict[str, tuple[R, _Entry[R] | None]] = {}
        self._root: _Node[R] = _Node()
        for settings, route in routes:
            entry = _entry(settings, route)
            self._named[settings.name] = (route, entry)
            if entry is not None and settings.caller == "peer":  # 3
                self._insert(entry)

    def _insert(self, entry: _Entry[R]) -> None:
        node = self._root
        for segment in entry.segments:
            if segment is None:
                node.variable = node = node.variable or _Node()
            else:
                node = node.literals.setdefault(segment, _Node())
        (node.rest if entry.rest else node.here).append(entry)

    def match(self, request: Request) -> Matched[R] | Deny:
        """Steps 1–4 of the module's docstring."""
        name = request.context_extensions.get(ROUTE_EXTENSION)
        if name is None:
            return self._search(request)
        named = self._named.get(name)  # 1
        if named is None:
            return deny("request.route_unknown", "Envoy named a route that the configuration does not have")
        route, entry = named
        if entry is None:
            return Matched(route, _NO_VARIABLES)
        path = request.path.split("/")[1:]
        if not entry.fits(path) or not entry.covers(request, bare_host(request.host)):  # 2
            return deny("request.route_mismatch", f"route {name}")
        return entry.matched(path)

    def _search(self, request: Request) -> Matched[R] | Deny:
        path = request.path.split("/")[1:]
        if len(path) <= _MAX_SEGMENTS:
            host = bare_host(request.host)
            for candidate in _walk(self._root, path, 0):  # 3
                if candidate.covers(request, host):
                    return candidate.matched(path)
        return deny("request.route_unknown")  # 4


def bare_host(authority: str) -> str:
    """The host of an authority: lower case, without port or trailing dot. An IPv6 literal keeps its brackets."""
    host = authority.lower()
    if ":" in host and not host.endswith("]"):
        host = host.rpartition(":")[0]
    return host.removesuffix(".")


def _entry(settings: RouteSettings, route: R) -> _Entry[R] | None:
    if settings.match is None:
        return None
    segments = settings.match.path.split("/")[1:]
    rest = segments[-1] == REST
    if rest:
        segments = segments[:-1]
    variables = tuple((i, m[1]) for i, segment in enumerate(segments) if (m := VARIABLE.fullmatch(segment)))
    hosts = settings.match.hosts
    return _Entry(
        route=route,
        hosts=frozenset(host for host in hosts if not host.startswith("*.")),
        host_suffixes=tuple(host[1:] for host in hosts if host.startswith("*.")),
        methods=frozenset(settings.match.methods),
        segments=tuple(None if VARIABLE.fullmatch(segment) else segment for segment in segments),
        variables=variables,
        rest=rest,
    )


def _walk(node: _Node[R], path: list[str], depth: int) -> Iterator[_Entry[R]]:
    """Entries whose template fits, most specific first. Each step tries a literal, then a variable, then `**`."""
    if depth == len(path):
        yield from node.here
    else:
        segment = path[depth]
        if (literal := node.literals.get(segment)) is not None:
            yield from _walk(literal, path, depth + 1)
        if segment and node.variable is not None:
            yield from _walk(node.variable, path, depth + 1)
    yield from node.rest

"""What decision records say was done, held against what a configuration allows.

What is kept is bounded, one row for each way that was used: (server, route, workload, kind of credential, issuer). Each
record is judged when it is read, so a bound that is reached shortens the list and never the verdict.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn.spiffe import IdPatterns
from extauthz.inventory.callers import many, meets
from extauthz.inventory.model import ANYONE
from extauthz.inventory.records import records
from extauthz.telemetry.redact import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path as FilePath

    from extauthz.inventory.model import Inventory, Path

MAX_WAYS: Final = 10_000
MAX_CODES: Final = 256
_MAX_TEXT: Final = 256
_ASSERTED: Final = "asserted"
"""Kind of credential of a subject that an application names (`authzen.evaluator`)."""


@dataclass(frozen=True, slots=True)
class Way:
    """What a record says about how a route was used. Everything empty that was not there."""

    server: str
    route: str
    workload: str
    credential: str
    issuer: str


@dataclass(slots=True)
class Counts:
    allowed: int = 0
    denied: int = 0

    def add(self, *, allowed: bool) -> None:
        if allowed:
            self.allowed += 1
        else:
            self.denied += 1


@dataclass(frozen=True, slots=True)
class Undocumented:
    """A way that is not in the configuration. `why` says what of it is not."""

    way: Way
    why: str
    allowed: int
    denied: int


@dataclass(frozen=True, slots=True)
class Unused:
    """A part of a path that is used, which no record has used. `part`: `caller`, `credential` or `issuer`."""

    path: str
    part: str
    value: str


@dataclass(slots=True)
class Observed:
    """`undocumented` were let through, `refused` were not; `codes` are those of denials, by path."""

    records: int = 0
    skipped: int = 0
    """Lines that are no decision record."""
    questions: int = 0
    """AuthZEN questions: an application asked about a subject; nobody came with a credential."""
    undocumented: list[Undocumented] = field(default_factory=list)
    refused: list[Undocumented] = field(default_factory=list)
    used: dict[str, Counts] = field(default_factory=dict)
    codes: dict[str, dict[str, int]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    """Paths that no record has allowed."""
    unused_parts: list[Unused] = field(default_factory=list)
    unlisted: Counts = field(default_factory=Counts)
    """Uses of undocumented ways beyond MAX_WAYS."""

    @property
    def sound(self) -> bool:
        """Whether nothing was let through that the configuration does not show, and anything was seen at all."""
        return self.records > 0 and not self.undocumented and not self.unlisted.allowed

    def as_json(self) -> dict[str, Any]:
        return {"sound": self.sound, **asdict(self)}


def observe(inventory: Inventory, files: Iterable[FilePath]) -> Observed:
    """Raises ExtauthzError when a file cannot be read."""
    book, tally = _Book(inventory), _Tally()
    for record in records(files):
        if record is None:
            tally.seen.skipped += 1
        elif _asserted(record):
            tally.seen.questions += 1
        else:
            tally.add(record, *book.judge(record))
    return tally.result(inventory)


class _Tally:
    """Counts. What was let through and what was only tried have each a bound of their own: no flood hides a use."""

    def __init__(self) -> None:
        self.seen = Observed()
        self._let_through: dict[tuple[Way, str], int] = {}
        self._tried: dict[tuple[Way, str], int] = {}
        self._parts: set[Unused] = set()

    def add(self, record: dict[str, Any], way: Way, why: str, path: Path | None) -> None:
        self.seen.records += 1
        allowed = record["result"].get("allow") is True
        if path is None:
            self._strange(way, why, allowed=allowed)
            return
        self.seen.used.setdefault(path.id, Counts()).add(allowed=allowed)
        if allowed:
            self._parts.update(_parts(path, way))
            return
        codes = self.seen.codes.setdefault(path.id, {})
        code = _text(record.get("code")) or "engine.internal"
        if code in codes or len(codes) < MAX_CODES:
            codes[code] = codes.get(code, 0) + 1

    def _strange(self, way: Way, why: str, *, allowed: bool) -> None:
        found = self._let_through if allowed else self._tried
        if (way, why) in found or len(found) < MAX_WAYS:
            found[way, why] = found.get((way, why), 0) + 1
        else:
            self.seen.unlisted.add(allowed=allowed)

    def result(self, inventory: Inventory) -> Observed:
        seen = self.seen
        for (way, why), number in sorted(self._let_through.items(), key=_order):
            seen.undocumented.append(Undocumented(way, why, number, self._tried.pop((way, why), 0)))
        for (way, why), number in sorted(self._tried.items(), key=_order):
            seen.refused.append(Undocumented(way, why, 0, number))
        seen.unused = [path.id for path in inventory.paths if not seen.used.get(path.id, Counts()).allowed]
        whole = [part for path in inventory.paths if path.id not in seen.unused for part in _parts(path, None)]
        seen.unused_parts = [part for part in whole if part not in self._parts]
        return seen


def _order(counted: tuple[tuple[Way, str], int]) -> tuple[str, ...]:
    (way, why), _ = counted
    return (*astuple(way), why)


class _Book:
    """The configuration, made ready to be asked for each record."""

    def __init__(self, inventory: Inventory) -> None:
        self._servers = [(file.name, frozenset(file.labels)) for file in inventory.files if "server" in file.roles]
        self._paths = {(path.server, path.route): (path, IdPatterns(path.callers)) for path in inventory.paths}
        self._domains: dict[str, set[str]] = {}
        for word in inventory.trust:
            if word.kind == "trust domain":
                self._domains.setdefault(word.who, set()).add(word.whom)

    def judge(self, record: dict[str, Any]) -> tuple[Way, str, Path | None]:
        """The way, why it is not documented, and the path where it is. Of several servers, the one that has it."""
        labels = record.get("labels")
        servers = self._writers(labels if isinstance(labels, dict) else {}, cut=record.get("cut") is True)
        verdict = (_way(record, "unknown"), "no configuration given writes records with these labels", None)  # 1
        for number, server in enumerate(servers):
            way = _way(record, server)
            why, path = self._held(record, way)
            if path is not None:
                return way, "", path
            if number == 0 or (server, way.route) in self._paths:
                verdict = (way, why, None)
        return verdict

    def _held(self, record: dict[str, Any], way: Way) -> tuple[str, Path | None]:
        """Why it is not documented, or the path.

        1. a server among the files writes records with these labels
        2. the route is one of that server's, with the same action on the same kind of resource
        3. a denial counts for its route, whoever tried: nothing was let through
        4. the workload is one of the route's callers, or the route is public
        5. the credential is of the route's kind, and its issuer one of the route's
        """
        found = self._paths.get((way.server, way.route))
        if found is None:  # 2
            return "the configuration has no such route", None
        path, callers = found
        resource = record.get("resource")
        kind = resource.get("type") if isinstance(resource, dict) else path.resource
        if (record.get("action", path.action), kind) != (path.action, path.resource):  # 2
            return "the route does something else in the configuration", None
        if record["result"].get("allow") is not True:  # 3
            return "", path
        why = self._caller(way, path, callers) or self._credential(way, path, cut=record.get("cut") is True)
        return why, None if why else path

    def _writers(self, labels: dict[str, Any], *, cut: bool) -> list[str]:
        """The servers that write such labels, those with most of them; a record that was cut has none any more."""
        have = frozenset((name, value) for name, value in labels.items() if isinstance(value, str))
        fitting = [(name, len(wanted)) for name, wanted in self._servers if cut or wanted <= have]
        most = 0 if cut else max((number for _, number in fitting), default=0)
        return [name for name, number in fitting if number >= most]

    def _caller(self, way: Way, path: Path, callers: IdPatterns) -> str:
        """4."""
        if path.callers == (ANYONE,):
            domain = "/".join(way.workload.split("/")[:3])
            trusted = not way.workload or domain in self._domains.get(path.server, ())
            return "" if trusted else "the workload's trust domain is not trusted in the configuration"
        return "" if callers.match(way.workload) else "the workload is none of the route's callers"

    @staticmethod
    def _credential(way: Way, path: Path, *, cut: bool) -> str:
        """5; a record that was cut does not say."""
        if cut and not way.credential:
            return ""
        if (way.credential or None) not in (path.kinds or (None,)):
            return "the route takes another kind of credential"
        if path.credential == "api_key" or not path.kinds:
            return ""
        return "" if way.issuer in path.issuers else "the issuer is none of the route's"


def _parts(path: Path, way: Way | None) -> Iterator[Unused]:
    """The parts of a path that a documented way has used; all of them without a way. As many as are configured."""
    for caller in path.callers:
        if way is None or caller in (ANYONE, way.workload) or (many(caller) and meets(caller, way.workload)):
            yield Unused(path.id, "caller", caller)
    for kind in path.kinds:
        if way is None or kind == way.credential:
            yield Unused(path.id, "credential", kind)
    for issuer in path.issuers:
        if way is None or issuer == way.issuer:
            yield Unused(path.id, "issuer", issuer)


def _asserted(record: dict[str, Any]) -> bool:
    subject = record.get("subject")
    return isinstance(subject, dict) and subject.get("credential") == _ASSERTED


def _way(record: dict[str, Any], server: str) -> Way:
    subject = record.get("subject")
    who = subject if isinstance(subject, dict) else {}
    return Way(
        server=server,
        route=_text(record["request"].get("route")),
        workload=_text(record.get("workload")),
        credential=_text(who.get("credential")),
        issuer=_text(who.get("issuer")),
    )


def _text(value: object) -> str:
    return plain(value, _MAX_TEXT) if isinstance(value, str) else ""

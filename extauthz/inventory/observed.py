"""What decision records say was done, held against what a configuration allows.

Records are read as a stream: rotated and packed files too, one line in memory at a time. What is kept is bounded, one
row for each way that was used: (server, route, workload, kind of credential, issuer). Each record is judged when it is
read, so a bound that is reached shortens the list and never the verdict.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import asdict, astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.authn.spiffe import IdPatterns
from extauthz.errors import ExtauthzError
from extauthz.inventory.model import ANYONE
from extauthz.telemetry.redact import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path as FilePath

    from extauthz.inventory.model import Inventory, Path

LONGEST_LINE: Final = 64 * 1024
"""Bytes; a record is shorter than 4 KiB (`telemetry.record`)."""
MAX_WAYS: Final = 10_000
_PACKED: Final = b"\x1f\x8b"
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


@dataclass(frozen=True, slots=True)
class Undocumented:
    """A way that is not in the configuration. `why` says what of it is not."""

    way: Way
    why: str
    allowed: int
    denied: int


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
    book = _Book(inventory)
    seen = Observed()
    strange: dict[tuple[Way, str], Counts] = {}
    for line in _lines(files):
        record = _record(line)
        if record is None:
            seen.skipped += 1
            continue
        if _asserted(record):
            seen.questions += 1
            continue
        seen.records += 1
        way, why, path = book.judge(record)
        allowed = record["result"].get("allow") is True
        if path is not None:
            tally = seen.used.setdefault(path.id, Counts())
            if not allowed:
                codes = seen.codes.setdefault(path.id, {})
                code = _text(record.get("code")) or "engine.internal"
                if code in codes or len(codes) < _MAX_TEXT:
                    codes[code] = codes.get(code, 0) + 1
        elif (way, why) in strange or len(strange) < MAX_WAYS:
            tally = strange.setdefault((way, why), Counts())
        else:
            tally = seen.unlisted
        if allowed:
            tally.allowed += 1
        else:
            tally.denied += 1
    for (way, why), tally in sorted(strange.items(), key=lambda one: (astuple(one[0][0]), one[0][1])):
        found = Undocumented(way, why, tally.allowed, tally.denied)
        (seen.undocumented if tally.allowed else seen.refused).append(found)
    seen.unused = [path.id for path in inventory.paths if not seen.used.get(path.id, Counts()).allowed]
    return seen


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


def _record(line: bytes) -> dict[str, Any] | None:
    """A decision record; None for every other line, such as a comparison of two policies."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or found.get("type") != "check":
        return None
    whole = isinstance(found.get("request"), dict) and isinstance(found.get("result"), dict)
    return found if whole else None


def _lines(files: Iterable[FilePath]) -> Iterator[bytes]:
    """Every line that is not too long, without its end; empty ones are left out. A longer one is one bad line."""
    for file in files:
        try:
            with file.open("rb") as raw:
                packed = raw.read(2) == _PACKED
            with gzip.open(file, "rb") if packed else file.open("rb") as stream:
                while line := stream.readline(LONGEST_LINE):
                    whole = line.endswith(b"\n") or len(line) < LONGEST_LINE
                    while not line.endswith(b"\n") and len(line) == LONGEST_LINE:
                        line = stream.readline(LONGEST_LINE)
                    if not whole:
                        yield b""
                    elif line.strip():
                        yield line
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ExtauthzError(f"{file} cannot be read: {reason}") from None

"""What an entrypoint can read, and a function that cuts the policy input down to exactly that.

The analysis is OPA's own (`native/policy/analysis.go`), reached through the tool or the library; both run the same
code. The projection is the identity of a decision in the cache, so it must never lose a path that the policy reads;
that it may keep more than is read only costs hits.
"""

from __future__ import annotations

import json
import math
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import ConfigError, ConfigProblem, EngineFault, MissingPart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from extauthz.policy.loader import PolicyFiles

    Projector = Callable[[Mapping[str, Any]], bytes]

ANALYSIS_SECONDS: Final = 60.0
TIME_BUILTINS: Final = frozenset(
    {
        "time.now_ns",
        "io.jwt.decode_verify",
        "crypto.x509.parse_and_verify_certificates",
        "crypto.x509.parse_and_verify_certificates_with_options",
    }
)
"""Builtins that read the clock and nothing else: an answer of theirs is good for a moment."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the answer at `entrypoint` depends on, beside the policy and its data.

    `paths` are the paths below `input` that can be read, none of them below another; the empty path is all of it.
    `nondeterministic` are the reachable builtins whose value does not depend on their arguments alone.
    """

    entrypoint: str
    paths: tuple[tuple[str, ...], ...] = ((),)
    nondeterministic: tuple[str, ...] = ()
    defined: bool = True

    @property
    def cacheable(self) -> bool:
        """False when the answer can differ from one moment to the next for the same input (`http.send`, `rand.*`)."""
        return TIME_BUILTINS.issuperset(self.nondeterministic)

    def ttl_cap(self, clock_ttl: float) -> float:
        """Seconds that an answer may be reused, as far as its builtins go: 0 not at all, inf without a bound."""
        if not self.cacheable:
            return 0.0
        return clock_ttl if self.nondeterministic else math.inf


@dataclass(frozen=True, slots=True)
class Report:
    """`declared` are the entrypoints that the policy's metadata declares; `analyses` has those and the asked ones."""

    declared: tuple[str, ...]
    analyses: Mapping[str, Analysis]


def analyse(tool: Path, policy: PolicyFiles, entrypoints: Iterable[str] = ()) -> Report:
    """Compiles the policy and analyses it with the `opa` tool, in a process of its own (blocks for about 0.2 s).

    Raises ConfigError with file and line where the policy does not compile, and MissingPart.
    """
    command = [str(tool), "extauthz-analyse", "--", *entrypoints]
    try:
        done = subprocess.run(  # noqa: S603 - our own tool, its arguments are the configuration's
            command, input=policy.bundle(), capture_output=True, timeout=ANALYSIS_SECONDS, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingPart("the opa tool", f"it cannot be run ({type(error).__name__}); run `make native`") from None
    if done.returncode:
        raise MissingPart("the opa tool", "it is not the one that native/build.py builds; run `make native`")
    return read_report(done.stdout, policy.root)


def read_report(text: bytes, root: Path) -> Report:
    """What the tool or the library says. Raises ConfigError for the problems in it."""
    report = orjson.loads(text)
    if report["problems"]:
        raise ConfigError(tuple(problem(one, root) for one in report["problems"]))
    analyses = {
        name: Analysis(name, tuple(map(tuple, one["input"])), tuple(one["nondeterministic"]), one["defined"])
        for name, one in report["analyses"].items()
    }
    return Report(tuple(report["declared"]), analyses)


def problem(found: Mapping[str, Any], root: Path) -> ConfigProblem:
    file = str(root / found["file"]) if found["file"] else str(root)
    return ConfigProblem(file, found["line"], "", found["message"], "correct the policy")


def projector(analysis: Analysis) -> Projector:
    """The policy input → canonical JSON (sorted keys) of what the policy at the entrypoint can read.

    An object on the way to a path is kept where it is present, even when the path is not: `input.a` is defined then.
    A value on the way that is not an object is kept whole.
    """
    tree: dict[str, Any] = {}
    for path in analysis.paths:
        if not path:
            return canonical
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = None
    return _Projector(_compile(tree))


_Tree = tuple[tuple[str, "_Tree | None"], ...]


def _compile(tree: Mapping[str, Any]) -> _Tree:
    return tuple((key, None if below is None else _compile(below)) for key, below in sorted(tree.items()))


class _Projector:
    __slots__ = ("_tree",)

    def __init__(self, tree: _Tree) -> None:
        self._tree = tree

    def __call__(self, document: Mapping[str, Any]) -> bytes:
        return canonical(_cut(document, self._tree))


def _cut(document: Mapping[str, Any], tree: _Tree) -> dict[str, Any]:
    kept = {}
    for key, below in tree:
        if key in document:
            value = document[key]
            kept[key] = _cut(value, below) if below is not None and isinstance(value, dict) else value
    return kept


def canonical(document: Mapping[str, Any]) -> bytes:
    """Raises EngineFault (`engine.internal`) for what JSON cannot say."""
    try:
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits is JSON all the same
        pass
    try:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise EngineFault("engine.internal", "the policy input is not JSON") from None

"""A generation: one configuration and one policy, as every worker of a server activates them.

The parent reads the files once, checks them, and writes what it read into the run directory; workers read only that.
So a file that changes while it is being activated cannot give two workers, or a worker and OPA, different policies.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.config import Config, load_text
from extauthz.policy.loader import PolicyFiles, load
from extauthz.policy.projection import Analysis, Report

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE: Final = "generation.json"
_ANY_FILES: Final = 2**40


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that is tried beside the live one, made ready in the same way. `opa` is empty without a sidecar."""

    policy: PolicyFiles
    report: Report
    opa: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """`opa` is the address of the OPA that the parent supervises, empty when there is none.

    `report` is what each entrypoint can read; None when OPA has a policy that we do not know (an OPA of the
    operator's own): the whole input is asked and cached then.
    """

    number: int
    file: str
    text: str
    policy: PolicyFiles | None
    report: Report | None
    opa: str = ""
    candidate: Candidate | None = None
    fallback: PolicyFiles | None = None

    def config(self) -> Config:
        """Raises ConfigError; the parent has checked it before."""
        return load_text(self.text, self.file)

    @property
    def revision(self) -> str:
        return self.policy.revision if self.policy else ""

    def write(self, run_dir: Path) -> None:
        """Atomically makes this the generation that workers read. Blocks."""
        candidate = self.candidate
        document = {
            "number": self.number,
            "file": self.file,
            "text": self.text,
            "policy": None if self.policy is None else _written(self.policy, run_dir),
            "report": None if self.report is None else _plain(self.report),
            "opa": self.opa,
            "fallback": None if self.fallback is None else _written(self.fallback, run_dir),
            "candidate": None
            if candidate is None
            else {
                "policy": _written(candidate.policy, run_dir),
                "report": _plain(candidate.report),
                "opa": candidate.opa,
            },
        }
        temporary = run_dir / f".{_FILE}-{os.getpid()}"
        temporary.write_bytes(orjson.dumps(document))
        temporary.rename(run_dir / _FILE)

    @classmethod
    def read(cls, run_dir: Path) -> Generation:
        """The generation that is to be active. Blocks. Raises ConfigError."""
        document = orjson.loads((run_dir / _FILE).read_bytes())
        policy = None if document["policy"] is None else _read(document["policy"])
        report = None if document["report"] is None else _report(document["report"])
        candidate = None
        if (tried := document["candidate"]) is not None:
            candidate = Candidate(_read(tried["policy"]), _report(tried["report"]), tried["opa"])
        fallback = None if document["fallback"] is None else _read(document["fallback"])
        return cls(
            *(document["number"], document["file"], document["text"], policy, report, document["opa"]),
            candidate=candidate,
            fallback=fallback,
        )


def _written(policy: PolicyFiles, run_dir: Path) -> dict[str, object]:
    """Where the policy stands in the run directory; it is written there first when it does not."""
    digest = policy.digest
    directory = run_dir / f"policy-{digest}"
    if not directory.is_dir():
        unfinished = run_dir / f".policy-{digest}-{os.getpid()}"
        for name, content in policy.files.items():
            place = unfinished / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        unfinished.rename(directory)
    size = sum(map(len, policy.files.values()))
    return {"directory": str(directory), "bytes": size, "revision": policy.revision, "roots": policy.roots}


def _read(written: Mapping[str, Any]) -> PolicyFiles:
    """The configured limits have been applied by the parent."""
    policy = load(Path(written["directory"]), max_bytes=written["bytes"], max_files=_ANY_FILES)
    return replace(policy, revision=written["revision"], roots=tuple(written["roots"]))


def _plain(report: Report) -> dict[str, object]:
    return {
        "declared": report.declared,
        "analyses": {
            name: [analysis.paths, analysis.nondeterministic, analysis.defined]
            for name, analysis in report.analyses.items()
        },
    }


def _report(document: Mapping[str, object]) -> Report:
    declared, analyses = document["declared"], document["analyses"]
    if not isinstance(declared, list) or not isinstance(analyses, dict):
        raise TypeError("not a generation file of ours")
    return Report(
        tuple(declared),
        {
            name: Analysis(name, tuple(map(tuple, paths)), tuple(builtins), defined)
            for name, (paths, builtins, defined) in analyses.items()
        },
    )

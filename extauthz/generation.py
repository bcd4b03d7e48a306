"""A generation: one configuration and one policy, as every worker of a server activates them.

The parent reads the files once, checks them, and writes what it read into the run directory; workers read only that.
So a file that changes while it is being activated cannot give two workers, or a worker and OPA, different policies.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from extauthz.config import Config, load_text
from extauthz.policy.loader import PolicyFiles, load
from extauthz.policy.projection import Analysis, Report

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE: Final = "generation.json"


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

    def config(self) -> Config:
        """Raises ConfigError; the parent has checked it before."""
        return load_text(self.text, self.file)

    @property
    def revision(self) -> str:
        return self.policy.revision if self.policy else ""

    def write(self, run_dir: Path) -> None:
        """Atomically makes this the generation that workers read. Blocks."""
        directory = run_dir / f"policy-{self.revision}"
        if self.policy is not None and not directory.is_dir():
            unfinished = run_dir / f".policy-{self.number}"
            for name, content in self.policy.files.items():
                place = unfinished / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            unfinished.rename(directory)
        document = {
            "number": self.number,
            "file": self.file,
            "text": self.text,
            "policy": str(directory) if self.policy else "",
            "report": None if self.report is None else _plain(self.report),
            "opa": self.opa,
        }
        temporary = run_dir / f".{_FILE}-{os.getpid()}"
        temporary.write_bytes(orjson.dumps(document))
        temporary.rename(run_dir / _FILE)

    @classmethod
    def read(cls, run_dir: Path) -> Generation:
        """The generation that is to be active. Blocks. Raises ConfigError."""
        document = orjson.loads((run_dir / _FILE).read_bytes())
        text, file = document["text"], document["file"]
        policy = None
        if document["policy"]:
            settings = load_text(text, file).policy
            policy = load(Path(document["policy"]), max_bytes=settings.max_bytes, max_files=settings.max_files)
        report = None if document["report"] is None else _report(document["report"])
        return cls(document["number"], file, text, policy, report, document["opa"])


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

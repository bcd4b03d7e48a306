"""What a server recorded → decision cases: each distinct question once, with the answer that it got.

A record becomes a case when a policy was asked and its input was recorded. Masked values stay masked: a case whose
answer hangs on one fails in `extauthz policy test`, which is how to find what must not be masked. Cases are named by
what they are, and by a digest of their input: recording twice gives the same names.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
import yaml

from extauthz.policy.projection import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CASES: Final = "recorded_cases.yaml"
INPUTS: Final = "recorded"
_PLAIN: Final = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True)
class Recording:
    """`cases` are by name: the case as YAML values, and its input as JSON. `skipped` records gave none."""

    cases: dict[str, tuple[dict[str, Any], bytes]] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    read: int = 0
    skipped: int = 0

    def take(self, line: bytes) -> bool:
        """Whether the line was a question that was not there yet."""
        self.read += 1
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None
        match record:
            case {"type": "check", "input": dict(document), "path": str(entrypoint), "result": dict(result)} if (
                entrypoint
            ):
                if record.get("layer") == "engine":
                    self.skipped += 1
                    return False
                return self._add(record, entrypoint, document, result, line)
        self.skipped += 1
        return False

    def _add(
        self, record: dict[str, Any], entrypoint: str, document: dict[str, Any], result: dict[str, Any], line: bytes
    ) -> bool:
        content = canonical(document)
        allowed = result.get("allow") is True
        code = str(record.get("code", ""))
        digest = hashlib.sha256(entrypoint.encode() + b"\n" + content).hexdigest()[:8]
        route = str((record.get("request") or {}).get("route", ""))
        name = "_".join(filter(None, (_word(route), "allow" if allowed else _word(code), digest)))
        if name in self.cases:
            return False
        case: dict[str, Any] = {"entrypoint": entrypoint, "input": f"{INPUTS}/{name}.json"}
        case["expect"] = "allow" if allowed else code
        if allowed and result.get("masked"):
            case["mask"] = sorted(map(str, result["masked"]))
        self.cases[name] = (case, content)
        self.lines.append(line if line.endswith(b"\n") else line + b"\n")
        return True

    def write_cases(self, directory: Path) -> None:
        """`recorded_cases.yaml` and its inputs below `directory`. Raises OSError."""
        (directory / INPUTS).mkdir(parents=True, exist_ok=True)
        for case, content in self.cases.values():
            document = orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            (directory / case["input"]).write_bytes(document)
        listed = {"version": 1, "cases": {name: case for name, (case, _) in sorted(self.cases.items())}}
        (directory / CASES).write_text(yaml.safe_dump(listed, sort_keys=False), encoding="utf-8")


def _word(text: str) -> str:
    return _PLAIN.sub("_", text.lower()).strip("_")


def tail(file: Path, *, wait: Iterable[object]) -> Iterator[bytes]:
    """Whole lines that are appended to `file` from now on; `wait` is iterated between two looks and ends it.

    A file that is moved away (log rotation) is opened again. Raises OSError.
    """
    stream = file.open("rb")
    try:
        stream.seek(0, 2)
        partial = b""
        for _ in wait:
            while chunk := stream.read(1024 * 1024):
                *lines, partial = (partial + chunk).split(b"\n")
                yield from lines
            if not file.exists() or file.stat().st_ino == _inode(stream):
                continue
            stream.close()
            stream, partial = file.open("rb"), b""
    finally:
        stream.close()


def _inode(stream: Any) -> int:
    return os.fstat(stream.fileno()).st_ino

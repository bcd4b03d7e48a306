"""Denial tickets: the caller holds a decision id, the operator finds the whole story behind it.

Each worker keeps its latest denials in memory; older decisions, and those of workers that have ended, are found in the
file of decision records. A story holds what a decision record holds, the words of every reason, and where the settings
keep it the policy input, with the values that must not be seen replaced by a digest keyed anew in every process.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.codes import CODES
from extauthz.model import Deny
from extauthz.telemetry import record
from extauthz.telemetry.redact import plain, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from extauthz.model import Reason
    from extauthz.telemetry.trail import Trail

ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_CHUNK: Final = 1024 * 1024
_FARTHEST: Final = 1024**3
"""Bytes from the end of a records file that are searched."""


class Tickets:
    """A bounded ring of denials, by decision id. Not thread-safe."""

    def __init__(self, keep: int, *, inputs: bool = False, mask: Iterable[str] = ()) -> None:
        self._keep = keep
        self._inputs = inputs
        self._mask = Mask(mask)
        self._trails: OrderedDict[str, Trail] = OrderedDict()

    def __len__(self) -> int:
        return len(self._trails)

    def add(self, trail: Trail) -> None:
        """Keeps a finished trail when it is a denial; the oldest goes."""
        if trail.decision is not None and not isinstance(trail.decision, Deny):
            return
        if not self._inputs:
            trail.policy_input = None
        if len(self._trails) >= self._keep:
            self._trails.popitem(last=False)
        self._trails[trail.decision_id] = trail

    def find(self, decision_id: str) -> dict[str, Any] | None:
        """The story in JSON values."""
        trail = self._trails.get(decision_id)
        if trail is None:
            return None
        decision = trail.decision
        return {
            "decision_id": decision_id,
            "source": "memory",
            "record": record.document(trail),
            "reasons": [_reason(one) for one in decision.reasons] if isinstance(decision, Deny) else [],
            "input": None if trail.policy_input is None else self._mask(trail.policy_input),
        }


class Mask:
    """Replaces the values at some paths of a document by a digest; the document itself stays as it is."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(tuple(path.split(".")) for path in paths)
        self._key = os.urandom(16)

    def __call__(self, document: Mapping[str, Any], at: tuple[str, ...] = ()) -> dict[str, Any]:
        return {key: self._value(value, (*at, key)) for key, value in document.items()}

    def _value(self, value: Any, at: tuple[str, ...]) -> Any:
        if at in self._paths:
            text = orjson.dumps(value, default=str)
            return "masked:" + hashlib.blake2b(text, digest_size=6, key=self._key).hexdigest()
        if isinstance(value, dict):
            return self(value, at)
        if isinstance(value, str):
            return redact(plain(value))
        return value


def find_in_file(file: Path, decision_id: str) -> dict[str, Any] | None:
    """The story of a decision in a file of records; None when it is not there, or the file cannot be read. Blocks.

    Records are written in time order, so the end is searched first, at most 1 GiB of it.
    """
    if not ID.fullmatch(decision_id):
        return None
    wanted = f'"decision_id":"{decision_id}"'.encode()
    try:
        with file.open("rb") as opened:
            end = opened.seek(0, os.SEEK_END)
            last = max(0, end - _FARTHEST)
            tail = b""
            while end > last:
                start = max(last, end - _CHUNK)
                opened.seek(start)
                block = opened.read(end - start) + tail
                if (story := _in_block(block, wanted)) is not None:
                    return story
                tail = block[: block.find(b"\n") + 1]
                end = start
    except OSError:
        return None
    return None


def _in_block(block: bytes, wanted: bytes) -> dict[str, Any] | None:
    at = block.find(wanted)
    while at >= 0:
        start, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
        line = block[start : end if end >= 0 else len(block)]
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            found = None
        if isinstance(found, dict) and found.get("type") == "check":
            return {
                "decision_id": found["decision_id"],
                "source": "records",
                "record": found,
                "reasons": found.get("result", {}).get("reasons", []),
                "input": found.get("input"),
            }
        at = block.find(wanted, at + 1)
    return None


def _reason(reason: Reason) -> dict[str, str]:
    known = CODES.get(reason.code)
    words = {
        "message": reason.message or (known.message if known else ""),
        "remedy": reason.remedy or (known.remedy if known else ""),
        "detail": reason.detail,
    }
    return {"code": plain(reason.code, 128)} | {name: redact(plain(text)) for name, text in words.items() if text}

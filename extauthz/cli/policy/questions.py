"""What several verbs read from their command line: an entrypoint, an input document, a decision to print."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from extauthz.cli.policy.output import refuse
from extauthz.model import Allow

if TYPE_CHECKING:
    from extauthz.model import Decision

Policy = Annotated[
    Path, typer.Option("--policy", "-p", help="The policy directory, or a policy bundle.", show_default=True)
]
_ENTRYPOINT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)+")
MAX_INPUT: Final = 16 * 1024**2
MAX_DEPTH: Final = 128


def entrypoint(text: str) -> str:
    """`a/b/decision` or `data.a.b.decision`, as the first."""
    path = text.removeprefix("data.").replace(".", "/")
    if not _ENTRYPOINT.fullmatch(path):
        refuse(f"{text} is no entrypoint: write a rule's path below data, as in authz/transfers/decision")
    return path


def document(source: str) -> Any:
    """The JSON document in a file, or on stdin for `-`. A wrong one ends the command with exit code 2."""
    from extauthz import strict_json  # noqa: PLC0415 - other verbs start faster

    try:
        data = sys.stdin.buffer.read(MAX_INPUT + 1) if source == "-" else Path(source).read_bytes()
        return strict_json.parse(data, max_bytes=MAX_INPUT, max_depth=MAX_DEPTH).root
    except OSError as error:
        refuse(f"{source} cannot be read: {error.strerror}")
    except strict_json.NotStrict as error:
        refuse(f"{source}: {error}")


def decision_json(decision: Decision) -> dict[str, Any]:
    if isinstance(decision, Allow):
        obligations = decision.obligations
        return {
            "allow": True,
            "mask": list(obligations.mask),
            "headers": dict(obligations.headers),
            "metadata": dict(obligations.metadata),
            **({} if obligations.exchange is None else {"exchange": asdict(obligations.exchange)}),
            "ttl": decision.ttl,
        }
    return {
        "allow": False,
        "layer": decision.layer.value,
        "code": decision.code,
        "status": int(decision.status),
        "reasons": [
            {"code": one.code, "message": one.message, "remedy": one.remedy, "detail": one.detail}
            for one in decision.reasons
        ],
        "ttl": decision.ttl,
    }


def decision_lines(decision: Decision) -> list[str]:
    if isinstance(decision, Allow):
        obligations = decision.obligations
        lines = ["allow"]
        if obligations.mask:
            lines.append(f"  mask {', '.join(obligations.mask)}")
        lines += [f"  header {name}: {value}" for name, value in obligations.headers]
        if (asked := obligations.exchange) is not None:
            named = {"audience": asked.audience, "scopes": " ".join(asked.scopes), "purpose": asked.purpose}
            lines.append("  exchange " + ", ".join(f"{name} {text}" for name, text in named.items() if text))
        return lines
    lines = [f"deny at layer {decision.layer.value}, HTTP status {int(decision.status)}"]
    for one in decision.reasons:
        lines.append(f"  {one.code}: {one.message or decision.message}" + (f" {one.remedy}" if one.remedy else ""))
        if one.detail:
            lines.append(f"    {one.detail}")
    return lines

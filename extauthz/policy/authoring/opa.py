"""The `opa` tool at work in a policy directory: what it says becomes findings."""

from __future__ import annotations

import os
import subprocess
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import ConfigError, ConfigProblem, MissingPart
from extauthz.policy.authoring.finding import Finding

if TYPE_CHECKING:
    from pathlib import Path

SECONDS: Final = 120.0
_INHERITED: Final = ("PATH", "HOME", "TMPDIR", "NO_COLOR")
_REMEDIES: Final = {
    "rego_parse_error": "correct the syntax",
    "rego_compile_error": "correct the rule",
    "rego_type_error": "correct the reference or the type",
    "rego_unsafe_var_error": "bind the variable in the rule's body",
}


class Opa:
    """`directory` is where the tool runs, so that the files it names are relative to it."""

    def __init__(self, tool: Path, directory: Path) -> None:
        """Raises ConfigError when there is no such directory."""
        if not directory.is_dir():
            problem = ConfigProblem(str(directory), 0, "", "is not a directory", "name the policy directory")
            raise ConfigError((problem,))
        self._tool = tool
        self.directory = directory

    def run(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Exit code and output. Raises MissingPart. Blocks, at most two minutes."""
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        try:
            return subprocess.run(  # noqa: S603 - our own tool; its arguments are options and paths
                [str(self._tool), *arguments],
                cwd=self.directory,
                env=environment,
                capture_output=True,
                timeout=SECONDS,
                check=False,
                **options,
            )
        except OSError as error:
            raise MissingPart("the opa tool", f"it cannot be run ({error.strerror}); run `make native`") from None
        except subprocess.TimeoutExpired:
            raise MissingPart("the opa tool", f"it gave no answer within {SECONDS:.0f} s") from None

    def json(self, *arguments: str, stdin: bytes | None = None) -> Any:
        """What the tool prints as JSON, on either stream; None when it is none."""
        done = self.run(*arguments, stdin=stdin)
        for stream in (done.stdout, done.stderr):
            try:
                return orjson.loads(stream)
            except orjson.JSONDecodeError:
                continue
        return None


def errors(answer: Any) -> list[dict[str, Any]]:
    """OPA's errors in an answer: of `check`, `test` and `eval`, which put them in one place or another."""
    found = answer.get("errors") if isinstance(answer, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def finding(error: dict[str, Any]) -> Finding:
    """One of OPA's errors, with what to write instead where OPA knows what there is."""
    place = error.get("location") or {}
    code = str(error.get("code", "rego_error"))
    details = error.get("details") or {}
    message = str(error.get("message", "not understood")).strip()
    remedy = _REMEDIES.get(code, "correct the policy")
    known = details.get("oneOf") if isinstance(details, dict) else None
    if isinstance(known, list) and known:
        words = [str(word) for word in known]
        near = get_close_matches(message.rpartition(".")[2], words, n=1)
        remedy = f"did you mean `{near[0]}`?" if near else f"the schema has: {', '.join(words)}"
    if message.endswith("unused"):
        remedy = "remove it, or use it"
    source = str(details.get("line", "")) if isinstance(details, dict) else ""
    line, column = int(place.get("row", 0)), int(place.get("col", 0))
    return Finding(str(place.get("file", ".")), line, column, code, message, remedy, source)

"""What `make policy` runs: format, strict check against the input schema, lints, tests with coverage, decision cases.

    python policies/check.py [--fix]

`--fix` formats in place first. The `opa` tool is $OPA, else the one that `make native` built. Exit code 1 when a step
fails; every step is run.
"""  # noqa: INP001 - a script beside the policies, not a package

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

POLICIES: Final = Path(__file__).resolve().parent
sys.path[0] = str(POLICIES.parent)  # the script's own directory has an `extauthz` too, which is no Python

from extauthz.errors import ExtauthzError, MissingPart  # noqa: E402 - after the path is right
from extauthz.policy.authoring.checking import check  # noqa: E402 - the same
from extauthz.policy.authoring.evaluator import Evaluator  # noqa: E402 - the same
from extauthz.policy.case_files import load_cases  # noqa: E402 - the same
from extauthz.policy.loader import load  # noqa: E402 - the same
from extauthz.policy.native import find_tool  # noqa: E402

MAX_LINES: Final = 120
STEPS: Final = (
    ("format", ("fmt", "--fail", "--list", ".")),
    ("strict, against the schema", ("check", "--strict", "--schema", "schemas", "--bundle", ".")),
    ("tests", ("test", "--bundle", ".")),
    ("coverage of at least 95 %", ("test", "--bundle", "--coverage", "--threshold", "95", ".")),
)


def opa(tool: str, *arguments: str) -> tuple[int, str]:
    """Runs the tool in the policy directory: its exit code and all that it said."""
    done = subprocess.run(  # noqa: S603 - our own tool, constant arguments
        [tool, *arguments], cwd=POLICIES, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


def too_long() -> list[str]:
    """Files with more lines than a policy file may have."""
    lengths = {file: len(file.read_text().splitlines()) for file in POLICIES.rglob("*.rego")}
    return [f"{file.relative_to(POLICIES)} has {n} lines" for file, n in sorted(lengths.items()) if n > MAX_LINES]


def linted(tool: str) -> str:
    """What `extauthz policy check --strict` would find."""
    return "\n".join("\n".join(found.lines()) for found in check(Path(tool), POLICIES).findings)


def answered() -> str:
    """The decision cases whose answer is another one."""
    with Evaluator(load(POLICIES)) as evaluator:
        return "\n".join(str(result) for result in evaluator.run(load_cases(POLICIES)) if not result.passed)


def say(step: str, problems: str = "") -> bool:
    """One line a step, and its problems below. Whether there are none."""
    sys.stdout.write(f"FAILED {step}\n{problems}\n" if problems else f"ok     {step}\n")
    return not problems


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--fix"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        tool = os.environ.get("OPA") or str(find_tool())
    except MissingPart as missing:
        say("the opa tool", str(missing))
        return 1
    if arguments:
        opa(tool, "fmt", "--write", ".")
    passed = say(f"no file over {MAX_LINES} lines", "\n".join(too_long()))
    for step, command in STEPS:
        code, output = opa(tool, *command)
        result = output.splitlines()[-1] if step == "tests" and output else ""
        passed &= say(f"{step} {result}".rstrip(), (output or f"exit code {code}") if code else "")
    try:
        passed &= say("lints", linted(tool))
        passed &= say("decision cases", answered())
    except ExtauthzError as broken:
        passed = say("lints and decision cases", str(broken))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

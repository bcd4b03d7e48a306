"""Faults: what went wrong on our side.

A refusal is a value (`model.Deny`); an exception of this module is a fault. Code below `app` raises nothing else on
purpose, and nothing else may leave a public function (a leaked `ValueError` is a bug).
"""

from __future__ import annotations

from dataclasses import dataclass


class ExtauthzError(Exception):
    """The base of every error that we raise on purpose."""


class EngineFault(ExtauthzError):
    """The policy engine gave no decision.

    `code` is one of the `engine.*` codes in `extauthz.codes`; `detail` is for operators and holds no input values.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class SourceFault(ExtauthzError):
    """An attribute source gave no answer in time or not a usable one."""

    def __init__(self, source: str, detail: str) -> None:
        super().__init__(f"attribute source {source}: {detail}")
        self.source = source
        self.detail = detail


class OutboundError(ExtauthzError):
    """A call to another server failed, was too slow, too large, or not allowed."""


class MissingPart(ExtauthzError):
    """A program or library that this feature needs is not on this machine; `remedy` says how to get it."""

    def __init__(self, part: str, remedy: str) -> None:
        super().__init__(f"{part} is missing: {remedy}")
        self.part = part
        self.remedy = remedy


class CallFailed(ExtauthzError):
    """A Check that ends without any answer, so that the caller's own failure mode applies.

    `status` is a google.rpc.Code other than OK; both transports end the call with it. The text is for the caller.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong in a configuration file. `line` counts from 1; 0 means the file as a whole."""

    file: str
    line: int
    key: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        return f"{place}:{key} {self.message}" + (f" (fix: {self.remedy})" if self.remedy else "")


class ConfigError(ExtauthzError):
    """A configuration that we refuse, with every problem found in it."""

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

"""One row of the demonstration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from extauthz.demo.lab import Answer, Lab


def no_objection(_: Answer) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`layer` and `code` are empty for what must be allowed. `status` 0: the connection itself is refused."""

    name: str
    what: str
    """What is tried, in a few words."""
    status: int
    layer: str
    code: str
    attempt: Callable[[Lab], Awaitable[Answer]]
    objection: Callable[[Answer], str] = no_objection
    """What else is wrong with an answer of the right status, layer and code; empty: nothing."""

    @property
    def expected(self) -> str:
        if self.layer:
            return f"{self.status} {self.code}" if self.status else self.code
        return f"{self.status} allowed"

    def problem(self, answer: Answer) -> str:
        """Why the answer is not as it must be; empty when it is."""
        if (answer.status, answer.layer, answer.code) != (self.status, self.layer, self.code):
            return f"expected {self.expected}"
        return self.objection(answer)


def allowed(
    name: str,
    what: str,
    attempt: Callable[[Lab], Awaitable[Answer]],
    objection: Callable[[Answer], str] = no_objection,
    status: int = 200,
) -> Scenario:
    return Scenario(name, what, status, "", "", attempt, objection)


def denied(name: str, what: str, status: int, code: str, attempt: Callable[[Lab], Awaitable[Answer]]) -> Scenario:
    """The layer is the code's first word."""
    return Scenario(name, what, status, code.partition(".")[0], code, attempt)


def refused(name: str, what: str, attempt: Callable[[Lab], Awaitable[Answer]]) -> Scenario:
    """Envoy ends the TLS handshake: there is no request to answer."""
    return Scenario(name, what, 0, "transport", "tls.refused", attempt)

"""What an attribute source is: a question about one Check in, named values or a denial out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.model import Deny, Request, Subject, Workload
    from extauthz.strict_json import Document


@dataclass(slots=True, eq=False)
class AttributeQuestion:
    """One Check, as far as sources may see it. Not reused: it remembers what was parsed for it.

    `variables` are the path variables of the matched route, percent-decoded; `deadline` is on the monotonic scale
    (infinite when the caller set none).
    """

    request: Request
    subject: Subject | None
    workload: Workload | None
    variables: Mapping[str, str]
    deadline: float
    resource_type: str = ""
    resource_id: str = ""
    document: Document | Deny | None = field(default=None, init=False)
    """The JSON body, once a source has asked for it (`body.document`)."""
    bounds: tuple[int, int] | None = field(default=None, init=False)
    """Size and depth that the JSON body was last held to."""
    parameters: dict[str, list[str]] | Deny | None = field(default=None, init=False)
    """The query, once a source has asked for it (`query.parameters`)."""


class AttributeSource(Protocol):
    """Named values about a Check. Fails as a value (`Deny`) or with `errors.SourceFault`, never otherwise."""

    @property
    def name(self) -> str: ...

    @property
    def names(self) -> frozenset[str]:
        """The values that it can give."""

    @property
    def awaits(self) -> bool:
        """False: `ready` always answers, `fetch` is never needed."""

    @property
    def trusted(self) -> bool:
        """False: the values are the caller's own words; they never become properties of the subject."""

    @property
    def path_variables(self) -> frozenset[str]:
        """The path variables that it reads."""

    def narrow(self, names: frozenset[str]) -> AttributeSource:
        """The same source, held only to `names` (a subset of its own): a route pays for what it uses."""

    def ready(self, question: AttributeQuestion) -> Mapping[str, Any] | Deny | None:
        """The values when they are at hand, without suspending; None: ask `fetch`."""

    async def fetch(self, question: AttributeQuestion) -> Mapping[str, Any] | Deny:
        """The values, by the question's deadline."""

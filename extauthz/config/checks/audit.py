"""Rules about the audit trail: whoever needs a record needs a trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from extauthz.audit.settings import StdoutSink
from extauthz.config.checks.rule import Finding, advice, error, routes
from extauthz.config.words import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config.model import Config

_REMEDY: Final = "write `audit: {directory: …}`"


@error
def a_written_record_needs_a_trail(config: Config) -> Iterator[Finding]:
    """`audit: written` promises a record before the answer: without a trail it would promise nothing."""
    if config.audit.directory is not None:
        return
    for place, route in routes(config):
        if route.audit == "written":
            yield Finding(
                (*place, "audit"), f"the route {route.name} waits for a record, and there is no trail", _REMEDY
            )


@error
def an_issuer_has_a_trail(config: Config) -> Iterator[Finding]:
    """What cannot be recorded is not issued."""
    if config.authority is not None and config.audit.directory is None:
        yield Finding(("authority",), "an authority issues nothing without an audit trail", _REMEDY)


@advice
def uploads_are_encrypted(config: Config) -> Iterator[Finding]:
    """Records say who did what: they are for nobody on the way."""
    for index, sink in enumerate(config.audit.sinks):
        if isinstance(sink, StdoutSink):
            continue
        url = urlsplit(sink.address)
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            yield Finding(
                ("audit", "sinks", index), "records are sent in clear", "use https, or a receiver on this machine"
            )

"""Rules about what the server shows to the network and to the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.config.checks.rule import Finding, advice, error
from extauthz.config.words import is_loopback, listed
from extauthz.transport.settings import host_port, unix_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config.model import Config


def _exposed(address: str) -> bool:
    return not unix_path(address) and not is_loopback(host_port(address)[0])


@error
def checks_come_from_here_or_over_mtls(config: Config) -> Iterator[Finding]:
    """A Check states who is calling; only our own Envoys may state that."""
    if _exposed(config.server.listen) and config.server.tls is None:
        yield Finding(
            ("server", "listen"),
            "Checks are taken in clear text from other hosts, and anybody's word on who is calling",
            "listen on 127.0.0.1 or unix:///path, or set server.tls",
        )


@error
def tls_is_not_for_unix_sockets(config: Config) -> Iterator[Finding]:
    if config.server.tls is not None and unix_path(config.server.listen):
        yield Finding(
            ("server", "tls"), "the listener is a Unix socket, which TLS does not protect", "remove server.tls"
        )


@error
def effects_leave_a_record(config: Config) -> Iterator[Finding]:
    """DESIGN law 9: every decision about an effect can be found again."""
    if config.telemetry.records.output != "none":
        return
    for route in config.routes:
        if route.effects:
            yield Finding(
                ("telemetry", "records", "output"),
                f"the route {route.name} has effects ({listed(route.effects)}), and its decisions leave no record",
                "write stdout, stderr or the path of a file",
            )
            return


@advice
def health_and_metrics_are_visible(config: Config) -> Iterator[Finding]:
    if _exposed(config.server.http):
        yield Finding(
            ("server", "http"),
            "health and metrics can be read from other hosts, without authentication",
            "keep it on 127.0.0.1 unless a probe or a scraper needs it, and close it to others by a network policy",
        )

"""Foreign anchors from files: fallback CAs of the own trust domain, and the bundles of federated ones.

They become part of the shared state when a file changes, so all replicas give out the same bundle under a sequence.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from extauthz.authn.files import WatchedFile, file_error
from extauthz.ca import profile, trust
from extauthz.ca.fault import CaFault
from extauthz.errors import ConfigError

if TYPE_CHECKING:
    from extauthz.ca.settings import CaSettings

    Foreign = tuple[str, dict[str, str]]

log = logging.getLogger(__name__)


class ForeignAnchors:
    """Blocking; not for two threads at once."""

    def __init__(self, settings: CaSettings, trust_domain: str) -> None:
        self._fallback = WatchedFile(settings.fallback_anchors) if settings.fallback_anchors is not None else None
        self._federated = {
            domain: WatchedFile(path) for domain, path in settings.federated.items() if domain != trust_domain
        }
        self._anchors = ""
        self._documents: dict[str, str] = {}

    def load(self) -> Foreign:
        """PEM of the fallback anchors, and a document for each federated domain. Raises ConfigError."""
        self._look()
        return self._anchors, dict(self._documents)

    def reload(self) -> Foreign | None:
        """As `load`, None when nothing has changed. A broken file changes nothing and is logged."""
        try:
            changed = self._look()
        except ConfigError as error:
            log.error("trust anchors kept as they were: %s", error)  # noqa: TRY400 - the message says all
            return None
        return (self._anchors, dict(self._documents)) if changed else None

    def _look(self) -> bool:
        changed = False
        if self._fallback is not None and (content := self._fallback.changed()) is not None:
            try:
                self._anchors = "".join(map(profile.pem, trust.anchors(content)))
            except CaFault as fault:
                raise file_error(self._fallback.path, str(fault), "write CA certificates as PEM") from None
            changed = True
        for domain, file in self._federated.items():
            if (content := file.changed()) is None:
                continue
            try:
                trust.parse(content)
            except CaFault as fault:
                raise file_error(file.path, str(fault), "write the domain's SPIFFE bundle document") from None
            self._documents[domain] = content.decode()
            changed = True
        return changed

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
        for error in self._look():
            raise error
        return self._anchors, dict(self._documents)

    def reload(self) -> Foreign | None:
        """As `load`, None when nothing has changed. A broken file changes nothing and is logged."""
        before = self._anchors, dict(self._documents)
        for error in self._look():
            log.error("trust anchors kept as they were: %s", error)
        after = self._anchors, dict(self._documents)
        return after if after != before else None

    def _look(self) -> list[ConfigError]:
        """Read what has changed, each file for itself; what is wrong with the others."""
        problems = []
        if self._fallback is not None:
            try:
                if (content := self._fallback.changed()) is not None:
                    self._anchors = "".join(map(profile.pem, trust.anchors(content)))
            except CaFault as fault:
                problems.append(file_error(self._fallback.path, str(fault), "write CA certificates as PEM"))
            except ConfigError as error:
                problems.append(error)
        for domain, file in self._federated.items():
            try:
                if (content := file.changed()) is not None:
                    trust.parse(content)
                    self._documents[domain] = content.decode()
            except CaFault as fault:
                problems.append(file_error(file.path, str(fault), "write the domain's SPIFFE bundle document"))
            except ConfigError as error:
                problems.append(error)
        return problems

"""Sources by name, built from the configuration once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.attributes.http import HttpService, HttpValues
from extauthz.attributes.request import RequestValues
from extauthz.attributes.settings import HttpSource, RequestSource
from extauthz.attributes.static import StaticValues
from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from extauthz.attributes.http import Waited
    from extauthz.attributes.settings import AttributesSettings
    from extauthz.attributes.source import AttributeSource
    from extauthz.clock import Clock
    from extauthz.outbound import Sends
    from extauthz.tasks import Tasks

_LONGEST_TOKEN: Final = 8192


class Sources:
    """Refuses two sources of one name."""

    def __init__(self, sources: Iterable[AttributeSource] = ()) -> None:
        self._sources: dict[str, AttributeSource] = {}
        for source in sources:
            self.add(source)

    def add(self, source: AttributeSource) -> None:
        """Raises ConfigError when the name is taken."""
        if source.name in self._sources:
            raise ConfigError((problem("attributes.sources", f"two sources are called {source.name}", "Rename one."),))
        self._sources[source.name] = source

    def get(self, name: str) -> AttributeSource | None:
        return self._sources.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __len__(self) -> int:
        return len(self._sources)


def outbound_urls(settings: AttributesSettings) -> tuple[str, ...]:
    """Origins that the `http` sources call; `outbound.Outbound` is to allow these."""
    urls = (source.url for source in settings.sources if isinstance(source, HttpSource))
    return tuple(dict.fromkeys("/".join(url.split("/")[:3]) for url in urls))


def build_sources(
    settings: AttributesSettings,
    *,
    outbound: Callable[[HttpSource], Sends],
    clock: Clock,
    tasks: Tasks,
    waited: Waited | None = None,
) -> Sources:
    """Every configured source; `outbound` gives each its client. Reads token files, so it may block.

    Raises ConfigError.
    """
    sources = Sources()
    for index, source in enumerate(settings.sources):
        if isinstance(source, HttpSource):
            bearer = _bearer(source, f"attributes.sources.{index}.bearer_token_file")
            service = HttpService(source, outbound(source), clock, tasks, waited or _unobserved, bearer)
            sources.add(HttpValues(service))
        elif isinstance(source, RequestSource):
            sources.add(RequestValues(source))
        else:
            sources.add(StaticValues(source))
    return sources


def _unobserved(source: str, seconds: float, good: bool) -> None:  # noqa: FBT001 - the shape of Waited
    del source, seconds, good


def _bearer(source: HttpSource, key: str) -> str:
    if not source.bearer_token_file:
        return ""
    try:
        token = Path(source.bearer_token_file).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise ConfigError((problem(key, f"cannot be read: {type(error).__name__}", "Check path and mode."),)) from None
    if not token or len(token) > _LONGEST_TOKEN or any(not "!" <= letter <= "~" for letter in token):
        raise ConfigError((problem(key, "one token of printable ASCII is expected", "Check the file."),))
    return token


def problem(key: str, message: str, remedy: str) -> ConfigProblem:
    """A problem of which `config` knows file and line."""
    return ConfigProblem("", 0, key, message, remedy)

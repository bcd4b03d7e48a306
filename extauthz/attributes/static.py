"""The `static` source: values that the configuration gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.attributes.settings import StaticSource
    from extauthz.attributes.source import AttributeQuestion


class StaticValues:
    """Implements `source.AttributeSource`; the values never change, so a plan copies them once (`plan`)."""

    awaits = False
    trusted = True
    path_variables: frozenset[str] = frozenset()

    def __init__(self, settings: StaticSource, names: frozenset[str] | None = None) -> None:
        self._settings = settings
        self.name = settings.name
        self.names = frozenset(settings.values) if names is None else names
        self.values: Mapping[str, Any] = {name: settings.values[name] for name in settings.values if name in self.names}

    def narrow(self, names: frozenset[str]) -> StaticValues:
        return StaticValues(self._settings, names)

    def ready(self, question: AttributeQuestion) -> Mapping[str, Any]:
        del question
        return self.values

    async def fetch(self, question: AttributeQuestion) -> Mapping[str, Any]:
        return self.ready(question)

"""Combinations that are impossible or unsafe, one function a rule.

`findings` refuses a configuration; `suggestions` are what `extauthz config check` says beside. Importing the modules
registers their rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.config.checks import (
    api,
    api_keys,
    attributes,
    audit,
    authority,
    break_glass,
    compat,
    identity,
    introspection,
    judgement,
    listeners,
    references,
    routing,
    suggestions,
    trust,
)
from extauthz.config.checks.rule import Finding, advice, error

if TYPE_CHECKING:
    from extauthz.config.model import Config

__all__ = [
    "Finding",
    "api",
    "api_keys",
    "attributes",
    "audit",
    "authority",
    "break_glass",
    "compat",
    "findings",
    "identity",
    "introspection",
    "judgement",
    "listeners",
    "references",
    "routing",
    "suggest",
    "suggestions",
    "trust",
]


def findings(config: Config) -> tuple[Finding, ...]:
    """Everything for which the configuration is refused."""
    return tuple(error.findings(config))


def suggest(config: Config) -> tuple[Finding, ...]:
    """Everything that is odd but safe; looks at the files that the configuration names."""
    return tuple(advice.findings(config))

"""docs/introspection.md and docs/bring-your-own-idp.md: what they show is a configuration that loads."""

from __future__ import annotations

from pathlib import Path

import yaml

from extauthz.authn import step_up
from extauthz.authn.settings import IssuerSettings
from extauthz.config import load_text
from tests.support import pages

DOCS = Path(__file__).parents[3] / "docs"


def test_the_introspection_page_shows_a_configuration_that_loads() -> None:
    (shown,) = pages.blocks(DOCS / "introspection.md")
    config = load_text(shown.text)
    rules = [route.token for route in config.routes]
    assert [rule.introspect for rule in rules if rule] == ["opaque", "always"]
    challenge = step_up.parameters(rules[1])
    assert challenge in (DOCS / "introspection.md").read_text()


def test_each_providers_entry_is_accepted() -> None:
    found = pages.blocks(DOCS / "bring-your-own-idp.md")
    assert [block.what for block in found] == ["oidc-provider", "keycloak"]
    for block in found:
        issuer = IssuerSettings.model_validate(yaml.safe_load(block.text))
        assert issuer.introspection is not None

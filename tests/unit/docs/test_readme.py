"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from extauthz.authn.settings import TokenRule
from extauthz.check.exchange_settings import ExchangeSettings
from extauthz.check.failure_settings import FailurePlan
from extauthz.check.routes import RouteSettings
from extauthz.config import load_text
from extauthz.judgement.settings import JudgementRule
from tests.support import parts

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_configuration_is_accepted() -> None:
    (text,) = [block for block in blocks("yaml") if block.startswith("environment:")]
    config = load_text(text, str(ROOT / "extauthz.yaml"))
    assert [route.name for route in config.routes] == ["read-report"]


def test_routes_that_are_shown_in_part_have_settings_that_exist() -> None:
    shown = [block for block in blocks("yaml") if block.startswith("- name:")]
    assert len(shown) == 2
    for route in (route for text in shown for route in yaml.safe_load(text)):
        assert route.keys() <= RouteSettings.model_fields.keys()
        if judged := route.get("judgement"):
            JudgementRule.model_validate(judged)
        if isinstance(plan := route.get("on_failure"), dict):
            FailurePlan.model_validate(plan)
        assert route.get("token", {}).keys() <= TokenRule.model_fields.keys()
        assert route.get("exchange", {}).keys() <= ExchangeSettings.model_fields.keys()


def test_the_envoy_snippet_is_what_the_whole_file_says() -> None:
    (text,) = [block for block in blocks("yaml") if "http_filters:" in block]
    (shown,) = yaml.safe_load(text)["http_filters"]
    minimal = yaml.safe_load((ROOT / "envoy" / "minimal.yaml").read_text())
    manager = minimal["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    whole = manager["http_filters"][0]["typed_config"]
    assert shown["typed_config"].items() <= whole.items()


@pytest.mark.opa
def test_the_policy_compiles_and_decides(tmp_path: Path) -> None:
    tool = parts.require_opa()
    (text,) = blocks("rego")
    (tmp_path / "reports.rego").write_text(text)
    document = '{"subject": {"properties": {"roles": ["auditor"], "tenant": "acme"}}, '
    document += '"resource": {"properties": {"tenant": "acme"}}}'
    (tmp_path / "input.json").write_text(document)
    command = [tool, "eval", "--strict", "-f", "raw", "-d", "reports.rego", "-i", "input.json"]
    command += ["data.bank.reports.decision.allow"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("true", "")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z-]+)", README)) - {"demo"}))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README)) - {"http"}))
def test_every_link_leads_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists(), link

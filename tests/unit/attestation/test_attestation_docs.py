"""docs/attestation.md and docs/api-keys.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from extauthz.attestation.entries import Entries, EntrySettings
from extauthz.attestation.refusal import CODES
from extauthz.attestation.settings import AttestationSettings
from extauthz.authn.api_key_file import parse
from extauthz.codes import http_status

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "attestation.md").read_text()
KEYS_PAGE = (DOCS / "api-keys.md").read_text()


def blocks(page: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_the_examples_are_accepted() -> None:
    authority, _, federation = blocks(PAGE)
    written = yaml.safe_load(authority)["authority"]
    AttestationSettings.model_validate(written["attestation"])
    assert len(list(Entries(EntrySettings.model_validate(entry) for entry in written["entries"]))) == 2
    AttestationSettings.model_validate({"attestors": yaml.safe_load(federation)})


def test_every_code_is_listed_with_its_status() -> None:
    rows = re.findall(r"^\| (`attestation\..*?) \| (\d+) \|$", PAGE, re.MULTILINE)
    told = {code: int(status) for codes, status in rows for code in re.findall(r"`([a-z._]+)`", codes)}
    assert told == {code: known.status.value for code, known in CODES.items()}


def test_every_setting_of_a_kind_is_known() -> None:
    for kind in ("kubernetes", "instance", "oidc", "join_token"):
        assert f"### `{kind}`" in PAGE


def test_the_keys_of_the_example_are_accepted() -> None:
    _, file = blocks(KEYS_PAGE)
    assert parse(file.encode(), "api-keys.yaml", now=1_795_000_000.0, max_keys=1)[0].subject == "rates-partner"


def test_the_codes_of_keys_have_the_status_that_is_told() -> None:
    rows = re.findall(r"^\| (\d+) \| `([a-z._]+)` \|", KEYS_PAGE, re.MULTILINE)
    assert len(rows) == 7
    assert [(int(status), code) for status, code in rows] == [(http_status(code), code) for _, code in rows]

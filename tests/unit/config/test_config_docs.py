"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest

from extauthz.config import Config, inspect, load
from extauthz.config.loader import shape
from extauthz.config.reference import BEGIN, reference, schema_text, with_reference, write
from extauthz.strict_yaml import parse

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLE = DOCS / "extauthz.example.yaml"
REMEDY = "run `python -m extauthz.config.reference docs`"


def tree(text: str):
    return parse(text.encode(), "f").root.plain()


def test_the_committed_schema_is_the_codes():
    assert (DOCS / "extauthz.schema.json").read_text(encoding="utf-8") == schema_text(), REMEDY


def test_the_committed_reference_is_the_codes():
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert with_reference(page) == page, REMEDY


def test_every_key_has_a_meaning():
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_a_page_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="no place"):
        with_reference("# A page\n")
    with pytest.raises(ValueError, match="no place"):
        with_reference(BEGIN)


def test_both_files_are_written(tmp_path):
    (tmp_path / "configuration.md").write_text(
        (DOCS / "configuration.md").read_text(encoding="utf-8"), encoding="utf-8"
    )
    write(tmp_path)
    for name in ("configuration.md", "extauthz.schema.json"):
        assert (tmp_path / name).read_bytes() == (DOCS / name).read_bytes()


def test_the_example_is_accepted():
    report = inspect(EXAMPLE)
    assert report.problems == ()
    assert {warning.message for warning in report.warnings} <= {"there is no such file here"}
    assert {"create-transfer", "approve-transfer"} <= {route.name for route in load(EXAMPLE).routes}


def test_the_examples_policy_is_ours():
    policy = load(EXAMPLE).policy.path
    assert (policy / "extauthz" / "payments.rego").is_file()


def test_the_schema_is_valid_and_takes_the_example():
    jsonschema.Draft202012Validator.check_schema(shape().schema)
    validator = jsonschema.Draft202012Validator(shape().schema)
    assert list(validator.iter_errors(tree(EXAMPLE.read_text(encoding="utf-8")))) == []
    assert list(validator.iter_errors({})) == []


@pytest.mark.parametrize(
    "text",
    [
        "enviroment: prod",
        "version: 2",
        "server: {drain: 5}",
        "server: {drain: 5 s}",
        "server: {max_check: 4096}",
        "server: {transport: grpc}",
        "routes: [{name: a}]",
        "attributes: {sources: [{kind: none}]}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text):
    validator = jsonschema.Draft202012Validator(shape().schema)
    assert list(validator.iter_errors(tree(text)))


def test_the_schema_takes_a_zero_without_unit():
    validator = jsonschema.Draft202012Validator(shape().schema)
    assert list(validator.iter_errors(tree("policy: {cache: {clock_ttl: 0}}"))) == []


def test_every_block_of_the_file_is_in_the_reference():
    page = reference()
    for name in Config.model_fields:
        assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE)
    for place in ("server.tls", "routes[].token", "policy.cache", "workload.trust_domains.<name>"):
        assert f"### `{place}`" in page

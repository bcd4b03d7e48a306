"""policies/schemas/input.json: valid, closed, described, and used by OPA."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN = {"context.properties"}
"""Objects whose keys are the deployment's own."""


def objects(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if node["type"] == "object":
        yield path, node
        for name, below in node.get("properties", {}).items():
            yield from objects(below, f"{path}.{name}".lstrip("."))


def test_schema_is_valid(schema):
    Draft202012Validator.check_schema(schema)


def test_objects_are_closed(schema):
    assert {path for path, node in objects(schema) if node.get("additionalProperties") is not False} == OPEN


def test_every_field_is_described(schema):
    for path, node in objects(schema):
        for name, below in node.get("properties", {}).items():
            assert below.get("description") or below.get("title"), f"{path}.{name}"


def test_fixtures_and_samples_fit(schema, policies, opa):
    validator = Draft202012Validator(schema)
    documents = {file.stem: json.loads(file.read_text()) for file in (policies / "fixtures").glob("*.json")}
    samples = opa.eval("data.extauthz.lib.samples_test")
    documents |= {name: samples[name] for name in ("transfer", "approval", "score", "features", "dataset")}
    wrong = {name for name, document in documents.items() if not validator.is_valid(document)}
    assert wrong == {"payments_deny_amount_text"}  # that is what it shows


@pytest.mark.parametrize(
    "reference",
    ["input.subject.properties.rolez", "input.resource.properties.model.stages", "input.tenant", "input.context.env"],
)
def test_opa_finds_a_field_that_does_not_exist(opa, policies, tmp_path, reference):
    copy = tmp_path / "policies"
    shutil.copytree(policies, copy)
    wrong = copy / "extauthz" / "abac" / "wrong.rego"
    wrong.write_text(f'package extauthz.abac.wrong\n\noutcome := "pass" if {reference} == "x"\n')
    done = opa.run("check", "--strict", "--schema", str(copy / "schemas"), "--bundle", str(copy))
    assert done.returncode == 1
    assert f"undefined ref: {reference}" in done.stdout + done.stderr

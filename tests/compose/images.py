"""The images that docker-compose.yml names: pulled, or where no registry is reached built here, under the same names.

A stand-in has the same program from another place: Envoy from its wheel, OPA from its Go module, Prometheus from Debian.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from extauthz.demo.platform import envoy_path
from extauthz.errors import ExtauthzError
from extauthz.policy.native import find_tool
from tests.compose.engine import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.compose.engine import Engine

OWN: Final = ("extauthz", "extauthz-development")
"""Images that the compose file builds."""
BASE: Final = "python:3.11-slim-bookworm"
_STANDINS: Final[dict[str, tuple[str, Callable[[], Path] | None]]] = {
    "envoyproxy/envoy": ("envoy", lambda: Path(envoy_path())),
    "openpolicyagent/opa": ("opa", find_tool),
    "prom/prometheus": ("prometheus", None),
}
"""Repository → Dockerfile, and the program that it copies."""
_PULL: Final = 300.0
_BUILD: Final = 900.0


async def ready(engine: Engine, config: dict[str, Any], say: Callable[[str], None]) -> list[str]:
    """Every image is there afterwards; the stand-ins among them. Raises ExtauthzError."""
    wanted = sorted({service["image"] for service in config["services"].values()})
    upstream = [image for image in wanted if image.partition(":")[0] not in OWN]
    standins = []
    for image in [BASE, *upstream]:
        if (await engine.run("image", "inspect", image)).ok:
            if await _is_standin(engine, image):
                standins.append(image)
            continue
        if (await engine.run("pull", "--quiet", image, timeout=_PULL)).ok:
            say(f"pulled {image}")
            continue
        await _stand_in(engine, image, say)
        standins.append(image)
    return standins


async def build(engine: Engine, say: Callable[[str], None]) -> None:
    """Our own images, from this tree. Layers that have not changed are kept."""
    for image, target in (("extauthz-development", "development"), ("extauthz", "runtime")):
        say(f"building {image}")
        await engine.must("build", "--quiet", "--target", target, "--tag", f"{image}:0.1.0", ".", timeout=_BUILD)


async def _is_standin(engine: Engine, image: str) -> bool:
    said = await engine.run("image", "inspect", "--format", '{{index .Config.Labels "io.extauthz.standin"}}', image)
    return said.out.strip() == "true"


async def _stand_in(engine: Engine, image: str, say: Callable[[str], None]) -> None:
    name, program = _STANDINS.get(image.partition(":")[0], ("", None))
    if not name:
        raise ExtauthzError(f"{image} cannot be pulled, and nothing here can stand in for it")
    say(f"{image} cannot be pulled; building a stand-in from packages")
    with tempfile.TemporaryDirectory() as context:
        if program is not None:
            source = program()
            place = Path(context, name)
            try:
                os.link(source, place)
            except OSError:  # another file system
                shutil.copyfile(source, place)
            place.chmod(0o755)
        file = ROOT / "tests" / "compose" / "standins" / f"{name}.Dockerfile"
        label = ("--label", "io.extauthz.standin=true")
        await engine.must("build", "--quiet", *label, "--file", str(file), "--tag", image, context, timeout=_BUILD)

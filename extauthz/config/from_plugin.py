"""OPA's configuration with opa-envoy-plugin → an extauthz.yaml, with what has to be done by hand said beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz import strict_yaml
from extauthz.config.loader import load_text
from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from pathlib import Path

_PLACE: Final = "plugins.envoy_ext_authz_grpc"
_ELSEWHERE: Final = {
    "bundles": "policy.bundle takes a policy bundle from a directory, a file or HTTP(S)",
    "services": "policy.bundle names its server itself",
    "decision_logs": "decision records are written by telemetry.records",
    "status": "server.http serves /readyz and /metrics",
    "discovery": "not taken over: extauthz reads its configuration from this file",
    "labels": "telemetry.records.labels",
    "keys": "policy.bundle names the keys that bundles are signed with",
    "default_decision": "each route names its own policy",
    "default_authorization_decision": "extauthz has no API of OPA's to protect",
    "caching": "not taken over: the builtin cache keeps OPA's own limits",
    "distributed_tracing": "not taken over",
    "server": "not taken over: see the server block",
    "storage": "not taken over: policies are kept in memory",
    "persistence_directory": "policy.bundle.keep",
    "nd_builtin_cache": "not taken over",
}
_HEAD: Final = "# Written by `extauthz config from-opa-envoy-plugin`. See docs/migrating-from-opa-envoy-plugin.md.\n"


@dataclass(frozen=True, slots=True)
class Converted:
    """`text` is the new file; `notes` are (key of the old file, what to do about it)."""

    text: str
    notes: tuple[tuple[str, str], ...]


def convert(file: Path, policy: str) -> Converted:
    """`policy` is the directory of the policy, as the new file shall name it. Raises ConfigError."""
    tree = strict_yaml.parse(strict_yaml.read(file), str(file), remedy="name OPA's configuration file")
    document = tree.root.plain()
    plugins = document.get("plugins") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(plugins, dict) or "envoy_ext_authz_grpc" not in plugins:
        raise _no_block(file)
    block = plugins["envoy_ext_authz_grpc"]
    settings: dict[str, Any] = {"engine": "embedded", "path": policy, "compat": "opa-envoy-plugin"}
    if block:
        settings["opa_envoy_plugin"] = block
    text = _HEAD + yaml.safe_dump({"policy": settings}, sort_keys=False, allow_unicode=True)
    load_text(text, f"{file} (converted)")  # raises for a key or a value that the plugin does not have
    return Converted(text, tuple(_notes(document, plugins)))


def _notes(document: dict[str, Any], plugins: dict[str, Any]) -> list[tuple[str, str]]:
    found = [(key, _ELSEWHERE.get(key, "not taken over")) for key in document if key != "plugins"]
    return found + [(f"plugins.{key}", "not taken over") for key in plugins if key != "envoy_ext_authz_grpc"]


def _no_block(file: Path) -> ConfigError:
    remedy = "name the file that OPA with opa-envoy-plugin was started with"
    return ConfigError((ConfigProblem(str(file), 0, _PLACE, "there is no such block", remedy),))

"""A test copy of a project's extauthz.yaml: same routes, same policy, credentials that tests can make.

    <folder>/server/   extauthz.yaml, policies/, the public keys, records.jsonl: mount it into a container, at any path
    <folder>/envoy/    with `tls`: the certificate that Envoy and the tests show to the server
    <folder>/keys/     the private keys of issuers and authorities, for the tests alone

What the copy changes, and nothing else:

    1  server         where it listens; TLS of the tests or none; a deadline that a slow machine keeps
    2  issuers        keys of the tests in place of the issuer's own, ES256
    3  workload       authorities of the tests in place of the trust bundles that the file names, and an identity of
                      theirs in place of the server's own (a token service is not replaced: `exchange` answers 503)
    4  revocation     an empty file in place of the file, feed or Redis that it names
    5  outbound       no credentials and trust of production: bearer tokens, the private authority
    6  policy         the files are copied
    7  telemetry      records go to records.jsonl, at once
    8  what the project changes itself (`change`)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz import strict_yaml
from extauthz.clock import SystemClock
from extauthz.config import Config, inspect, load
from extauthz.demo.dev_ca import SVID_LIFETIME, DevCa
from extauthz.demo.files import write_private
from extauthz.demo.tokens import ALGORITHM, Mint, new_key
from extauthz.errors import ConfigError, ExtauthzError
from extauthz.policy import loader
from extauthz.testing.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from extauthz.authn.settings import IssuerSettings
    from extauthz.clock import Clock

Change = Callable[[dict[str, Any]], None]
"""Changes the settings of the test copy, a tree of plain JSON, in place."""
SETTINGS: Final = "extauthz.yaml"
RECORDS: Final = "records.jsonl"
_REVOKED: Final = "revoked.json"
_POLICIES: Final = "policies"
_NOTE: Final = (
    "# Written by extauthz.testing for tests; its keys are worthless elsewhere. Edit the project's own file.\n"
)
_DEADLINE: Final = "5s"
_ANYONE_READS, _ANYONE_ENTERS, _ANYONE_WRITES = 0o644, 0o755, 0o666
"""The server in a container has another user id. The TLS keys in server/ and envoy/ are good for these tests only."""
TLS_NAME: Final = "server.extauthz.test"
"""A name that the certificate always has, whatever address the tests reach the server by."""
_TRANSPORT: Final = "extauthz.test"
"""The authority of the connection between Envoy and the server; no trust domain of a policy."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A prepared folder."""

    root: Path

    @property
    def server(self) -> Path:
        return self.root / "server"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def envoy(self) -> Path:
        return self.root / "envoy"

    @property
    def settings(self) -> Path:
        return self.server / SETTINGS

    @property
    def records(self) -> Path:
        return self.server / RECORDS

    def credentials(self, clock: Clock | None = None) -> Credentials:
        """What the server trusts. Raises ExtauthzError when the folder was not prepared."""
        clock = clock or SystemClock()
        try:
            config = load(self.settings)
            mints = {issuer.name: self.mint(issuer, clock) for issuer in config.issuers}
            authorities = {domain: self.authority(domain, clock) for domain in config.workload.trust_domains}
        except (OSError, ConfigError) as error:
            raise ExtauthzError(f"{self.root} cannot be used: {error}; `python -m extauthz.testing prepare`") from None
        return Credentials({issuer.name: issuer for issuer in config.issuers}, mints, authorities, clock)

    def client(self) -> tuple[bytes, bytes, bytes] | None:
        """Authority, private key and certificate (PEM) for a server with TLS; None for one without."""
        try:
            if load(self.settings).server.tls is None:
                return None
            authority, key, certificate = (self.envoy / name for name in ("ca.pem", "client.key", "client.pem"))
            return authority.read_bytes(), key.read_bytes(), certificate.read_bytes()
        except (OSError, ConfigError) as error:
            raise ExtauthzError(f"{self.root} cannot be used: {error}; `python -m extauthz.testing prepare`") from None

    def remedy(self, code: str) -> str:
        """The remedy of a policy's code: `<code>: {remedy: …}` in a data file, as in policies/extauthz/tables/reasons.

        Empty when there is none: neither the answer nor the decision record has a policy's remedy.
        """
        for file in sorted((self.server / _POLICIES).rglob("data.*")):
            try:
                table = yaml.safe_load(file.read_text())
            except (OSError, ValueError, yaml.YAMLError):
                continue  # the server judges the policy's files
            entry = table.get(code) if isinstance(table, dict) else None
            remedy = entry.get("remedy") if isinstance(entry, dict) else None
            if isinstance(remedy, str):
                return remedy
        return ""

    def mint(self, issuer: IssuerSettings, clock: Clock) -> Mint:
        """The signer of the issuer, with the key that is kept here, or a new one. Raises OSError."""
        path = self.keys / f"{issuer.name}.issuer.key"
        if not path.exists():
            write_private(path, new_key())
        return Mint(issuer.issuer, path.read_bytes(), clock)

    def authority(self, domain: str, clock: Clock) -> DevCa:
        """The authority that is kept here, or a new one when there is none or its day is over. Raises OSError."""
        bundle, key = self.keys / f"{domain}.pem", self.keys / f"{domain}.authority.key"
        if bundle.exists() and key.exists():
            kept = DevCa(domain, clock, kept=(bundle.read_bytes(), key.read_bytes()))
            if kept.ends > clock.now() + SVID_LIFETIME:
                return kept
        made = DevCa(domain, clock)
        write_private(key, made.private_key)
        write_private(bundle, made.trust_bundle)
        return made


def prepare(
    config: Path,
    folder: Path,
    *,
    server: Mapping[str, Any],
    tls: str = "",
    engine: str = "",
    change: Change | None = None,
    clock: Clock | None = None,
) -> Folder:
    """Writes the test copy of `config` below `folder`; keys that are there already are kept.

    `server` replaces settings of the `server` block (`listen`, `http`, `transport` …), `engine` names another engine.
    `tls` is the host name by which Envoy reaches the server: mTLS, which a server that other hosts reach must have.
    Raises ConfigError with every problem of `config`, or of what `change` made of it, and ExtauthzError.
    """
    report = inspect(config)
    if report.config is None:
        raise ConfigError(report.problems)
    made = Folder(folder)
    clock = clock or SystemClock()
    try:
        for place, mode in ((made.root, _ANYONE_ENTERS), (made.server, _ANYONE_ENTERS), (made.keys, 0o700)):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(mode)
        settings: dict[str, Any] = strict_yaml.parse(strict_yaml.read(config), str(config)).root.plain() or {}
        settings["server"] = _server(settings.get("server") or {}, server)  # 1
        if tls:
            settings["server"]["tls"] = _tls(made, tls, clock)
        _issuers(made, settings, report.config, clock)  # 2
        _workload(made, settings, report.config, clock)  # 3
        _outside(made, settings)  # 4, 5
        _policy(made, settings, report.config, engine)  # 6
        _telemetry(made, settings)  # 7
        if change is not None:
            change(settings)  # 8
        text = yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False, allow_unicode=True)
        _write(made.server, SETTINGS, (_NOTE + text).encode())
    except OSError as error:
        raise ExtauthzError(f"{folder} cannot be prepared: {error}") from None
    load(made.settings)
    return made


def _server(ours: dict[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in ours.items() if name != "tls"}
    return {**kept, "workers": 1, "max_deadline": _DEADLINE, "drain": "1s", **wanted}


def _tls(made: Folder, host: str, clock: Clock) -> dict[str, str]:
    authority = made.authority(_TRANSPORT, clock)
    files = {"certificate": "server.pem", "private_key": "server.key", "client_ca": "ca.pem"}
    present = made.envoy / "ca.pem"
    # What a running server and a running Envoy have read stays good as long as its authority does.
    if not present.exists() or present.read_bytes() != authority.trust_bundle:
        made.envoy.mkdir(exist_ok=True)
        made.envoy.chmod(_ANYONE_ENTERS)
        left = authority.ends - clock.now()
        server = authority.server(host, TLS_NAME, lifetime=left)
        client = authority.svid(f"spiffe://{_TRANSPORT}/envoy", lifetime=left)
        for folder, name, identity in ((made.server, "server", server), (made.envoy, "client", client)):
            _write(folder, f"{name}.key", identity.private_key)
            _write(folder, f"{name}.pem", identity.certificate)
            _write(folder, "ca.pem", authority.trust_bundle)
    return files


def _issuers(made: Folder, settings: dict[str, Any], config: Config, clock: Clock) -> None:
    for entry, issuer in zip(settings.get("issuers") or (), config.issuers, strict=True):
        mint = made.mint(issuer, clock)
        entry["algorithms"] = [ALGORITHM]
        entry["jwks"] = {"file": f"{issuer.name}.jwks.json"}
        _write(made.server, entry["jwks"]["file"], json.dumps(mint.jwks()).encode())


def _workload(made: Folder, settings: dict[str, Any], config: Config, clock: Clock) -> None:
    for domain, trust in config.workload.trust_domains.items():
        authority = made.authority(domain, clock)
        if trust.trust_bundle is not None:
            settings["workload"]["trust_domains"][domain]["trust_bundle"] = f"{domain}.trust.pem"
            _write(made.server, f"{domain}.trust.pem", authority.trust_bundle)
    if config.identity is None:
        return
    own = [name for route in config.routes if route.caller == "self" for name in route.workloads if "*" not in name]
    spiffe_id = own[0] if own else f"spiffe://{next(iter(config.workload.trust_domains), _TRANSPORT)}/extauthz"
    authority = made.authority(spiffe_id.removeprefix("spiffe://").partition("/")[0], clock)
    svid = authority.svid(spiffe_id, lifetime=authority.ends - clock.now())
    contents = {
        "certificate": svid.certificate,
        "private_key": svid.private_key,
        "trust_bundle": authority.trust_bundle,
    }
    settings["identity"] = {name: f"identity.{name}.pem" for name in contents}
    for name, content in contents.items():
        _write(made.server, f"identity.{name}.pem", content)


def _outside(made: Folder, settings: dict[str, Any]) -> None:
    if settings.get("revocation"):
        settings["revocation"] = {"file": _REVOKED}
        _write(made.server, _REVOKED, b"{}")
    for source in (settings.get("attributes") or {}).get("sources") or ():
        source.pop("bearer_token_file", None)
    (settings.get("outbound") or {}).pop("trust_bundle", None)


def _policy(made: Folder, settings: dict[str, Any], config: Config, engine: str) -> None:
    block = settings.setdefault("policy", {})
    if engine:
        block["engine"] = engine
    if config.policy.path is None:
        return
    loaded = loader.load(config.policy.path, max_bytes=config.policy.max_bytes, max_files=config.policy.max_files)
    target, fresh, old = (made.server / name for name in (_POLICIES, f".{_POLICIES}.new", f".{_POLICIES}.old"))
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir()
    fresh.chmod(_ANYONE_ENTERS)
    for name, content in loaded.files.items():
        _write(fresh, name, content)
    # Moved in whole: a running server never loads some of the files.
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    block["path"] = _POLICIES


def _telemetry(made: Folder, settings: dict[str, Any]) -> None:
    records = settings.setdefault("telemetry", {}).setdefault("records", {})
    records |= {"output": f"./{RECORDS}", "interval": "1ms"}
    made.records.touch()
    made.records.chmod(_ANYONE_WRITES)


def _write(folder: Path, name: str, content: bytes) -> None:
    """At once and whole, so that a running server never reads half a file. `name` may have folders in it."""
    path = folder / name
    place = folder
    for part in PurePath(name).parts[:-1]:
        place /= part
        place.mkdir(exist_ok=True)
        place.chmod(_ANYONE_ENTERS)
    write_private(path, content)
    path.chmod(_ANYONE_READS)

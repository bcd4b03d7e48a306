"""A real authority for everybody's tests: real keys, real TLS, a free port.

In this process, for tests that look inside or turn the clock of nothing but their settings:

    async with running(tmp_path) as authority:                       # or running(tmp_path, **settings of `authority:`)
        agent = await authority.attest("agent")                      # join token → SVID, as a real agent does it
        async with authority.client(agent) as http:                  # mTLS with that SVID, trusting the authority
            answer = await http.get("/v1/trust")

As a process (`extauthz authority serve`), for tests that stop, kill or restart it:

    async with process(tmp_path) as authority: ...                   # the same methods

`authority.url` is `https://localhost:<port>`; `authority.trust_pem()` what its callers trust at the start;
`authority.operator(...)` asks the admin socket; `authority.audit()` reads the records so far. Entries registered by
`ENTRIES`: `agent` (spiffe://bank.example/agent, DNS localhost), `gateway` → may exchange to `orchestrator`,
`orchestrator` → to `model`, `model`, `introspector`; all attested by join tokens. Further entries: `entries=[...]`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.authority.service import Authority
from extauthz.clock import SystemClock
from extauthz.config import load
from extauthz.keys.jwk import base64url
from extauthz.keys.tls import load_chain
from extauthz.tasks import Tasks
from tests.support.compat_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

TRUST_DOMAIN = "bank.example"
POLICY = """package extauthz.exchange

# METADATA
# entrypoint: true
default decision := {"allow": false, "reasons": [{"code": "role.denied"}]}

decision := {"allow": true} if input.action.name in {"token.exchange", "token.issue"}
"""


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "spiffe_id": f"spiffe://{TRUST_DOMAIN}/{name}",
        "attestors": ["join_token"],
        "selectors": [f"join:{name}"],
        "dns_names": ["localhost"],
        **more,
    }


ENTRIES: tuple[dict[str, Any], ...] = (
    entry("agent"),
    entry("gateway", audiences=["gateway"], exchange_to=["orchestrator"]),
    entry("orchestrator", audiences=["orchestrator"], exchange_to=["model"]),
    entry("model", audiences=["model"]),
    entry("introspector", audiences=["introspector"]),
)


@dataclass(frozen=True)
class Svid:
    """What a workload holds. `chain` is PEM; `expires_at` seconds since the epoch."""

    spiffe_id: str
    key: ec.EllipticCurvePrivateKey
    chain: str
    expires_at: int
    trust: dict[str, Any]

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain.encode())

    @property
    def x5t(self) -> str:
        return base64url(hashlib.sha256(self.certificate.public_bytes(Encoding.DER)).digest())


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def csr(key: ec.EllipticCurvePrivateKey, *uris: str) -> str:
    """A PEM request; the authority ignores its names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def authorities(trust: dict[str, Any], domain: str = TRUST_DOMAIN) -> str:
    """PEM of the CA certificates that a trust answer names for a domain."""
    keys = [key for key in trust["trust_domains"][domain]["keys"] if key["use"] == "x509-svid"]
    lines = "\n".join
    return "".join(
        f"-----BEGIN CERTIFICATE-----\n{lines(key['x5c'][0][at : at + 64] for at in range(0, len(key['x5c'][0]), 64))}"
        "\n-----END CERTIFICATE-----\n"
        for key in keys
    )


@dataclass
class RunningAuthority:
    url: str
    admin: Path
    directory: Path
    config: Path
    service: Authority | None = None
    """The object itself, when it runs in this process."""
    pid: int | None = None

    async def operator(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """One verb over the admin socket; see `extauthz.authority.operator`."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.admin))
        async with httpx.AsyncClient(transport=transport, base_url="http://authority") as http:
            return await http.request(method, path, json=body)

    async def join_token(self, name: str, instance: str = "") -> str:
        answer = await self.operator("POST", "/join-token", {"entry": name, "ttl": 60, "instance": instance})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    async def trust_pem(self) -> str:
        """CA certificates to start with. Test only: a real agent is given them by its operator."""
        async with httpx.AsyncClient(verify=False, base_url=self.url) as http:  # noqa: S501 - bootstraps the test
            bundle = (await http.get("/bundle")).json()
        return authorities({"trust_domains": {TRUST_DOMAIN: bundle}})

    def tls(self, trusted: str, svid: Svid | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=trusted)
        if svid is not None:
            load_chain(context, svid.chain.encode(), svid.key)
        return context

    @asynccontextmanager
    async def client(self, svid: Svid | None = None, *, trusted: str = "") -> AsyncIterator[httpx.AsyncClient]:
        """Over TLS that trusts `trusted` (PEM; default: whatever the authority's /bundle says), as `svid`."""
        context = self.tls(trusted or await self.trust_pem(), svid)
        async with httpx.AsyncClient(verify=context, base_url=self.url, timeout=30) as http:
            yield http

    async def attest(self, name: str, key: ec.EllipticCurvePrivateKey | None = None, *, instance: str = "") -> Svid:
        """An SVID for the entry of that name, by a fresh join token."""
        key = key or new_key()
        body = {"attestor": "join_token", "evidence": await self.join_token(name, instance), "csr": csr(key)}
        async with self.client() as http:
            return svid_of(await http.post("/v1/attest", json=body), key)

    async def renew(self, svid: Svid) -> Svid:
        key = new_key()
        async with self.client(svid) as http:
            return svid_of(await http.post("/v1/renew", json={"csr": csr(key)}), key)

    def audit(self) -> list[dict[str, Any]]:
        """Without what the chain says of itself."""
        found = [json.loads(line) for line in audit_text(self.directory).splitlines()]
        return [line for line in found if not line["event"].startswith("chain.")]


def audit_text(directory: Path) -> str:
    """All audit records of an authority in `directory`, as they stand in its files."""
    return "".join(file.read_text() for file in sorted((directory / "audit").glob("*.jsonl")))


def svid_of(answer: httpx.Response, key: ec.EllipticCurvePrivateKey) -> Svid:
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return Svid(found["spiffe_id"], key, found["certificate_chain"], found["expires_at"], found["trust"])


def write_config(
    directory: Path,
    *,
    entries: Sequence[dict[str, Any]] = ENTRIES,
    store: dict[str, Any] | None = None,
    policy: str = POLICY,
    **settings: Any,
) -> Path:
    """extauthz.yaml with an `authority:` block on a free port; `settings` replace members of the block."""
    (directory / "policy").mkdir(parents=True, exist_ok=True)
    (directory / "policy" / "exchange.rego").write_text(policy)
    port = free_port()
    sockets = tempfile.mkdtemp(prefix="xa-")  # a Unix socket's path is short
    block: dict[str, Any] = {
        "trust_domain": TRUST_DOMAIN,
        "listen": f"127.0.0.1:{port}",
        "admin": f"unix://{sockets}/admin.sock",
        "dns_names": ["localhost"],
        "attestation": {"attestors": [{"kind": "join_token"}]},
        "entries": list(entries),
        "sts": {"issuer": f"https://localhost:{port}"},
    }
    tree = {
        "version": 1,
        "environment": "test",
        "policy": {"engine": "embedded", "path": "policy"},
        "audit": settings.pop("audit", {"directory": "audit"}),
        "authority": {**block, **settings},
        **({"store": store} if store else {}),
    }
    file = directory / "extauthz.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def _running(config: Path) -> tuple[Any, RunningAuthority]:
    loaded = load(config)
    settings = loaded.authority
    assert settings is not None
    url = f"https://localhost:{settings.listen.rpartition(':')[2]}"
    return loaded, RunningAuthority(url, Path(settings.admin.removeprefix("unix://")), config.parent, config)


@asynccontextmanager
async def running(directory: Path, **settings: Any) -> AsyncIterator[RunningAuthority]:
    """An authority in this process; `settings` as `write_config` takes them."""
    loaded, handle = _running(write_config(directory, **settings))
    with tempfile.TemporaryDirectory() as run_dir:
        service = Authority(
            loaded.authority,
            store=loaded.store,
            policy=loaded.policy,
            outbound=loaded.outbound,
            audit=loaded.audit,
            run_dir=Path(run_dir),
            clock=SystemClock(),
        )
        await service.start()
        handle.service = service
        try:
            yield handle
        finally:
            await service.close()


@asynccontextmanager
async def process(directory: Path, **settings: Any) -> AsyncIterator[RunningAuthority]:
    """The command in a process of its own, ready when this returns; its log goes to `authority.log`."""
    async with started(write_config(directory, **settings)) as handle:
        yield handle


@asynccontextmanager
async def started(config: Path, environment: dict[str, str] | None = None) -> AsyncIterator[RunningAuthority]:
    """`extauthz authority serve` over an existing file; started again over the same file, it is a restart."""
    _, handle = _running(config)
    command = (sys.executable, "-m", "extauthz", "authority", "serve", str(config))
    with (config.parent / "authority.log").open("ab") as log:
        running_process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    handle.pid = running_process.pid
    tasks = Tasks()
    ended = tasks.start(running_process.wait(), "authority")
    try:
        while not await _ready(handle):
            assert not ended.done(), (config.parent / "authority.log").read_text()
            await asyncio.sleep(0.05)
        yield handle
    finally:
        if running_process.returncode is None:
            running_process.terminate()
        await running_process.wait()
        await tasks.close()


async def _ready(handle: RunningAuthority) -> bool:
    try:
        return (await handle.operator("GET", "/status")).status_code == 200
    except httpx.TransportError:
        return False

"""While the platform runs: no private key, token or API key in any file of it, any log, any metric, or the list of processes."""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo import processes
from extauthz.demo.attempts import identities
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.lab import Lab
from extauthz.demo.platform import Platform
from extauthz.demo.runner import Runner
from extauthz.demo.zones import ADMINISTRATION, ORCHESTRATION

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.envoy,
    pytest.mark.opa,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]

KEY = re.compile(rb"-----BEGIN (?:EC |RSA |ENCRYPTED )?PRIVATE KEY-----")
PKCS8_P256 = b64encode(bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107"))[:32]
"""How every unencrypted P-256 key begins in PEM, whatever stands around it."""
JWS = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{40,}")
PREFIXED = re.compile(rb"xa[tk]_[A-Za-z0-9_-]{20,}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def used():
    """A platform after honest and refused requests of every kind, and what was secret in them."""
    async with Platform() as platform:
        lab = Lab(platform)
        await Runner(platform, lab).warm_up()
        secrets = [platform.credentials.api_key, platform.credentials.mint.private_key.decode()]
        for scenario in identities.SCENARIOS:
            if scenario.name not in {"rotation", "revocation-tree"}:
                await Runner(platform, lab).run(scenario)
        user = await lab.sign_in()
        opaque = await lab.sign_in("frank", audience=ADMINISTRATION, purpose="administration", scope="limits.write")
        await lab.edge(user, lab.transfer())
        await lab.edge(opaque, {"amount": 1}, path="/v1/limits/wire", method="PUT")
        secrets += [
            user,
            opaque,
            lab.hop(ORCHESTRATION, ORCHESTRATION),
            await platform.authority.admin.join_token("edge"),
        ]
        yield platform, secrets
        await lab.close()


def found_in(content: bytes, secrets: list[str]) -> list[str]:
    """What is in `content` that must be nowhere."""
    found = [pattern.pattern.decode() for pattern in (KEY, JWS, PREFIXED) if pattern.search(content)]
    found += ["an unencrypted key"] if PKCS8_P256 in content else []
    return found + [f"secret {number}" for number, secret in enumerate(secrets) if secret.encode() in content]


async def test_the_search_finds_what_it_looks_for():
    identity = DevCa("bank.example").svid("spiffe://bank.example/x")
    raw = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert found_in(raw, []) == [KEY.pattern.decode(), "an unencrypted key"]
    assert found_in(b'{"token":"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.' + b"A" * 86 + b'"}', []) == [
        JWS.pattern.decode()
    ]
    assert found_in(b"key=xak_partner1_" + b"A" * 43, []) == [PREFIXED.pattern.decode()]
    assert found_in(b"... hunter2 ...", ["hunter2"]) == ["secret 0"]
    assert found_in(b"-----BEGIN CERTIFICATE-----", ["hunter2"]) == []


async def test_no_file_holds_a_secret(used):
    platform, secrets = used
    # The key that signs audit records is a file of mode 0600 by design (docs/audit.md).
    files = [path for path in platform.layout.root.rglob("*") if path.is_file() and path.name != "audit.key"]
    assert {"store.sqlite", "authority-0-000001.jsonl", "records.jsonl", "access.log"} <= {path.name for path in files}
    assert {path.name: found for path in files if (found := found_in(path.read_bytes(), secrets))} == {}


async def test_no_metric_tells_one(used):
    platform, secrets = used
    pages = []
    for place in platform.layout.zones.values():
        transport = httpx.AsyncHTTPTransport(uds=str(place.socket("http")))
        async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
            pages += [await client.get(path) for path in ("/metrics", "/readyz?verbose")]
    assert all(page.status_code == 200 and len(page.content) > 100 for page in pages)
    assert [found for page in pages if (found := found_in(page.content, secrets))] == []


async def test_no_command_line_shows_one(used):
    platform, secrets = used
    heads = [part.pid for part in platform.parts.values()]
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [*heads, *processes.descendants(heads)]]
    assert len(lines) > len(heads)
    assert [found for line in lines if (found := found_in(line, secrets))] == []

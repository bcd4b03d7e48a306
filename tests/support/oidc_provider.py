"""npm's `oidc-provider`: a certified OpenID provider that others wrote, as a process of its own.

Its packages are pinned with their hashes in `tests/oidc-provider/package-lock.json` and installed once, into
${XDG_CACHE_HOME:-~/.cache}/extauthz/oidc-provider/<digest of the lock>:

    python -m tests.support.oidc_provider
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx

from extauthz.errors import MissingPart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SOURCES = Path(__file__).resolve().parents[1] / "oidc-provider"
REDIRECT = "http://127.0.0.1/callback"
JWT_API, OPAQUE_API = "https://api.bank.example/jwt", "https://api.bank.example/opaque"
"""Resources; the provider issues JWTs for the first and opaque tokens for the second."""


def folder() -> Path:
    """Where the packages are, or will be."""
    lock = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()[:24]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "extauthz" / "oidc-provider" / lock


def install() -> Path:
    """Installs the packages unless they are there. Raises MissingPart."""
    place = folder()
    if (place / "node_modules").is_dir():
        return place
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise MissingPart(
            "npm", "install Node.js 20 or newer with npm (Debian and Ubuntu: `apt-get install nodejs npm`)"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=place.parent))
    try:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(SOURCES / name, made)
        done = subprocess.run([npm, "ci"], cwd=made, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingPart("oidc-provider", f"`npm ci` failed: {done.stderr.strip()[-500:]}")
        try:
            made.rename(place)
        except OSError:
            if not (place / "node_modules").is_dir():  # else somebody was faster
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


def find() -> Path:
    """Where the packages are. Raises MissingPart."""
    if shutil.which("node") is None or not (folder() / "node_modules").is_dir():
        raise MissingPart("oidc-provider", "run `python -m tests.support.oidc_provider` (it needs npm and a network)")
    return folder()


@dataclass
class Provider:
    """A running provider. `secrets`: client id → client secret, made for this run."""

    issuer: str
    secrets: dict[str, str]
    http: httpx.AsyncClient = field(repr=False)

    def _basic(self, client: str) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(f"{client}:{self.secrets[client]}".encode()).decode()}

    async def _post(self, path: str, client: str, **form: str) -> httpx.Response:
        answer = await self.http.post(f"{self.issuer}{path}", data=form, headers=self._basic(client))
        assert answer.status_code == 200, answer.text
        return answer

    async def client_token(self, resource: str, scope: str = "transfers:read") -> str:
        """What the client `batch` gets for itself."""
        form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
        return (await self._post("/token", "batch", **form)).json()["access_token"]

    async def sign_in(self, person: str, resource: str, *, acr: str = "pwd", scope: str = "transfers:read") -> Any:
        """The authorization code flow with PKCE, as a browser would do it; the token endpoint's answer."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": "app",
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "scope": f"openid offline_access {scope}",
            "resource": resource,
            "login_hint": person,
            "acr_values": acr,
            "prompt": "login consent",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        url = str(httpx.URL(f"{self.issuer}/auth", params=query))
        for _ in range(10):
            answer = await self.http.get(url)
            assert answer.status_code in {302, 303}, answer.text
            url = str(httpx.URL(url).join(answer.headers["location"]))
            if url.startswith(REDIRECT):
                break
        returned = parse_qs(urlsplit(url).query)
        assert "code" in returned, returned
        form = {"grant_type": "authorization_code", "code": returned["code"][0], "redirect_uri": REDIRECT}
        return (await self._post("/token", "app", **form, code_verifier=verifier, resource=resource)).json()

    async def revoke(self, token: str) -> None:
        """RFC 7009."""
        await self._post("/token/revocation", "app", token=token)


@asynccontextmanager
async def running(directory: Path, people: dict[str, dict[str, Any]], lifetime: int = 300) -> AsyncIterator[Provider]:
    """A provider with the clients `app` (people sign in), `batch` (for itself) and `extauthz` (asks about tokens).

    `people`: what tokens of each say beside `sub`; `lifetime`: of access tokens, seconds. Raises MissingPart.
    """
    (directory / "node_modules").symlink_to(find() / "node_modules")
    shutil.copy(SOURCES / "server.mjs", directory)
    known = {name: secrets.token_urlsafe(24) for name in ("app", "batch", "extauthz")}
    grants = {"app": ["authorization_code", "refresh_token"], "batch": ["client_credentials"], "extauthz": []}
    clients = [
        {
            "client_id": name,
            "client_secret": secret,
            "grant_types": grants[name],
            "redirect_uris": [REDIRECT] if name == "app" else [],
            "response_types": ["code"] if name == "app" else [],
            # On the loopback plain http is only for native applications.
            "application_type": "native" if name == "app" else "web",
        }
        for name, secret in known.items()
    ]
    process = await asyncio.create_subprocess_exec(
        shutil.which("node") or "node",
        "server.mjs",
        cwd=directory,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps({"clients": clients, "people": people, "lifetime": lifetime}).encode() + b"\n")
        await process.stdin.drain()
        said = await asyncio.wait_for(process.stdout.readline(), 30)
        assert said, "oidc-provider did not start: run its server.mjs by hand"
        async with httpx.AsyncClient(trust_env=False) as http:
            yield Provider(json.loads(said)["issuer"], known, http)
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{install()}\n")
    except MissingPart as missing:
        sys.exit(str(missing))

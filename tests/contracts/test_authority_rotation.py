"""Rotation under traffic, at the authority's own listener: leaves, its certificate, CAs; no request fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from tests.support.authority import RunningAuthority, authorities, csr, entry, new_key, process, svid_of

if TYPE_CHECKING:
    from pathlib import Path

SHORT = {
    "svid_ttl": "4s",
    "max_svid_ttl": "1m",
    "publish_for": "500ms",
    "acknowledge_within": "30s",
    "lifetime": "1h",
}
ROTATIONS = 2


async def test_a_workload_notices_nothing_of_rotations(tmp_path: Path) -> None:
    """One that trusts exactly what it was told last, acknowledges it, renews, and connects anew for every request."""
    (tmp_path / "passphrase").write_text("correct horse battery staple")
    settings = {
        "ca": SHORT,
        "entries": [entry("agent", svid_ttl="4s")],
        "store": {"kind": "sqlite", "path": "store.db"},
        "keys": {"kind": "encrypted", "passphrase_file": "passphrase"},
    }
    async with process(tmp_path, **settings) as authority:
        svid = await authority.attest("agent")
        trust, signed_by, rotations = svid.trust, {issuer(svid.chain)}, 0
        while len(signed_by) <= ROTATIONS or len(own_certificates(authority)) < 2:
            status = (await authority.operator("GET", "/status")).json()
            if rotations < len(signed_by) and not waiting(status):
                order = {"what": "ca", "compromised": False}
                assert (await authority.operator("POST", "/rotate", order)).status_code == 200
                rotations += 1
            key = new_key()
            async with authority.client(svid, trusted=authorities(trust)) as http:
                svid = svid_of(await http.post("/v1/renew", json={"csr": csr(key)}), key)
            signed_by.add(issuer(svid.chain))
            async with authority.client(svid, trusted=authorities(trust)) as http:
                query = {"after": trust["sequence"], "wait": 1, "acknowledged": trust["sequence"], "instance": "one"}
                answer = await http.get("/v1/trust", params=query)
                assert answer.status_code == 200, answer.text
                trust = answer.json()


def own_certificates(authority: RunningAuthority) -> set[str]:
    """The CAs that have signed the listener's certificate."""
    return {line["authority"] for line in authority.audit() if line.get("kind") == "own_certificate"}


def issuer(chain: str) -> str:
    return x509.load_pem_x509_certificate(chain.encode()).issuer.rfc4514_string()


def waiting(status: dict[str, dict[str, list[dict[str, str]]]]) -> bool:
    return any(slot["phase"] in {"prepared", "published"} for slot in status["keys"]["ca"])

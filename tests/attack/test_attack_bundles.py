"""Hostile policy bundles are refused with their reason, and the old one serves on."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile

import jwt
import pytest

from extauthz.errors import ConfigError
from extauthz.policy import archive, bundle, manifest, signing
from extauthz.policy.archive import BundleRefused, Limits
from tests.support.bank import open_bank
from tests.support.bundles import CASES, POLICY, Signer, entry, files, ordinary, packed, tarred
from tests.support.parts import require_embedded, require_opa

pytestmark = pytest.mark.attack

GOOD = files()
SLOW = """package demo

n := numbers.range(1, 20000)

decision := {"allow": count([1 | some i in n; some j in n; i == j]) > 0}
"""
DEEP = "[" * 5000 + "]" * 5000


def refusal(data: bytes, trust: bundle.Trust | None = None, limits: Limits | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        bundle.open_bundle(data, "b.tar.gz", trust=trust or bundle.Trust(), limits=limits or Limits())
    text = str(caught.value)
    assert text.startswith("b.tar.gz")
    return text


LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
HARD = {"type": tarfile.LNKTYPE, "linkname": "demo/data.json"}
ARCHIVES = {
    "zip bomb": (gzip.compress(b"\0" * 256 * 1024**2, 9), "bytes unpacked"),
    "a bomb in one file": (tarred([*ordinary(GOOD), entry("x.json", b" " * 40 * 1024**2)]), "bytes unpacked"),
    "path traversal": (tarred([*ordinary(GOOD), entry("../../etc/cron.d/x", b"x")]), "leads elsewhere"),
    "traversal inside": (tarred([*ordinary(GOOD), entry("demo/../../x.rego", b"x")]), "leads elsewhere"),
    "two leading slashes": (tarred([*ordinary(GOOD), entry("//etc/x.rego", b"x")]), "leads elsewhere"),
    "backslashes": (tarred([*ordinary(GOOD), entry("..\\x.rego", b"x")]), "leads elsewhere"),
    "control characters": (tarred([*ordinary(GOOD), entry("a\x1b[2J.rego", b"x")]), "leads elsewhere"),
    "deep directories": (tarred([*ordinary(GOOD), entry("a/" * 20 + "x.rego", b"x")]), "leads elsewhere"),
    "symbolic link": (tarred([*ordinary(GOOD), entry("demo/x.rego", **LINK)]), "a symbolic link"),
    "hard link": (tarred([*ordinary(GOOD), entry("demo/x.rego", **HARD)]), "a hard link"),
    "device": (tarred([*ordinary(GOOD), entry("null", type=tarfile.CHRTYPE)]), "a device"),
    "pipe": (tarred([*ordinary(GOOD), entry("pipe", type=tarfile.FIFOTYPE)]), "a pipe"),
    "gnu long name": (tarred([*ordinary(GOOD), entry("x" * 200, b"x")], format_=tarfile.GNU_FORMAT), "type b'L'"),
    "duplicate entries": (tarred([*ordinary(GOOD), entry("demo/data.json", b'{"allowed": ["guest"]}')]), "twice"),
    "duplicate by another name": (tarred([*ordinary(GOOD), entry("/demo/data.json", b'{"allowed": []}')]), "twice"),
    "file and directory": (tarred([*ordinary(GOOD), entry("demo", b"x")]), "as a file and as a directory"),
    "too many entries": (tarred([entry(f"f{i}", b"") for i in range(3000)]), "more than 2000 files"),
    "truncated": (packed()[:-40], "gzip stream does not end"),
    "half-written": (packed()[: len(packed()) // 2], "gzip stream does not end"),
    "empty": (b"", "gzip stream does not end"),
    "not gzip": (b"PK\x03\x04" + b"\0" * 100, "not gzip"),
    "something behind": (packed() + b"more", "behind the gzip stream"),
    "two gzip members": (packed() + packed(), "behind the gzip stream"),
    "tar cut between files": (gzip.compress(gzip.decompress(packed())[:1024]), "no end"),
    "tar cut in a file": (gzip.compress(gzip.decompress(packed())[:600]), "middle of a file"),
    "a file behind the end": (gzip.compress(gzip.decompress(packed()) + gzip.decompress(packed())), "no end"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused(name):
    data, reason = ARCHIVES[name]
    assert reason in refusal(data)


def test_a_header_that_lies_is_refused():
    tar = bytearray(gzip.decompress(packed()))
    tar[124:136] = b"00000000010\0"  # another size, the same checksum
    assert "damaged header" in refusal(gzip.compress(bytes(tar)))


def test_a_pax_header_may_only_name_a_file():
    info, content = entry("demo/x.rego", b"package x\n")
    info.pax_headers = {"size": "1"}
    assert "more than a name" in refusal(tarred([*ordinary(GOOD), (info, content)], format_=tarfile.PAX_FORMAT))


CONTENTS = {
    "deep data": ({"extra": {"demo/data.json": f'{{"allowed": {DEEP}}}'.encode()}}, "nested too deeply"),
    "deep literal": ({"rego": POLICY + f"\nx := {DEEP}\n"}, "demo/policy.rego:9: nests deeper"),
    "deep literal behind a string": ({"rego": POLICY + f'\ny := "`" x := {DEEP}\n'}, "nests deeper"),
    "catastrophic regex": ({"rego": POLICY + '\nx if regex.match("^(a+)+$", input.y)\n'}, "repeats what repeats"),
    "the same, raw": ({"rego": POLICY + "\nx if regex.match(`(\\w*\\s*)*`, input.y)\n"}, "repeats what repeats"),
    "the same, by a name": (
        {"rego": POLICY + '\np := "(a*)*"\n\nx if regex.match(p, input.y)\n'},
        "demo/policy.rego:9",
    ),
    "huge repetition": ({"rego": POLICY + "\nx if regex.match(`((a{100}){100}){100}`, input.y)\n"}, "counts further"),
    "a member twice": ({"extra": {"demo/data.json": b'{"allowed": ["clerk"], "allowed": ["guest"]}'}}, "twice"),
    "not UTF-8": ({"extra": {"demo/x.rego": b"package x\xff\n"}}, "not UTF-8"),
    "YAML data": ({"extra": {"demo/data.yaml": b"a: &x [*x]\n"}}, "YAML data"),
    "Wasm": ({"extra": {"demo/policy.wasm": b"\0asm"}}, "Wasm"),
    "delta": ({"extra": {"patch.json": b"[]"}}, "a delta"),
    "a second manifest": ({"extra": {"demo/.manifest": b"{}"}}, "hidden file"),
    "Rego v0": ({"extra": {".manifest": b'{"rego_version": 0}'}}, "Rego v0"),
    "no roots": ({"extra": {".manifest": b'{"roots": []}'}}, "roots"),
    "roots that lead out": ({"extra": {".manifest": b'{"roots": ["../x"]}'}}, "root that is not a path"),
    "a revision that forges a log line": ({"extra": {".manifest": b'{"revision": "1\\n2"}'}}, "revision"),
    "a sequence that is no number": (
        {"extra": {".manifest": b'{"metadata": {"extauthz": {"sequence": true}}}'}},
        "sequence",
    ),
    "no Rego": ({"extra": {"demo/policy.rego": None}}, "no .rego file"),
    "broken cases": ({"cases": CASES.replace("expect: allow", "expect: perhaps")}, "neither `allow` nor a code"),
    "cases that read elsewhere": (
        {"cases": CASES.replace("{subject: {properties: {role: clerk}}}", "../../etc/passwd")},
        "not below this one",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_hostile_contents_are_refused(name):
    changes, reason = CONTENTS[name]
    assert reason in refusal(packed(**changes))


def forged(signer: Signer, **changes) -> bytes:
    """Signed, then changed."""
    made = files()
    made[".signatures.json"] = signing.sign(made, signer.signing)
    made.update(changes.pop("after", {}))
    return archive.pack({name: content for name, content in made.items() if content is not None})


def token(signer: Signer, payload: dict, **header) -> bytes:
    text = jwt.PyJWS().encode(json.dumps(payload).encode(), signer.private, algorithm="ES256", headers=header)
    return json.dumps({"signatures": [text]}).encode()


def test_nothing_is_read_before_the_signature():
    signer, other = Signer(), Signer()
    listed = [
        {"name": name, "hash": signing.file_hash(name, content), "algorithm": "SHA-256"}
        for name, content in files().items()
    ]
    weak = [{**one, "algorithm": "MD5"} for one in listed]
    unsigned = json.dumps(
        {"signatures": [jwt.encode({"files": listed}, "", algorithm="none", headers={"kid": "default"})]}
    )
    secret = jwt.PyJWS().encode(b'{"files": []}', b"x" * 32, algorithm="HS256", headers={"kid": "default"})
    attempts = [
        (packed(), "is not signed"),
        (packed(other), "wrong signature"),
        (packed(Signer("other")), "does not name"),
        (packed(signer, scope="write"), "another scope"),
        (forged(signer, after={"demo/data.json": b'{"allowed": ["guest"]}'}), "another demo/data.json"),
        (forged(signer, after={"demo/more.rego": b"package x\n"}), "demo/more.rego, which is not signed"),
        (forged(signer, after={"demo/cases.yaml": None}), "lacks demo/cases.yaml"),
        (forged(signer, after={".manifest": manifest.Manifest("r2").dump()}), "another .manifest"),
        (forged(signer, after={".signatures.json": b'{"signatures": []}'}), "exactly one signature"),
        (forged(signer, after={".signatures.json": b'{"signatures": ["a.b.c"]}'}), "not a plain JWT"),
        (forged(signer, after={".signatures.json": unsigned.encode()}), "another algorithm"),
        (
            forged(signer, after={".signatures.json": json.dumps({"signatures": [secret]}).encode()}),
            "another algorithm",
        ),
        (
            forged(
                signer, after={".signatures.json": token(signer, {"files": listed}, kid="default", jku="https://x")}
            ),
            "plain JWT",
        ),
        (forged(signer, after={".signatures.json": token(signer, {"files": weak}, kid="default")}), "not accepted"),
        (forged(signer, after={".signatures.json": token(signer, {"files": listed * 2}, kid="default")}), "malformed"),
        (
            forged(signer, after={".signatures.json": token(signer, {"files": []}, kid="default")}),
            "which is not signed",
        ),
        # Refused for the signature, although what it signs would be refused as well: nothing of it was interpreted.
        (packed(other, rego=POLICY + f"\nx := {DEEP}\n"), "wrong signature"),
    ]
    for data, reason in attempts:
        assert reason in refusal(data, signer.trust)
    assert bundle.open_bundle(packed(signer), "b", trust=signer.trust, limits=Limits()).signed_by == "default"


def test_a_key_that_does_not_fit_its_algorithm_is_refused():
    pem = Signer().public_pem
    for algorithm in ("ES384", "RS256", "HS256", "none"):
        with pytest.raises(BundleRefused):
            signing.verification_key("k", algorithm, pem)
    with pytest.raises(BundleRefused):
        signing.verification_key("k", "ES256", Signer().private_pem)


def signed_anyway(signer: Signer, changes: dict) -> bytes:
    """Also what our own `sign` refuses to hash: whoever has the key may use another program."""
    made = files(sequence=6, **changes)
    listed = [{"name": name, "hash": hashed(name, content), "algorithm": "SHA-256"} for name, content in made.items()]
    return archive.pack({**made, ".signatures.json": token(signer, {"files": listed}, kid="default")})


def hashed(name: str, content: bytes) -> str:
    try:
        return signing.file_hash(name, content)
    except BundleRefused:
        return hashlib.sha256(content).hexdigest()


@pytest.mark.opa
@pytest.mark.embedded
async def test_a_hostile_bundle_leaves_the_old_one_serving(tmp_path):
    """Through the whole server: each is refused with its reason by a reload, and the next Check is answered."""
    require_opa()
    require_embedded()
    signer = Signer()
    (tmp_path / "key.pem").write_bytes(signer.public_pem)
    place = tmp_path / "policy.tar.gz"
    place.write_bytes(packed(signer, sequence=5))
    policy = {"engine": "embedded", "bundle": {"file": "policy.tar.gz", "keys": [{"file": "key.pem"}], "keep": "kept"}}
    route = {
        "name": "create-transfer",
        "match": {"path": "/v1/transfers", "methods": ["POST"]},
        "public": True,
        "credential": "none",
        "policy": "demo/decision",
        "action": "x",
        "resource": {"type": "x"},
    }
    bank = await open_bank(tmp_path, "embedded", policy=policy, routes=[route])
    try:
        assert (await bank.ask("")).code == "role.denied"
        hostile = {name: data for name, (data, _) in ARCHIVES.items()}
        hostile |= {name: signed_anyway(signer, changes) for name, (changes, _) in CONTENTS.items()}
        hostile |= {
            "unsigned": packed(sequence=6),
            "rolled back": packed(signer, sequence=4, revision="r0", allowed=["guest"]),
            "no sequence": packed(signer, revision="r2", allowed=["guest"]),
            "same revision, other contents": packed(signer, sequence=6, allowed=["guest", "clerk"]),
            "outside its roots": packed(
                signer, sequence=6, revision="r2", extra={"evil.rego": b"package system.authz\n\nallow := true\n"}
            ),
            "does not compile": packed(signer, sequence=6, revision="r2", rego=POLICY + "\nx := y\n"),
            "fails its own cases": packed(signer, sequence=6, revision="r2", allowed=["guest"]),
            "lacks the entrypoint": packed(
                signer,
                sequence=6,
                revision="r2",
                extra={"demo/policy.rego": b"package demo\n\nother := true\n", "demo/cases.yaml": None},
            ),
            "hangs": packed(signer, sequence=6, revision="r2", rego=SLOW),
        }
        for name, data in hostile.items():
            place.write_bytes(data)
            with pytest.raises(ConfigError) as caught:
                await bank.reload()
            assert "policy" in str(caught.value), name
            answer = await bank.ask("")
            assert (answer.layer, answer.code, answer.metadata["revision"]) == ("role", "role.denied", "r1"), name
        place.write_bytes(packed(signer, sequence=6, revision="r2", allowed=["clerk", "boss"]))
        assert await bank.reload() == []
        assert (await bank.ask("")).metadata["revision"] == "r2"
    finally:
        await bank.close()

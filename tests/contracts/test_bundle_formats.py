"""Our bundles are OPA's and OPA's are ours: format, signatures, roots. The oracle is the `opa` tool."""

from __future__ import annotations

import json
import subprocess

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.errors import ConfigError
from extauthz.policy import archive, bundle, signing
from extauthz.policy.archive import Limits
from extauthz.policy.authoring.bundling import BuildOptions, build
from extauthz.policy.projection import analyse
from tests.support.bank import POLICIES
from tests.support.bundles import Signer, packed
from tests.support.parts import require_opa

pytestmark = pytest.mark.opa

SIGNER = Signer()


def opa(*arguments, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([require_opa(), *arguments], input=stdin, capture_output=True, check=False)


@pytest.fixture
def keys(tmp_path):
    (tmp_path / "public.pem").write_bytes(SIGNER.public_pem)
    (tmp_path / "private.pem").write_bytes(SIGNER.private_pem)
    return tmp_path


def verified_by_opa(place, keys, scope: str = ""):
    return opa(
        "build", "--bundle", place, "--verification-key", keys / "public.pem", "--verification-key-id", "default",
        "--signing-alg", "ES256", "--scope", scope, "--output", keys / "out.tar.gz",
    )  # fmt: skip


def test_opa_verifies_what_we_sign(keys):
    place = keys / "ours.tar.gz"
    place.write_bytes(packed(SIGNER, sequence=3, scope="read"))
    done = verified_by_opa(place, keys, "read")
    assert done.returncode == 0, done.stderr
    place.write_bytes(packed(Signer()))
    assert verified_by_opa(place, keys).returncode != 0


@pytest.mark.parametrize(
    "data", [{"n": 1.5, "big": 10**20, "s": "<é\u2028\b\0\x7f/&>", "l": [None, True, -0.0, 1e300]}, {}]
)
def test_we_verify_what_opa_signs(keys, data):
    source = keys / "source"
    (source / "demo").mkdir(parents=True)
    (source / "demo" / "policy.rego").write_text("package demo\n\nallow if input.x == 1\n")
    (source / "data.json").write_text(json.dumps({"tables": data}))
    made = keys / "theirs.tar.gz"
    done = opa(
        "build", "--bundle", source, "--signing-key", keys / "private.pem", "--signing-alg", "ES256",
        "--revision", "v7", "--output", made,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = bundle.open_bundle(made.read_bytes(), "theirs", trust=SIGNER.trust, limits=Limits())
    assert (found.signed_by, found.policy.revision, found.cases) == ("default", "v7", ())
    assert any(name.endswith("policy.rego") for name in found.policy.files)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), below, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=5, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), JSON, max_size=6),
        min_size=20,
        max_size=20,
    )
)
def test_both_hash_any_json_the_same_way(tmp_path_factory, documents):
    """Twenty data files a run of `opa sign`, hashed by both."""
    root = tmp_path_factory.mktemp("sign")
    (root / "private.pem").write_bytes(SIGNER.private_pem)
    for index, document in enumerate(documents):
        place = root / "bundle" / f"d{index}"
        place.mkdir(parents=True)
        (place / "data.json").write_text(json.dumps(document, ensure_ascii=bool(index % 2)), encoding="utf-8")
    done = opa(
        "sign", "--signing-key", root / "private.pem", "--signing-alg", "ES256", "--bundle", root / "bundle",
        "--output-file-path", root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = orjson.loads((root / ".signatures.json").read_bytes())["signatures"][0].split(".")[1]
    payload = json.loads(signing.jwt.utils.base64url_decode(listed))
    theirs = {one["name"].split("/")[-2]: one["hash"] for one in payload["files"]}
    for index in range(len(documents)):
        content = (root / "bundle" / f"d{index}" / "data.json").read_bytes()
        assert signing.file_hash("data.json", content) == theirs[f"d{index}"], content


def test_the_shipped_policies_keep_their_data_and_their_answers(tmp_path):
    """YAML tables become one data.json: OPA sees the same documents in both."""
    made = build(POLICIES, BuildOptions(sequence=1, key=SIGNER.signing))
    place = tmp_path / "bank.tar.gz"
    place.write_bytes(made.packed)
    query = "data.extauthz.tables"
    from_bundle = opa("eval", "--bundle", place, "--format", "raw", query)
    from_directory = opa("eval", "--bundle", POLICIES, "--format", "raw", query)
    assert from_bundle.returncode == 0, from_bundle.stderr
    assert json.loads(from_bundle.stdout) == json.loads(from_directory.stdout)
    assert len(made.cases) >= 40
    assert made.policy.roots == ("extauthz",)
    assert json.loads(opa("inspect", "--format", "json", place).stdout)["manifest"]["revision"] == made.policy.revision


def test_equal_directories_make_equal_bundles():
    one, other = (build(POLICIES, BuildOptions(sequence=2)).packed for _ in range(2))
    assert one == other
    assert archive.unpack(one, Limits())[".manifest"] == archive.unpack(other, Limits())[".manifest"]


def test_opa_respects_roots(tmp_path):
    """What goes beyond the roots is refused when the policy is loaded, by OPA's own check."""
    inside = bundle.open_bundle(packed(), "b", trust=bundle.Trust(), limits=Limits()).policy
    assert analyse(require_opa(), inside).declared == ("demo/decision",)
    for extra in ({"evil.rego": b"package system.authz\n\nallow := true\n"}, {"data.json": b'{"other": {"x": 1}}'}):
        outside = bundle.open_bundle(packed(extra=extra), "b", trust=bundle.Trust(), limits=Limits()).policy
        with pytest.raises(ConfigError, match="roots"):
            analyse(require_opa(), outside)

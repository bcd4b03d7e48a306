"""A bundle source that fails: the last good bundle serves, also over a restart, and a rollback stays refused."""

from __future__ import annotations

import pytest

from extauthz.errors import ConfigError
from extauthz.policy.bundle_keeper import KEPT
from extauthz.tasks import Tasks
from tests.support.bank import open_bank
from tests.support.bundles import Signer, packed, served
from tests.support.engines import eventually
from tests.support.parts import require_opa

pytestmark = [pytest.mark.fault, pytest.mark.opa]

ROUTE = {
    "name": "create-transfer",
    "match": {"path": "/v1/transfers", "methods": ["POST"]},
    "public": True,
    "credential": "none",
    "policy": "demo/decision",
    "action": "x",
    "resource": {"type": "x"},
}
DOWN = "http://127.0.0.1:9/bundles/policy.tar.gz"


@pytest.fixture(autouse=True)
def parts():
    require_opa()


class Place:
    """One server's directory, started again and again; the bundles lie beside it."""

    def __init__(self, root) -> None:
        self.root = root
        self.bundles = root / "bundles"
        self.bundles.mkdir()
        self.signer = Signer()
        self.runs = 0

    def put(self, **changes) -> None:
        (self.bundles / ".new").write_bytes(packed(self.signer, **changes))
        (self.bundles / ".new").replace(self.bundles / "policy.tar.gz")

    @property
    def kept(self):
        return self.root / "kept" / KEPT

    async def open(self, url: str, engine: str = "sidecar"):
        self.runs += 1
        directory = self.root / f"{self.runs}"
        directory.mkdir()
        (directory / "key.pem").write_bytes(self.signer.public_pem)
        bundle = {
            "url": url,
            "keys": [{"file": "key.pem"}],
            "keep": str(self.root / "kept"),
            "poll": "100ms",
            "wait": "30s",
            "timeout": "5s",
        }
        return await open_bank(directory, engine, policy={"engine": engine, "bundle": bundle}, routes=[ROUTE])


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


async def revision(bank) -> str:
    return (await bank.ask("")).metadata["revision"]


@pytest.mark.parametrize("engine", ["sidecar", "embedded"])
async def test_a_new_bundle_is_followed_and_survives_the_source(place, engine):
    place.put(sequence=1)
    async with served(place.bundles) as (url, _):
        bank = await place.open(f"{url}/policy.tar.gz", engine)
        tasks = Tasks()
        reloads = []

        async def reload() -> None:
            try:
                reloads.append(await bank.reload())
            except ConfigError as error:
                reloads.append(str(error))

        tasks.start(bank.shared.follow(reload), "follow")
        try:
            assert await revision(bank) == "r1"
            place.put(sequence=2, revision="r2", allowed=["clerk", "boss"])
            await eventually(lambda: reloads == [[]])
            assert await revision(bank) == "r2"
            assert bank.shared.revision == (await bank.app.status())["engine"]["revision"] == "r2"
            place.put(sequence=1, revision="r3", allowed=["guest"])  # refused once, and not in a loop
            await eventually(lambda: len(reloads) == 2)
            assert "is a rollback: its sequence is 1, and 2 has been active" in reloads[1]
            told = bank.shared.policy_bundle
            assert (told["revision"], told["sequence"], told["signed_by"], told["refusals"]) == ("r2", 2, "default", 1)
            assert "is a rollback" in told["refused"]
            assert await revision(bank) == "r2"
            assert await bank.reload() == []  # a configuration reload goes on with the good one
            assert await revision(bank) == "r2"
            place.put(sequence=3, revision="r4", allowed=["clerk", "chief"])
            await eventually(lambda: len(reloads) == 3)
            assert await revision(bank) == "r4"
        finally:
            await tasks.close()
            await bank.close()
    bank = await place.open(DOWN, engine)
    try:
        assert await revision(bank) == "r4"
    finally:
        await bank.close()


async def test_without_anything_kept_a_server_does_not_start(place):
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9"):
        await place.open(DOWN)


@pytest.mark.parametrize("damage", [b"", b"half", None])
async def test_a_damaged_kept_bundle_is_not_used(place, damage):
    place.put(sequence=1)
    async with served(place.bundles) as (url, _):
        bank = await place.open(f"{url}/policy.tar.gz")
        await bank.close()
    good = place.kept.read_bytes()
    place.kept.write_bytes(good[: len(good) // 2] if damage is None else damage)
    with pytest.raises(ConfigError):
        await place.open(DOWN)


async def test_what_is_kept_is_not_trusted_more_than_what_comes(place):
    """Who can write the kept file cannot choose the policy: it is verified like any other."""
    place.put(sequence=1)
    async with served(place.bundles) as (url, _):
        bank = await place.open(f"{url}/policy.tar.gz")
        await bank.close()
        place.kept.write_bytes(packed(Signer(), sequence=9, revision="evil", allowed=["guest"]))
        with pytest.raises(ConfigError):
            await place.open(DOWN)
        bank = await place.open(f"{url}/policy.tar.gz")
        assert await revision(bank) == "r1"
        await bank.close()


async def test_a_rollback_over_a_restart_is_refused_and_the_kept_one_serves(place):
    place.put(sequence=5)
    async with served(place.bundles) as (url, _):
        bank = await place.open(f"{url}/policy.tar.gz")
        await bank.close()
        for changes in (
            {"sequence": 4, "revision": "r0", "allowed": ["guest"]},
            {"sequence": 6, "revision": "r6", "allowed": ["guest"]},  # fails its own decision cases
            {"sequence": 6, "revision": "r6", "rego": "package demo\n\ndecision := nothing\n"},
        ):
            place.put(**changes)
            bank = await place.open(f"{url}/policy.tar.gz")
            try:
                assert await revision(bank) == "r1"
            finally:
                await bank.close()


async def test_only_what_serves_is_kept(place):
    """A bundle that a worker cannot activate never becomes the last good one."""
    place.put(sequence=1)
    async with served(place.bundles) as (url, _):
        bank = await place.open(f"{url}/policy.tar.gz", "embedded")
        try:
            before = place.kept.read_bytes()
            place.put(sequence=2, revision="r2", allowed=["clerk", "boss"])
            changed = False

            async def note() -> None:
                nonlocal changed
                changed = True

            tasks = Tasks()
            tasks.start(bank.shared.follow(note), "follow")
            await eventually(lambda: changed)
            await tasks.close()
            await bank.shared.prepare()
            await bank.shared.abandon()
            assert place.kept.read_bytes() == before
            assert bank.shared.revision == "r1"
            assert await bank.reload() == []  # it was not the bundle's fault
            assert await revision(bank) == "r2"
            assert place.kept.read_bytes() != before
        finally:
            await bank.close()


async def test_a_bundle_that_never_activates_is_refused_in_the_end(place):
    place.put(sequence=1)
    async with served(place.bundles) as (url, _):
        bank = await place.open(f"{url}/policy.tar.gz", "embedded")
        try:
            place.put(sequence=2, revision="r2", allowed=["clerk", "boss"])
            keeper = bank.shared._active.keeper
            await eventually(keeper.source._ask)
            for _ in range(3):
                assert keeper.refusals == 0
                await bank.shared.prepare()
                await bank.shared.abandon()
            assert keeper.refusals == 1
            assert not keeper.unsettled
            assert await bank.reload() == []
            assert await revision(bank) == "r1"
        finally:
            await bank.close()


async def test_a_key_that_is_rotated_is_taken_by_the_next_reload(place):
    place.put(sequence=1)
    async with served(place.bundles) as (url, _):
        bank = await place.open(f"{url}/policy.tar.gz")
        try:
            place.signer = Signer()
            place.put(sequence=2, revision="r2", allowed=["clerk", "boss"])
            await eventually(bank.shared._active.keeper.source._ask)
            with pytest.raises(ConfigError, match="wrong signature"):
                await bank.reload()
            assert await bank.reload() == []
            assert await revision(bank) == "r1"
            (bank.directory / "key.pem").write_bytes(place.signer.public_pem)
            assert await bank.reload() == []
            assert await revision(bank) == "r2"
        finally:
            await bank.close()


async def test_a_bundle_for_a_server_that_is_opa_envoy_plugin(tmp_path):
    """Its cases are judged by the plugin's result contract, which is the one that will serve."""
    rego = 'package envoy.authz\n\nimport rego.v1\n\ndefault allow := false\n\nallow if input.parsed_path == ["open"]\n'
    cases = "version: 1\nentrypoint: envoy/authz/allow\ncases:\n  open: {input: {parsed_path: [open]}, expect: allow}\n"
    good = {"rego": rego, "cases": cases, "roots": ("envoy", "demo"), "allowed": []}
    (tmp_path / "policy.tar.gz").write_bytes(packed(**good))
    policy = {"engine": "sidecar", "compat": "opa-envoy-plugin", "bundle": {"file": "policy.tar.gz"}}
    bank = await open_bank(tmp_path, "sidecar", policy=policy, routes=[])
    try:
        assert bank.shared.revision == "r1"
        rego = rego.replace("allow if", 'allow := {"allowed": 1} if')
        (tmp_path / "policy.tar.gz").write_bytes(packed(**{**good, "rego": rego, "revision": "r2"}))
        with pytest.raises(ConfigError, match=r"expected allow, got deny engine\.invalid_result"):
            await bank.reload()
    finally:
        await bank.close()

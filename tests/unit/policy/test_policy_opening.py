"""A policy opened for one process: from a directory or a bundle, with either engine; refused before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from extauthz.clock import SystemClock
from extauthz.errors import ConfigError, EngineFault
from extauthz.model import Allow, Deny
from extauthz.policy.opening import OpenedPolicy, open_policy
from extauthz.policy.settings import PolicySettings
from tests.support.bundles import POLICY, Signer, packed
from tests.support.engines import question, sidecar
from tests.support.parts import require_embedded, require_opa

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
CLERK = {"subject": {"properties": {"role": "clerk"}}}


async def opened(tmp_path: Path, *, entrypoint: str = "demo/decision", **settings: Any) -> OpenedPolicy:
    require_opa()
    require_embedded()
    (tmp_path / "run").mkdir(exist_ok=True)
    return await open_policy(
        PolicySettings.model_validate(settings),
        entrypoint=entrypoint,
        run_dir=tmp_path / "run",
        clock=SystemClock(),
    )


async def decides(policy: OpenedPolicy) -> None:
    assert await policy.engine.ready()
    assert isinstance((await policy.engine.evaluate(question("demo/decision", CLERK))).decision, Allow)
    assert isinstance((await policy.engine.evaluate(question("demo/decision", {}))).decision, Deny)


def directory(tmp_path: Path) -> Path:
    place = tmp_path / "policy" / "demo"
    place.mkdir(parents=True)
    (place / "policy.rego").write_text(POLICY)
    (place / "data.json").write_text('{"allowed": ["clerk"]}')
    return tmp_path / "policy"


@pytest.mark.parametrize("engine", ["sidecar", "embedded"])
async def test_a_directory_is_opened(tmp_path: Path, engine: str) -> None:
    policy = await opened(tmp_path, engine=engine, path=directory(tmp_path))
    await decides(policy)
    await policy.close()
    with pytest.raises(EngineFault):
        await policy.engine.evaluate(question("demo/decision", CLERK))


@pytest.mark.parametrize("engine", ["sidecar", "embedded"])
async def test_a_bundle_is_opened_when_its_cases_hold(tmp_path: Path, engine: str) -> None:
    signer = Signer()
    (tmp_path / "key.pem").write_bytes(signer.public_pem)
    (tmp_path / "good.tar.gz").write_bytes(packed(signer))
    (tmp_path / "unsigned.tar.gz").write_bytes(packed())
    (tmp_path / "wrong.tar.gz").write_bytes(packed(signer, allowed=["guest"]))
    keys = {"keys": [{"id": "default", "algorithm": "ES256", "file": tmp_path / "key.pem"}]}
    policy = await opened(tmp_path, engine=engine, bundle={"file": tmp_path / "good.tar.gz", **keys})
    await decides(policy)
    assert policy.engine.revision == "r1"
    await policy.close()
    for name in ("unsigned", "wrong"):
        with pytest.raises(ConfigError):
            await opened(tmp_path, engine=engine, bundle={"file": tmp_path / f"{name}.tar.gz", **keys})


async def test_an_entrypoint_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rule at demo/other"):
        await opened(tmp_path, path=directory(tmp_path), entrypoint="demo/other")


async def test_an_opa_of_the_operators_own_is_asked(tmp_path: Path) -> None:
    async with sidecar(directory(tmp_path)) as (_, opa):
        policy = await opened(tmp_path, sidecar={"supervise": False, "address": opa.address})
        await decides(policy)
        await policy.close()


async def test_without_a_policy_nothing_is_allowed(tmp_path: Path) -> None:
    policy = await opened(tmp_path)
    assert not await policy.engine.ready()
    with pytest.raises(EngineFault):
        await policy.engine.evaluate(question("demo/decision", CLERK))
    await policy.close()

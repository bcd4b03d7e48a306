"""Any one part dies while requests flow: never a wrong allow, a hang or a traceback, and then it goes on."""

from __future__ import annotations

import asyncio
import signal

import pytest
import pytest_asyncio

from extauthz.demo.lab import Lab
from extauthz.demo.load import Load
from extauthz.demo.platform import Platform
from extauthz.demo.processes import send
from extauthz.demo.runner import Runner
from extauthz.demo.zones import EDGE, MODEL, STORAGE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.envoy,
    pytest.mark.opa,
    pytest.mark.fault,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]

BEFORE, DURING = 0.5, 1.2
"""Seconds of load before a part dies, and while it is gone."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(parts):
    async with Platform() as platform:
        made = Lab(platform)
        await Runner(platform, made).warm_up()
        yield made
        await made.close()


def _only_known_denials(load: Load) -> None:
    unknown = {code for code in load.denied if code != "attribute.tenant_mismatch" and not code.startswith("engine.")}
    assert not unknown, load.denied


async def _under_load(lab: Lab, fault, repair) -> Load:
    load = Load(lab)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        await asyncio.sleep(BEFORE)
        fault()
        await asyncio.sleep(DURING)
        await repair()
        # Whatever connections and breakers remember, honest transfers go through again.
        before = load.allowed
        for _ in range(600):
            if load.allowed >= before + 5:
                break
            await asyncio.sleep(0.05)
        recovered = load.allowed - before
        load.stop.set()
    assert load.wrong == []
    assert load.hung == 0
    assert recovered >= 5, (load.denied, load.failed)
    assert lab.platform.tracebacks() == []
    _only_known_denials(load)
    return load


PARTS = [
    "authority",
    "catalogue",
    *(f"{zone}.{part}" for zone in ("edge", "storage") for part in ("agent", "envoy", "extauthz", "service")),
    "orchestration.extauthz",
    "model.service",
]


@pytest.mark.parametrize("name", PARTS)
async def test_a_part_is_killed(lab, name):
    part = lab.platform.parts[name]
    load = await _under_load(lab, part.kill, lambda: lab.platform.restart(name))
    # The fault was felt, and where: ours to answer for, or somebody else's.
    if name.endswith(".extauthz"):
        assert load.denied["engine.unavailable"] > 0
    elif name == "catalogue":
        assert load.denied["engine.attributes_unavailable"] > 0
    elif name == "authority" or name.endswith(".agent"):
        # What was issued serves on: nobody noticed.
        assert load.failed == {}
        assert set(load.denied) == {"attribute.tenant_mismatch"}
    else:
        assert load.failed.total() > 0


async def _nothing():
    await asyncio.sleep(0)


@pytest.mark.parametrize("zone", [EDGE, MODEL, STORAGE], ids=lambda zone: zone.name)
async def test_opa_is_killed(lab, zone):
    """Its supervisor brings it back; nobody else does anything."""
    load = await _under_load(lab, lambda: send(lab.platform.opa(zone), signal.SIGKILL), _nothing)
    assert lab.platform.opa(zone)
    assert load.allowed > 0


async def _served_certificate(lab: Lab) -> bytes:
    """DER of the certificate that the storage zone shows."""
    context = lab._context(lab.svid(MODEL))
    port = lab.platform.layout.zone(STORAGE).port
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=STORAGE.host)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return shown


async def test_an_agent_that_starts_again_brings_a_new_certificate(lab):
    """It attests anew; Envoy takes the new certificate over SDS, and no request notices."""
    before = await _served_certificate(lab)
    name = f"{STORAGE.name}.agent"

    async def repair():
        await lab.platform.restart(name)
        for _ in range(400):  # Envoy asks for its secrets again at intervals that grow to 30 s
            if await _served_certificate(lab) != before:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("Envoy still shows the old certificate")

    load = await _under_load(lab, lab.platform.parts[name].kill, repair)
    assert load.failed == {}
    assert set(load.denied) == {"attribute.tenant_mismatch"}


async def test_opa_is_paused(lab):
    paused = lab.platform.opa(EDGE)
    assert paused

    async def resume():
        send(paused, signal.SIGCONT)

    load = await _under_load(lab, lambda: send(paused, signal.SIGSTOP), resume)
    assert any(code.startswith("engine.") for code in load.denied)

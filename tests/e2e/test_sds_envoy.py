"""Two real Envoys speak mTLS with certificates that exist in memory alone, and keep speaking while all of it rotates."""

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from extauthz.sds.secrets import Material
from extauthz.sds.server import SecretServer
from extauthz.tasks import Tasks
from tests.support import sds_envoy
from tests.support.identities import Domain, material, served, until

pytestmark = pytest.mark.envoy
FRONT, BACK = "spiffe://bank.example/front", "spiffe://bank.example/back"


class Lab:
    """A front Envoy and a back Envoy, each with an SDS socket of its own."""

    def __init__(self, front, back, agents, domain):
        self.front, self.back = front, back
        self.agents = agents
        self.domain = domain

    def publish(self, sequence=1, **how):
        """A new SVID for both; their serial numbers."""
        issued = [self.domain.identity(path, sequence, **how) for path in ("/front", "/back")]
        for agent, identity in zip(self.agents, issued, strict=True):
            agent.publish(material(identity))
        return [identity.svid.serial for identity in issued]

    async def peer(self):
        """What the back saw of the front; None: no connection came about."""
        answer = await self.front.get()
        if answer.status_code != 200:
            return None
        return answer.headers["x-peer-uri"], answer.headers["x-peer-serial"]

    async def sees(self, serial):
        for _ in range(200):
            if await self.peer() == (FRONT, serial):
                return
        raise AssertionError(f"the new certificate is not used: {await self.peer()}, wanted {serial}")


@pytest.fixture(params=[("GRPC", "ROOTCA"), ("DELTA_GRPC", "ALL")], ids=["sotw-rootca", "delta-all"])
async def lab(request):
    api, trust = request.param
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xa-")))
        tasks = Tasks()
        stack.push_async_callback(tasks.close)
        agents = SecretServer(tasks), SecretServer(tasks)
        for name, agent in zip(("front", "back"), agents, strict=True):
            await stack.enter_async_context(served(agent.methods(), f"unix://{folder}/{name}-sds.sock"))
        front, back = sds_envoy.free_port(), sds_envoy.free_port()
        behind = sds_envoy.server(back, folder / "back-sds.sock", sds_envoy.tls("default", trust, FRONT, api))
        before = sds_envoy.client(front, back, folder / "front-sds.sock", sds_envoy.tls(FRONT, trust, BACK, api))
        back_envoy = await stack.enter_async_context(sds_envoy.running("back", folder, back, behind))
        front_envoy = await stack.enter_async_context(sds_envoy.running("front", folder, front, before))
        yield Lab(front_envoy, back_envoy, agents, Domain())


async def serving(lab):
    serials = lab.publish()
    await until(lambda: all(len(agent.sessions) == 2 for agent in lab.agents))
    await until(lambda: all(agent.acknowledged() == 1 for agent in lab.agents))
    await lab.sees(serials[0])


async def test_certificates_rotate_without_a_restart_or_a_failed_request(lab):
    await serving(lab)
    for sequence in range(2, 5):
        serial, _ = lab.publish(sequence)
        for _ in range(10):
            assert await lab.peer() is not None
        await lab.sees(serial)
        await until(lambda wanted=sequence: all(agent.acknowledged() == wanted for agent in lab.agents))
    assert lab.back.process.returncode is None


async def test_a_certificate_authority_rotates_and_an_old_one_is_no_longer_trusted(lab):
    await serving(lab)
    old = lab.domain.ca
    lab.domain.rotate()
    lab.publish(2, ca=old)  # both are trusted, the old one still signs
    await until(lambda: all(agent.acknowledged() == 2 for agent in lab.agents))
    assert await lab.peer() is not None
    serial, _ = lab.publish(3)  # the new one signs
    await lab.sees(serial)
    lab.domain.old.clear()
    serial, _ = lab.publish(4)  # the old one is gone from the trust bundle
    await until(lambda: all(agent.acknowledged() == 4 for agent in lab.agents))
    await lab.sees(serial)
    lab.agents[0].publish(material(lab.domain.identity("/front", 5, ca=old)))
    for _ in range(200):
        if await lab.peer() is None:
            break
    else:
        pytest.fail("a certificate of the retired authority is still accepted")


async def test_another_workload_is_refused(lab):
    await serving(lab)
    lab.agents[1].publish(material(lab.domain.identity("/back", 2)))
    stranger = lab.domain.identity("/stranger", 2)
    lab.agents[0].publish(
        Material(FRONT, stranger.svid.chain_pem(), stranger.svid.key_pem(), material(stranger).trust, 2)
    )
    for _ in range(200):
        if await lab.peer() is None:
            break
    else:
        pytest.fail("a certificate with another SPIFFE ID is accepted")


async def test_what_envoy_refuses_is_seen_on_both_sides_and_the_last_good_stays(lab):
    await serving(lab)
    good = material(lab.domain.identity("/front", 2))
    lab.agents[0].publish(Material(FRONT, good.chain, good.key, {"bank.example": b"no certificate"}, 2))
    await until(lambda: any(session.refused for session in lab.agents[0].sessions))
    rejected = await lab.front.stats(r"\.update_rejected$")
    assert sum(rejected.values()) >= 1, rejected
    assert await lab.peer() is not None
    assert lab.agents[0].acknowledged() == 1, "what was refused is not in force"
    serial, _ = lab.publish(3)
    await lab.sees(serial)
    await until(lambda: lab.agents[0].acknowledged() == 3)

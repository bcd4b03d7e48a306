"""docs/agent.md: its Envoy blocks carry traffic as they are printed, with two agents and an authority behind them."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml

from extauthz.agent.agent import Agent
from extauthz.clock import SystemClock
from extauthz.config import load_text
from tests.support import scripted_authority, sds_envoy
from tests.support.identities import until

pytestmark = [
    pytest.mark.envoy,
    # httpcore leaves a connection to the garbage collector when it is cancelled within the TLS handshake.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PAGE = (Path(__file__).parents[2] / "docs" / "agent.md").read_text()


def block(title):
    (found,) = re.findall(rf"```yaml\n# {re.escape(title)}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_configuration_is_accepted():
    (found,) = re.findall(r"```yaml\n(agent:.*?)```", PAGE, re.DOTALL)
    assert load_text(found).agent.trust_domain == "bank.example"


async def test_the_envoy_blocks_carry_traffic(tmp_path):
    async with AsyncExitStack() as stack:
        authority = await stack.enter_async_context(scripted_authority.running())
        authority.join_tokens = {"xjt_front": "/front", "xjt_back": "/back"}
        sockets = {}
        for name in ("front", "back"):
            folder = tmp_path / name
            folder.mkdir()
            settings = scripted_authority.settings(authority, folder)
            (folder / "join-token").write_text(f"xjt_{name}")
            agent = Agent(settings, SystemClock())
            await agent.start()
            stack.push_async_callback(agent.stop)
            sockets[name] = folder / "agent.sock"
        front, back = sds_envoy.free_port(), sds_envoy.free_port()
        behind = sds_envoy.server(back, sockets["back"], {})
        behind["listeners"][0]["filter_chains"][0]["transport_socket"] = yaml.safe_load(
            block("listener: transport_socket")
        )
        before = sds_envoy.client(front, back, sockets["front"], {})
        before["clusters"][1]["transport_socket"] = yaml.safe_load(block("cluster: transport_socket"))
        for name, resources in (("front", before), ("back", behind)):
            printed = block("cluster").replace("/run/extauthz/agent.sock", str(sockets[name]))
            resources["clusters"][0] = yaml.safe_load(printed)
        await stack.enter_async_context(sds_envoy.running("back", tmp_path, back, behind))
        envoy = await stack.enter_async_context(sds_envoy.running("front", tmp_path, front, before))

        answer = await sds_envoy.serves(envoy)
        assert answer.headers["x-peer-uri"] == "spiffe://bank.example/front"
        authority.domain.rotate()
        authority.next_trust()
        await until(lambda: authority.acknowledged.count(2) >= 2)
        assert (await envoy.get()).status_code == 200

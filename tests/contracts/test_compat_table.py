"""`policy.compat: opa-envoy-plugin` answers as the table says, over a whole worker with real OPA, both engines."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from extauthz.errors import CallFailed
from tests.support import compat_cases
from tests.support.compat_worker import open_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.app import Application

ENGINES = [pytest.param("embedded", marks=pytest.mark.embedded), pytest.param("sidecar", marks=pytest.mark.opa)]
CASES = compat_cases.load()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def workers(request, tmp_path_factory) -> AsyncIterator[dict[str, Application]]:
    async with contextlib.AsyncExitStack() as stack:
        made = {}
        for name, settings in compat_cases.SERVERS.items():
            folder = tmp_path_factory.mktemp(name)
            made[name] = await stack.enter_async_context(open_worker(folder, request.param, settings))
        yield made


def test_the_table_is_large_enough():
    assert len(CASES) >= 150


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
async def test_a_case(workers, case):
    app = workers[case.server]
    if "error" in case.expect:
        with pytest.raises(CallFailed) as caught:
            await app.check(case.message, 2.0)
        assert caught.value.status == getattr(grpc.StatusCode, case.expect["error"]).value[0]
        return
    seen = compat_cases.observed(await app.check(case.message, 2.0))
    assert seen == compat_cases.expected(case, seen)

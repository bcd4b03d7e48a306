"""Whatever can be replaced is replaced under load: no honest request fails (`bench.rotation`, `bench.emergency`)."""

from __future__ import annotations

import pytest

from bench import emergency, rotation

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.opa, pytest.mark.timeout(400)]


async def test_no_request_notices_a_rotation(parts: None) -> None:
    result = await rotation.rotate(rotation.SHORT)
    assert result.failures == {}, result.line()
    assert result.tracebacks == []
    assert result.requests > 0
    seen, wanted = result.seen.rotations, rotation.SHORT
    assert (seen.leaves >= wanted.leaves, seen.authorities >= wanted.authorities, seen.signing >= wanted.signing) == (
        True,
        True,
        True,
    ), result.line()
    # Each CA and each key was announced before it signed: whoever follows the bundle never met a stranger.
    assert result.seen.bundle.issuperset(result.seen.issuers)


@pytest.mark.attack
async def test_what_a_compromised_authority_signed_is_refused_and_the_platform_comes_back(parts: None) -> None:
    """Nobody does anything but give the order."""
    outage = await emergency.emergency()
    assert outage.refused_after.keys() == {"model", "storage", "an open connection"}
    assert outage.recovered, outage.line()
    assert not outage.unknown, outage.line()

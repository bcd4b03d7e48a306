"""What counts as stopped, and what the tables say of it."""

from __future__ import annotations

import pytest

from bench import patterns
from bench.credentials import PATTERNS
from bench.pattern import KEPT_BACK, NO_KEY, forge
from bench.patterns import Outcome, Row
from extauthz.clock import ManualClock
from extauthz.demo.lab import Answer
from extauthz.demo.routes import routes
from extauthz.demo.tokens import Mint, new_key
from extauthz.errors import ExtauthzError


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(200), Outcome(stopped=False, status=200)),
        (Answer(201), Outcome(stopped=False, status=201)),
        (Answer(403, "role", "role.none"), Outcome(stopped=True, status=403, code="role.none")),
        (Answer(0, "transport", "tls.refused"), Outcome(stopped=True, status=0, code="tls.refused")),
        (KEPT_BACK, Outcome(stopped=True, status=0, code="not handed on")),
        (NO_KEY, Outcome(stopped=None, code=NO_KEY)),
    ],
)
def test_an_answer_is_a_yes_or_a_no(answer, outcome) -> None:
    assert patterns.judge(answer) == outcome


@pytest.mark.parametrize(
    "answer", [Answer(404), Answer(502), Answer(0, code="hang"), Answer(0, code="connection.failed"), Answer(403)]
)
def test_what_stops_anybody_shows_nothing(answer) -> None:
    with pytest.raises(ExtauthzError, match="came to nothing"):
        patterns.judge(answer)


async def test_an_outage_is_no_defence() -> None:
    class Broken:
        name = "broken"

        async def expired(self) -> Answer:
            return Answer(503, "engine", "engine.unavailable")

    with pytest.raises(ExtauthzError, match="stops anybody"):
        await patterns.try_attack(Broken(), "expired")


def test_every_pattern_has_a_route_of_its_own() -> None:
    assert len({pattern.route for pattern in PATTERNS}) == len(PATTERNS)
    for pattern in PATTERNS:
        assert pattern.route in {route["name"] for route in routes(pattern.zone)}


def test_the_tables_say_what_was_found() -> None:
    attacks = {
        "expired": Outcome(stopped=True, status=401, code="token.expired"),
        "copied, used by somebody else": Outcome(stopped=False, status=200),
        "copied with its private key": Outcome(stopped=None, code=NO_KEY),
        patterns.REVOKED: Outcome(stopped=True, status=401, code="token.revoked", seconds=0.2),
        patterns.OUTAGE[0]: Outcome(stopped=False, status=200),
        patterns.OUTAGE[1]: Outcome(stopped=True, status=503, code="engine.introspection_unavailable"),
    }
    shown = patterns.markdown([Row("JWT", "edge", "read", (1234.0, 5678.0), None, attacks)]).splitlines()
    assert shown[2] == "| JWT | edge | `read` | 1,234 | 5,678 | – | – |"
    assert shown[6:] == [
        "| expired | `token.expired` |",
        "| copied, used by somebody else | **not stopped** |",
        f"| copied with its private key | – ({NO_KEY}) |",
        "| replayed after revocation | `token.revoked`, 200 ms |",
        "| issuer down: known | served |",
        "| issuer down: not seen before | `engine.introspection_unavailable` |",
    ]


def test_a_forged_token_says_the_same_under_another_key() -> None:
    mint = Mint("https://issuer.example", new_key(), ManualClock())
    token = mint.sign({"sub": "alice", "aud": "https://edge"})
    forged = forge(token)
    assert forged.split(".")[1] == token.split(".")[1]
    assert forged.split(".")[2] != token.split(".")[2]
    with pytest.raises(ExtauthzError, match="InvalidSignatureError"):
        mint.verify(forged, "https://edge")

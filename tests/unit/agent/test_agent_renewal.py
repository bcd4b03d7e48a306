"""When a certificate is renewed, and how long the agent waits after a failure."""

import pytest

from extauthz.agent.authority import AuthorityFault, Refusal
from extauthz.agent.held import Held
from extauthz.agent.renew import LONGEST_PAUSE, PAUSE_WITHOUT, SHORTEST, TRIES, Renewal
from extauthz.clock import ManualClock, SystemClock
from extauthz.sds.server import SecretServer
from extauthz.tasks import Tasks
from extauthz.workload_api.server import WorkloadApi
from tests.support import scripted_authority
from tests.support.identities import Domain, Tokens


class Rest:
    """A pause that moves the clock instead."""

    def __init__(self, clock):
        self.clock = clock
        self.slept = []
        self.jump = 0

    def wake(self):
        pass

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.clock.advance(seconds)
        self.clock.epoch += self.jump
        self.jump = 0


class Scripted:
    """An authority that answers from a list; None: it is away."""

    def __init__(self, domain, answers):
        self.domain = domain
        self.answers = answers
        self.calls = []

    async def attest(self, evidence, csr, key, before):
        return self._next("attest")

    async def renew(self, identity, csr, key):
        return self._next("renew")

    def _next(self, call):
        self.calls.append(call)
        answer = self.answers.pop(0)
        if answer is None:
            raise AuthorityFault("away")
        return answer


@pytest.fixture
def parts(tmp_path):
    domain, clock = Domain(), ManualClock(epoch=SystemClock.now())
    authority = scripted_authority.Authority(domain)
    authority.port = 8443
    settings = scripted_authority.settings(authority, tmp_path)
    held = Held(clock, SecretServer(Tasks()), WorkloadApi(Tokens(domain), clock), lambda: None)

    async def token():
        return "xjt"

    def make(answers, jitter=0.5):
        authority, rest = Scripted(domain, answers), Rest(clock)
        return (
            authority,
            rest,
            Renewal(settings, authority, token, held, clock, pause=rest, jitter=lambda: jitter),
        )

    return domain, clock, held, make


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.45), (0.5, 0.5), (1.0, 0.55)])
async def test_at_half_its_life_give_or_take_a_tenth(parts, jitter, share):
    domain, clock, held, make = parts
    _, rest, renewal = make([domain.identity(life=3600)], jitter)
    began = clock.now()
    assert await renewal._fresh()
    await renewal._wait_for_renewal()
    assert clock.now() - began == pytest.approx(held.lasts * share, abs=1)
    assert max(rest.slept) <= 30, "a set clock is noticed"


async def test_a_clock_that_is_set_forward_is_noticed(parts):
    domain, _, _, make = parts
    _, rest, renewal = make([domain.identity(life=3600)])
    await renewal._fresh()
    rest.jump = 1700
    await renewal._wait_for_renewal()
    assert sum(rest.slept) < 150


async def test_pauses_grow_with_jitter_and_are_bounded(parts):
    domain, _, _, make = parts
    _, _, renewal = make([domain.identity(life=3600)], 1.0)
    pauses = []
    for failures in range(1, 12):
        renewal._failures = failures
        pauses.append(renewal._pause())
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == PAUSE_WITHOUT
    await renewal._fresh()
    renewal._failures = 500
    assert renewal._pause() == LONGEST_PAUSE
    renewal._jitter = lambda: 0.0
    assert renewal._pause() == SHORTEST


async def test_every_third_attempt_attests(parts):
    domain, _, _, make = parts
    authority, _, renewal = make([domain.identity(), *[None] * (2 * TRIES)])
    await renewal._fresh()
    for failures in range(2 * TRIES):
        renewal._failures = failures
        assert not await renewal._fresh()
    assert authority.calls == ["attest", "renew", "renew", "attest", "renew", "renew", "attest"]


@pytest.mark.parametrize(("status", "then"), [(401, ["renew", "attest"]), (403, ["renew", "attest"]), (400, ["renew"])])
async def test_a_refusal(parts, status, then):
    domain, _, held, make = parts
    refusal = Refusal(status, "workload.expired", "no", "")
    authority, _, renewal = make([domain.identity(), refusal, domain.identity()])
    await renewal._fresh()
    assert await renewal._fresh() == (len(then) == 2)
    assert authority.calls[1:] == then
    assert held.renewals == len(then)


async def test_a_newer_trust_survives_a_renewal_that_was_under_way(parts):
    domain, _, held, make = parts
    _, _, renewal = make([domain.identity(sequence=1), domain.identity(sequence=1)])
    await renewal._fresh()
    domain.rotate()
    held.trust(type("T", (), {"sequence": 2, "bundles": {domain.name: domain.bundle()}}))
    await renewal._fresh()
    assert held.identity.sequence == 2
    assert len(held.identity.trust[domain.name].authorities) == 2

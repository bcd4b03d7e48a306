"""What runs under one generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extauthz.api.dispatch import Api
    from extauthz.audit.trail import AuditTrail
    from extauthz.authn.api_key import ApiKeys
    from extauthz.authn.bearer import BearerVerifier
    from extauthz.authn.keys import KeyStore
    from extauthz.authn.revocation import Revocations
    from extauthz.authn.revocation_follower import Follower
    from extauthz.check.judgement import Background
    from extauthz.check.own_identity import ServerIdentity
    from extauthz.check.pipeline import Pipeline
    from extauthz.config import Config
    from extauthz.endpoint import Endpoints
    from extauthz.generation import Generation
    from extauthz.judgement.office import Office
    from extauthz.outbound import Outbound
    from extauthz.policy.engine import Engine
    from extauthz.policy.rollout import Rollout
    from extauthz.tasks import Tasks
    from extauthz.telemetry.recorder import Recorder
    from extauthz.telemetry.tracer import Tracer


@dataclass(slots=True, eq=False)
class Active:
    """Everything that one generation needs, and that goes when it goes."""

    generation: Generation
    config: Config
    pipeline: Pipeline
    api: Api
    engine: Engine
    fallback: Engine | None
    """The last known good policy in this process; None where no route degrades."""
    endpoints: Endpoints
    rollout: Rollout | None
    keys: KeyStore
    api_keys: ApiKeys
    revocations: Revocations
    follower: Follower | None
    tokens: BearerVerifier
    recorder: Recorder
    audit: AuditTrail | None
    office: Office | None
    """Asynchronous judgement; it goes on under every generation with the same settings."""
    background: Background | None
    """What judges there under this generation."""
    tracer: Tracer | None
    outbound: Outbound
    identity: ServerIdentity | None
    own_outbound: Outbound | None
    """For calls that show our own certificate."""
    tasks: Tasks

    async def close(self, successor: Active | None = None) -> None:
        """`successor` goes on with what it shares with this one: the identity where its settings are the same."""
        if self.office is not None and (successor is None or successor.office is not self.office):
            await self.office.close()
        await self.tasks.close()
        if self.own_outbound is not None:
            await self.own_outbound.close()
        if self.identity is not None and (successor is None or successor.identity is not self.identity):
            await self.identity.close()
        if self.follower is not None:
            await self.follower.close()
        await self.keys.close()
        if self.rollout is not None:
            await self.rollout.close()
        await self.engine.close()
        if self.fallback is not None:
            await self.fallback.close()
        await self.outbound.close()
        await self.recorder.close()
        if self.tracer is not None:
            await self.tracer.close()
        if self.audit is not None and (successor is None or successor.audit is not self.audit):
            await self.audit.close()

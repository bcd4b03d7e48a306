"""The patterns: each kind of credential on a route of the demonstration platform."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import yaml

from bench.pattern import KEPT_BACK, LEEWAY, NO_PURPOSE, NO_TENANT, RELOADED, SHORT, Bearer, Pattern, forge
from extauthz.demo import config_files
from extauthz.demo.dev_ca import DevCa, Identity
from extauthz.demo.zones import (
    ADMINISTRATION,
    EDGE,
    MODEL,
    ORCHESTRATION,
    RETRAINER,
    STORAGE,
    TRUST_DOMAIN,
    Zone,
)

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.demo.lab import Answer, Lab

_SUBJECT: Final = 300
"""Seconds that a token lives which is exchanged; what comes of it never lives longer."""


class ApiKey(Pattern[str]):
    name = "static API key"
    route = "read-rates"
    renewable = False

    async def prepare(self) -> None:
        self._key = ""

    async def get(self) -> str:
        """A key of its own, for which the edge's file is written anew; the same one until it is revoked."""
        self._key = self._key or await self._issue(86400.0)
        return self._key

    async def use(self, held: str, lab: Lab | None = None) -> Answer:
        return await (lab or self.lab).edge(None, path="/v1/rates", method="GET", headers=[("x-api-key", held)])

    async def expired(self) -> Answer:
        key = await self._issue(RELOADED + 1.0)
        await asyncio.sleep(2.0)
        return await self.use(key)

    async def revoke(self, held: str) -> None:
        """Its row is taken out of the file."""
        self._key = ""
        rows = self._rows()
        rows["keys"] = [row for row in rows["keys"] if row["id"] != held.split("_")[1]]
        self._write(rows)

    async def copied(self, held: str) -> Answer | str:
        return await self.use(held, self.thief)

    async def elsewhere(self, held: str) -> Answer | str:
        return await self.lab.edge(None, self.lab.transfer(), headers=[("x-api-key", held)])

    async def forged(self, held: str) -> Answer | str:
        return await self.use(held[:-1] + ("A" if held[-1] != "A" else "B"), self.thief)

    async def other_tenant(self, held: str) -> Answer | str:
        del held
        return NO_TENANT

    async def other_purpose(self, held: str) -> Answer | str:
        del held
        return NO_PURPOSE

    async def kept_by_hop(self, held: str) -> Answer | str:
        seen = (await self.use(held)).body["caller"]["api_key"]
        return await self.use(held, self.thief) if seen else KEPT_BACK

    async def _issue(self, seconds: float) -> str:
        identifier = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(8))
        key = f"xak_{identifier}_{secrets.token_urlsafe(32)}"
        rows = self._rows()
        expires = datetime.fromtimestamp(self.lab.mint.clock.now() + seconds, UTC)
        made = {
            **config_files.api_keys(self.lab.platform.credentials)["keys"][0],
            "id": identifier,
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self._write({**rows, "keys": [*rows["keys"], made]})
        await asyncio.sleep(RELOADED)
        return key

    @property
    def _file(self) -> Path:
        return self.lab.platform.layout.zone(EDGE).root / "api-keys.yaml"

    def _rows(self) -> dict[str, Any]:
        rows: dict[str, Any] = yaml.safe_load(self._file.read_text())
        return rows

    def _write(self, rows: dict[str, Any]) -> None:
        stamp = [{**row, "expires": _text(row["expires"])} for row in rows["keys"]]
        config_files.write_yaml(self._file, {**rows, "keys": stamp})


def _text(moment: datetime | str) -> str:
    """YAML reads a time as one."""
    return moment if isinstance(moment, str) else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class RolesOnly(Bearer):
    name = "JWT, RBAC only"
    route = "read-usage"

    async def use(self, held: str, lab: Lab | None = None, tenant: str = "acme") -> Answer:
        return await (lab or self.lab).edge(held, path=f"/v1/usage/{tenant}", method="GET")

    async def other_tenant(self, held: str) -> Answer | str:
        return await self.use(held, tenant="globex")

    async def other_purpose(self, held: str) -> Answer | str:
        del held
        return await self.use(self.lab.user(self.user, purpose="training"))


class RolesAndAttributes(Bearer):
    name = "JWT, RBAC + ABAC"
    route = "create-transfer"

    async def prepare(self) -> None:
        self._transfer = self.lab.transfer()

    async def use(self, held: str, lab: Lab | None = None, **fields: str) -> Answer:
        return await (lab or self.lab).edge(held, {**self._transfer, **fields})

    async def other_tenant(self, held: str) -> Answer | str:
        return await self.use(held, tenant="globex")

    async def other_purpose(self, held: str) -> Answer | str:
        del held
        return await self.use(self.lab.user(self.user, purpose="training"))

    def seen(self, answer: Answer, held: str) -> bool:
        digests = {hop["digest"] for hop in answer.body["hops"]}
        return hashlib.sha256(held.encode()).hexdigest()[:16] in digests


class Opaque(Bearer):
    name = "opaque, introspected"
    route = "change-limit"
    user = "frank"
    form: ClassVar = {
        "audience": ADMINISTRATION,
        "purpose": "administration",
        "scope": "limits.write",
        "acr": "mfa",
    }

    async def use(self, held: str, lab: Lab | None = None) -> Answer:
        return await (lab or self.lab).edge(held, {"amount": 75000}, path="/v1/limits/wire", method="PUT")

    async def elsewhere(self, held: str) -> Answer | str:
        return await self.lab.edge(held, self.lab.transfer())

    async def forged(self, held: str) -> Answer | str:
        prefix = held.partition("_")[0]
        return await self.use(f"{prefix}_{secrets.token_urlsafe(32)}", self.thief)

    async def other_tenant(self, held: str) -> Answer | str:
        del held
        return NO_TENANT

    async def other_purpose(self, held: str) -> Answer | str:
        del held
        return await self._issued_for("payment")


class Hybrid(Bearer):
    name = "JWT, verified and introspected"
    route = "cancel-transfer"

    async def prepare(self) -> None:
        self._transfer = self.lab.transfer()
        made = await self.lab.edge(await self.get(), self._transfer)
        self._path = f"/v1/transfers/{made.body['transfer_id']}/cancel"

    async def use(self, held: str, lab: Lab | None = None, **fields: str) -> Answer:
        return await (lab or self.lab).edge(held, {**self._transfer, **fields}, path=self._path)

    async def other_tenant(self, held: str) -> Answer | str:
        return await self.use(held, tenant="globex")

    async def other_purpose(self, held: str) -> Answer | str:
        del held
        return await self._issued_for("training")


class Certificate(Pattern[Identity]):
    name = "mTLS workload identity"
    route = "read-dataset"
    zone = STORAGE

    async def get(self) -> Identity:
        return await self.lab.attest("cluster", self.lab.platform.cluster.project("training", "retrainer"))

    async def use(self, held: Identity, lab: Lab | None = None, tenant: str = "acme", **more: Any) -> Answer:
        return await (lab or self.lab).zone(STORAGE, held, path=f"/v1/datasets/{tenant}/wire-2026", **more)

    async def expired(self) -> Answer:
        return await self._shown(self.lab.platform.credentials.ca.svid(RETRAINER, lifetime=-10.0))

    async def revoke(self, held: Identity) -> None:
        await self.lab.platform.authority.admin.revoke("workload", held.sha256)

    async def copied(self, held: Identity) -> Answer | str:
        """The certificate is public: another workload shows it in a header, beside its own."""
        return await self._passed_on(held, MODEL)

    async def copied_with_key(self, held: Identity) -> Answer | str:
        return await self.use(held, self.thief)

    async def elsewhere(self, held: Identity) -> Answer | str:
        return await self.lab.zone(MODEL, held, None, self.lab.transfer(), path="/v1/score", method="POST")

    async def forged(self, held: Identity) -> Answer | str:
        """The right name, by an authority of the thief's own."""
        del held
        return await self._shown(DevCa(TRUST_DOMAIN).svid(RETRAINER))

    async def other_tenant(self, held: Identity) -> Answer | str:
        return await self.use(held, tenant="globex")

    async def other_purpose(self, held: Identity) -> Answer | str:
        del held
        return NO_PURPOSE

    async def kept_by_hop(self, held: Identity) -> Answer | str:
        return await self._passed_on(held, STORAGE)

    async def _shown(self, identity: Identity) -> Answer:
        return await self.thief.handshake(STORAGE, identity) or await self.use(identity, self.thief)

    async def _passed_on(self, held: Identity, thief: Zone) -> Answer:
        digest = urlsafe_b64decode(held.sha256 + "=").hex()
        header = ("x-forwarded-client-cert", f"By={STORAGE.id};Hash={digest};URI={RETRAINER}")
        return await self.use(self.thief.svid(thief), self.thief, headers=[header])


class Bound(Pattern[tuple[Identity, str]]):
    name = "exchanged, bound token"
    route = "read-features"
    zone = STORAGE

    async def prepare(self) -> None:
        self._identity = await self.lab.attest("cluster", self.lab.platform.cluster.project("model", "fraud-scorer"))

    async def get(self) -> tuple[Identity, str]:
        return await self._exchange()

    async def use(self, held: tuple[Identity, str], lab: Lab | None = None, tenant: str = "acme") -> Answer:
        return await (lab or self.lab).features(*held, path=f"/v1/features/{tenant}/wire")

    async def expired(self) -> Answer:
        held = await self._exchange(lifetime=SHORT)
        await asyncio.sleep(float(SHORT) + LEEWAY + 1.0)
        return await self.use(held)

    async def revoke(self, held: tuple[Identity, str]) -> None:
        await self.lab.platform.authority.admin.revoke("token", held[1])

    async def copied(self, held: tuple[Identity, str]) -> Answer | str:
        """By another instance of the same workload, which every rule but the binding would let in."""
        return await self.use((self.thief.platform.credentials.ca.svid(MODEL.id), held[1]), self.thief)

    async def copied_with_key(self, held: tuple[Identity, str]) -> Answer | str:
        return await self.use(held, self.thief)

    async def elsewhere(self, held: tuple[Identity, str]) -> Answer | str:
        return await self.lab.score(*held)

    async def forged(self, held: tuple[Identity, str]) -> Answer | str:
        return await self.use((held[0], forge(held[1])), self.thief)

    async def other_tenant(self, held: tuple[Identity, str]) -> Answer | str:
        return await self.use(held, tenant="globex")

    async def other_purpose(self, held: tuple[Identity, str]) -> Answer | str:
        token = self.lab.hop(MODEL, STORAGE, held[0], purpose="training")
        return await self.use((held[0], token))

    async def kept_by_hop(self, held: tuple[Identity, str]) -> Answer | str:
        """The feature store, with a certificate of its own."""
        return await self.use((self.thief.svid(STORAGE), held[1]), self.thief)

    async def _exchange(self, **form: str) -> tuple[Identity, str]:
        ends = int(self.lab.mint.clock.now()) + _SUBJECT
        subject = self.lab.hop(ORCHESTRATION, MODEL, purpose="fraud-review", exp=ends)
        authority, wanted = self.lab.platform.authority, {"scope": "features.read", **form}
        return self._identity, await authority.exchange(self._identity, subject, STORAGE.audience, **wanted)


PATTERNS: Final[tuple[type[Pattern[Any]], ...]] = (
    ApiKey,
    RolesOnly,
    RolesAndAttributes,
    Opaque,
    Hybrid,
    Certificate,
    Bound,
)

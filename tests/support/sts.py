"""A token service in memory: real keys, a real store, an issuer whose tokens it exchanges, and a policy to turn."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from extauthz.authn import jose, jwks
from extauthz.authn.revocation import Revocations as Index
from extauthz.authn.settings import RevocationSettings
from extauthz.clock import ManualClock
from extauthz.errors import ExtauthzError
from extauthz.keys.algorithms import KINDS
from extauthz.keys.jws import JwsKey
from extauthz.model import Allow, Deny, Reason, Workload
from extauthz.policy.engine import Evaluation
from extauthz.store.memory import MemoryStore
from extauthz.store.revocations import RevocationLog
from extauthz.store.store import StoreError
from extauthz.sts import form
from extauthz.sts.answers import ACCESS_TOKEN, EXCHANGE, SIGN_IN, Issued, Refused
from extauthz.sts.interfaces import Client
from extauthz.sts.service import TokenService
from extauthz.sts.settings import StsSettings
from tests.support.tokens import AUDIENCE, Issuer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extauthz.store.revocations import Kind

STS = "https://authority.bank.example"
IDP = "https://issuer.example"
TRANSMITTER = "https://events.example"
MODEL = "https://model.bank.example"
STORAGE = "https://storage.bank.example"
OPAQUE = "https://ledger.bank.example"
DOMAIN = "bank.example"
GATEWAY = Client(
    "spiffe://bank.example/env/prod/ns/edge/sa/gateway",
    "G" * 43,
    audiences=frozenset({AUDIENCE, DOMAIN}),
    exchange_to=frozenset({MODEL, OPAQUE, DOMAIN}),
    environment="prod",
    scopes=frozenset({"health"}),
    purposes=frozenset({"payment"}),
)
SCORER = Client(
    "spiffe://bank.example/env/prod/ns/model/sa/fraud-scorer",
    "S" * 43,
    audiences=frozenset({MODEL, DOMAIN}),
    exchange_to=frozenset({STORAGE, AUDIENCE, DOMAIN}),
    environment="prod",
)
FEATURES = Client(
    "spiffe://bank.example/env/prod/ns/storage/sa/feature-store", "F" * 43, audiences=frozenset({STORAGE, OPAQUE})
)


class Signer:
    """`keys.TokenSigner` over keys in memory; the first one signs."""

    def __init__(self, *keys: JwsKey) -> None:
        self.keys = list(keys or (JwsKey(KINDS["ES256"].generate()),))

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        if not self.keys:
            raise ExtauthzError("no key is active")
        return self.keys[0].sign(claims, typ=typ)

    def jwks(self) -> dict[str, Any]:
        return {"keys": [{**key.jwk(), "use": "sig"} for key in self.keys]}


class Keys:
    """The published keys of an `Issuer`."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.refreshes = 0
        self.down = False

    def current(self) -> jwks.KeySet | None:
        if self.down:
            return None
        parsed = jwks.parse(orjson.dumps(self.issuer.jwks()), ("ES256",), "idp")
        assert isinstance(parsed, jwks.KeySet)
        return parsed

    async def refresh(self) -> bool:
        self.refreshes += 1
        return False


class Book:
    """`sts.interfaces.Revocations` over a store's log."""

    def __init__(self, store: MemoryStore, clock: ManualClock) -> None:
        self.log = RevocationLog(store, clock)
        self._index = Index(RevocationSettings(), clock)

    async def revoke(self, kind: Kind, value: str, *, until: float, before: float | None = None, reason: str) -> int:
        return await self.log.revoke(kind, value, until=until, before=before, reason=reason)

    async def revoked(self, *, ancestors: Sequence[str], **token: Any) -> bool:
        self._index.learn((await self.log.read()).entries)
        return self._index.token(**token, ancestors=tuple(ancestors))

    async def workload_revoked(self, spiffe_id: str, certificate_sha256: str = "") -> bool:
        self._index.learn((await self.log.read()).entries)
        return self._index.workload(Workload(spiffe_id, "", certificate_sha256=certificate_sha256))


class TurnedPolicy:
    """Allows, unless `refusal` holds a code; `fault` is raised."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.refusal = ""
        self.fault: ExtauthzError | None = None

    async def ask(self, question: Mapping[str, Any]) -> Evaluation:
        self.asked.append(dict(question))
        if self.fault is not None:
            raise self.fault
        refused = Deny((Reason(self.refusal, "no", "no", "because"),)) if self.refusal else None
        return Evaluation(refused or Allow(), "revision-1")


class KeptAudit:
    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.full = False

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        if self.full:
            raise ExtauthzError("the disk is full")
        self.records.append((event, orjson.loads(orjson.dumps(dict(fields)))))


class FailingStore(MemoryStore):
    """Answers until `down` is set."""

    down = False

    def _check(self) -> None:
        if self.down:
            raise StoreError("the store does not answer")

    async def get(self, table: str, key: str) -> bytes | None:
        self._check()
        return await super().get(table, key)

    async def swap(self, table: str, key: str, old: bytes | None, new: bytes, *, expires: float | None = None) -> bool:
        self._check()
        return await super().swap(table, key, old, new, expires=expires)

    async def append(self, log: str, entry: bytes, *, expires: float | None = None) -> int:
        self._check()
        return await super().append(log, entry, expires=expires)

    async def last(self, log: str) -> int:
        self._check()
        return await super().last(log)


def settings(**changes: Any) -> StsSettings:
    issuer = {"algorithms": ["ES256"], "jwks": {"url": f"{IDP}/jwks"}}
    return StsSettings.model_validate(
        {
            "issuer": STS,
            "purposes": {"payment": ["fraud-scoring"], "fraud-scoring": ["risk-explanation", "feature-read"]},
            "subject_issuers": [{"name": "idp", "issuer": IDP, **issuer}],
            "opaque_audiences": [OPAQUE],
            "transmitters": [{"name": "idp", "issuer": TRANSMITTER, "subjects_of": [IDP], **issuer}],
            "development": {
                "users": {
                    "alice": {
                        "audiences": [AUDIENCE, OPAQUE],
                        "scopes": ["transfers:write", "transfers:read"],
                        "purposes": ["payment"],
                        "acr": ["pwd", "phr"],
                        "claims": {"tenant": "acme", "roles": ["teller"]},
                    }
                }
            },
            **changes,
        }
    )


@dataclass
class Desk:
    """Everything around one token service."""

    service: TokenService
    settings: StsSettings
    clock: ManualClock
    store: FailingStore
    signer: Signer
    idp: Issuer
    transmitter: Issuer
    idp_keys: Keys
    policy: TurnedPolicy
    audit: KeptAudit
    book: Book

    def user_token(self, **claims: Any) -> str:
        """A token of the identity provider for the gateway's users."""
        return self.idp.token(**claims)

    async def ask(self, client: Client | None, local: bool = False, **fields: Any) -> Issued | Refused:
        return await self.service.token(client, fields_of(**fields), local=local)

    async def exchange(self, client: Client, token: str, audience: Any, **fields: Any) -> Issued | Refused:
        usual = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
        return await self.ask(client, **{**usual, "audience": audience, **fields})

    async def exchanged(self, client: Client, token: str, audience: str, **fields: Any) -> str:
        answer = await self.exchange(client, token, audience, **fields)
        assert isinstance(answer, Issued), answer
        return answer.token

    async def refused(self, client: Client, token: str, audience: str = MODEL, **fields: Any) -> tuple[str, str]:
        """Error and code of the refusal."""
        answer = await self.exchange(client, token, audience, **fields)
        assert isinstance(answer, Refused), "it was issued"
        return answer.error, answer.code

    async def signed_in(self, audience: str = AUDIENCE, client: Client | None = None, **fields: Any) -> str:
        usual = {"grant_type": SIGN_IN, "username": "alice", "audience": audience}
        answer = await self.ask(client, local=True, **{**usual, **fields})
        assert isinstance(answer, Issued), answer
        return answer.token

    def own(self, typ: str = "at+jwt", **changes: Any) -> str:
        """A token with our own signature, and whatever claims; a change to `...` removes the claim."""
        now = int(self.clock.now())
        claims = {
            "iss": STS,
            "sub": "alice",
            "subject_type": "user",
            "aud": MODEL,
            "client_id": GATEWAY.spiffe_id,
            "iat": now,
            "exp": now + 300,
            "jti": "own-1",
            "scope": "transfers:write transfers:read",
            "purpose": "payment",
            **changes,
        }
        return self.signer.sign({name: value for name, value in claims.items() if value is not ...}, typ=typ)


def desk(**changes: Any) -> Desk:
    """`changes` to the settings."""
    chosen, clock, signer, idp = settings(**changes), ManualClock(), Signer(), Issuer()
    transmitter = Issuer(issuer=TRANSMITTER)
    store = FailingStore(clock)
    keys, policy, audit, book = Keys(idp), TurnedPolicy(), KeptAudit(), Book(store, clock)
    service = TokenService(
        chosen,
        signer=signer,
        store=store,
        revocations=book,
        policy=policy,
        audit=audit,
        clock=clock,
        subject_keys=lambda _name: keys,
        transmitter_keys=lambda _name: Keys(transmitter),
        random=os.urandom,
    )
    return Desk(service, chosen, clock, store, signer, idp, transmitter, keys, policy, audit, book)


def fields_of(**fields: Any) -> form.Form:
    """As the endpoint reads them; a list is sent several times, None not at all."""
    parsed = form.parse(encoded(**fields), form.CONTENT_TYPE)
    assert not isinstance(parsed, Refused), parsed
    return parsed


def encoded(**fields: Any) -> bytes:
    return urlencode({name: value for name, value in fields.items() if value is not None}, doseq=True).encode()


def claims_of(token: str) -> dict[str, Any]:
    parsed = jose.parse(token)
    assert isinstance(parsed, jose.Unverified), parsed
    return parsed.claims


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def as_tenant(client: Client, tenant: str) -> Client:
    return replace(client, tenant=tenant)


def chosen_client(holder: Any) -> Any:
    """A `client_of` that answers with `holder.client`, or raises it."""

    def client_of(_request: object) -> Client | None:
        if isinstance(holder.client, Exception):
            raise holder.client
        return holder.client

    return client_of

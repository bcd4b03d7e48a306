"""Kubernetes: a projected service-account token, made for the authority alone.

1. the token is verified as a token of this cluster's issuer, for our audience, young enough (`platform_token`)
2. its private claims `kubernetes.io` name namespace, service account and pod, and agree with `sub`
3. namespace and service account are on the allow lists
4. where it is configured, the API server says that the token is good and its pod still there (`token_review`)
5. it has not been used

Source: kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin, "Schema for service account private
claims"; the subject's form is `system:serviceaccount:<namespace>:<name>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.attestation import used
from extauthz.attestation.attestor import Attested, selector
from extauthz.attestation.platform_token import PlatformTokens
from extauthz.attestation.refusal import Refused
from extauthz.attestation.token_review import TokenReview

if TYPE_CHECKING:
    import httpx

    from extauthz.attestation.settings import KubernetesSettings
    from extauthz.clock import Clock
    from extauthz.store.store import Store

_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_UID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Whom a token speaks for. `pod`, `pod_uid` and `node` are empty for a token that is not bound to a pod."""

    namespace: str
    name: str
    uid: str
    pod: str
    pod_uid: str
    node: str


class KubernetesAttestor:
    kind: Final = "kubernetes"

    def __init__(
        self,
        settings: KubernetesSettings,
        store: Store,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._store = store
        self._tokens = PlatformTokens(settings, clock, transport)
        review = settings.review
        self._review = None if review is None else TokenReview(review, settings.audiences, transport)

    async def attest(self, evidence: str) -> Attested | Refused:  # noqa: PLR0911 - one return a refusal, numbered
        vouched = await self._tokens.verify(evidence)  # 1
        if isinstance(vouched, Refused):
            return vouched
        account = _account(vouched.subject.claims.get("kubernetes"))  # 2
        if account is None or vouched.subject.id != f"system:serviceaccount:{account.namespace}:{account.name}":
            return Refused("attestation.claims", "kubernetes.io and sub name no service account")
        if self._settings.require_pod and not account.pod:  # 2
            return Refused("attestation.claims", "the token is not bound to a pod")
        if not self._allowed(account):  # 3
            return Refused("attestation.not_allowed", f"{account.namespace}/{account.name}")
        if self._review is not None:  # 4
            refused = await self._review.ask(evidence, vouched.subject.id, account.uid, account.pod)
            if refused is not None:
                return refused
        if self._settings.once:  # 5
            refused = await used.use(self._store, vouched.evidence_id, vouched.expires_at, self.name)
            if refused is not None:
                return refused
        # A pod's uid is never given again; containers of one pod that start again are the same instance.
        instance = f"{self._settings.cluster}/{account.pod_uid}" if account.pod_uid else ""
        return Attested(self.name, self._selectors(account), vouched.evidence_id, vouched.expires_at, instance)

    def start(self) -> None:
        self._tokens.start()

    async def close(self) -> None:
        await self._tokens.close()
        if self._review is not None:
            await self._review.close()

    def _allowed(self, account: ServiceAccount) -> bool:
        settings = self._settings
        wanted = {f"{account.namespace}/{account.name}", f"{account.namespace}/*"}
        return not {account.namespace, "*"}.isdisjoint(settings.namespaces) and (
            not settings.service_accounts or not wanted.isdisjoint(settings.service_accounts)
        )

    def _selectors(self, account: ServiceAccount) -> frozenset[str]:
        said = {
            "cluster": self._settings.cluster,
            "ns": account.namespace,
            "sa": account.name,
            "sa-uid": account.uid,
            "pod": account.pod,
            "pod-uid": account.pod_uid,
            "node": account.node,
        }
        found = (selector("k8s", what, value) for what, value in said.items())
        return frozenset(text for text in found if text is not None)


def _account(claims: Any) -> ServiceAccount | None:
    """None when a part is missing or not of its form; a pod is there with name and uid, or not at all."""
    if not isinstance(claims, dict):
        return None
    namespace = _text(claims.get("namespace"), _NAMESPACE)
    name, uid = _reference(claims.get("serviceaccount"))
    pod, pod_uid = _reference(claims.get("pod"))
    node, _ = _reference(claims.get("node"))
    if not namespace or not name or not uid or ("pod" in claims and not (pod and pod_uid)):
        return None
    return ServiceAccount(namespace, name, uid, pod, pod_uid, node)


def _reference(value: Any) -> tuple[str, str]:
    """(name, uid) of an object reference; empty where it has none."""
    if not isinstance(value, dict):
        return "", ""
    return _text(value.get("name"), _NAME), _text(value.get("uid"), _UID)


def _text(value: Any, form: re.Pattern[str]) -> str:
    return value if isinstance(value, str) and form.fullmatch(value) else ""

"""The two variants of the discovery protocol, read and written: state of the world, and delta."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc

from extauthz.errors import ExtauthzError
from extauthz.sds import messages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extauthz.sds.secrets import Resource

MAX_NAME: Final = 2048
"""Bytes of a SPIFFE ID, the longest name there is."""
MAX_LISTED: Final = 1024
"""Names in one request."""
_MAX_TEXT: Final = 256


class StreamRefused(ExtauthzError):
    """The stream ends with this status; the text is for the peer."""

    def __init__(self, status: Any, message: str) -> None:
        super().__init__(message)
        self.status = status


def too_much(message: str) -> StreamRefused:
    return StreamRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, whichever the variant. `error` None: nothing is refused."""

    node: str
    nonce: str
    error: str | None
    replaces: bool
    """Whether `subscribe` is the whole list of names from now on."""
    subscribe: tuple[str, ...]
    unsubscribe: tuple[str, ...] = ()
    holds: Mapping[str, str] = field(default_factory=dict)
    """Versions that the peer kept from an earlier stream."""


class StateOfTheWorld:
    """Each request lists every name; a response may hold only those that changed."""

    def parse(self, message: bytes) -> Asked:
        """Raises StreamRefused."""
        request = _read(messages.DiscoveryRequest, message)
        names = _bounded(request.resource_names)
        return Asked(_plain(request.node.id), request.response_nonce, _error(request), replaces=True, subscribe=names)

    def render(self, resources: Sequence[Resource], nonce: str) -> bytes:
        response = messages.DiscoveryResponse(version_info=_version(resources), type_url=messages.TYPE_URL, nonce=nonce)
        for resource in resources:
            response.resources.add(type_url=messages.TYPE_URL, value=resource.content)
        return response.SerializeToString()  # type: ignore[no-any-return]  # protobuf has no types here


class Delta:
    """Each request lists what is new; responses carry each secret's own version."""

    def parse(self, message: bytes) -> Asked:
        """Raises StreamRefused."""
        request = _read(messages.DeltaDiscoveryRequest, message)
        held = dict(
            zip(_bounded(request.initial_resource_versions), request.initial_resource_versions.values(), strict=True)
        )
        return Asked(
            _plain(request.node.id),
            request.response_nonce,
            _error(request),
            replaces=False,
            subscribe=_bounded(request.resource_names_subscribe),
            unsubscribe=_bounded(request.resource_names_unsubscribe),
            holds=held,
        )

    def render(self, resources: Sequence[Resource], nonce: str) -> bytes:
        response = messages.DeltaDiscoveryResponse(
            system_version_info=_version(resources), type_url=messages.TYPE_URL, nonce=nonce
        )
        for resource in resources:
            one = response.resources.add(name=resource.name, version=resource.version)
            one.resource.type_url, one.resource.value = messages.TYPE_URL, resource.content
        return response.SerializeToString()  # type: ignore[no-any-return]  # protobuf has no types here


def _read(kind: Any, message: bytes) -> Any:
    try:
        request = kind.FromString(message)
    except messages.DecodeError:
        raise StreamRefused(grpc.StatusCode.INVALID_ARGUMENT, "not a discovery request") from None
    if request.type_url not in {"", messages.TYPE_URL}:  # empty: a service of one type may leave it out
        raise StreamRefused(grpc.StatusCode.INVALID_ARGUMENT, "only secrets are served here")
    return request


def _bounded(names: Any) -> tuple[str, ...]:
    if len(names) > MAX_LISTED:
        raise too_much("too many names in one request")
    return tuple(names)


def _error(request: Any) -> str | None:
    return _plain(request.error_detail.message) or "no reason given" if request.HasField("error_detail") else None


def _plain(text: str) -> str:
    """A stranger's text, fit for a line of the log."""
    return "".join(character if character.isprintable() else " " for character in text[:_MAX_TEXT])


def _version(resources: Sequence[Resource]) -> str:
    if len(resources) == 1:
        return resources[0].version
    return hashlib.sha256(" ".join(resource.version for resource in resources).encode()).hexdigest()[:16]

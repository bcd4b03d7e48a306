"""Where the words of a record stand. A decision has a `subject` object; the authority's records name things flat."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_DIGEST: Final = 16
"""Hex digits of a digest that a record shows."""


def subject(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """`type`, `id`, `token` … of whom it is about; empty where nobody is named."""
    found = record.get("subject") or _of_kind(record, "subject")
    if isinstance(found, dict):
        return found
    if not isinstance(found, str) or not found:
        return _NOTHING
    named = {"type": "subject_type", "issuer": "subject_issuer"}
    told = {"id": found, **{name: record[flat] for name, flat in named.items() if record.get(flat)}}
    digest = record.get("subject_digest")
    return {**told, "token": digest[:_DIGEST]} if isinstance(digest, str) and digest else told


def acting(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Who acts for the subject, the current actor first; of an exchange, with the token that was made."""
    for actors in (record.get("actors"), record.get("act"), record.get("chain"), subject(record).get("act")):
        if isinstance(actors, list):
            return texts(actors)
    return ()


def workload(record: Mapping[str, Any]) -> Any:
    """SPIFFE ID of the workload that asked, or that it is about."""
    return record.get("workload") or record.get("client") or record.get("spiffe_id") or _of_kind(record, "workload")


def tenant(record: Mapping[str, Any]) -> Any:
    return record.get("tenant") or subject(record).get("tenant") or _of_kind(record, "tenant")


def route(record: Mapping[str, Any]) -> Any:
    """Its name."""
    return part(record, "request").get("route") or part(record, "quarantine").get("route") or record.get("route")


def _of_kind(record: Mapping[str, Any], kind: str) -> Any:
    """Whom a quarantine or a revocation is for."""
    about = part(record, "quarantine") or record
    return about.get("value") if about.get("kind") == kind else None


def part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object in it; empty where there is none."""
    found = record.get(name)
    return found if isinstance(found, dict) else _NOTHING


def made(record: Mapping[str, Any]) -> Any:
    """Digest of the token that was made of the one that came, or issued, or that is revoked."""
    exchange, flat = part(record, "exchange"), record.get("digest") or record.get("token_sha256")
    found = exchange.get("token") or flat or _of_kind(record, "token")
    return found[:_DIGEST] if isinstance(found, str) else None


def audience(record: Mapping[str, Any]) -> str:
    """For whom a token was made."""
    return ", ".join(texts(part(record, "exchange").get("audience")) or texts(record.get("audience")))


def text(value: Any) -> str:
    """A text, or nothing: what stands in a record may be anything."""
    return value if isinstance(value, str) else ""


def texts(value: Any) -> tuple[str, ...]:
    """Of a list, or of one text."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()

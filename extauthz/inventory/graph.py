"""An inventory as a layered graph: who mints → who holds → which way in → which data. Drawn by `mermaid` and `svg`.

Principals of one kind with the same credentials and the same ways are one node: a hundred users are one box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.config.words import seconds
from extauthz.inventory.model import ANYONE
from extauthz.telemetry.redact import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.inventory.model import Credential, Inventory, Principal

LAYERS: Final = ("minted by", "who", "way in", "data")
_NAMED: Final = 3
"""Names that a node of many lists."""
_MAX_LABEL: Final = 96


@dataclass(frozen=True, slots=True)
class Node:
    """`id` is a letter and a number, whatever the label says; `layer` counts from 0."""

    id: str
    layer: int
    kind: str
    label: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """From node id to node id."""

    start: str
    end: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


class _Nodes:
    def __init__(self) -> None:
        self._found: dict[tuple[int, str], Node] = {}

    def id(self, layer: int, key: str, kind: str, label: str, detail: str = "") -> str:
        """The node of this key in this layer; made where it is not there yet."""
        node = self._found.get((layer, key))
        if node is None:
            id_ = f"{'mpwd'[layer]}{len(self._found)}"
            node = Node(id_, layer, kind, plain(label, _MAX_LABEL), plain(detail, 4 * _MAX_LABEL))
            self._found[layer, key] = node
        return node.id

    def all(self) -> tuple[Node, ...]:
        return tuple(self._found.values())


def graph(inventory: Inventory) -> Graph:
    """Equal inventories give equal graphs. Principals that reach nothing here are left out."""
    nodes = _Nodes()
    edges: dict[Edge, None] = {}
    paths = {path.id: path for path in inventory.paths}
    for members in _alike(inventory.principals):
        first = members[0]
        if not first.reaches:
            continue
        who = nodes.id(1, f"{first.kind} {first.id}", first.kind, _who(members), ", ".join(one.id for one in members))
        for held in first.credentials:
            minter = nodes.id(0, held.minted_by, "minter", _short(held.minted_by), held.minted_by)
            edges[Edge(minter, who, _held(held))] = None
        for way in first.reaches:
            path = paths.get(way)
            if path is None:
                continue
            detail = f"{path.request}: {path.action} on {path.resource}, {path.credential}, {path.policy}"
            found = nodes.id(2, way, "effects" if path.effects else path.access, way, detail)
            data = nodes.id(3, path.resource, "data", path.resource)
            edges[Edge(who, found, path.credential)] = None
            edges[Edge(found, data, path.action.rpartition(".")[2])] = None
    return Graph(nodes.all(), tuple(edges))


def _alike(principals: Sequence[Principal]) -> list[list[Principal]]:
    groups: dict[tuple[object, ...], list[Principal]] = {}
    for one in principals:
        alone = one.id if one.kind == "workload" else ""
        groups.setdefault((one.kind, alone, one.credentials, one.reaches), []).append(one)
    return list(groups.values())


def _who(members: Sequence[Principal]) -> str:
    first = members[0]
    names = [_short(one.id.rpartition(" ")[2] if one.kind == "user" else one.id) for one in members]
    named = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return named if first.kind == "workload" or named == ANYONE else f"{first.kind.replace('_', ' ')} {named}"


def _short(text: str) -> str:
    """A SPIFFE ID without its scheme."""
    return text.removeprefix("spiffe://")


def _held(held: Credential) -> str:
    return held.kind if held.lifetime is None else f"{held.kind} {seconds(held.lifetime)}"

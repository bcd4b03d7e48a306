"""A graph as an SVG picture: one column a layer, made of plain shapes; equal graphs give equal bytes.

Within a column nodes stand where those stand that they come from (the mean of their rows), which keeps lines short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from extauthz.inventory.graph import LAYERS

if TYPE_CHECKING:
    from extauthz.inventory.graph import Graph, Node

_CHARACTER: Final = 6.7
_HEIGHT: Final = 24
_ROW: Final = 36
_GAP: Final = 130
_MARGIN: Final = 20
_TOP: Final = 44
_FILLS: Final = {
    "minter": "#e8eaf6",
    "workload": "#e3f2fd",
    "user": "#e8f5e9",
    "subjects": "#e8f5e9",
    "api_key": "#fff3e0",
    "operator": "#f3e5f5",
    "anonymous": "#ffebee",
    "effects": "#ffe0b2",
    "write": "#fffde7",
    "read": "#f1f8e9",
    "call": "#eceff1",
    "data": "#eeeeee",
}
_STYLE: Final = (
    "text{font:11px ui-monospace,monospace;fill:#212121}"
    ".t{font-weight:bold}.e{fill:none;stroke:#90a4ae}.n{stroke:#607d8b}"
)


def text(graph: Graph, title: str = "Who may reach what") -> str:
    columns = _columns(graph)
    widths = [max((len(node.label) * _CHARACTER + 16 for node in column), default=90.0) for column in columns]
    starts = [_MARGIN + sum(widths[:number]) + number * _GAP for number in range(len(columns))]
    places = {
        node.id: (starts[number], _TOP + row * _ROW, widths[number])
        for number, column in enumerate(columns)
        for row, node in enumerate(column)
    }
    width = starts[-1] + widths[-1] + _MARGIN
    height = _TOP + max(map(len, columns), default=0) * _ROW + _MARGIN
    size = f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{_safe(title)}</title>",
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    lines += [
        f'<text class="t" x="{start:.1f}" y="24">{_safe(name)}</text>'
        for start, name in zip(starts, LAYERS, strict=True)
    ]
    labels: dict[tuple[str, str], list[str]] = {}
    for edge in graph.edges:
        labels.setdefault((edge.start, edge.end), []).append(edge.label)
    lines += [_edge(places[a], places[b], ", ".join(said)) for (a, b), said in labels.items()]
    lines += [_node(node, places[node.id]) for column in columns for node in column]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _columns(graph: Graph) -> list[list[Node]]:
    columns = [[node for node in graph.nodes if node.layer == number] for number in range(len(LAYERS))]
    rows: dict[str, float] = {node.id: row for row, node in enumerate(columns[0])}
    for column in columns[1:]:
        before: dict[str, list[float]] = {}
        for edge in graph.edges:
            if edge.start in rows:
                before.setdefault(edge.end, []).append(rows[edge.start])
        means = {end: sum(found) / len(found) for end, found in before.items()}
        column.sort(key=lambda node: (means.get(node.id, 0.0), node.label))
        rows = {node.id: row for row, node in enumerate(column)}
    return columns


def _node(node: Node, place: tuple[float, float, float]) -> str:
    x, y, width = place
    return (
        f'<g><title>{_safe(node.detail or node.label)}</title><rect class="n" x="{x:.1f}" y="{y:.1f}" '
        f'width="{width:.1f}" height="{_HEIGHT}" rx="4" fill="{_FILLS.get(node.kind, "#ffffff")}"/>'
        f'<text x="{x + 8:.1f}" y="{y + 16:.1f}">{_safe(node.label)}</text></g>'
    )


def _edge(start: tuple[float, float, float], end: tuple[float, float, float], label: str) -> str:
    x1, y1 = start[0] + start[2], start[1] + _HEIGHT / 2
    x2, y2 = end[0], end[1] + _HEIGHT / 2
    bend = (x2 - x1) / 2
    curve = f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    return f'<path class="e" d="{curve}"><title>{_safe(label)}</title></path>'


def _safe(text_: str) -> str:
    """Nothing that XML reads as markup, nor a character that it does not allow."""
    return escape("".join(letter if letter.isprintable() else "?" for letter in text_), {'"': "&quot;"})

"""A graph as Mermaid text (flowchart). Labels are quoted; each character that Mermaid reads is written as a code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.inventory.graph import LAYERS

if TYPE_CHECKING:
    from extauthz.inventory.graph import Graph

_CODES: Final = str.maketrans({sign: f"#{ord(sign)};" for sign in '"#&<>`\\{}[]()|;%'})
"""Mermaid's own way to write a character (`#35;`), understood in labels alone."""


def text(graph: Graph) -> str:
    lines = ["flowchart LR"]
    for number, title in enumerate(LAYERS):
        lines.append(f'  subgraph layer{number}["{title}"]')
        lines += [f'    {node.id}["{_label(node.label)}"]' for node in graph.nodes if node.layer == number]
        lines.append("  end")
    for edge in graph.edges:
        label = f'|"{_label(edge.label)}"|' if edge.label else ""
        lines.append(f"  {edge.start} -->{label} {edge.end}")
    return "\n".join(lines) + "\n"


def _label(text_: str) -> str:
    return text_.translate(_CODES)

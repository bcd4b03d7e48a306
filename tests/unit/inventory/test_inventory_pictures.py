"""The graph as Mermaid and SVG: well formed whatever a name holds, and the same for the same inventory."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from extauthz.inventory import mermaid, svg
from extauthz.inventory.graph import Edge, Graph, Node, graph

if TYPE_CHECKING:
    from tests.support.inventory import Demo

HOSTILE = '"]; click p0 "javascript:alert(1)" <script>alert(1)</script> &amp; %%{init}%% \x1b[31m\n  end\n `x` #quot; |'
NODE = re.compile(r'    [mpwd]\d+\["[^"\[\]<>]*"\]')
EDGE = re.compile(r'  [mpwd]\d+ -->(\|"[^"|<>]*"\|)? [mpwd]\d+')


def drawn(label: str) -> Graph:
    return Graph((Node("m0", 0, "minter", label, label), Node("p1", 1, label, label)), (Edge("m0", "p1", label),))


def parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 - our own picture; that it is harmless is what is tested


def well_formed(text: str) -> None:
    for line in text.splitlines()[1:]:
        frame = re.fullmatch(r'  subgraph layer\d\["[a-z ]+"\]|  end', line)
        assert frame or NODE.fullmatch(line) or EDGE.fullmatch(line), line


def test_hostile_names_stay_names(demo: Demo):
    well_formed(mermaid.text(drawn(HOSTILE.replace("\n", " "))))
    root = parsed(svg.text(drawn(HOSTILE), HOSTILE))
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {
        *("svg", "title", "style", "rect", "text", "path", "g")
    }
    # The graph itself takes control characters out before anything is drawn.
    first = demo.inventory.principals[0]
    strange = replace(demo.inventory, principals=(replace(first, id=HOSTILE), *demo.inventory.principals[1:]))
    well_formed(mermaid.text(graph(strange)))
    parsed(svg.text(graph(strange)))


@given(st.text(max_size=60))
def test_any_text_can_be_drawn(text: str):
    parsed(svg.text(drawn(text), text))


def test_the_demos_picture(demo: Demo):
    made = graph(demo.inventory)
    labels = {node.label for node in made.nodes}
    assert {"edge/create-transfer", "bank.example/authority", "transfer", "api key partner1"} <= labels
    ids = [node.id for node in made.nodes]
    assert len(set(ids)) == len(ids)
    assert all(edge.start in ids and edge.end in ids for edge in made.edges)
    well_formed(mermaid.text(made))
    picture = svg.text(made)
    assert picture == svg.text(graph(demo.inventory))
    root = parsed(picture)
    assert len(root.findall("{*}g")) == len(made.nodes)


def test_an_empty_inventory_can_be_drawn():
    parsed(svg.text(Graph((), ())))
    well_formed(mermaid.text(Graph((), ())))

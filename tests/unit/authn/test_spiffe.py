from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.authn import spiffe
from extauthz.authn.spiffe import IdPatterns, PathTemplate

BASE = "spiffe://bank.example/env/prod/ns/edge/sa/"
GATEWAY = BASE + "gateway"


def test_parts() -> None:
    assert spiffe.parse(GATEWAY) == spiffe.SpiffeId(
        GATEWAY, "bank.example", ("env", "prod", "ns", "edge", "sa", "gateway")
    )


@pytest.mark.parametrize("length", [2047, 2048])
def test_longest_id(length: int) -> None:
    assert spiffe.parse("spiffe://a/".ljust(length, "x")) is not None


@pytest.mark.parametrize(
    "text",
    ["spiffe://a/".ljust(2049, "x"), f"spiffe://{'a' * 256}/x", GATEWAY + "\n", "\n" + GATEWAY, "", "spiffe:///a"],
    ids=["too-long", "domain-too-long", "newline-after", "newline-before", "empty", "no-domain"],
)
def test_not_an_id(text: str) -> None:
    assert spiffe.parse(text) is None


SEGMENT = st.text("abzAZ09._-", min_size=1, max_size=8).filter(lambda text: text not in {".", ".."})


@given(st.text("az09._-", min_size=1, max_size=20), st.lists(SEGMENT, min_size=1, max_size=6))
def test_every_well_formed_id_is_read_back(domain: str, segments: list[str]) -> None:
    text = f"spiffe://{domain}/{'/'.join(segments)}"
    assert spiffe.parse(text) == spiffe.SpiffeId(text, domain, tuple(segments))


@given(st.text(max_size=60) | st.builds("spiffe://{}".format, st.text("a./%:@?#\\é-", max_size=40)))
def test_any_text_is_an_id_or_none(text: str) -> None:
    parsed = spiffe.parse(text)
    if parsed is not None:
        assert parsed.text == f"spiffe://{parsed.trust_domain}/{'/'.join(parsed.segments)}" == text
        assert not {"", ".", ".."} & set(parsed.segments)


@pytest.mark.parametrize(
    ("template", "path", "parts"),
    [
        ("/ns/{namespace}/sa/{service}", "/ns/a/sa/b", {"namespace": "a", "service": "b"}),
        ("/t/{tenant}/{service}", "/t/acme/x", {"tenant": "acme", "service": "x"}),
        ("/fixed", "/fixed", {}),
        ("/ns/{namespace}/sa/{service}", "/ns/a/sa", None),
        ("/ns/{namespace}/sa/{service}", "/ns/a/sb/b", None),
        ("/fixed", "/other", None),
    ],
)
def test_template(template: str, path: str, parts: dict[str, str] | None) -> None:
    assert PathTemplate(template).match(path[1:].split("/")) == parts


@given(st.lists(SEGMENT, min_size=1, max_size=4), st.data())
def test_a_pattern_matches_segment_by_segment(segments: list[str], data: st.DataObject) -> None:
    text = "/".join(["spiffe://a", *segments])
    holes = data.draw(st.sets(st.integers(0, len(segments) - 1)))
    pattern = "/".join(["spiffe://a", *("*" if n in holes else s for n, s in enumerate(segments))])
    assert IdPatterns([pattern]).match(text)
    assert not IdPatterns([pattern]).match(text + "/x")
    assert not IdPatterns([pattern]).match(text.replace("spiffe://a", "spiffe://b", 1))


@pytest.mark.parametrize(
    "patterns",
    [
        pytest.param((), id="nobody"),
        pytest.param((BASE + "admin",), id="other"),
        pytest.param((BASE + "gate*",), id="part-of-a-segment"),
        pytest.param(("spiffe://bank.example/*",), id="too-short"),
        pytest.param((GATEWAY + "/*",), id="too-long"),
        pytest.param(("spiffe://*/env/prod/ns/edge/sa/gateway",), id="any-domain"),
        pytest.param(("*",), id="star"),
        pytest.param((".*",), id="regex"),
        pytest.param(("",), id="empty"),
        pytest.param((GATEWAY.upper(),), id="case"),
    ],
)
def test_route_patterns_that_do_not_cover(patterns: tuple[str, ...]) -> None:
    assert not IdPatterns(patterns).match(GATEWAY)


@pytest.mark.parametrize(
    "patterns",
    [(GATEWAY,), (BASE + "*",), ("spiffe://bank.example/env/*/ns/*/sa/gateway",), (BASE + "x", GATEWAY)],
)
def test_route_patterns_that_cover(patterns: tuple[str, ...]) -> None:
    assert IdPatterns(patterns).match(GATEWAY)

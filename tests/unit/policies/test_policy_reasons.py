"""Codes: the table, the policy files and docs/policy-reasons.md say the same."""

from __future__ import annotations

import re
from pathlib import Path

from extauthz.codes import CODES, POLICY_LAYERS, Layer

DOC = Path(__file__).resolve().parents[3] / "docs" / "policy-reasons.md"
ROW = re.compile(r"\| `([a-z_.]+)` \| (.+?) \| (.+?) \| (.+?) \|")


def used(sources: dict[str, str]) -> dict[str, set[str]]:
    """Code → the policy files that deny with it, below `policies/extauthz/`."""
    found: dict[str, set[str]] = {}
    for path, text in sources.items():
        for code in re.findall(r'"code": "([^"]*)"', text):
            found.setdefault(code, set()).add(path.removeprefix("extauthz/"))
    return found


def test_table_has_exactly_the_codes_that_are_used(reasons, sources):
    assert set(used(sources)) == set(reasons)


def test_doc_has_exactly_the_table(reasons, sources):
    rows = {code: (message, remedy, files) for code, message, remedy, files in ROW.findall(DOC.read_text())}
    files = {code: ", ".join(f"`{path}`" for path in sorted(paths)) for code, paths in used(sources).items()}
    assert rows == {code: (text["message"], text["remedy"], files[code]) for code, text in reasons.items()}


def test_doc_lists_the_layers_in_order():
    order = list(Layer)
    found = [order.index(Layer(code.partition(".")[0])) for code, *_ in ROW.findall(DOC.read_text())]
    assert found
    assert found == sorted(found)


def test_codes_are_of_layers_that_a_policy_may_deny_at(reasons):
    for code in reasons:
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", code)
        assert Layer(code.partition(".")[0]) in POLICY_LAYERS


def test_texts_are_sentences(reasons):
    for code, text in reasons.items():
        assert set(text) == {"message", "remedy"}, code
        for sentence in text.values():
            assert sentence[0].isupper(), code
            assert sentence.endswith("."), code


def test_codes_shared_with_the_server_have_its_words(reasons):
    shared = set(reasons) & set(CODES)
    assert shared == {"workload.missing", "workload.unregistered", "workload.environment"}
    for code in shared:
        assert reasons[code] == {"message": CODES[code].message, "remedy": CODES[code].remedy}

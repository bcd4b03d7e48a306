"""Forms: read, or refused, and never anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.sts.answers import Refused
from extauthz.sts.form import CONTENT_TYPE, MAX_BODY, one, parse
from extauthz.sts.request import exchange_request


def test_each_parameter_once():
    form = parse(b"a=1&b=&audience=x&audience=y&scope=a+b%20c", f"{CONTENT_TYPE}; charset=UTF-8")
    assert form == {"a": ("1",), "audience": ("x", "y"), "scope": ("a b c",)}
    assert (one(form, "b"), one(form, "none"), one(form, "a")) == ("", "", "1")


@pytest.mark.parametrize(
    "body",
    [
        b"a=1&a=1",
        b"a=&a=1",
        b"a=1&%61=2",
        b"a=%ff",
        b"a=\xff",
        b"a",
        b"a=1&&b=2&c",
        b"client_secret=x",
        b"client_assertion=",
        b"username=a&password=b",
        b"&".join(b"a%d=1" % n for n in range(40)),
        b"a=" + b"x" * MAX_BODY,
    ],
)
def test_refused(body):
    assert isinstance(parse(body, CONTENT_TYPE), Refused)


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "multipart/form-data", "text/plain", CONTENT_TYPE[:-1]]
)
def test_content_type(content_type):
    assert isinstance(parse(b"a=1", content_type), Refused)


@given(st.binary(max_size=300))
def test_any_bytes(body):
    form = parse(body, CONTENT_TYPE)
    assert isinstance(form, Refused | dict)


NAMES = st.sampled_from(
    [
        *("audience", "resource", "scope", "purpose", "lifetime", "subject_token", "subject_token_type"),
        *("actor_token", "actor_token_type", "requested_token_type", "request_context", "request_details"),
    ]
)


@given(st.dictionaries(NAMES, st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=2).map(tuple)))
def test_any_form(form):
    answer = exchange_request(form)
    assert not isinstance(answer, Refused) or answer.body()["error"].startswith("invalid_")


@given(st.text(max_size=80), st.text(max_size=40))
def test_error_text_keeps_to_its_alphabet(description, code):
    text = Refused("invalid_request", description, code).body()["error_description"]
    assert text.isascii()
    assert text.isprintable()
    assert not {'"', "\\"} & set(text)

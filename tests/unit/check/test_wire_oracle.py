"""Our messages against `envoy-data-plane`, which compiles Envoy's own `.proto` files in another library.

Random requests built there read the same here; random answers written here read the same there.
"""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.check import respond, wire
from extauthz.codes import CODES
from extauthz.model import Deny, Reason, Request, deny
from tests.support.checks import parsed
from tests.support.envoy_messages import auth, core

words = st.text(max_size=40)
names = st.from_regex(r"x?-?[a-z][a-z0-9-]{0,20}", fullmatch=True)
maps = st.dictionaries(words, words, max_size=8)


@st.composite
def peers(draw):
    address = core.Address(
        socket_address=core.SocketAddress(address=draw(words), port_value=draw(st.integers(0, 65535)))
    )
    return auth.AttributeContextPeer(
        address=draw(st.sampled_from([None, address])),
        service=draw(words),
        labels=draw(maps),
        principal=draw(words),
        certificate=draw(st.text(max_size=3000)),
    )


@st.composite
def their_requests(draw):
    raw = draw(st.none() | st.lists(st.tuples(names, st.binary(min_size=1, max_size=30)), max_size=6))
    path = "/" + "/".join(draw(st.lists(st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True), max_size=4)))
    query = draw(st.none() | st.from_regex(r"[a-z0-9=&%]{0,20}", fullmatch=True))
    return auth.CheckRequest(
        attributes=auth.AttributeContext(
            source=draw(peers()),
            destination=draw(peers()),
            request=auth.AttributeContextRequest(
                time=datetime(2026, 1, 1, tzinfo=UTC),
                http=auth.AttributeContextHttpRequest(
                    id=draw(words),
                    method=draw(st.sampled_from(["GET", "POST", "PURGE"])),
                    headers=draw(st.dictionaries(names, words, max_size=8)),
                    path=path if query is None else f"{path}?{query}",
                    host=draw(words),
                    scheme=draw(words),
                    fragment=draw(words),
                    size=draw(st.integers(-1, 2**40)),
                    protocol=draw(words),
                    body=draw(words),
                    raw_body=draw(st.binary(max_size=100)),
                    header_map=None
                    if raw is None
                    else core.HeaderMap(headers=[core.HeaderValue(key=key, raw_value=value) for key, value in raw]),
                ),
            ),
            context_extensions=draw(maps),
            metadata_context=draw(st.sampled_from([None, core.Metadata()])),
            tls_session=auth.AttributeContextTlsSession(sni=draw(words)),
        )
    )


@given(their_requests())
def test_what_envoys_own_messages_say_is_what_we_read(theirs):
    request = wire.parse(bytes(theirs))
    context = theirs.attributes
    http = context.request.http
    raw = [] if http.header_map is None else http.header_map.headers
    if sum(header.key == "host" for header in raw) > 1:
        assert isinstance(request, Deny)
        return
    assert isinstance(request, Request)
    path, _, query = http.path.partition("?")
    assert (request.path, request.query) == (path, query)
    assert (request.id, request.method, request.scheme) == (http.id, http.method, http.scheme)
    assert (request.host, request.protocol) == (http.host, http.protocol)
    assert request.body == (http.raw_body or http.body.encode())
    assert request.principal == context.source.principal
    assert request.certificate == context.source.certificate
    assert request.destination_principal == context.destination.principal
    assert request.source_address == (context.source.address.socket_address.address if context.source.address else "")
    assert request.context_extensions == context.context_extensions
    assert set(request.headers) == set(http.headers) | {header.key for header in raw}
    seen = [header.key for header in raw]
    assert request.duplicated_headers == {name for name in seen if seen.count(name) > 1}
    for name, value in http.headers.items():
        if name not in seen:
            assert request.headers[name] == value


json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)
metadata = st.dictionaries(words, json, max_size=6)


@given(st.dictionaries(names, words, max_size=6), metadata, st.lists(names, max_size=4))
def test_an_allow_of_ours_reads_the_same_with_envoys_own_messages(headers, values, remove):
    request = parsed(headers={"x-extauthz-spoofed": "1", "x_extauthz_under": "2", "accept": "*/*"})
    theirs = auth.CheckResponse.parse(respond.allow(request, list(headers.items()), values, remove=tuple(remove)))
    assert theirs.status is not None
    assert theirs.status.code == 0
    assert theirs.denied_response is None
    assert {option.header.key: option.header.value for option in theirs.ok_response.headers} == headers
    overwrite = core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    assert all(option.append_action == overwrite for option in theirs.ok_response.headers)
    removed = theirs.ok_response.headers_to_remove
    assert len(removed) == len(set(removed))
    assert not set(removed) & set(headers)
    assert {"x-extauthz-spoofed", "x_extauthz_under", *remove} - set(headers) <= set(removed)
    assert theirs.dynamic_metadata.to_dict() == values


@given(st.sampled_from(sorted(CODES)), st.text(max_size=300), metadata)
@settings(max_examples=60)
def test_a_denial_of_ours_reads_the_same_with_envoys_own_messages(code, message, values):
    decision = Deny((Reason(code, message=message),)) if message else deny(code)
    theirs = auth.CheckResponse.parse(respond.deny(decision, "id" * 12, parsed(), values))
    assert theirs.ok_response is None
    assert theirs.status.code == respond.grpc_status(code, decision.layer)
    assert theirs.denied_response.status.code == decision.status
    assert code in theirs.denied_response.body
    assert theirs.dynamic_metadata.to_dict() == values

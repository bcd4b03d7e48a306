"""The router: most specific first, and a route that Envoy names must fit."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from extauthz.check.router import Matched, Router, bare_host
from extauthz.check.routes import RouteSettings
from extauthz.model import Deny, Request


def a_route(name: str, **match: Any) -> RouteSettings:
    return RouteSettings.model_validate(
        {
            "name": name,
            "match": match or None,
            "public": True,
            "credential": "none",
            "action": "thing.read",
            "resource": {"type": "thing"},
            "policy": "extauthz/payments/decision",
        }
    )


def a_request(path: str, *, method: str = "GET", host: str = "api.bank.example", route: str | None = None) -> Request:
    return Request(
        id="",
        method=method,
        scheme="https",
        host=host,
        path=path,
        query="",
        protocol="HTTP/2",
        headers={},
        body=b"",
        body_truncated=False,
        principal="",
        certificate="",
        source_address="",
        destination_principal="",
        context_extensions={} if route is None else {"route": route},
    )


def a_router(*routes: RouteSettings) -> Router[str]:
    return Router((route, route.name) for route in routes)


def found(router: Router[str], request: Request) -> tuple[str, dict[str, str]] | str:
    match = router.match(request)
    return (match.route, dict(match.variables)) if isinstance(match, Matched) else match.code


SPECIFIC = (
    a_route("rest", path="/v1/**"),
    a_route("one", path="/v1/transfers/{transfer_id}"),
    a_route("latest", path="/v1/transfers/latest"),
    a_route("post", path="/v1/transfers", methods=["POST"]),
    a_route("root", path="/"),
    a_route("slash", path="/v2/"),
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/transfers/latest", ("latest", {})),
        ("/v1/transfers/T-1", ("one", {"transfer_id": "T-1"})),
        ("/v1/transfers/a%20b", ("one", {"transfer_id": "a b"})),
        ("/v1/transfers/%ff", "request.path_ambiguous"),
        ("/v1/transfers/T-1/notes", ("rest", {})),
        ("/v1/transfers", ("rest", {})),
        ("/v1/transfers/", ("rest", {})),
        ("/v1", ("rest", {})),
        ("/", ("root", {})),
        ("/v2/", ("slash", {})),
        ("/v2", "request.route_unknown"),
        ("/V1/transfers/latest", "request.route_unknown"),
        ("", "request.route_unknown"),
        ("*", "request.route_unknown"),
        ("/v1" + "/x" * 200, "request.route_unknown"),
    ],
)
def test_the_most_specific_template_wins(path: str, expected: object) -> None:
    assert found(a_router(*SPECIFIC), a_request(path)) == expected


def test_method_decides_between_templates() -> None:
    assert found(a_router(*SPECIFIC), a_request("/v1/transfers", method="POST")) == ("post", {})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.bank.example", ("exact", {})),
        ("API.bank.example:8443", ("exact", {})),
        ("api.bank.example.", ("exact", {})),
        ("x.bank.example", ("below", {})),
        ("bank.example", "request.route_unknown"),
        ("evilbank.example", "request.route_unknown"),
        ("", "request.route_unknown"),
    ],
)
def test_hosts(host: str, expected: object) -> None:
    router = a_router(
        a_route("exact", path="/x", hosts=["api.bank.example"]), a_route("below", path="/x", hosts=["*.bank.example"])
    )
    assert found(router, a_request("/x", host=host)) == expected


def test_the_name_that_envoy_gives_decides_when_it_fits() -> None:
    router = a_router(*SPECIFIC)
    assert found(router, a_request("/v1/transfers/T-9", route="one")) == ("one", {"transfer_id": "T-9"})
    assert found(router, a_request("/v1/transfers/latest", route="one")) == ("one", {"transfer_id": "latest"})


@pytest.mark.attack
@pytest.mark.parametrize(
    ("route", "path", "method", "code"),
    [
        ("one", "/v1/other/T-9", "GET", "request.route_mismatch"),
        ("one", "/v1/transfers/", "GET", "request.route_mismatch"),
        ("post", "/v1/transfers", "GET", "request.route_mismatch"),
        ("nobody", "/v1/transfers", "GET", "request.route_unknown"),
        ("", "/v1/transfers", "GET", "request.route_unknown"),
        (None, "/unknown", "GET", "request.route_unknown"),
    ],
)
def test_a_request_under_the_wrong_route_is_refused(route: str | None, path: str, method: str, code: str) -> None:
    answer = a_router(*SPECIFIC).match(a_request(path, method=method, route=route))
    assert isinstance(answer, Deny)
    assert (answer.layer, answer.code) == ("request", code)


def test_a_route_without_match_is_reached_by_name_only() -> None:
    router = a_router(a_route("named"))
    assert found(router, a_request("/anything", route="named")) == ("named", {})
    assert found(router, a_request("/anything")) == "request.route_unknown"


def test_no_routes_refuse_everything() -> None:
    assert found(a_router(), a_request("/")) == "request.route_unknown"


@pytest.mark.parametrize(
    "match",
    [
        {"path": "v1"},
        {"path": "/a*b"},
        {"path": "/**/b"},
        {"path": "/{a}/{a}"},
        {"path": "/{a}b"},
        {"path": "/a%2fb"},
        {"path": "/x", "hosts": ["A.example"]},
        {"path": "/x", "hosts": ["a.example:80"]},
        {"path": "/x", "hosts": ["a.*.example"]},
        {"path": "/x", "methods": ["get"]},
    ],
)
def test_a_malformed_match_is_refused(match: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_route("bad", **match)


@pytest.mark.parametrize("pattern", ["*", "spiffe://bank.example/env/prod/**", "spiffe://bank.example/a/../b", ""])
def test_a_workload_pattern_that_could_match_nobody_is_refused(pattern: str) -> None:
    good = a_route("r").model_dump(exclude={"cache_ttl"})
    with pytest.raises(ValidationError, match="a SPIFFE ID is expected"):
        RouteSettings.model_validate(good | {"workloads": [pattern]})


def test_resource_id_names_path_variables_only() -> None:
    with pytest.raises(ValidationError, match="unknown path variables: nobody"):
        RouteSettings.model_validate(
            a_route("r", path="/{id}").model_dump(exclude={"cache_ttl"}) | {"resource": {"type": "t", "id": "{nobody}"}}
        )


@pytest.mark.parametrize(("authority", "host"), [("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("H:1", "h"), ("", "")])
def test_bare_host(authority: str, host: str) -> None:
    assert bare_host(authority) == host

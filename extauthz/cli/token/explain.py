"""`extauthz token explain`: whether a route's server would take a token, and which step refuses it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from extauthz.cli.tables import print_json, print_table
from extauthz.cli.token.reading import STDIN, Token, fail, file_of, token_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.check.routes import RouteSettings
    from extauthz.cli.token.judging import Verdict
    from extauthz.config import Config

STEPS: Final = (
    ("the header is one bearer token", ("token.missing", "token.scheme", "request.header_")),
    ("its form is that of a token", ("token.too_large", "token.malformed", "token.header_refused")),
    ("its issuer is one of the route's", ("token.issuer",)),
    ("its algorithm and type are accepted", ("token.algorithm", "token.type")),
    ("the issuer's key is known", ("token.keys_unavailable", "token.key_")),
    ("the signature is right", ("token.signature",)),
    ("it is valid now, and not for too long", ("token.expired", "token.not_yet_valid", "token.lifetime")),
    ("audience, scopes, purpose and claims fit", ("token.audience", "token.scope", "token.purpose", "token.claims")),
    ("it is not revoked", ("token.revoked",)),
    ("the peer holds the certificate that it is bound to", ("transport.binding_",)),
    ("the sign-in is strong and recent enough", ("token.step_up",)),
    ("its issuer says that it is active", ("token.inactive", "engine.introspection_unavailable")),
)
"""In the order of `authn.tokens` and `authn.held`, and the codes (or how they begin) that each step refuses with."""


def run(
    route: Annotated[str, typer.Option("--route", "-r", help="The route's name.")],
    token: Token = STDIN,
    config: Annotated[Path, typer.Option("--config", "-c", help="The server's configuration.")] = Path("extauthz.yaml"),
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file with the certificate that the caller shows, leaf first.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Say whether the server of a configuration would take a token on a route, and if not, which step refuses it.

    The server's own code judges: keys, answers and revocations are fetched as it would fetch them. A token that is
    accepted here can still be refused by the policy: `extauthz policy explain`. Exit code 0: accepted; 1: refused.
    """
    import asyncio  # noqa: PLC0415 - other verbs start faster

    from extauthz.cli.token.judging import judge  # noqa: PLC0415 - the same
    from extauthz.clock import SystemClock  # noqa: PLC0415 - the same
    from extauthz.config import load  # noqa: PLC0415 - the same
    from extauthz.errors import ConfigError, ExtauthzError  # noqa: PLC0415 - the same

    loaded = load(config)
    found = loaded.route(route)
    if found is None:
        fail(f"no route is called {route}; there are: {', '.join(one.name for one in loaded.routes) or 'none'}", 2)
    peer = _leaf(file_of(certificate)) if certificate else b""
    text, clock = token_of(token), SystemClock()
    try:
        verdict = asyncio.run(judge(loaded, found, text, peer, clock))
    except ConfigError:
        raise  # the root command tells it
    except ExtauthzError as error:
        fail(str(error))
    story = _story(verdict, found, loaded, text, clock.now())
    if as_json:
        print_json(story)
    else:
        _print(story)
    raise typer.Exit(0 if story["accepted"] else 1)


def _leaf(pem: bytes) -> bytes:
    """The first certificate alone, as Envoy reports it."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    body, found, _ = pem.partition(begin)[2].partition(end)
    return begin + body + end + b"\n" if found else fail("the certificate file holds no PEM certificate", 2)


def _story(verdict: Verdict, route: RouteSettings, config: Config, token: str, now: float) -> dict[str, Any]:
    from extauthz.codes import CODES  # noqa: PLC0415 - other verbs start faster
    from extauthz.model import Deny  # noqa: PLC0415 - the same

    answer = verdict.answer
    story: dict[str, Any] = {
        "route": route.name,
        "accepted": not isinstance(answer, Deny),
        "workload": verdict.workload.id if verdict.workload else "",
        "notes": list(verdict.notes),
    }
    if isinstance(answer, Deny):
        code = CODES.get(answer.code)
        story |= {
            "step": _step(answer.code) if verdict.at == "credential" else f"the caller's {verdict.at}",
            "code": answer.code,
            "status": answer.status,
            "message": answer.message,
            "detail": answer.reasons[0].detail,
            "remedy": answer.reasons[0].remedy or (code.remedy if code else ""),
            "differences": _differences(route, config, token, now),
        }
    elif answer is not None:
        story["subject"] = {
            "type": answer.type,
            "id": answer.id,
            "issuer": answer.issuer,
            "credential": answer.credential,
            "purpose": answer.purpose,
            "scopes": sorted(answer.scopes),
            "act": list(answer.act),
        }
    return story


def _step(code: str) -> str:
    return next((title for title, codes in STEPS if code.startswith(codes)), "the credential is of the route's kind")


def _differences(route: RouteSettings, config: Config, token: str, now: float) -> list[dict[str, str]]:
    """What the token says (not verified) beside what the route wants; only where the two do not meet."""
    from extauthz.cli.token.described import described  # noqa: PLC0415 - other verbs start faster

    rule = route.token
    said = described(token, now)
    claims: Mapping[str, Any] = said.get("claims") or {}
    if rule is None or not claims:
        return []
    issuers = [one for name in rule.issuers if (one := config.issuer(name))]
    issuer = next((one for one in issuers if one.issuer == claims.get("iss")), None)
    types = rule.types or (issuer.types if issuer else ())
    header = said.get("header") or {}
    typ = str(header.get("typ", "absent")).lower().removeprefix("application/")
    found: list[tuple[str, Any, list[str], bool]] = [
        ("iss", claims.get("iss"), [one.issuer for one in issuers], issuer is not None),
        ("alg", header.get("alg"), list(issuer.algorithms) if issuer else [], _among(header.get("alg"), issuer)),
        ("typ", typ, list(types), typ in types),
        ("aud", claims.get("aud"), list(rule.audiences), _meet(claims.get("aud"), rule.audiences)),
    ]
    if issuer is not None:
        scopes, purpose = claims.get(issuer.scope_claim, ""), claims.get(issuer.purpose_claim)
        held = scopes.split(" ") if isinstance(scopes, str) else scopes if isinstance(scopes, list) else []
        found.append((issuer.scope_claim, scopes, list(rule.scopes), set(rule.scopes) <= set(map(str, held))))
        found.append(
            (issuer.purpose_claim, purpose, list(rule.purposes), not rule.purposes or purpose in rule.purposes)
        )
    found.append(("acr", claims.get("acr"), list(rule.acr), not rule.acr or claims.get("acr") in rule.acr))
    return [
        {"name": name, "token_says": _short(value), "route_wants": ", ".join(wanted) or "another"}
        for name, value, wanted, fits in found
        if not fits
    ]


def _among(alg: object, issuer: Any) -> bool:
    return issuer is None or alg in issuer.algorithms


def _meet(value: object, wanted: tuple[str, ...]) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(one in wanted for one in values if isinstance(one, str))


def _short(value: object) -> str:
    import json  # noqa: PLC0415 - other verbs start faster

    from extauthz.telemetry.redact import plain, redact_tokens  # noqa: PLC0415 - the same

    return "nothing" if value is None else redact_tokens(plain(json.dumps(value)))


def _print(story: Mapping[str, Any]) -> None:
    if story["accepted"]:
        subject = story.get("subject")
        who = f" as {subject['type']} {subject['id']} of {subject['issuer']}" if subject else ""
        print(f"{story['route']}: the token layer accepts it{who}. What it may do is the policy's to say.")
    else:
        print(f"{story['route']}: refused ({story['status']}) at the step: {story['step']}")
        print(f"  {story['code']}: {story['message']}" + (f" ({story['detail']})" if story["detail"] else ""))
        print(f"  remedy: {story['remedy']}")
        if story["differences"]:
            rows = [(one["name"], one["token_says"], one["route_wants"]) for one in story["differences"]]
            print_table("where they do not meet (not verified)", ("what", "the token says", "the route wants"), rows)
    for note in story["notes"]:
        print(f"  note: {note}")

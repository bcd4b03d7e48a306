"""`extauthz token mint`: a token of one's own making, for development."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from extauthz.cli.token.reading import fail, file_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.keys.signer import PrivateKey

MAX_LIFETIME: Final = 86400
_JTI_BYTES: Final = 16
_DEFAULT: Final = Path("extauthz.yaml")


def run(
    issuer: Annotated[str, typer.Option(help="The `iss`.")],
    subject: Annotated[str, typer.Option(help="The `sub`.")],
    audience: Annotated[list[str], typer.Option(help="The `aud`; repeatable.")],
    key: Annotated[Path | None, typer.Option(help="PEM file with an unencrypted private key.")] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="A fresh P-256 key, gone after this token.")] = False,
    jwks: Annotated[Path | None, typer.Option(help="Write the public key here, as a JWKS.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="A scope; repeatable.")] = None,
    purpose: Annotated[str, typer.Option(help="The purpose.")] = "",
    claim: Annotated[list[str] | None, typer.Option(help="name=value, the value JSON or text; repeatable.")] = None,
    act: Annotated[list[str] | None, typer.Option(help="An actor, the current one first; repeatable.")] = None,
    bind: Annotated[Path | None, typer.Option(help="PEM certificate that the token is bound to (cnf).")] = None,
    typ: Annotated[str, typer.Option(help="The header's `typ`.")] = "at+jwt",
    lifetime: Annotated[int, typer.Option(help="Seconds.", min=-MAX_LIFETIME, max=MAX_LIFETIME)] = 300,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration that says where we are.")] = None,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Also outside of development environments.")] = False,
) -> None:
    """Sign a token with a local key, for development only: print it on stdout, and nothing else.

    Refused where the configuration (`extauthz.yaml` when it is there) is of another environment than dev, development,
    test, demo or local. A server takes the token only where an issuer's `jwks` lists the key (`--jwks`).
    """
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - other verbs start faster

    from extauthz.errors import ExtauthzError  # noqa: PLC0415 - the same
    from extauthz.keys.jws import JwsKey  # noqa: PLC0415 - the same

    _allowed(config, unsafe=unsafe)
    if (key is None) != new_key:
        fail("give one of --key and --new-key", 2)
    if new_key and jwks is None:
        fail("nobody could verify a token of a key that is gone: name a file with --jwks", 2)
    try:
        signer = JwsKey(_loaded(file_of(key)) if key is not None else ec.generate_private_key(ec.SECP256R1()))
        claims = _claims(issuer, subject, audience, lifetime)
        claims |= {"scope": " ".join(scope)} if scope else {}
        claims |= {"purpose": purpose} if purpose else {}
        claims |= {"act": chain} if (chain := _chain(act or [])) else {}
        claims |= {"cnf": {"x5t#S256": _thumbprint(file_of(bind))}} if bind else {}
        claims |= dict(map(_claim, claim or []))
        token = signer.sign(claims, typ=typ)
    except ExtauthzError as error:
        fail(str(error))
    if jwks is not None:
        try:
            jwks.write_text(json.dumps({"keys": [{**signer.jwk(), "use": "sig"}]}, indent=2) + "\n")
        except OSError as error:
            fail(f"{jwks} cannot be written: {error.strerror}", 2)
    print(
        "extauthz token: minted by hand, for development: no policy was asked, no record was written", file=sys.stderr
    )
    print(token)


def _allowed(file: Path | None, *, unsafe: bool) -> None:
    """Raises ConfigError for a configuration that is refused; ends the command in an environment that is not ours."""
    from extauthz.config import load  # noqa: PLC0415 - other verbs start faster
    from extauthz.config.checks.authority import DEVELOPMENT  # noqa: PLC0415 - the same

    if file is None and not _DEFAULT.exists():
        return
    environment = load(file or _DEFAULT).environment
    if environment and environment not in DEVELOPMENT and not unsafe:
        fail(f"this is the environment {environment}: tokens come from its authority (--unsafe if you mean it)", 2)


def _claims(issuer: str, subject: str, audience: Sequence[str], lifetime: int) -> dict[str, Any]:
    import secrets  # noqa: PLC0415 - other verbs start faster

    from extauthz.clock import SystemClock  # noqa: PLC0415 - the same

    now = int(SystemClock().now())
    return {
        "iss": issuer,
        "sub": subject,
        "aud": audience[0] if len(audience) == 1 else list(audience),
        "client_id": "development",
        "iat": min(now, now + lifetime),
        "exp": now + lifetime,
        "jti": secrets.token_urlsafe(_JTI_BYTES),
    }


def _chain(actors: Sequence[str]) -> dict[str, Any] | None:
    """RFC 8693 section 4.1: the outermost is the current actor."""
    inside: dict[str, Any] | None = None
    for actor in reversed(actors):
        inside = {"sub": actor} if inside is None else {"sub": actor, "act": inside}
    return inside


def _claim(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        fail("--claim takes name=value", 2)
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _loaded(pem: bytes) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - other verbs start faster
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - the same

    try:
        return load_pem_private_key(pem, None)  # type: ignore[return-value]  # JwsKey refuses other kinds
    except (ValueError, TypeError, UnsupportedAlgorithm):
        fail("the key file holds no unencrypted PEM private key", 2)


def _thumbprint(pem: bytes) -> str:
    """RFC 8705 section 3.1, of the first certificate."""
    import hashlib  # noqa: PLC0415 - other verbs start faster

    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - the same

    from extauthz.keys.jwk import base64url  # noqa: PLC0415 - the same
    from extauthz.workload_api.identity import parse_pem  # noqa: PLC0415 - the same

    return base64url(hashlib.sha256(parse_pem(pem)[0].public_bytes(Encoding.DER)).digest())

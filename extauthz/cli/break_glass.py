"""`extauthz break-glass`: issue a grant, look at one, make a key that may sign them. docs/break-glass.md says when.

A grant goes to stdout, alone; it is read from stdin or a file, never from the command line. What issues one needs only
the configuration and a key: it works while everything else is down.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from datetime import UTC, datetime
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError

from extauthz.cli.config import DEFAULT_FILE, AsJson
from extauthz.cli.tables import print_json, print_table
from extauthz.cli.token.reading import STDIN, Token, file_of, token_of
from extauthz.clock import SystemClock
from extauthz.errors import ExtauthzError
from extauthz.settings import Duration

if TYPE_CHECKING:
    from typing import NoReturn

    from extauthz.authn.break_glass_settings import BreakGlassSettings
    from extauthz.config import Config
    from extauthz.keys.jws import JwsKey

app = typer.Typer(no_args_is_help=True, help="Signed, time-boxed exceptions for named routes.")
Configuration = Annotated[Path, typer.Option("--config", "-c", help="The configuration with `break_glass`.")]
_ID_BYTES: Final = 16
_MODE: Final = 0o600
_SPIFFE: Final = "spiffe://"
_LINE: Final = 1024


def fail(text: str, code: int = 1) -> NoReturn:
    """In one line on stderr."""
    print(f"extauthz break-glass: {text}", file=sys.stderr)
    raise typer.Exit(code)


@app.command()
def issue(
    route: Annotated[list[str], typer.Option(help="A route that the grant opens; may be repeated.")],
    subject: Annotated[str, typer.Option(help="Who may use it: a token's `sub`, or a workload's SPIFFE ID.")],
    ticket: Annotated[str, typer.Option(help="The incident or change that this is for.")],
    key: Annotated[Path, typer.Option(help="PEM file with a private key whose public half is in `break_glass.keys`.")],
    config: Configuration = DEFAULT_FILE,
    life: Annotated[str, typer.Option("--for", help="How long it lives from now: 15m, 1h.")] = "30m",
    subject_issuer: Annotated[str, typer.Option(help="The subject's `iss`, where routes take several issuers.")] = "",
    reason: Annotated[str, typer.Option(help="Why; asked for when it is not given.")] = "",
    uses: Annotated[int, typer.Option(min=0, max=16, help="How often each server takes it; 0: until it ends.")] = 0,
) -> None:
    """Print a grant, for the named subject to send as `x-break-glass` beside its own credential."""
    from extauthz.authn.break_glass import TYP, grant_of  # noqa: PLC0415 - other verbs start faster

    loaded, settings = _loaded(config)
    for name in route:
        known = loaded.route(name)
        if known is None or not known.break_glass:
            fail(f"no route is called {name}" if known is None else f"the route {name} has no `break_glass: true`")
    lasts = _seconds(life)
    if lasts > settings.max_duration:
        fail(f"--for {life} is longer than break_glass.max_duration ({settings.max_duration:g} s)")
    signer = _signer(key, settings)
    now = int(SystemClock().now())
    claims: dict[str, Any] = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": subject,
        "routes": list(dict.fromkeys(route)),
        "ticket": ticket,
        "reason": reason or _asked("Reason"),
        "iat": now,
        "nbf": now,
        "exp": now + lasts,
        "jti": secrets.token_urlsafe(_ID_BYTES),
    }
    if not subject.startswith(_SPIFFE):
        claims["sub_iss"] = subject_issuer or _issuer(loaded, route)
    if uses:
        claims["uses"] = uses
    grant = grant_of(claims, signer.id)
    if isinstance(grant, str):
        fail(grant)
    ends = datetime.fromtimestamp(grant.expires, UTC).strftime("%H:%M:%S UTC")
    print(f"grant {grant.id} for {subject} on {', '.join(grant.routes)} until {ends}", file=sys.stderr)
    print(f"to take it back: extauthz authority revoke jti {grant.id}", file=sys.stderr)
    print(signer.sign(claims, typ=TYP))


@app.command()
def inspect(grant: Token = STDIN, config: Configuration = DEFAULT_FILE, as_json: AsJson = False) -> None:
    """Show what a grant says, and whether a server with this configuration would know its signature and its times.

    Exit code 0 when it would; 1 otherwise. Revocations are not asked.
    """
    from extauthz.authn import jose  # noqa: PLC0415 - other verbs start faster
    from extauthz.authn.break_glass import Grants, grant_of  # noqa: PLC0415 - the same
    from extauthz.authn.revocation import Revocations  # noqa: PLC0415 - the same
    from extauthz.authn.settings import RevocationSettings  # noqa: PLC0415 - the same
    from extauthz.model import Deny, Subject  # noqa: PLC0415 - the same

    _, settings = _loaded(config)
    text = token_of(grant)
    parsed = jose.parse(text)
    if isinstance(parsed, Deny):
        fail(f"not a grant: {parsed.message} {parsed.reasons[0].detail}".rstrip())
    made = grant_of(parsed.claims, parsed.header.kid or "")
    verdict: object = made
    if not isinstance(made, str):
        clock = SystemClock()
        who = Subject("user", made.subject, "jwt", issuer=made.subject_issuer)
        grants = Grants(settings, Revocations(RevocationSettings(), clock), clock)
        verdict = grants.verify(text, made.routes[0], who)
    good = not isinstance(verdict, str)
    says = "a server with this configuration takes it" if good else f"refused: {verdict}"
    if as_json:
        print_json({"ok": good, "says": says, "kid": parsed.header.kid, "claims": parsed.claims})
    else:
        print(says)
        members = {"kid": parsed.header.kid, **parsed.claims}
        print_table("the grant", ("name", "value"), [(name, json.dumps(value)) for name, value in members.items()])
    raise typer.Exit(0 if good else 1)


@app.command()
def keygen(
    out: Annotated[Path, typer.Argument(help="Where the private key goes: a new file, for its holder alone.")],
    kid: Annotated[str, typer.Option(help="The key's name, for example its holder's; it is in every record.")],
    unencrypted: Annotated[bool, typer.Option(help="No passphrase: for tests, or a disk that is one.")] = False,
) -> None:
    """Make a key that may sign grants; print its public half as a JWKS for `break_glass.keys`."""
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - other verbs start faster
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - the same
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    from extauthz.authn.break_glass import is_text  # noqa: PLC0415 - the same
    from extauthz.keys.jws import JwsKey  # noqa: PLC0415 - the same

    if not is_text(kid):
        fail("--kid is one line of at most 256 characters", 2)
    encryption: BestAvailableEncryption | NoEncryption = NoEncryption()
    if not unencrypted:
        passphrase = _asked("Passphrase", hidden=True)
        if not passphrase or passphrase != _asked("The same again", hidden=True):
            fail("the passphrase is empty, or not the same twice", 2)
        encryption = BestAvailableEncryption(passphrase.encode())
    made = ec.generate_private_key(ec.SECP256R1())
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    try:
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE), "wb") as file:
            file.write(pem)
    except OSError as error:
        fail(f"{out} cannot be made: {error.strerror}", 2)
    print_json({"keys": [{**JwsKey(made).jwk(), "kid": kid, "use": "sig"}]})


def _asked(what: str, *, hidden: bool = False) -> str:
    """One line, asked for on stderr: stdout is for the grant alone. Without a terminal it is the next line of stdin."""
    if hidden and sys.stdin.isatty():
        return getpass(f"{what}: ", stream=sys.stderr)
    print(f"{what}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline(_LINE).strip()


def _loaded(file: Path) -> tuple[Config, BreakGlassSettings]:
    """Raises ConfigError."""
    from extauthz.config import load  # noqa: PLC0415 - other verbs start faster

    config = load(file)
    if config.break_glass is None:
        fail(f"{file} has no `break_glass` section")
    return config, config.break_glass


def _seconds(text: str) -> int:
    try:
        found: float = TypeAdapter(Duration).validate_python(text)
    except ValidationError:
        fail("--for takes a duration with its unit: 15m, 1h", 2)
    if found < 1:
        fail("--for is at least one second", 2)
    return int(found)


def _signer(file: Path, settings: BreakGlassSettings) -> JwsKey:
    """The key under the name that `break_glass.keys` gives it. Raises ConfigError."""
    from extauthz.authn.break_glass import ALGORITHMS, read_keys  # noqa: PLC0415 - other verbs start faster
    from extauthz.authn.jwk import Key, parse  # noqa: PLC0415 - the same
    from extauthz.keys.jws import JwsKey  # noqa: PLC0415 - the same

    try:
        signer = JwsKey(_private_key(file_of(file)))
    except ExtauthzError as error:
        fail(str(error))
    own = parse(signer.jwk(), ALGORITHMS)
    for listed in read_keys(file_of(settings.keys), settings.keys).keys:
        if isinstance(own, Key) and listed.material == own.material and listed.kid is not None:
            signer.id = listed.kid
            return signer
    fail(f"{settings.keys} does not list this key: no server would take its grants")


def _private_key(pem: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - other verbs start faster
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - the same

    passphrase = None
    if b"ENCRYPTED" in pem:
        passphrase = _asked("Passphrase", hidden=True).encode()
    try:
        return load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        fail("the key file holds no PEM private key, or the passphrase is wrong", 2)


def _issuer(config: Config, names: list[str]) -> str:
    """The one issuer whose tokens all these routes take."""
    found = set()
    for name in names:
        route = config.route(name)
        rule = None if route is None else route.token
        found |= {one.issuer for one in config.issuers if rule is not None and one.name in rule.issuers}
    if len(found) != 1:
        fail("these routes take tokens of several issuers, or of none: name the subject's with --subject-issuer", 2)
    return found.pop()

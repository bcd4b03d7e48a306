"""A request as people have it at hand: a curl command, or a line of Envoy's access log."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from extauthz.cli.policy.output import refuse

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
_WITH_VALUE: Final = {
    "-X": "method", "--request": "method",
    "-H": "header", "--header": "header",
    "-d": "data", "--data": "data", "--data-raw": "data", "--data-binary": "data", "--data-ascii": "data",
    "--json": "json", "--url": "url", "-A": "agent", "--user-agent": "agent",
    "-o": "", "--output": "", "-m": "", "--max-time": "", "--connect-timeout": "", "--cacert": "", "--cert": "",
    "-E": "", "--key": "", "--resolve": "", "-w": "", "--write-out": "", "--retry": "", "--unix-socket": "",
}  # fmt: skip
"""curl's options that take a value; an empty name: it does not change what Envoy sees."""
_ALONE: Final = re.compile(
    r"-[ksSvifLNg]+|--(insecure|silent|show-error|verbose|include|location|fail|fail-with-body|http1\.1|http2"
    r"|compressed|globoff|no-buffer)"
)
"""curl's options that stand alone and do not change what Envoy sees."""
_DEFAULT_LOG: Final = re.compile(
    r'\[[^\]]*\]\s+"(?P<method>[A-Z]+)\s+(?P<path>\S+)\s+(?P<protocol>[^"]+)"\s+(?P<rest>.*)'
)
_QUOTED: Final = re.compile(r'"([^"]*)"')
_LOG_KEYS: Final = {
    "method": ("method", ":method", "request_method", "req_method"),
    "path": ("path", ":path", "request_path", "x-envoy-original-path"),
    "host": ("authority", ":authority", "host", "request_authority"),
    "protocol": ("protocol",),
    "id": ("request_id", "x-request-id"),
}


@dataclass(slots=True)
class Asked:
    """One HTTP request. `path` has its query; header names are lower-case."""

    method: str
    host: str
    path: str
    scheme: str = "https"
    protocol: str = "HTTP/2"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    id: str = ""


def from_curl(text: str) -> Asked:
    """Reads a command as a shell would. What cannot be understood ends the command: nothing is guessed."""
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=False)
    except ValueError as error:
        refuse(f"the curl command: {error}")
    if words[:1] == ["curl"]:
        words = words[1:]
    found: dict[str, list[str]] = {}
    waiting = iter(words)
    for word in waiting:
        option, _, glued = word.partition("=") if word.startswith("--") else (word, "", "")
        if _ALONE.fullmatch(word):
            continue
        if option in _WITH_VALUE:
            value = glued or next(waiting, None)
            if value is None:
                refuse(f"the curl command: {option} needs a value")
            found.setdefault(_WITH_VALUE[option], []).append(value)
        elif word[:2] in ("-X", "-H", "-d") and len(word) > 2:  # noqa: PLR2004 - -XPOST
            found.setdefault(_WITH_VALUE[word[:2]], []).append(word[2:])
        elif word.startswith("-"):
            refuse(f"the curl command: {word} is not understood; leave it out when it does not change the request")
        else:
            found.setdefault("url", []).append(word)
    return _request(found)


def _request(found: dict[str, list[str]]) -> Asked:
    urls = found.get("url", [])
    if len(urls) != 1:
        refuse("the curl command: exactly one URL is expected")
    url = urlsplit(urls[0] if "://" in urls[0] else f"http://{urls[0]}")
    headers: dict[str, str] = {}
    for header in found.get("header", []):
        name, _, value = header.partition(":")
        headers[name.strip().lower()] = value.strip()
    if "agent" in found:
        headers["user-agent"] = found["agent"][-1]
    data, as_json = found.get("data", []), found.get("json", [])
    if any(text.startswith("@") for text in (*data, *as_json)):
        refuse("the curl command: the body stands in a file; put it into the command")
    body = "&".join(data) if data else "".join(as_json)
    if body:
        headers.setdefault("content-type", JSON if as_json else FORM)
        headers.setdefault("content-length", str(len(body.encode())))
    method = found["method"][-1] if "method" in found else ("POST" if data or as_json else "GET")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return Asked(method.upper(), headers.pop("host", url.netloc), path, url.scheme, "HTTP/1.1", headers, body.encode())


def from_access_log(line: str) -> Asked:
    """A line of Envoy's default format, or a JSON object with the usual names. A log has no body and no token."""
    line = line.strip()
    if line.startswith("{"):
        return _from_json(line)
    match = _DEFAULT_LOG.match(line)
    if match is None:
        refuse("this is neither Envoy's default access log format nor a JSON object")
    quoted = _QUOTED.findall(match["rest"])
    # after the numbers: x-forwarded-for, user-agent, x-request-id, authority, upstream
    names = ("x-forwarded-for", "user-agent", "x-request-id", "authority")
    values = {name: value for name, value in zip(names, quoted[-5:], strict=False) if value != "-"}
    headers = {name: value for name, value in values.items() if name != "authority"}
    request_id = values.get("x-request-id", "")
    host = values.get("authority", "")
    return Asked(match["method"], host, match["path"], "https", match["protocol"].strip(), headers, id=request_id)


def _from_json(line: str) -> Asked:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        refuse("the access log line is not JSON")
    flat = {str(key).lower(): value for key, value in entry.items() if isinstance(value, str)}
    known = {
        name: next((flat[key] for key in keys if flat.get(key, "-") != "-"), "") for name, keys in _LOG_KEYS.items()
    }
    if not known["method"] or not known["path"]:
        refuse("the access log line has no method or no path; known names: method, path, authority, request_id")
    headers = {name: flat[name] for name in ("user-agent", "x-forwarded-for") if flat.get(name, "-") != "-"}
    protocol = known["protocol"] or "HTTP/2"
    return Asked(known["method"], known["host"], known["path"], "https", protocol, headers, id=known["id"])

"""How a command asks a running gateway, and what it says when that fails."""

import json
import os
import ssl
from collections.abc import Mapping
from http.client import BadStatusLine, HTTPException
from time import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import Request, urlopen

import rich_click as click

ASK_SECONDS = 30.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def ask(
    url: str,
    key: str | None,
    method: str,
    path: str,
    query: Mapping[str, object],
    body: object,
) -> Any:
    """The JSON that the gateway at `url` answers; None where it answers nothing.

    Without a key, a gateway on this machine is asked with ``LLM_GATEWAY_ADMIN_KEY``. The
    request is signed where ``LLM_GATEWAY_SIGNING_SECRET`` is set.

    Raises:
        click.ClickException: it cannot be reached, or it refuses; the text says why and what to do.
    """
    given = {name: value for name, value in query.items() if value not in (None, "", False)}
    address = url.rstrip("/") + path + (f"?{urlencode(given)}" if given else "")
    if urlsplit(address).scheme not in ("http", "https"):
        raise click.BadParameter("the URL must begin with http:// or https://", param_hint="--url")
    headers = {"accept": "application/json"}
    if key is None and urlsplit(address).hostname in _LOOPBACK:
        key = os.environ.get("LLM_GATEWAY_ADMIN_KEY")
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    data = None
    if body is not None:
        headers["content-type"] = "application/json"
        data = json.dumps(body).encode()
    headers |= _signature(method, address, data or b"")
    try:
        with urlopen(Request(address, data, headers, method=method), timeout=ASK_SECONDS) as answer:
            text = answer.read()
    except HTTPError as error:
        raise click.ClickException(_refused(error)) from error
    except (URLError, OSError, HTTPException) as error:
        raise click.ClickException(_unreached(url, getattr(error, "reason", error))) from error
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        raise click.ClickException(f"{url} is no gateway: its answer is no JSON.") from error


def _signature(method: str, address: str, body: bytes) -> dict[str, str]:
    """The header that signs the request, where a secret is given for it."""
    secret = os.environ.get("LLM_GATEWAY_SIGNING_SECRET")
    if not secret:
        return {}
    from llm_gateway_api.signing import SIGNING_HEADER, signature_header

    parts = urlsplit(address)
    key = os.environ.get("LLM_GATEWAY_SIGNING_KEY_ID", "")
    path = unquote(parts.path)
    value = signature_header(secret.encode(), method, path, parts.query, body, int(time()), key=key)
    return {SIGNING_HEADER: value}


def _unreached(url: str, reason: object) -> str:
    """Why nobody answered at `url`, and what to do where that can be told."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {url} is not trusted here: name the one of its authority with "
            f"SSL_CERT_FILE. ({reason})"
        )
    if isinstance(reason, ssl.SSLError):
        return (
            f"There is no TLS at {url}: write http:// where the gateway has no `server.tls`, or "
            f"name another port. ({reason})"
        )
    if isinstance(reason, ConnectionResetError | BadStatusLine) and url.startswith("http:"):
        return (
            f"{url} ended the connection without an answer in HTTP: write https:// where the "
            f"gateway has `server.tls`, or name another port. ({reason})"
        )
    return f"{url} cannot be reached: {reason}"


def _refused(error: HTTPError) -> str:
    try:
        message = json.loads(error.read())["error"]["message"]
    except (ValueError, KeyError, TypeError, OSError):
        message = error.reason
    hint = ""
    if error.code in (401, 403):
        hint = (
            " Give the admin key (LLM_GATEWAY_ADMIN_KEY of the gateway) with -k or"
            " LLM_GATEWAY_API_KEY."
        )
    if error.code == 404 and "no such route" in str(message):
        hint = " Is the plugin that brings this installed in the gateway, and its admin key set?"
    return f"{error.code}: {message}{hint}"

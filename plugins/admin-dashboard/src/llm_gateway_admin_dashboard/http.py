"""What pages send and what forms bring: headers, cookies, fields."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

import llm_gateway_api as gw

ROOT = "/dashboard"
HTML = "text/html; charset=utf-8"
# Everything comes from the gateway itself, and nothing is written into a page as a script or a
# style. `same-origin` tells the gateway where a form comes from, and nobody else anything.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
GUARDED: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
MOST_FIELDS = 200
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def page(status: int, text: str, headers: Mapping[str, str] | None = None) -> gw.EndpointResponse:
    return gw.EndpointResponse(status, text.encode(), HTML, {**GUARDED, **(headers or {})})


def redirect(path: str, headers: Mapping[str, str] | None = None) -> gw.EndpointResponse:
    """On to `path` below the root, by GET."""
    given = {**GUARDED, **(headers or {}), "location": f"{ROOT}/{path}"}
    return gw.EndpointResponse(303, b"", HTML, given)


def link(path: str, **query: object) -> str:
    """The address of a page; what is None or empty is left out."""
    asked = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{ROOT}/{path}" + (f"?{urlencode(asked)}" if asked else "")


def cookie(headers: Mapping[str, str], name: str) -> str:
    """The value of a cookie, empty if there is none."""
    for each in headers.get("cookie", "").split(";"):
        found, _, value = each.strip().partition("=")
        if found == name:
            return value
    return ""


def set_cookie(name: str, value: str, seconds: int, *, secure: bool) -> str:
    """For this site's pages and no script; gone with the browser or after `seconds`."""
    text = f"{name}={value}; Path={ROOT}; HttpOnly; SameSite=Strict; Max-Age={seconds}"
    return f"{text}; Secure" if secure else text


def on_loopback(headers: Mapping[str, str]) -> bool:
    """Whether the browser asked for this machine, where a Secure cookie is not needed."""
    host = headers.get("host", "").lower()
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name in _LOOPBACK or name.endswith(".localhost")


def own_site(headers: Mapping[str, str]) -> bool:
    """Whether a form was sent from a page of this site, as far as the browser says."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


class Form:
    """The fields of a form, without their outer blanks."""

    def __init__(self, body: bytes) -> None:
        """Raises `MalformedBodyError` for what no browser would send."""
        try:
            pairs = parse_qsl(
                body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS
            )
        except ValueError as error:
            raise gw.MalformedBodyError("The form could not be read.") from error
        self.fields = {name: value.strip() for name, value in pairs}

    def text(self, name: str) -> str:
        return self.fields.get(name, "")

    def optional(self, name: str) -> str | None:
        return self.text(name) or None

    def names(self, name: str) -> list[str] | None:
        """A list separated by commas or lines; None where the field is empty."""
        found = [each.strip() for each in self.text(name).replace("\n", ",").split(",")]
        return [each for each in found if each] or None

    def whole(self, name: str) -> int | None:
        """Raises `MalformedBodyError` naming the field."""
        text = self.text(name)
        if not text:
            return None
        if not text.isascii() or not text.isdecimal():
            raise gw.MalformedBodyError("Write a whole number, or nothing.", param=name)
        return int(text[:18])

"""Declares the filters of headers: hosts and hygiene on the way in, security on the way out.

Credentials are stripped in a filter of their own, after whoever reads them.
"""

from collections.abc import Mapping

import llm_gateway_api as gw
from msgspec import structs
from pydantic import Field, field_validator

from llm_gateway_filter_headers.hosts import Hosts, entry
from llm_gateway_filter_headers.names import (
    ADDRESSES,
    CREDENTIALS,
    HOP_BY_HOP,
    SECURITY,
    TELLING,
)

PATH = "security.headers"
YEAR = 31_536_000
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class HeaderSettings(gw.Section):
    """``security.headers``"""

    remove_sensitive: bool = Field(
        default=True, description="strip credentials, cookies, addresses and telling headers"
    )
    add_security_headers: bool = Field(
        default=True, description="HSTS, CSP and the usual set on every answer"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="names the gateway answers to (api.x, *.x, host:port); empty: all"
    )
    exempt_paths: tuple[str, ...] = Field(
        default=("/health/live", "/health/ready"),
        description="paths that may be asked under any name (an orchestrator's probes)",
    )
    sensitive: tuple[str, ...] = Field(
        default=(), description="further headers to strip, both ways"
    )
    hsts_seconds: int = Field(
        default=YEAR, ge=0, description="seconds browsers insist on TLS; 0 sends no HSTS"
    )
    content_security_policy: str = Field(
        default=NOTHING, pattern=r"^[\x20-\x7e]*$", description="CSP of answers that bring none"
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(entry, given))


class HeaderFilter:
    """CONNECTION: hosts, and what belongs to one connection. Lays headers around answers."""

    def __init__(self, settings: HeaderSettings) -> None:
        self._settings = settings
        self._hosts = Hosts(settings.allowed_hosts) if settings.allowed_hosts else None
        self._open = frozenset(settings.exempt_paths)

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        assert isinstance(seen, gw.Arrival)
        headers = seen.headers
        if self._hosts is not None and seen.path not in self._open:
            hosts = gw.every(headers, "host")
            if len(hosts) != 1 or not self._hosts.allows(hosts[0]):
                return _MISDIRECTED
        if "connection" in headers:
            named = {
                each.strip().lower()
                for value in gw.every(headers, "connection")
                for each in value.split(",")
            }
            if not named <= _PLAIN:
                return structs.replace(seen, headers=without(headers, HOP_BY_HOP | named))
        return seen

    def answer_headers(self) -> gw.AnswerHeaders:
        settings = self._settings
        added = dict(SECURITY) if settings.add_security_headers else {}
        if added and settings.hsts_seconds:
            added["strict-transport-security"] = (
                f"max-age={settings.hsts_seconds}; includeSubDomains"
            )
        if added and settings.content_security_policy:
            added["content-security-policy"] = settings.content_security_policy
        removed = HOP_BY_HOP | {"content-length"}
        if settings.remove_sensitive:
            removed |= TELLING | _lower(settings.sensitive)
        return gw.AnswerHeaders(added, removed)


class CredentialFilter:
    """IDENTITY, the last: what said who calls from where is not there for what follows."""

    def __init__(self, strip: frozenset[str]) -> None:
        self._strip = strip

    async def inspect(self, seen: gw.Seen) -> gw.Seen:
        assert isinstance(seen, gw.Arrival)
        return structs.replace(seen, headers=without(seen.headers, self._strip))


_: type[gw.SecurityFilter] = HeaderFilter
__: type[gw.SupportsAnswerHeaders] = HeaderFilter
___: type[gw.SecurityFilter] = CredentialFilter

_PLAIN = frozenset({"keep-alive", "close", ""})
_MISDIRECTED = gw.Refusal(
    400,
    "host_not_allowed",
    "The gateway does not answer to this name (security.headers.allowed_hosts).",
    "host",
)


def without(headers: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    """Of a repeated header the first value stays, as everywhere."""
    kept: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower not in names:
            kept.setdefault(lower, value)
    return kept


def stripper(settings: HeaderSettings) -> CredentialFilter | None:
    if not settings.remove_sensitive:
        return None
    return CredentialFilter(CREDENTIALS | ADDRESSES | HOP_BY_HOP | _lower(settings.sensitive))


def _lower(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(each.lower() for each in names)


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, HeaderSettings)]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    return [
        gw.SecurityFilterSpec(
            "headers", "connection", HeaderFilter, settings=PATH, after=("client_address", "ip")
        ),
        gw.SecurityFilterSpec(
            "strip_credentials", "identity", stripper, settings=PATH, after=("*",)
        ),
    ]

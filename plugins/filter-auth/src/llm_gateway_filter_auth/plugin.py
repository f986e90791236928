"""Declares the filter that tells who calls, by API key.

That no key may be demanded on a loopback address only is the kernel's rule, not this one's.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import llm_gateway_api as gw
from msgspec import structs
from pydantic import Field, SecretStr

from llm_gateway_filter_auth.generated import generated_key
from llm_gateway_filter_auth.keys import KeyRing, checked, checked_admin, key_ring

API_KEYS = "LLM_GATEWAY_API_KEYS"
ADMIN_KEY = "LLM_GATEWAY_ADMIN_KEY"
_HOW = "send 'Authorization: Bearer KEY' or 'x-api-key: KEY'"


class AuthSettings(gw.Section):
    """Settings under ``security.auth``."""

    enabled: bool = Field(default=True, description="false asks nobody for a key (loopback only)")
    api_keys: tuple[SecretStr, ...] = Field(
        default=(), description="keys accepted beside those of LLM_GATEWAY_API_KEYS"
    )
    admin_key: SecretStr | None = Field(
        default=None, description="key for /admin/v1, 16 characters or more; none: no admin"
    )


class AuthFilter:
    """Puts the caller into the arrival, or refuses with 401.

    Where no key is configured, it knows nobody until `open` has taken one from `data_dir`.
    """

    def __init__(self, ring: KeyRing, data_dir: Path | None = None) -> None:
        self._find = ring.find
        self._data_dir = data_dir
        self._missing = _refusal(f"No API key was sent; {_HOW}.")
        self._unknown = _refusal(f"The API key is not known here; check it, and {_HOW}.")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Raises `ConfigurationError` where a key has to be made and cannot be kept."""
        if self._data_dir is not None:
            self._find = key_ring([generated_key(self._data_dir)], None).find
        yield

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        if not isinstance(seen, gw.Arrival):
            raise TypeError("the auth filter belongs to the stage identity")
        keys = _presented(seen.headers)
        for key in keys:
            principal = self._find(key)
            if principal is not None:
                return structs.replace(seen, principal=principal)
        return self._unknown if keys else self._missing


_: type[gw.SecurityFilter] = AuthFilter
__: type[gw.Service] = AuthFilter


def make(settings: AuthSettings, *, data_dir: Path) -> AuthFilter | None:
    """Return the filter, or None where authentication is off."""
    if not settings.enabled:
        return None
    users = _users(settings)
    admin = _admin(settings)
    nobody = not users and admin is None
    return AuthFilter(key_ring(users, admin), data_dir if nobody else None)


def _users(settings: AuthSettings) -> list[str]:
    users = [
        checked(key.get_secret_value(), f"security.auth.api_keys[{index}]")
        for index, key in enumerate(settings.api_keys)
    ]
    listed = os.environ.get(API_KEYS, "").split(",")
    users += [checked(key, API_KEYS) for key in listed if key.strip()]
    return users


def _admin(settings: AuthSettings) -> str | None:
    """The variable wins over the file; an empty one is none (``${NAME:-}``)."""
    if key := os.environ.get(ADMIN_KEY, ""):
        return checked_admin(key, ADMIN_KEY)
    if settings.admin_key is None or not settings.admin_key.get_secret_value():
        return None
    return checked_admin(settings.admin_key.get_secret_value(), "security.auth.admin_key")


def _presented(headers: Mapping[str, str]) -> list[str]:
    """The keys sent: a bearer token first, for some clients send two that differ."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (bearer, headers.get("x-api-key", "").strip()) if key]


def _refusal(message: str) -> gw.Refusal:
    return gw.Refusal(401, "invalid_api_key", message, headers={"www-authenticate": "Bearer"})


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec("security.auth", AuthSettings)]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    return [
        gw.SecurityFilterSpec(
            name="auth",
            stage="identity",
            make=make,
            settings="security.auth",
            needs=("data_dir",),
        )
    ]

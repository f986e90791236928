"""Declares the filter that tells who calls, by API key.

That no key may be demanded on a loopback address only is the kernel's rule, not this one's.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import llm_gateway_api as gw
from msgspec import structs
from pydantic import Field, SecretStr

from llm_gateway_filter_auth.generated import FILE, generated_key
from llm_gateway_filter_auth.keys import KeyRing, checked, checked_admin, key_ring

API_KEYS = "LLM_GATEWAY_API_KEYS"
ADMIN_KEY = "LLM_GATEWAY_ADMIN_KEY"
# A shorter key may be guessed: while its address is limited it does not work either.
GUESSABLE = 16
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
    failed_logins_per_minute: int | None = Field(
        default=20, ge=1, description="unknown keys from one address, then 429; null: any number"
    )


class AuthFilter:
    """Puts the caller into the arrival, or refuses with 401, and with 429 an address that has
    sent too many unknown keys. Whom a filter before it knows passes.

    Where no key is configured, it knows nobody until `open` has taken one from `data_dir`,
    which it does unless the store has keys.
    """

    def __init__(
        self,
        ring: KeyRing,
        data_dir: Path | None = None,
        store: gw.Store | None = None,
        failed: gw.FailedLogins | None = None,
        failed_per_minute: int | None = None,
        short: Sequence[str] = (),
    ) -> None:
        self._find = ring.find
        self._failed = gw.FailedLogins() if failed is None else failed
        self._per_minute = failed_per_minute
        self._data_dir = data_dir
        self._store = store
        self._short = short
        self._missing = _refusal(f"No API key was sent; {_HOW}.")
        self._unknown = _refusal(f"The API key is not known here; check it, and {_HOW}.")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Raises `ConfigurationError` where a key has to be made and cannot be kept."""
        if self._data_dir is not None and await _nobody_stored(self._store, self._data_dir):
            self._find = key_ring([generated_key(self._data_dir)], None).find
        yield

    def warnings(self, targets: gw.Targets) -> list[str]:
        return [
            f"{where} has a key of fewer than {GUESSABLE} characters, which may be guessed;"
            " make one with: openssl rand -hex 24"
            for where in self._short
        ]

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        if not isinstance(seen, gw.Arrival):
            raise TypeError("the auth filter belongs to the stage identity")
        if seen.principal.key_id is not None:
            return seen
        keys = gw.presented_keys(seen.headers)
        for key in keys:
            principal = self._find(key)
            if principal is not None:
                if len(key) < GUESSABLE and (limited := self._failed.refusal(seen.peer)):
                    return limited
                return structs.replace(seen, principal=principal)
        if not keys:
            return self._missing
        if limited := self._failed.refusal(seen.peer):
            return limited
        if self._per_minute is not None:
            self._failed.count(seen.peer, self._per_minute)
        return self._unknown


_: type[gw.SecurityFilter] = AuthFilter
__: type[gw.Service] = AuthFilter
___: type[gw.SupportsWarnings] = AuthFilter


def make(
    settings: AuthSettings,
    *,
    data_dir: Path,
    store: gw.Store | None,
    failed_logins: gw.FailedLogins,
) -> AuthFilter | None:
    """Return the filter, or None where authentication is off."""
    if not settings.enabled:
        return None
    users = _users(settings)
    admin = _admin(settings)
    nobody = not users and admin is None
    return AuthFilter(
        key_ring([key for key, _ in users], admin),
        data_dir if nobody else None,
        store,
        failed_logins,
        settings.failed_logins_per_minute,
        tuple(dict.fromkeys(where for key, where in users if len(key) < GUESSABLE)),
    )


def _users(settings: AuthSettings) -> list[tuple[str, str]]:
    """Each key, and where it stands."""
    given = [
        (key.get_secret_value(), f"security.auth.api_keys[{index}]")
        for index, key in enumerate(settings.api_keys)
    ]
    listed = os.environ.get(API_KEYS, "").split(",")
    given += [(key, API_KEYS) for key in listed if key.strip()]
    return [(checked(key, where), where) for key, where in given]


def _admin(settings: AuthSettings) -> str | None:
    """The variable wins over the file; an empty one is none (``${NAME:-}``)."""
    if key := os.environ.get(ADMIN_KEY, ""):
        return checked_admin(key, ADMIN_KEY)
    if settings.admin_key is None or not settings.admin_key.get_secret_value():
        return None
    return checked_admin(settings.admin_key.get_secret_value(), "security.auth.admin_key")


async def _nobody_stored(store: gw.Store | None, data_dir: Path) -> bool:
    """Whether the store has no key either. While it cannot be asked, what an earlier start
    found out holds: a key was generated then, or none is now."""
    if store is None:
        return True
    try:
        return not await store.fetch("SELECT 1 AS one FROM api_keys LIMIT 1")
    except gw.StoreError:
        if await store.healthy():  # no such table: nobody keeps keys there
            return True
        return (data_dir / FILE).exists()


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
            authenticates=True,
            make=make,
            settings="security.auth",
            needs=("data_dir", "store", "failed_logins"),
        )
    ]

"""Declares the filter that demands signatures, and refuses each the second time."""

import hashlib
import logging
from collections.abc import Callable
from time import time

import llm_gateway_api as gw
from llm_gateway_api.signing import signature_digest, signed_text

from llm_gateway_filter_signing.settings import SigningSettings
from llm_gateway_filter_signing.signature import (
    Signature,
    parsed,
    same,
)

log = logging.getLogger("llm_gateway_filter_signing")
PATH = "security.request_signing"
CODE = "invalid_signature"


class SigningFilter:
    """Meets `SecurityFilter` (ADMISSION) and `SupportsEndpoints`.

    A nonce is claimed in shared state once its signature is right, so that nobody without a
    secret fills that state. Where it cannot be reached, the request is refused with 503.
    """

    def __init__(
        self,
        settings: SigningSettings,
        state: gw.StateBackend,
        metrics: gw.Metrics,
        now: Callable[[], float] = time,
    ) -> None:
        self._settings = settings
        self._header = settings.header_name.lower()
        self._secrets = {
            name: secret.get_secret_value().encode() for name, secret in settings.secrets.items()
        }
        self._state = state
        self._now = now
        self._counted = metrics.counter(
            "gateway_request_signing_total", "signatures checked", ("result",)
        ).value

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        assert isinstance(seen, gw.Admission)
        return await self._check(seen.arrival, seen.head.body) or seen

    async def inspect_endpoint(self, arrival: gw.Arrival, body: bytes) -> gw.Refusal | None:
        return await self._check(arrival, body) if self._settings.endpoints else None

    async def _check(self, arrival: gw.Arrival, body: bytes) -> gw.Refusal | None:
        name = self._settings.header_name
        values = gw.every(arrival.headers, self._header)
        if not values:
            return self._no("missing", f"Requests are signed here: the header {name} is missing.")
        signature = parsed(values[0]) if len(values) == 1 else None
        if signature is None:
            return self._no("malformed", f"{name} must be 't=SECONDS,n=NONCE,k=KEY_ID,s=HEX'.")
        skew = self._settings.max_skew_seconds
        off = self._now() - signature.at
        if abs(off) > skew:
            when = "past" if off > 0 else "future"
            return self._no(
                "skewed",
                f"The signature's time is {abs(off):.0f} s in the {when}, more than {skew:.0f} s: "
                "set the clock, and sign each attempt anew.",
                "signature_expired",
            )
        used = self._signer(signature, arrival, body)
        if used is None:
            return self._no(
                "wrong",
                "The signature is not that of this request: check secret, key id, and that "
                "method, path, query and body are signed as they are sent.",
            )
        return await self._first(used, signature.nonce, 2 * skew + 1)

    def _signer(self, signature: Signature, arrival: gw.Arrival, body: bytes) -> str | None:
        """The id of the secret that made `signature`."""
        text = signed_text(
            arrival.method,
            arrival.path,
            arrival.query,
            signature.at,
            signature.nonce,
            signature.key,
            body,
        )
        named = (signature.key,) if signature.key else tuple(self._secrets)
        for name in named:
            secret = self._secrets.get(name)
            if secret is not None and same(signature_digest(secret, text), signature.digest):
                return name
        return None

    async def _first(self, name: str, nonce: str, seconds: float) -> gw.Refusal | None:
        key = hashlib.sha256(f"{name}\n{nonce}".encode()).hexdigest()[:32]
        try:
            claimed = await self._state.claim(f"signing:{key}", seconds)
        except Exception as error:
            log.warning("signing.state_lost error=%s", type(error).__name__)
            self._counted("unavailable").inc()
            return gw.Refusal(
                503,
                "signing_unavailable",
                "It cannot be told now whether this signature was used before; try again.",
                retry_after=1.0,
            )
        if not claimed:
            return self._no(
                "replayed",
                "This signature was used before: sign each attempt anew, with a new nonce.",
                "request_replayed",
            )
        self._counted("ok").inc()
        return None

    def _no(self, result: str, message: str, code: str = CODE) -> gw.Refusal:
        self._counted(result).inc()
        return gw.Refusal(401, code, message, self._settings.header_name)


_: type[gw.SecurityFilter] = SigningFilter
__: type[gw.SupportsEndpoints] = SigningFilter


def make(
    settings: SigningSettings, *, state: gw.StateBackend | None, metrics: gw.Metrics
) -> SigningFilter:
    """Raises `ConfigurationError` where nothing can remember what was used."""
    if state is None:
        raise gw.ConfigurationError(
            f"{PATH} remembers nonces in shared state: pip install llm-gateway-state-host."
        )
    return SigningFilter(settings, state, metrics)


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, SigningSettings)]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    return [
        gw.SecurityFilterSpec(
            "signing",
            "admission",
            make,
            settings=PATH,
            before=("validation",),
            needs=("state", "metrics"),
        )
    ]

"""What the admin surface takes and answers. What a gateway does not tell is None or empty."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec


class _Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of the values below: immutable, compared by content, made by name."""


class Group(_Value, frozen=True, kw_only=True):
    """What a row of a report is of: the groupings that were asked for. Times are the
    beginning of the hour or day."""

    provider: str | None = None
    model: str | None = None
    tenant: str | None = None
    key: str | None = None
    hour: datetime | None = None
    day: datetime | None = None


class Meters(Group, frozen=True, kw_only=True):
    """Tokens by kind, which a report gives on demand."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None


class CostRow(Meters, frozen=True, kw_only=True):
    """USD, exact. `unpriced` counts answers whose cost is not known."""

    requests: int
    cost_usd: Decimal
    saved_usd: Decimal
    unpriced: int


class TokenRow(Meters, frozen=True, kw_only=True):
    """`estimated` counts requests whose tokens the provider did not tell."""

    requests: int
    input: int
    output: int
    total: int
    estimated: int | None = None


class LatencyRow(Group, frozen=True, kw_only=True):
    """Milliseconds of answered requests; `ttft_…` until the first content of a stream."""

    requests: int
    mean_ms: int
    p50_ms: int
    p75_ms: int
    p90_ms: int
    p95_ms: int
    p99_ms: int
    ttft_mean_ms: int | None = None
    ttft_p50_ms: int | None = None
    ttft_p75_ms: int | None = None
    ttft_p90_ms: int | None = None
    ttft_p95_ms: int | None = None
    ttft_p99_ms: int | None = None


class AuditRecord(_Value, frozen=True, kw_only=True):
    """`at` in Unix milliseconds; `hash` covers the record and `prev`, the hash before it."""

    at: int
    kind: str
    outcome: str
    actor: str | None = None
    tenant: str | None = None
    subject: str | None = None
    request_id: str | None = None
    peer: str | None = None
    detail: dict[str, Any] = {}
    chain: str = ""
    seq: int = 0
    prev: str = ""
    hash: str = ""


class Limits(_Value, frozen=True, kw_only=True):
    """None is unlimited, 0 blocks."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    burst_size: int | None = None


class _Rights(_Value, frozen=True, kw_only=True):
    """A list that is None means all, an empty one means none."""

    name: str = ""
    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    limits: Limits = Limits()
    metadata: dict[str, str] = {}


class NewKey(_Rights, frozen=True, kw_only=True):
    """`endpoints` are paths (``/v1/chat/completions``, ``/v1/*``), `addresses` are addresses
    and CIDR ranges. `expires_at` needs a time zone."""

    tenant: str | None = None
    role: Literal["user", "operator", "admin"] = "user"
    endpoints: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    expires_at: datetime | None = None


class Key(_Rights, frozen=True, kw_only=True):
    """A key as the gateway keeps it. `key` is the key itself, told once: when it is made
    or rotated."""

    id: str
    tenant: str | None = None
    role: str = "user"
    status: str | None = None
    endpoints: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    old_secret_until: datetime | None = None
    key: str | None = None

    def __repr__(self) -> str:
        """Without the key: representations end in logs."""
        return f"Key(id={self.id!r}, name={self.name!r}, tenant={self.tenant!r})"


class NewTenant(_Rights, frozen=True, kw_only=True):
    """`renamed` gives this tenant another model under the name that it asks for."""

    id: str
    disabled: bool = False
    renamed: Mapping[str, str] = {}


class Tenant(NewTenant, frozen=True, kw_only=True):
    created_at: datetime | None = None
    updated_at: datetime | None = None


class CacheStats(_Value, frozen=True, kw_only=True):
    """Of one cache; None where it cannot tell."""

    cache: str
    entries: int
    bytes: int | None = None
    limit_bytes: int | None = None
    evictions: int | None = None


class CacheEntry(_Value, frozen=True, kw_only=True):
    """A kept answer, without its content; times are Unix seconds."""

    cache: str
    asked: str
    provider: str
    model: str
    at: float
    expires: float
    bytes: int
    tenant: str | None = None

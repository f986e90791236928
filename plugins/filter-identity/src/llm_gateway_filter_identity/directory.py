"""All tenants, keys and budgets in memory, as the store had them at one version.

Rows come as the store gives them; what holds for a key is worked out when it is first used.
"""

import hmac
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from llm_gateway_api import Budget, Limit, Principal, Row, key_digest

from llm_gateway_filter_identity.documents import Key, Limits, Tenant
from llm_gateway_filter_identity.secret import places, surrounds

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
TABLES = ("tenants", "api_keys", "budgets")


@dataclass(frozen=True, slots=True)
class Entry:
    """What holds for one key. Times are Unix milliseconds."""

    hash: bytes
    previous_hash: bytes | None
    previous_until: int
    expires_at: int | None
    revoked: bool
    tenant_active: bool
    endpoints: tuple[str, ...] | None
    networks: tuple[Network, ...] | None
    principal: Principal
    # Nothing has to be asked of a request but its key.
    anywhere: bool

    def matches(self, secret: str, now: int) -> bool:
        given = key_digest(secret)
        if hmac.compare_digest(given, self.hash):
            return True
        previous = self.previous_hash
        return (
            previous is not None
            and now < self.previous_until
            and hmac.compare_digest(given, previous)
        )

    def takes(self, path: str) -> bool:
        """Whether the key may be used on the route at `path`."""
        if self.endpoints is None:
            return True
        return any(
            path.startswith(each[:-1]) if each.endswith("*") else path == each
            for each in self.endpoints
        )

    def welcomes(self, peer: str) -> bool:
        """Whether the key may be used from the address `peer`."""
        if self.networks is None:
            return True
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in each for each in self.networks)


@dataclass(slots=True)
class Directory:
    """`realm` names the database; rows are by table and id."""

    realm: str = ""
    version: int = -1
    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {table: {} for table in TABLES})
    _entries: dict[str, Entry] = field(default_factory=dict)
    _owned: dict[tuple[str, str], list[Row]] | None = None

    def apply(self, realm: str, version: int, changed: Mapping[str, Iterable[Row]]) -> None:
        """Take over rows that are new or changed; deleted ones leave."""
        for table, rows in changed.items():
            known = self.rows[table]
            for row in rows:
                if row.get("deleted_at") is not None:
                    known.pop(str(row["id"]), None)
                else:
                    known[str(row["id"])] = row
        self.realm, self.version = realm, version
        self._entries = {}
        self._owned = None

    def find(self, key_id: str) -> Entry | None:
        entry = self._entries.get(key_id)
        if entry is None and (row := self.rows["api_keys"].get(key_id)) is not None:
            entry = self._entries[key_id] = self._entry(row)
        return entry

    def opened(self, key: str) -> Entry | None:
        """The entry of `key` where it is known, with the secret that it has now: in few steps,
        for that is what nearly every request brings."""
        key_id, secret = places(key)
        entry = self._entries.get(key_id) or self.find(key_id)
        if entry is None or not surrounds(key):
            return None
        return entry if hmac.compare_digest(key_digest(secret), entry.hash) else None

    def tenant(self, name: str) -> tuple[Principal, bool] | None:
        """What holds for a key of the tenant that adds no rule of its own, and whether the
        tenant may call; None where there is no such tenant."""
        if name not in self.rows["tenants"]:
            return None
        tenant, active = self._tenant(name)
        row: Row = {"tenant": name, "id": "", "role": "user"}
        return replace(self._principal(row, Key(), tenant), key_id=None), active

    def residents(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The tenants that are bound to regions, and those."""
        for name, row in self.rows["tenants"].items():
            text = _text(row, "document")
            if '"regions"' in text:
                tenant = msgspec.json.decode(text, type=Tenant)
                if tenant.regions is not None and not tenant.disabled:
                    yield name, tenant.regions

    def _entry(self, row: Row) -> Entry:
        key = msgspec.json.decode(_text(row, "document"), type=Key)
        tenant, active = self._tenant(row["tenant"])
        previous = row["previous_hash"]
        revoked, expires_at = row["revoked_at"] is not None, _number(row["expires_at"])
        networks = None
        if key.addresses is not None:
            networks = tuple(ipaddress.ip_network(each, strict=False) for each in key.addresses)
        return Entry(
            hash=bytes.fromhex(_text(row, "hash")),
            previous_hash=bytes.fromhex(previous) if isinstance(previous, str) else None,
            previous_until=_number(row["previous_until"]) or 0,
            expires_at=expires_at,
            revoked=revoked,
            tenant_active=active,
            endpoints=key.endpoints,
            networks=networks,
            principal=self._principal(row, key, tenant),
            anywhere=active
            and not revoked
            and (expires_at, key.endpoints, networks) == (None, None, None),
        )

    def _tenant(self, name: object) -> tuple[Tenant, bool]:
        if not isinstance(name, str):
            return Tenant(), True
        row = self.rows["tenants"].get(name)
        if row is None:
            return Tenant(), False
        tenant = msgspec.json.decode(_text(row, "document"), type=Tenant)
        return tenant, not tenant.disabled

    def _principal(self, row: Row, key: Key, tenant: Tenant) -> Principal:
        name, key_id = row["tenant"], _text(row, "id")
        role: Any = row["role"]
        return Principal(
            key_id=key_id,
            tenant=name if isinstance(name, str) else None,
            role=role,
            models=_with_renamed(_both(tenant.models, key.models), tenant.renamed),
            providers=_both(tenant.providers, key.providers),
            regions=_regions(tenant.regions, key.regions),
            renamed=tenant.renamed,
            limits=(*_limits("tenant", tenant.limits), *_limits("key", key.limits)),
            budgets=(*self._budgets("tenant", name), *self._budgets("key", key_id)),
        )

    def _budgets(self, level: str, owner: object) -> Iterator[Budget]:
        if self._owned is None:
            self._owned = {}
            for row in self.rows["budgets"].values():
                at = (_text(row, "level"), _text(row, "owner"))
                self._owned.setdefault(at, []).append(row)
        for row in self._owned.get((level, str(owner)), ()):
            period: Any = row["period"]
            model = row["model"]
            unit: Any = row.get("unit", "usd")  # a copy on disk may be older than quotas
            yield Budget(
                id=_text(row, "id"),
                level=level,
                amount=_number(row["amount_nano"]) or 0,
                period=period,
                zone=_text(row, "zone"),
                soft=_number(row["soft_nano"]),
                model=model if isinstance(model, str) else None,
                unit=unit,
            )


def _both(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> frozenset[str] | None:
    """What both allow; None allows all."""
    if one is None or other is None:
        given = other if one is None else one
        return None if given is None else frozenset(given)
    return frozenset(one) & frozenset(other)


def _regions(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> frozenset[str] | None:
    """A region holds those that continue it, so the narrower of two that meet is in both."""
    if one is None or other is None:
        return _both(one, other)
    pairs = ((a, b) for a in one for b in other)
    return frozenset(
        a if a == b or a.startswith(f"{b}-") else b
        for a, b in pairs
        if a == b or a.startswith(f"{b}-") or b.startswith(f"{a}-")
    )


def _with_renamed(
    models: frozenset[str] | None, renamed: Mapping[str, str]
) -> frozenset[str] | None:
    """Who may ask for a name may have what it stands for."""
    if models is None:
        return None
    return models | {renamed[each] for each in models if each in renamed}


def _limits(level: str, limits: Limits) -> Iterator[Limit]:
    if limits.requests_per_minute is not None:
        yield Limit(level, "requests", limits.requests_per_minute, limits.burst_size)
    if limits.tokens_per_minute is not None:
        yield Limit(level, "tokens", limits.tokens_per_minute)
    if limits.max_concurrent is not None:
        yield Limit(level, "concurrency", limits.max_concurrent)


def _text(row: Row, name: str) -> str:
    value = row[name]
    assert isinstance(value, str), f"{name} is no text"
    return value


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None

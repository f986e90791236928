"""What administrators write of tenants and keys: JSON, checked, each error with its field.

In a change, what is absent stays, null takes a value away (back to no restriction), and 0
is a number: it blocks.
"""

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from llm_gateway_api import MalformedBodyError

T = TypeVar("T")
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Metadata = dict[Name, Annotated[str, msgspec.Meta(max_length=1000)]]


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Limits(_Document, frozen=True):
    """Null is unlimited, 0 blocks."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_concurrent: Count | None = None
    burst_size: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None


class Rights(_Document, frozen=True):
    """What tenants and keys have in common. A list that is absent or null means all, an empty
    one means none."""

    models: tuple[Name, ...] | None = None
    providers: tuple[Name, ...] | None = None
    regions: tuple[Name, ...] | None = None
    limits: Limits = Limits()
    metadata: Metadata = {}


class Tenant(Rights, frozen=True):
    """`renamed` gives this tenant another model under the name that it asks for."""

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    disabled: bool = False
    renamed: dict[Name, Name] = {}


class NewTenant(Tenant, frozen=True, kw_only=True):
    id: Slug


class Key(Rights, frozen=True):
    """`endpoints` are paths (``/v1/chat/completions``, ``/v1/*``), `addresses` are addresses
    and CIDR ranges that the key may be used at."""

    endpoints: tuple[Name, ...] | None = None
    addresses: tuple[Name, ...] | None = None

    def __post_init__(self) -> None:
        for each in self.addresses or ():
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError:
                raise ValueError(f"{each!r} is no address and no CIDR range") from None
        for each in self.endpoints or ():
            if not each.startswith("/"):
                raise ValueError(f"{each!r} is no path; write /v1/chat/completions or /v1/*")


class ChangedKey(Key, frozen=True):
    """A key with all that may be changed of it."""

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class NewKey(ChangedKey, frozen=True):
    tenant: Slug | None = None
    role: Literal["user", "operator", "admin"] = "user"


class Rotation(_Document, frozen=True):
    """`grace_seconds` is how long the old secret stays valid beside the new one."""

    grace_seconds: Annotated[float, msgspec.Meta(ge=0, le=365 * 86400)] | None = None


def decoded(body: bytes, kind: type[T]) -> T:
    """Raises `MalformedBodyError` naming the field."""
    return checked(_object(body), kind)


def checked(document: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        if "matching regex" in text:
            text = "An id has 1 to 64 lower-case letters, digits, '.', '_' and '-', no sign first"
        field = path.rstrip("`").lstrip(".") or None
        where = f" ({field})" if field else ""
        raise MalformedBodyError(f"{text}{where}.", param=field) from error


def changed(old: msgspec.Struct, body: bytes, kind: type[T]) -> T:
    """`old` with the changes of `body`."""
    merged = msgspec.to_builtins(old)
    for name, value in _object(body).items():
        within = merged.get(name)
        if name == "limits" and isinstance(value, dict):
            value = _merged(within if isinstance(within, dict) else {}, value)
        merged = _merged(merged, {name: value})
    return checked(merged, kind)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**old, **new}.items() if value is not None}


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MalformedBodyError("The body is no JSON.") from error
    if not isinstance(found, dict):
        raise MalformedBodyError("The body must be a JSON object.")
    return found


def iso(milliseconds: object) -> str | None:
    if not isinstance(milliseconds, int):
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")

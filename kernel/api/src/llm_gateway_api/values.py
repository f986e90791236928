"""Who calls, whom the gateway may ask, and how it ended. All frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from llm_gateway_api.events import Usage

Headers: TypeAlias = Mapping[str, str]
# What becomes of a parameter: sent in the vendor's form, left out and reported, a 400.
ParameterOutcome: TypeAlias = Literal["mapped", "dropped", "refused"]


class Limit(msgspec.Struct, frozen=True):
    """A rate or a number that `level` (``tenant``, ``key``) may not exceed; 0 blocks.

    `meter` counts a minute's requests or tokens, or the requests at once. `burst` is the
    size of the bucket, `amount` if absent.
    """

    level: str
    meter: Literal["requests", "tokens", "concurrency"]
    amount: int
    burst: int | None = None


class Budget(msgspec.Struct, frozen=True):
    """What `level` may use in a `period` of the time zone `zone`: money (`amount` is in
    nano-dollars), or, as a quota, tokens or requests.

    `id` names it in errors and alerts. From `soft` on it only warns. `model` narrows it.
    """

    id: str
    level: str
    amount: int
    period: Literal["day", "week", "month", "total"]
    zone: str = "UTC"
    soft: int | None = None
    model: str | None = None
    unit: Literal["usd", "tokens", "requests"] = "usd"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, and what holds for it.

    `models`, `providers` and `regions` are what the caller may use; None means all. A model
    in `renamed` is another one for this caller, who must be allowed that one too (`models`).
    """

    key_id: str | None = None
    tenant: str | None = None
    role: Literal["user", "operator", "admin"] = "user"
    models: frozenset[str] | None = None
    providers: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    budgets: tuple[Budget, ...] = ()


ANONYMOUS = Principal()


class Arrival(msgspec.Struct, frozen=True):
    """A request before its body is read: what CONNECTION and IDENTITY filters see.

    `headers` have lower-case names; a repeated header keeps its first value (`every` gives
    all). `peer` is the caller's address as text: the socket's, unless a filter knows better;
    `arrived` the event loop's clock in seconds.
    """

    request_id: str
    method: str
    path: str
    query: str
    headers: Headers
    peer: str
    arrived: float
    principal: Principal = ANONYMOUS


def every(headers: Headers, name: str) -> tuple[str, ...]:
    """All values of a header in their order. Who believes the first of two can be told
    one thing while the proxy in front was told another."""
    getall = getattr(headers, "getall", None)
    if getall is not None:
        return tuple(getall(name, ()))
    return (headers[name],) if name in headers else ()


@dataclass(frozen=True, slots=True)
class Target:
    """One deployment that can answer: an instance of a provider and its model name.

    `name` is ``provider/model``, the label of metrics and of ``x-gateway-…`` headers.
    `known` is False for a model that neither the configuration nor its provider's list has:
    a client may invent any, so its name is no label of a metric. `weight` 0 takes no
    traffic. `region` matches itself and what continues it after a hyphen. `base` is the
    vendor's name of the model where `model` is the operator's own for it.
    """

    provider: str
    model: str
    weight: float = 1.0
    region: str | None = None
    tags: frozenset[str] = frozenset()
    known: bool = True
    base: str | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider}/{self.model}")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model of a provider instance; None where it is not known, prices in USD per million.

    `base` is the vendor's name of the model where `id` is the operator's own for it.
    """

    id: str
    context_window: int | None = None
    max_output: int | None = None
    capabilities: frozenset[str] = frozenset()
    input_price: str | None = None
    output_price: str | None = None
    created: int = 0
    base: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """How one attempt or one request ended. Durations in seconds, None where not reached.

    `failure` is a `FailureClass` value or None for success; `cancelled` means that the
    client left, which speaks for and against nobody. `repeated` says that this request
    failed in the same way before, which may speak against the request. `headers` are those
    of the provider's answer. An answer that ended before its end has the `usage` until then.
    """

    target: Target | None
    failure: str | None
    cancelled: bool = False
    status: int = 0
    duration: float = 0.0
    first_content: float | None = None
    usage: Usage | None = None
    retry_after: float | None = None
    repeated: bool = False
    headers: Headers = {}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A no, as a value: it is final, nobody is asked again and no other target is tried.

    `message` is for the client: what is wrong and how to mend it. `retry_after` in seconds.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    headers: Headers = field(default_factory=dict)

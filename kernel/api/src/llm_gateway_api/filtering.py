"""What a security filter sees and may do, stage by stage. All of it fails closed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import msgspec

from llm_gateway_api.events import Event
from llm_gateway_api.requests import CanonicalRequest, RequestHead
from llm_gateway_api.values import Arrival, Headers, Principal, Refusal


@dataclass(frozen=True, slots=True)
class Admission:
    """What an ADMISSION filter sees: the head and the raw bytes as they were received (or as
    a filter before it left them). It may return one with another `head`, whose `fields` and
    `body` agree; `model`, `stream` and `operation` stay."""

    arrival: Arrival
    head: RequestHead


@dataclass(frozen=True, slots=True)
class Content:
    """What a CONTENT filter sees; it may return one with another `request`."""

    arrival: Arrival
    request: CanonicalRequest


Seen: TypeAlias = Arrival | Admission | Content


class EventFilter(Protocol):
    """Sees the events of one answer on their way to the client. Raising: the answer fails."""

    def feed(self, events: Sequence[Event]) -> list[Event]: ...

    def finish(self) -> list[Event]: ...


class SecurityFilter(Protocol):
    """Lets pass, replaces, or refuses. Fails closed: an exception refuses the request."""

    async def inspect(self, seen: Seen) -> Seen | Refusal: ...


@runtime_checkable
class SupportsWatch(Protocol):
    def watch(self, arrival: Arrival) -> EventFilter:
        """An event filter for this request's answer; binds the translate lane."""


@runtime_checkable
class SupportsEndpoints(Protocol):
    """A filter that also judges calls to plugins' routes, those that demand a role.

    Asked once the caller is known and the body is read, in the order of the filters.
    Fails closed, as `SecurityFilter` does.
    """

    async def inspect_endpoint(self, arrival: Arrival, body: bytes) -> Refusal | None: ...


@runtime_checkable
class SupportsCallers(Protocol):
    """An IDENTITY filter that keeps callers, and can say what holds for one without the key."""

    async def caller(self, tenant: str | None, key_id: str | None) -> Principal | Refusal | None:
        """The caller that would use the key `key_id`, or else a key of `tenant` that adds no
        rule of its own. A refusal where none may call now (disabled, revoked, expired); None
        where neither is kept here. Raising `GatewayError` is passed on."""


class AnswerHeaders(msgspec.Struct, frozen=True):
    """What becomes of every answer's head; names in lower case.

    `added` stand where an answer does not say otherwise, `removed` are left out. The
    framing (``content-length``, ``connection``, …) is the kernel's and not touched.
    """

    added: Headers = {}
    removed: frozenset[str] = frozenset()


@runtime_checkable
class SupportsAnswerHeaders(Protocol):
    """A filter with a say in the head of every answer: dialects, endpoints, errors, both
    ports; to what was no HTTP only `added` applies."""

    def answer_headers(self) -> AnswerHeaders:
        """Called once, when the configuration is bound."""

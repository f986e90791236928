"""Asking the security filters, stage by stage, and what they want of every answer's head.

A refusal is a value and final; a filter that breaks refuses the request (fails closed).
"""

import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from llm_gateway_api import (
    ALL_SURFACES,
    Admission,
    Arrival,
    CanonicalRequest,
    ConfigurationError,
    Content,
    GatewayError,
    Headers,
    Principal,
    Refusal,
    RefusedError,
    RequestHead,
    SecurityFilter,
    SecurityFilterSpec,
    Seen,
    SupportsAnswerHeaders,
    SupportsCallers,
    SupportsEndpoints,
    SupportsWatch,
)

from llm_gateway.ordering import ordered_filters
from llm_gateway.reserve import refused_error

log = logging.getLogger("llm_gateway.screening")
MOST_KINDS = 1000
T = TypeVar("T", Arrival, Admission, Content)
Named: TypeAlias = tuple[str, SecurityFilter]


class Outgoing:
    """The headers of every answer, as the filters want them."""

    def __init__(self, filters: Iterable[SecurityFilter] = ()) -> None:
        wanted = [
            each.answer_headers() for each in filters if isinstance(each, SupportsAnswerHeaders)
        ]
        self.added: dict[str, str] = {n: v for each in wanted for n, v in each.added.items()}
        self._removed = frozenset(name for each in wanted for name in each.removed)
        self._known: dict[tuple[str, ...], tuple[Sequence[str], list[str]]] = {}

    def lines(self, headers: Headers) -> list[str]:
        """One line for each header; what an answer says itself is not said twice."""
        if not (self._removed or self.added):
            return [f"{name}: {value}" for name, value in headers.items()]
        names = tuple(headers)
        kept, lines = self._known.get(names) or self._judged(names)
        return [f"{name}: {headers[name]}" for name in kept] + lines

    def _judged(self, names: tuple[str, ...]) -> tuple[Sequence[str], list[str]]:
        """Which headers of an answer stay and the lines that are added; answers are of few kinds,
        so it is kept for each."""
        lower = {name.lower() for name in names}
        kept = [name for name in names if name.lower() not in self._removed]
        lines = [f"{name}: {value}" for name, value in self.added.items() if name not in lower]
        if len(self._known) >= MOST_KINDS:
            self._known.clear()
        self._known[names] = kept, lines
        return kept, lines


UNTOUCHED = Outgoing()


@dataclass(frozen=True, slots=True)
class Screens:
    """The filters of each stage, in their order."""

    connection: tuple[Named, ...] = ()
    identity: tuple[Named, ...] = ()
    admission: tuple[Named, ...] = ()
    content: tuple[Named, ...] = ()
    endpoints: tuple[tuple[str, SupportsEndpoints], ...] = ()
    outgoing: Outgoing = UNTOUCHED

    @staticmethod
    def of(specs: Sequence[tuple[SecurityFilterSpec, Any]]) -> "Screens":
        """From (spec, object) in the order in which they are asked."""

        def stage(name: str) -> tuple[Named, ...]:
            return tuple((spec.name, made) for spec, made in specs if spec.stage == name)

        return Screens(
            stage("connection"),
            stage("identity"),
            stage("admission"),
            stage("content"),
            tuple((s.name, made) for s, made in specs if isinstance(made, SupportsEndpoints)),
            Outgoing(made for _, made in specs),
        )

    def enter(self, arrival: Arrival) -> Awaitable[Arrival]:
        """CONNECTION, then IDENTITY, for a dialect."""
        return _passed(self.connection + self.identity, arrival)

    def connect(self, arrival: Arrival) -> Awaitable[Arrival]:
        """CONNECTION: what needs neither key nor body. Every route of the main port."""
        return _passed(self.connection, arrival)

    def identify(self, arrival: Arrival) -> Awaitable[Arrival]:
        """IDENTITY: who calls. Every route that demands a role, and every dialect."""
        return _passed(self.identity, arrival)

    async def caller(self, tenant: str | None, key_id: str | None) -> Principal | None:
        """Who calls with that key, or for that tenant, as the first filter that knows says.

        Raises:
            RefusedError: it may not call now.
        """
        if tenant is None and key_id is None:
            return None
        for _, each in self.identity:
            if isinstance(each, SupportsCallers):
                found = await each.caller(tenant, key_id)
                if isinstance(found, Refusal):
                    raise refused_error(found)
                if found is not None:
                    return found
        return None

    async def admit(self, arrival: Arrival, head: RequestHead) -> RequestHead:
        """ADMISSION: the head and the raw bytes of a dialect's request."""
        for name, each in self.admission:
            head = (await screen(name, each, Admission(arrival, head))).head
        return head

    async def admit_endpoint(self, arrival: Arrival, body: bytes) -> None:
        """The raw bytes of a call to a route that demands a role."""
        for name, each in self.endpoints:
            try:
                refusal = await each.inspect_endpoint(arrival, body)
            except GatewayError:
                raise
            except Exception as error:
                raise _broken(name) from error
            if refusal is not None:
                raise refused_error(refusal)

    async def read(self, arrival: Arrival, request: CanonicalRequest) -> CanonicalRequest:
        """CONTENT: the canonical request."""
        for name, each in self.content:
            request = (await screen(name, each, Content(arrival, request))).request
        return request


async def _passed(filters: tuple[Named, ...], arrival: Arrival) -> Arrival:
    for name, each in filters:
        # as `screen` does, whose coroutine would be one more for every request
        try:
            seen = await each.inspect(arrival)
        except GatewayError:
            raise
        except Exception as error:
            raise _broken(name) from error
        arrival = seen if isinstance(seen, Arrival) else _wanted(name, seen, Arrival)
    return arrival


async def screen(name: str, each: SecurityFilter, seen: T) -> T:
    """Ask one filter; a refusal becomes its error, and so does a broken filter."""
    try:
        answer = await each.inspect(seen)
    except GatewayError:
        raise
    except Exception as error:
        raise _broken(name) from error
    return _wanted(name, answer, type(seen))


def _wanted(name: str, answer: Seen | Refusal, kind: type[T]) -> T:
    if isinstance(answer, Refusal):
        raise refused_error(answer)
    assert isinstance(answer, kind), f"{name} returned no {kind.__name__}"
    return answer


def _broken(name: str) -> RefusedError:
    log.exception("filter.failed name=%s", name)
    return RefusedError(
        f"The filter {name} failed; the request was refused.", status=500, code="filter_failed"
    )


def in_order(
    pairs: Sequence[tuple[SecurityFilterSpec, Any]], dialects: set[str]
) -> list[tuple[SecurityFilterSpec, Any]]:
    """Raises `ConfigurationError` where a filter misses one of `dialects`."""
    for spec, _ in pairs:
        missing = dialects - spec.surfaces
        if spec.surfaces != ALL_SURFACES and missing:
            raise ConfigurationError(
                f"The filter {spec.name} does not cover {', '.join(sorted(missing))}; "
                "uninstall it or the dialect."
            )
    made = {spec.name: each for spec, each in pairs}
    return [(spec, made[spec.name]) for spec in ordered_filters([spec for spec, _ in pairs])]


def watchers(pairs: Sequence[tuple[SecurityFilterSpec, Any]]) -> tuple[SupportsWatch, ...]:
    return tuple(made for _, made in pairs if isinstance(made, SupportsWatch))

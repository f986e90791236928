"""Caches on the request path: the key, the modes of one request, replay, what is kept.

A cache never widens what a caller may see: its tenant is part of every key, and an answer
is repeated only where routing would still allow this caller the deployment that gave it.
Answers are kept as events before the answer filters, so one that was streamed serves a
plain request and the other way round, and each caller's own filters see it again.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from time import time
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from llm_gateway_api import (
    Cache,
    CachedAnswer,
    CanonicalRequest,
    ChatRequest,
    Event,
    Finished,
    GatewayError,
    Headers,
    Lookup,
    ReasoningDelta,
    RefusalDelta,
    Started,
    SupportsWatch,
    Target,
    TextDelta,
    TextPart,
    ToolCallDelta,
    UpstreamTruncatedError,
    UsageReport,
)
from msgspec import structs

from llm_gateway.accounting import Accounting
from llm_gateway.attempt import printable
from llm_gateway.lanes import TranslateLane
from llm_gateway.observe import Counts
from llm_gateway.reserve import Scope

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

log = logging.getLogger("llm_gateway.caching")
Flight: TypeAlias = asyncio.Future[CachedAnswer | None]
KEY_VERSION = 2
OWN_HEADER = "x-gateway-cache-control"
# Parameters that say who asks or how the answer travels, and never what it says. All others
# are part of the key, those that nobody here knows too.
IGNORED = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "stream_options",
        "user",
    }
)
# What makes the vendor keep or continue something: a repeated answer would not have done it.
EFFECTS = frozenset({"background", "conversation", "previous_response_id", "store"})
COMPLETE = frozenset({"stop", "tool_calls"})


class Modes(msgspec.Struct, frozen=True):
    """What one request wants of caches: `Cache-Control` of RFC 9111, or our own header."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class Caching:
    """The exact cache, then the semantic ones; `flights` are misses that others wait for."""

    caches: tuple[tuple[str, Cache], ...]
    ttl_seconds: float
    salt: str
    scope: Scope
    counts: Counts
    accounting: Accounting
    watchers: Sequence[SupportsWatch] = ()
    semantic: bool = False
    coalesce: bool = False
    flights: dict[str, Flight] = field(default_factory=dict)

    async def replay(self, call: "Call") -> bool:
        """Answer from a cache; False is a miss.

        Raises:
            GatewayError: 504, the caller wants nothing but a kept answer and there is none.
        """
        if not self.caches or call.head.operation == "count_tokens":
            return False
        modes = modes_of(call.arrival.headers)
        call.lookup = None if modes.no_store else self.lookup(call)
        wanted = call.lookup if not modes.no_cache else None
        if wanted is not None and await self._found(call, wanted, modes):
            return True
        if modes.only_if_cached:
            raise GatewayError(
                "No kept answer fits, and the request asks for nothing else.",
                status=504,
                code="not_cached",
            )
        call.cache = "bypass" if call.lookup is None else "miss"
        call.headers["x-gateway-cache"] = call.cache
        if call.lookup is not None:
            self.counts.cache_misses.inc()
        return False

    def keep(self, call: "Call") -> None:
        """Store a complete answer in every cache; the request does not wait."""
        lookup, target = call.lookup, call.target
        if lookup is None or target is None or not storable(call.events):
            return
        if call.fallback is not None and target not in call.eligible:
            return  # another model's answer, in place of the one that was asked for
        answer = CachedAnswer(
            compact(call.events),
            call.head.model,
            target.provider,
            target.model,
            target.region,
            time(),
        )
        if call.flight is not None and not call.flight.done():
            call.flight.set_result(answer)
        for name, cache in self.caches:
            self.scope.spawn(self._put(name, cache, lookup, answer), f"cache.{name}")

    def leave(self, call: "Call") -> None:
        """The request is over: who waited for its answer and got none asks for itself."""
        flight, lookup = call.flight, call.lookup
        if flight is None or lookup is None:
            return
        call.flight = None
        self.flights.pop(lookup.key, None)
        if not flight.done():
            flight.set_result(None)

    def lookup(self, call: "Call") -> Lookup | None:
        """What caches are asked; None for a request whose answer must not be repeated."""
        request = call.canonical()
        if has_effects(request):
            return None
        principal, head = call.arrival.principal, call.head
        who = (principal.tenant, None if principal.tenant is not None else principal.key_id)
        how = (KEY_VERSION, self.salt, who, head.dialect, head.operation, head.headers)
        asked = effective(request)
        text, frame = last_text(asked) if self.semantic else ("", asked)
        try:
            key = digest(how, asked)
            partition = digest(how, frame) if text else ""
        except Exception:
            log.exception("cache.key_failed")
            return None
        seen = call.considered.asked if call.considered is not None else None
        return Lookup(key, principal.tenant, partition, text, request, seen)

    async def _found(self, call: "Call", lookup: Lookup, modes: Modes) -> bool:
        for name, cache in self.caches:
            try:
                answer = await cache.get(lookup)
            except Exception:
                log.exception("cache.failed name=%s", name)
                self.counts.cache_errors.value(name).inc()
                continue
            if answer is not None and self._answer(call, answer, modes):
                return True
        if not self.coalesce or modes.only_if_cached:
            return False
        answer = await self._awaited(call, lookup.key)
        if answer is None or not self._answer(call, answer, modes):
            return False
        self.counts.coalesced.inc()
        return True

    async def _awaited(self, call: "Call", key: str) -> CachedAnswer | None:
        """The answer to an identical request under way; None makes this one the first."""
        flight = self.flights.get(key)
        if flight is None:
            call.flight = self.flights[key] = asyncio.get_running_loop().create_future()
            return None
        try:
            async with asyncio.timeout_at(call.deadline):
                return await asyncio.shield(flight)
        except TimeoutError:
            return None

    async def _put(self, name: str, cache: Cache, lookup: Lookup, answer: CachedAnswer) -> None:
        try:
            await cache.put(lookup, answer, self.ttl_seconds)
        except Exception:
            log.exception("cache.failed name=%s", name)
            self.counts.cache_errors.value(name).inc()

    def _answer(self, call: "Call", answer: CachedAnswer, modes: Modes) -> bool:
        """Repeat `answer`; False where it is too old, incomplete, or no longer this caller's."""
        age = max(0.0, time() - answer.at)
        if modes.max_age is not None and age > modes.max_age:
            return False
        given = (answer.provider, answer.model)
        eligible = call.eligible
        target = next((each for each in eligible if (each.provider, each.model) == given), None)
        if target is None:
            return False
        watching = [each.watch(call.arrival) for each in self.watchers]
        lane = TranslateLane(None, call.frontend.renderer(call.head), watching)
        try:
            out = lane.render(answer.events) + lane.finish()
        except UpstreamTruncatedError:
            return False
        self._send(call, target, lane, out, age)
        return True

    def _send(
        self, call: "Call", target: Target, lane: TranslateLane, out: bytes, age: float
    ) -> None:
        call.usage, call.cache, call.repeated = lane.usage, "hit", target
        call.headers["x-gateway-cache"] = "hit"
        call.headers["x-gateway-provider"] = target.provider
        call.headers["x-gateway-model"] = printable(target.model)
        call.headers["age"] = str(int(age))
        self.counts.cache_hits.inc()
        self.accounting.end(call)
        call.client.answer(call.headers, out, stream=call.head.stream)


def modes_of(headers: Headers) -> Modes:
    """What `headers` ask; our own header, where it is there, stands in place of the other.

    Raises:
        GatewayError: 400, our own header says what nobody understands.
    """
    own = headers.get(OWN_HEADER)
    found = {"no_cache": False, "no_store": False, "only_if_cached": False}
    max_age: float | None = None
    for each in (headers.get("cache-control", "") if own is None else own).split(","):
        name, _, value = each.strip().lower().partition("=")
        key = name.strip().replace("-", "_")
        digits = value.strip().strip('"')
        if key in found and not value:
            found[key] = True
        elif key == "max_age" and (own is None or digits.isdecimal()):
            # RFC 9111, 4.2.1: what is no number means that everything is too old.
            max_age = float(digits) if digits.isdecimal() else 0.0
        elif own is not None and name:
            raise GatewayError(
                f"{OWN_HEADER} takes no-cache, no-store, only-if-cached and max-age=SECONDS.",
                status=400,
                code="invalid_cache_control",
            )
    return Modes(**found, max_age=max_age)


def effective(request: CanonicalRequest) -> CanonicalRequest:
    """`request` without what cannot change its answer."""
    params = {key: each for key, each in request.params.items() if key not in IGNORED}
    if isinstance(request, ChatRequest):
        return structs.replace(request, params=params, stream=False)
    return structs.replace(request, params=params)


def digest(how: object, request: CanonicalRequest) -> str:
    return hashlib.sha256(msgspec.json.encode((how, request), order="sorted")).hexdigest()


def has_effects(request: CanonicalRequest) -> bool:
    """Whether the answer is not all that the request is for."""
    if not isinstance(request, ChatRequest):
        return False
    given = {**request.extra, **request.params}
    vendor_tools = any(tool.kind == "vendor" for tool in request.tools or ())
    return vendor_tools or any(given.get(name) for name in EFFECTS)


def last_text(request: CanonicalRequest) -> tuple[str, CanonicalRequest]:
    """The last user text, and the request without it; no text where there is more to it."""
    if not isinstance(request, ChatRequest) or not request.messages:
        return "", request
    last = request.messages[-1]
    texts = [part.text for part in last.parts if isinstance(part, TextPart)]
    if last.role != "user" or len(texts) != 1 or len(last.parts) != 1:
        return "", request
    part = structs.replace(last.parts[0], text="")
    messages = (*request.messages[:-1], structs.replace(last, parts=(part,)))
    return texts[0], structs.replace(request, messages=messages)


def storable(events: Sequence[Event]) -> bool:
    """Whether `events` are a whole answer: every choice finished by itself, none refused."""
    reasons = [each.reason for each in events if isinstance(each, Finished)]
    refused = any(isinstance(each, RefusalDelta) for each in events)
    return bool(reasons) and not refused and COMPLETE.issuperset(reasons)


def compact(events: Sequence[Event]) -> tuple[Event, ...]:
    """The same answer in fewer events: neighbouring pieces joined, the last usage only.

    Dialects that tell the usage first find it behind the start too.
    """
    usage = [event for event in events if isinstance(event, UsageReport)][-1:]
    others = [event for event in events if not isinstance(event, UsageReport)]
    starts = 1 if others and isinstance(others[0], Started) else 0
    joined = [_joined(list(group)) for _, group in groupby(others[starts:], _kind)]
    return (*others[:starts], *usage, *joined, *usage)


def _kind(event: Event) -> object:
    """Equal for neighbours that are pieces of one text."""
    if isinstance(event, TextDelta) and event.logprobs is None:
        return ("text", event.index)
    if isinstance(event, ReasoningDelta) and not event.state:
        return ("reasoning", event.index)
    if isinstance(event, ToolCallDelta) and event.id is event.name is None and not event.extra:
        return ("arguments", event.index, event.call, event.kind)
    return id(event)


def _joined(group: list[Event]) -> Event:
    first = group[0]
    if len(group) > 1 and isinstance(first, ToolCallDelta):
        arguments = "".join(each.arguments for each in group if isinstance(each, ToolCallDelta))
        return structs.replace(first, arguments=arguments)
    if len(group) > 1 and isinstance(first, (TextDelta, ReasoningDelta)):
        text = "".join(each.text for each in group if isinstance(each, (TextDelta, ReasoningDelta)))
        return structs.replace(first, text=text)
    return first

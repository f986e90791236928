"""Every hook of the first wave, implemented so that its effect can be seen from outside.

What was called is told at ``GET /acme/calls``; one `Notebook` per configuration holds it.
"""

import json
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import llm_gateway_api as gw
import msgspec
from pydantic import Field, SecretStr


class Settings(gw.Section):
    """``plugins.acme``"""

    greeting: str = Field(default="hello", description="what the endpoint says")


class TraceSettings(gw.Section):
    """``plugins.acme_traces``"""

    enabled: bool = Field(default=False, description="whether spans are told")


class Notebook:
    """What happened, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []


class Engine:
    """A provider that answers from memory."""

    def stream(self, request: gw.CanonicalRequest) -> AsyncIterator[gw.Event]:
        return self._events(request)

    async def _events(self, request: gw.CanonicalRequest) -> AsyncIterator[gw.Event]:
        assert isinstance(request, gw.ChatRequest)
        NOTES.calls.append(f"engine.stream {request.model}")
        if request.model == "acme-moody":
            raise gw.UpstreamError(gw.FailureClass.SERVER_ERROR, "not in the mood")
        part = request.messages[-1].parts[0]
        if isinstance(part, gw.ImagePart):
            yield gw.TextDelta(f"acme saw {part.media_type} {part.data} {part.url}")
        else:
            assert isinstance(part, gw.TextPart)
            yield gw.TextDelta(f"acme {request.model} heard {part.text}")
        yield gw.UsageReport(gw.Usage(input=3, output=4))
        yield gw.Finished("stop")

    def inlines(self, kind: str, url: str) -> bool:
        return kind == "image"

    def models(self) -> Sequence[gw.ModelInfo]:
        return (gw.ModelInfo("acme-1"), gw.ModelInfo("acme-2"))


class Line:
    """A dialect of one line: ``MODEL TEXT`` in, the answer's text out."""

    def parse(self, body: bytes, arrival: gw.Arrival) -> gw.RequestHead:
        model, space, _ = body.decode(errors="replace").partition(" ")
        if not space:
            raise gw.MalformedBodyError("Send MODEL TEXT.", param="body")
        return gw.RequestHead("acme.line", "chat", model, False, False, {}, body)

    def request(self, head: gw.RequestHead) -> gw.CanonicalRequest:
        text = head.body.decode(errors="replace").partition(" ")[2]
        verb, _, url = text.partition(" ")
        part = gw.ImagePart(url=url) if verb == "see" else gw.TextPart(text)
        message = gw.Message("user", (part,), text_only=verb != "see")
        return gw.ChatRequest(head.model, (message,), dialect=head.dialect)

    def renderer(self, head: gw.RequestHead) -> "LineRenderer":
        return LineRenderer()

    def error(self, error: gw.GatewayError, request_id: str) -> bytes:
        return f"error {error.code}: {error.message}".encode()

    def error_frame(self, error: gw.GatewayError, request_id: str) -> bytes:
        return self.error(error, request_id)

    def keep_alive(self) -> bytes:
        return b"\n"


class LineRenderer:
    def render(self, events: Sequence[gw.Event]) -> bytes:
        return b"".join(e.text.encode() for e in events if isinstance(e, gw.TextDelta))

    def finish(self) -> bytes:
        return b"\n"


class Watcher:
    """Replaces a word in prompts and in answers; refuses another."""

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        assert isinstance(seen, gw.Content)
        request = seen.request
        if not isinstance(request, gw.ChatRequest):
            return seen
        text = json.dumps(msgspec.to_builtins(request.messages))
        if "forbidden" in text:
            return gw.Refusal(403, "acme_denied", "The word is forbidden; leave it out.")
        messages = tuple(
            msgspec.structs.replace(
                each,
                parts=tuple(
                    gw.TextPart(part.text.replace("secret", "s*****"))
                    if isinstance(part, gw.TextPart)
                    else part
                    for part in each.parts
                ),
            )
            for each in request.messages
        )
        return replace(seen, request=msgspec.structs.replace(request, messages=messages))

    def watch(self, arrival: gw.Arrival) -> "Restorer":
        return Restorer()


class Restorer:
    def feed(self, events: Sequence[gw.Event]) -> list[gw.Event]:
        return [
            gw.TextDelta(each.text.replace("s*****", "SECRET"), each.index)
            if isinstance(each, gw.TextDelta)
            else each
            for each in events
        ]

    def finish(self) -> list[gw.Event]:
        return []


class Only:
    """Keeps ``acme-2`` away from callers who send ``x-acme: no``."""

    def keep(self, asked: gw.Asked, candidate: gw.Target) -> str | None:
        if candidate.model == "acme-2" and asked.arrival.headers.get("x-acme") == "no":
            return "the caller does not want it"
        return None


class Second:
    """Prefers the candidate whose model sorts last."""

    def __init__(self, notes: Notebook) -> None:
        self._notes = notes

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> Sequence[float]:
        order = sorted(each.model for each in candidates)
        return [float(order.index(each.model)) for each in candidates]

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        self._notes.calls.append(f"strategy.report {target.name} {outcome.failure}")


class Doctor:
    """Finds the engine well and never asks."""

    def __init__(self, *, probe: gw.Probe) -> None:
        assert probe.seconds in (0, 30)

    def health(self, target: gw.Target) -> gw.DeploymentHealth:
        return gw.DeploymentHealth(target.provider, target.model, "degraded")

    def providers(self) -> dict[str, gw.HealthState]:
        return {"acme": "degraded"}


class Fan:
    """Prefers ``acme-1`` for callers who send ``x-acme: first``, and follows attempts."""

    def __init__(self, notes: Notebook) -> None:
        self._notes = notes

    def prefer(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> Sequence[float] | None:
        if asked.arrival.headers.get("x-acme") != "first":
            return None
        return [float(each.model == "acme-1") for each in candidates]

    def follower(self) -> gw.Guard:
        return self

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease:
        return gw.Lease(target, "fan")

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        self._notes.calls.append(f"fan.report {lease.target.name} {outcome.failure}")


class Door:
    """Admits everybody but to ``acme-closed``."""

    def __init__(self, notes: Notebook) -> None:
        self._notes = notes

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease | gw.Refusal:
        if target.model == "acme-closed":
            return gw.Refusal(503, "closed", "the door is closed", retry_after=7.0)
        return gw.Lease(target, "ticket")

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        self._notes.calls.append(f"guard.report {lease.token} {outcome.failure}")


class Persistent:
    """Asks ``acme-moody`` once more, and then somebody who was not asked for."""

    def __init__(self, targets: gw.Targets) -> None:
        self._targets = targets

    def next(
        self, plan: gw.Plan, failure: gw.FailureClass | None, time_left: float
    ) -> gw.Attempt | None:
        last = plan.made[-1].target
        if last.model != "acme-moody" or time_left <= 0:
            return None
        if len(plan.made) == 1:
            return gw.Attempt(last, wait=0.01)
        return gw.Attempt(self._targets.named("acme/acme-1", plan.asked)[0], mode="fallback")


class Counter:
    """Lets pass; refuses callers who send ``x-acme: limited``."""

    def __init__(self, notes: Notebook) -> None:
        self._notes = notes

    async def reserve(
        self, asked: gw.Asked, head: gw.RequestHead, candidates: Sequence[gw.Target]
    ) -> gw.Reservation | gw.Refusal:
        arrival = asked.arrival
        if arrival.headers.get("x-acme") == "broken":
            raise RuntimeError("no counter")
        if arrival.headers.get("x-acme") == "limited":
            return gw.Refusal(429, "rate_limit_exceeded", "Wait a little.", retry_after=3.0)
        return gw.Reservation("token", {"x-ratelimit-remaining-requests": "9"})

    async def settle(self, reservation: gw.Reservation, settlement: gw.Settlement) -> None:
        usage = settlement.usage
        total = usage.output_total if usage is not None else None
        self._notes.calls.append(f"limiter.settle {reservation.token} {total}")


class Memory:
    """A cache of everything."""

    def __init__(self) -> None:
        self._kept: dict[str, gw.CachedAnswer] = {}

    async def get(self, lookup: gw.Lookup) -> gw.CachedAnswer | None:
        if "break the cache" in lookup.text:
            raise RuntimeError("no cache")
        return self._kept.get(lookup.key)

    async def put(self, lookup: gw.Lookup, value: gw.CachedAnswer, ttl_seconds: float) -> None:
        self._kept[lookup.key] = value


class Diary:
    def __init__(self, notes: Notebook) -> None:
        self._notes = notes

    def started(self, arrival: gw.Arrival) -> None:
        self._notes.calls.append("observer.started")
        raise RuntimeError("an observer's bug is counted and dropped")

    def attempt(self, arrival: gw.Arrival, target: gw.Target, outcome: gw.Outcome) -> None:
        self._notes.calls.append(f"observer.attempt {target.name}")

    def first_content(self, arrival: gw.Arrival, target: gw.Target) -> None:
        self._notes.calls.append("observer.first_content")

    def finished(self, arrival: gw.Arrival, outcome: gw.Outcome) -> None:
        self._notes.calls.append(f"observer.finished {outcome.status}")


class Shelf:
    """A store that keeps nothing; the contract's other methods are not called here."""

    dialect = "acme"

    def __init__(self, notes: Notebook) -> None:
        self._notes = notes

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._notes.calls.append("store.opened")
        yield

    async def healthy(self) -> bool:
        return True


class Pebbles:
    """Shared state of one process, in which no time passes."""

    def __init__(self) -> None:
        self._claimed: set[str] = set()
        self._used: dict[str, int] = {}
        self._listeners: list[tuple[str, Callable[[bytes], None]]] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    async def healthy(self) -> bool:
        return True

    async def claim(self, key: str, seconds: float) -> bool:
        first = key not in self._claimed
        self._claimed.add(key)
        return first

    async def take(self, takes: Sequence[gw.Take], *, force: bool = False) -> gw.Grant | gw.Denial:
        left = tuple(each.limit - self._used.get(each.key, 0) - each.amount for each in takes)
        if not force and min(left) < 0:
            return gw.Denial(left.index(min(left)), 1.0, left)
        for each in takes:
            self._used[each.key] = self._used.get(each.key, 0) + each.amount
        return gw.Grant(tuple(takes), left)

    async def settle(self, grant: gw.Grant, amounts: Sequence[int]) -> None:
        for each, amount in zip(grant.takes, amounts, strict=True):
            self._used[each.key] += amount - each.amount

    async def used(self, keys: Sequence[str]) -> Sequence[int]:
        return [self._used.get(each, 0) for each in keys]

    def publish(self, topic: str, message: bytes) -> None:
        for wanted, told in self._listeners:
            if wanted == topic:
                told(message)

    def listen(self, topic: str, told: Callable[[bytes], None]) -> None:
        self._listeners.append((topic, told))


class Book:
    """A ledger that writes into the notebook."""

    def __init__(self, notes: Notebook) -> None:
        self._notes = notes

    def begin(self, opening: gw.LedgerOpening) -> None:
        if opening.model == "unwritten":
            raise OSError("the disk is full")
        self._notes.calls.append(f"ledger.begin {opening.model}")

    def end(self, record: gw.LedgerRecord) -> None:
        self._notes.calls.append(
            f"ledger.end {record.status} {record.upstream_model} {record.cost_nano}"
        )


class Tariff:
    """Knows the price of one model."""

    def models(self, kind: str) -> Sequence[gw.ModelInfo]:
        return ()

    def info(self, kind: str, model: str) -> gw.ModelInfo | None:
        return None

    def price(self, kind: str, model: str, at: float) -> gw.Price | None:
        if (kind, model) != ("acme", "acme-2"):
            return None
        return gw.Price("acme-2@2026", {"input": Decimal(1), "output": Decimal("2.5")})


class Eraser:
    """Hides one name."""

    def redact(self, text: str) -> str:
        return text.replace("Ada", "A**")


class Vault:
    """Knows one secret."""

    def read(self, names: Collection[str]) -> dict[str, SecretStr]:
        return {name: SecretStr("good day") for name in names if name == "acme-greeting"}


class Clerk:
    def __init__(self, notes: Notebook) -> None:
        self._notes = notes

    def record(self, event: gw.AuditEvent) -> None:
        self._notes.calls.append(f"audit {event.kind} {event.outcome} {event.actor}")


class Lamp:
    """A service that burns as long as the gateway."""

    def __init__(self, notes: Notebook) -> None:
        self._notes = notes

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._notes.calls.append("service.opened")
        yield
        print("acme: service.closed", flush=True)


class Recorder:
    """A provider of tracers that writes a line for each span that ended."""

    def __init__(self, settings: TraceSettings) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

        self._provider = TracerProvider()
        exporter = ConsoleSpanExporter(
            sys.stdout, formatter=lambda span: f"span {json.dumps(told(span))}\n"
        )
        self._provider.add_span_processor(SimpleSpanProcessor(exporter))

    def get_tracer(self, name: str, version: str | None = None) -> Any:
        return self._provider.get_tracer(name, version)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield
        self._provider.shutdown()


def told(span: Any) -> dict[str, Any]:
    context, parent = span.get_span_context(), span.parent
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace": format(context.trace_id, "032x"),
        "id": format(context.span_id, "016x"),
        "parent": format(parent.span_id, "016x") if parent else None,
        "status": span.status.status_code.name,
        **dict(span.attributes),
    }


NOTES = Notebook()  # the test reads it over HTTP; a real plugin has no module state


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [
        gw.SettingsSpec("plugins.acme", Settings),
        gw.SettingsSpec("plugins.acme_traces", TraceSettings),
    ]


@gw.hookimpl
def llm_gateway_migrations() -> list[gw.MigrationSpec]:
    return [gw.MigrationSpec("acme", "acme_gateway.sql")]


@gw.hookimpl
def llm_gateway_frontends() -> list[gw.FrontendSpec]:
    return [gw.FrontendSpec("acme.line", "POST", "/acme/line", "chat", Line)]


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec("acme", gw.ProviderSettings, lambda name, settings: Engine()),
    ]


@gw.hookimpl
def llm_gateway_routing_filters() -> list[gw.RoutingFilterSpec]:
    return [gw.RoutingFilterSpec("acme_only", Only)]


@gw.hookimpl
def llm_gateway_health_monitors() -> list[gw.HealthMonitorSpec]:
    return [gw.HealthMonitorSpec("acme_doctor", Doctor, needs=("probe",))]


@gw.hookimpl
def llm_gateway_routing_scorers() -> list[gw.RoutingScorerSpec]:
    return [gw.RoutingScorerSpec("acme_fan", lambda: Fan(NOTES))]


@gw.hookimpl
def llm_gateway_routing_strategies() -> list[gw.RoutingStrategySpec]:
    return [gw.RoutingStrategySpec("acme_second", lambda: Second(NOTES))]


@gw.hookimpl
def llm_gateway_guards() -> list[gw.GuardSpec]:
    return [gw.GuardSpec("acme_door", lambda: Door(NOTES))]


@gw.hookimpl
def llm_gateway_attempt_policies() -> list[gw.AttemptPolicySpec]:
    return [gw.AttemptPolicySpec("acme_persistent", Persistent, needs=("targets",))]


@gw.hookimpl
def llm_gateway_limiters() -> list[gw.LimiterSpec]:
    return [gw.LimiterSpec("acme_counter", lambda: Counter(NOTES), fail="closed")]


@gw.hookimpl
def llm_gateway_cache_backends() -> list[gw.CacheSpec]:
    return [gw.CacheSpec("acme", Memory)]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    return [gw.SecurityFilterSpec("acme_watch", "content", Watcher)]


@gw.hookimpl
def llm_gateway_observers() -> list[gw.ObserverSpec]:
    return [gw.ObserverSpec("acme_diary", lambda: Diary(NOTES))]


@gw.hookimpl
def llm_gateway_stores() -> list[gw.StoreSpec]:
    return [gw.StoreSpec("acme", lambda settings: Shelf(NOTES))]


@gw.hookimpl
def llm_gateway_state_backends() -> list[gw.StateBackendSpec]:
    return [gw.StateBackendSpec("acme_pebbles", "process", lambda settings: Pebbles())]


@gw.hookimpl
def llm_gateway_ledgers() -> list[gw.LedgerSpec]:
    return [gw.LedgerSpec("acme_book", lambda: Book(NOTES))]


@gw.hookimpl
def llm_gateway_catalogs() -> list[gw.CatalogSpec]:
    return [gw.CatalogSpec("acme_tariff", Tariff)]


@gw.hookimpl
def llm_gateway_redactors() -> list[gw.RedactorSpec]:
    return [gw.RedactorSpec("acme_eraser", Eraser)]


@gw.hookimpl
def llm_gateway_auditors() -> list[gw.AuditorSpec]:
    return [gw.AuditorSpec("acme_clerk", lambda: Clerk(NOTES))]


@gw.hookimpl
def llm_gateway_tracers() -> list[gw.TracerSpec]:
    return [gw.TracerSpec("acme_recorder", Recorder, settings="plugins.acme_traces")]


@gw.hookimpl
def llm_gateway_services() -> list[gw.ServiceSpec]:
    return [gw.ServiceSpec("acme_lamp", lambda: Lamp(NOTES))]


@gw.hookimpl
def llm_gateway_endpoints() -> list[gw.EndpointSpec]:
    def calls() -> gw.EndpointHandler:
        async def handle(request: gw.EndpointRequest) -> gw.EndpointResponse:
            return gw.EndpointResponse(200, json.dumps(NOTES.calls).encode())

        return handle

    def greet(settings: Settings) -> gw.EndpointHandler:
        async def handle(request: gw.EndpointRequest) -> gw.EndpointResponse:
            text = f"{settings.greeting} {request.match['name']}"
            return gw.EndpointResponse(200, text.encode(), "text/plain")

        return handle

    def claim(state: gw.StateBackend) -> gw.EndpointHandler:
        async def handle(request: gw.EndpointRequest) -> gw.EndpointResponse:
            first = await state.claim(request.match["key"], 60)
            return gw.EndpointResponse(200 if first else 409, b"")

        return handle

    def redact(redact: gw.Redact) -> gw.EndpointHandler:
        async def handle(request: gw.EndpointRequest) -> gw.EndpointResponse:
            return gw.EndpointResponse(200, redact(request.match["text"]).encode(), "text/plain")

        return handle

    return [
        gw.EndpointSpec("GET", "/acme/redact/{text}", None, redact, needs=("redact",)),
        gw.EndpointSpec("POST", "/acme/claims/{key}", "user", claim, needs=("state",)),
        gw.EndpointSpec("GET", "/acme/calls", "user", calls),
        gw.EndpointSpec("GET", "/acme/greet/{name}", None, greet, settings="plugins.acme"),
        gw.EndpointSpec("GET", "/acme/admin", "admin", calls),
    ]


@gw.hookimpl
def llm_gateway_secret_sources() -> list[gw.SecretSourceSpec]:
    return [gw.SecretSourceSpec("acme_vault", Vault)]


class Notes:
    """Two notes about every tenant but one, until they are erased."""

    def __init__(self) -> None:
        self._erased: set[str] = set()

    async def count(self, tenant: str) -> int:
        return 0 if tenant in self._erased or tenant == "nobody" else 2

    async def export(self, tenant: str, after: str, limit: int) -> gw.ExportPage:
        if not await self.count(tenant):
            return gw.ExportPage([])
        number = int(after or 1)
        return gw.ExportPage([{"note": number}], str(number + 1) if number < 2 else None)

    async def erase(self, tenant: str) -> int:
        found = await self.count(tenant)
        self._erased.add(tenant)
        return found


@gw.hookimpl
def llm_gateway_tenant_data() -> list[gw.TenantDataSpec]:
    return [
        gw.TenantDataSpec("notes", "notes", "memory", "for ever", make=Notes),
        gw.TenantDataSpec("echoes", "what was heard", "the air", "a moment"),
    ]

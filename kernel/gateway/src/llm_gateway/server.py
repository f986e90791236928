"""The HTTP server: finds the route, runs the pipeline, says what happened. Owns no policy.

Authentication and dispatch use the same matched route; what is not declared is refused.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Mapping
from random import Random
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl

from llm_gateway_api import (
    Arrival,
    AuditEvent,
    ClientGoneError,
    DrainingError,
    EndpointRequest,
    Frontend,
    FrontendSpec,
    GatewayError,
    Outcome,
    RequestHead,
    SupportsTrail,
)

from llm_gateway import auditing
from llm_gateway.binding import Generation, Kernel
from llm_gateway.client import Client
from llm_gateway.connection import Answered, Incoming
from llm_gateway.errorbody import error_headers, plain_error
from llm_gateway.inside import found, identified, permitted
from llm_gateway.observe import AccessLog, Line, Tokens
from llm_gateway.pipeline import Call
from llm_gateway.timing import ASKED, timed
from llm_gateway.trails import trail

log = logging.getLogger("llm_gateway.server")
_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
NO_TOKENS = Tokens(0, 0)


class Gateway:
    """Serves one worker: holds the current generation and everything under way."""

    def __init__(self, kernel: Kernel, generation: Generation, access_log: AccessLog) -> None:
        self.kernel = kernel
        self.generation = generation
        self.draining = False
        self.in_flight: dict[Call, tuple[asyncio.Task[Any], Generation]] = {}
        self._ended: list[asyncio.Future[None]] = []
        self._log = access_log
        self._time = monotonic
        self._bits = Random().getrandbits  # names of requests, which are no secrets

    # --- listeners ---------------------------------------------------------------------

    def handle(self, request: Incoming) -> Awaitable[Answered]:
        """One request on the main port."""
        generation = self.generation
        found = generation.frontends.get((request.method, request.path))
        if found is None:
            return self._endpoint(request, generation, "main")
        return self._dialect(request, generation, *found)

    async def handle_crowded(self, request: Incoming) -> Answered:
        """The one request of a connection over the limit: health is told, work refused."""
        request.keep_alive = False
        generation = self.generation
        found = generation.frontends.get((request.method, request.path))
        if found is None:
            return await self._endpoint(request, generation, "main")
        error = GatewayError(
            "The gateway has as many connections as it may have (server.max_connections).",
            status=503,
            code="too_many_connections",
            retry_after=1.0,
        )
        spec, frontend = found
        client, arrival = self._client(request, generation), self._arrival(request)
        self.kernel.counts.requests(error.status, "none", "other").inc()
        headers = {"x-request-id": arrival.request_id, **error_headers(error)}
        status = spec.statuses.get(error.status, error.status)
        client.send(status, headers, frontend.error(error, arrival.request_id))
        return Answered(client.status, False)

    async def handle_metrics(self, request: Incoming) -> Answered:
        """One request on the metrics port."""
        return await self._endpoint(request, self.generation, "metrics")

    # --- dialects ----------------------------------------------------------------------

    async def _dialect(
        self, request: Incoming, generation: Generation, spec: FrontendSpec, frontend: Frontend
    ) -> Answered:
        """Execute, and turn what was raised into the answer it means."""
        call = self._call(request, generation, spec, frontend)
        client, counts = call.client, self.kernel.counts
        self.in_flight[call] = request.task, generation
        counts.in_flight.value += 1
        try:
            for observer in generation.pipeline.observers:
                self._tell(observer.started, call.arrival)
            await generation.pipeline.execute(call)
        except ClientGoneError as error:
            call.error = error
        except GatewayError as error:
            self._fail(generation, call, self._audited(generation, call.arrival, error))
        except asyncio.CancelledError:
            if not self.draining or client.gone:
                call.error = ClientGoneError("The client left.")
                raise
            self._fail(generation, call, DrainingError("The gateway is going down; try again."))
        except Exception:
            log.exception("request.failed request_id=%s", call.arrival.request_id)
            self._fail(generation, call, GatewayError("The gateway failed; its log says why."))
        finally:
            client.done()
            del self.in_flight[call]
            counts.in_flight.value -= 1
            if call.head.stream:
                counts.streams.inc(-1)
            self._finished(generation, call)
            while self._ended:
                _wake(self._ended.pop())
        return Answered(client.status, client.keep_alive)  # as its head said

    def _call(
        self, request: Incoming, generation: Generation, spec: FrontendSpec, frontend: Frontend
    ) -> Call:
        """A request of a dialect as it begins."""
        client, arrival = self._client(request, generation), self._arrival(request)
        head = RequestHead(spec.dialect, spec.operation, "", False, False, {}, b"")
        call = Call(arrival, frontend, client, head)
        call.headers["x-request-id"] = arrival.request_id
        if spec.request_id_header is not None:
            call.headers[spec.request_id_header] = arrival.request_id
        client.warm_headers = call.headers
        if generation.tracing is not None:
            call.trace = generation.tracing.begin(arrival, spec.operation)
        if ASKED in arrival.headers:
            client.timing = timed(call)
        return call

    def _client(self, request: Incoming, generation: Generation) -> Client:
        seconds, outgoing = generation.settings.server.timeout_seconds, generation.pipeline.screens
        client = Client(request, self.kernel.watchdog, seconds, outgoing.outgoing)
        client.keep_alive = client.keep_alive and not self.draining
        return client

    async def ended(self, generation: Generation | None, seconds: float | None = None) -> bool:
        """Wait until no request, or none of `generation`, is under way; False: time is over."""
        try:
            async with asyncio.timeout(seconds):
                while self._serving(generation):
                    self._ended.append(asyncio.get_running_loop().create_future())
                    await self._ended[-1]
        except TimeoutError:
            return False
        return True

    def _serving(self, generation: Generation | None) -> bool:
        if generation is None:
            return bool(self.in_flight)
        return any(each is generation for _, each in self.in_flight.values())

    def _fail(self, generation: Generation, call: Call, error: GatewayError) -> None:
        """An error answer, or an error frame where the stream has begun."""
        call.error = error
        generation.pipeline.accounting.end(call)
        client, frontend, request_id = call.client, call.frontend, call.arrival.request_id
        try:
            if client.opened:
                client.keep_alive = False
                client.fail(frontend.error_frame(error, request_id))
                return
            headers = {**call.headers, **error_headers(error)}
            spec, _ = generation.frontends[call.arrival.method, call.arrival.path]
            status = spec.statuses.get(error.status, error.status)
            client.send(status, headers, frontend.error(error, request_id))
        except ClientGoneError:
            pass

    def _audited(
        self, generation: Generation, arrival: Arrival, error: GatewayError
    ) -> GatewayError:
        """Tell auditors of a refusal; what they cannot record becomes a 503."""
        event = auditing.refusal(arrival, error)
        return error if event is None else self._record(generation, event) or error

    def _record(self, generation: Generation, event: AuditEvent) -> GatewayError | None:
        try:
            generation.audit(event)
        except Exception:
            log.exception("audit.failed kind=%s", event.kind)
            return GatewayError(
                "This cannot be recorded for audit now, so it is not done; try again later.",
                status=503,
                code="audit_unavailable",
                retry_after=5.0,
            )
        return None

    def _finished(self, generation: Generation, call: Call) -> None:
        """Counters, the log line, the observers: once for every request."""
        if not call.accounted:
            generation.pipeline.accounting.end(call)
        now = self._time()
        arrival, counts, client = call.arrival, self.kernel.counts, call.client
        seconds = now - arrival.arrived
        status = call.error.status if call.error is not None else client.status
        target = call.target or call.repeated
        provider = target.provider if target is not None else "none"
        model = target.model if target is not None else call.head.model
        label = model if model in generation.models else "other"
        counts.requests(status, provider, label).value += 1
        counts.duration.observe(seconds)
        counts.overhead.observe(max(0.0, seconds - call.upstream_seconds))
        tokens, usage = NO_TOKENS, call.usage
        if usage is not None:
            tokens = Tokens(usage.input_total, usage.output_total)
            if call.repeated is None:
                read, written = counts.tokens(provider, label)
                read.value += tokens.input
                written.value += tokens.output
                if call.first_content is not None and now > call.first_content:
                    counts.rate(provider).observe(tokens.output / (now - call.first_content))
        if call.cost_usd is not None:
            counts.cost(provider, label).inc(float(call.cost_usd))
        if call.trace is not None:
            call.trace.finish(call, status)
        self._log.add(self._line(call, status, seconds, tokens))
        observers = generation.pipeline.observers
        if observers:
            outcome = Outcome(
                call.target,
                call.error.code if call.error is not None else None,
                cancelled=isinstance(call.error, ClientGoneError),
                status=status,
                duration=seconds,
                usage=call.usage,
            )
            for observer in observers:
                self._tell(observer.finished, arrival, outcome)
        for each in generation.trailed:
            self._tell(_trailed, each, call, status, seconds)

    def _line(self, call: Call, status: int, seconds: float, tokens: Tokens) -> Line:
        """The line of the log about a request."""
        arrival, ttft = call.arrival, None
        target = call.target or call.repeated
        if call.first_content is not None:
            ttft = _ms(call.first_content - arrival.arrived)
        return Line(  # without names, which would cost more than the line itself
            self._log.stamp(),
            "INFO" if status < 500 else "ERROR",
            "llm_gateway.server",
            "Request completed" if call.error is None else "Request failed",
            arrival.request_id,
            target.provider if target is not None else None,
            call.head.model or None,
            _ms(seconds),
            tokens,
            status,
            arrival.principal.tenant,
            arrival.principal.key_id,
            call.cache,
            call.attempts,
            call.cost_usd,
            ttft,
            call.trace.trace_id if call.trace is not None else None,
            call.error.code if call.error is not None else None,
            call.fallback,
            call.hedge,
            len(call.partial.parts) if call.partial is not None else 0,
        )

    def _tell(self, told: Any, *args: Any) -> None:
        try:
            told(*args)
        except Exception:
            self.kernel.counts.observer_errors.inc()

    # --- other routes ------------------------------------------------------------------

    async def _endpoint(self, request: Incoming, generation: Generation, listener: str) -> Answered:
        client = self._client(request, generation)
        arrival = self._arrival(request)
        headers: dict[str, str] = {"x-request-id": arrival.request_id}
        try:
            if listener == "main":
                arrival = await generation.pipeline.screens.connect(arrival)
            spec, handler, match = found(generation, request.method, request.path, listener)
            if spec.role is not None or "detailed" in arrival.query:
                arrival = await identified(generation, arrival, spec)
                permitted(arrival, spec)  # apart, so that a refusal is on record with its caller
            body = await client.body()
            if spec.role is not None:
                await generation.pipeline.screens.admit_endpoint(arrival, body)
            query = dict(parse_qsl(arrival.query))
            answer = await handler(EndpointRequest(arrival, match, query, body))
            if spec.role is not None and request.method not in ("GET", "HEAD"):
                self._record(generation, auditing.administration(arrival, answer.status))
            headers.update(answer.headers)
            client.send(answer.status, headers, answer.body, answer.content_type)
        except ClientGoneError:
            pass
        except GatewayError as raised:
            error = self._audited(generation, arrival, raised)
            text = written(error, arrival, generation.frontends)
            client.send(error.status, {**headers, **error_headers(error)}, text)
        except Exception:
            log.exception("endpoint.failed path=%s", request.path)
            client.send(500, headers, plain_error(GatewayError("The gateway failed."), ""))
        return Answered(client.status, client.keep_alive)

    def _arrival(self, request: Incoming) -> Arrival:
        headers = request.headers
        request_id = headers.get("x-request-id")
        if request_id is None or not _WELL_FORMED_ID.fullmatch(request_id):
            request_id = f"req_{self._bits(96):024x}"
        path = request.path
        if "%" in path:
            path = path.replace("%2F", "/").replace("%25", "%")
        return Arrival(
            request_id,
            request.method,
            path,
            request.query,
            headers,
            request.protocol.client or "",
            self._time(),
        )


def _ms(seconds: float) -> float:
    """Milliseconds to the microsecond; `round` takes three times as long."""
    return int(seconds * 1_000_000 + 0.5) / 1000


def _trailed(observer: SupportsTrail, call: Call, status: int, seconds: float) -> None:
    if observer.wants(status):
        observer.trail(trail(call, status, seconds))


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def written(
    error: GatewayError,
    arrival: Arrival,
    frontends: Mapping[tuple[str, str], tuple[FrontendSpec, Frontend]],
) -> bytes:
    """An error beside the dialects' routes: in the form of one that it lies below, if any."""
    for (_, path), (_, frontend) in frontends.items():
        if arrival.path.startswith(path):
            return frontend.error(error, arrival.request_id)
    return plain_error(error, arrival.request_id)

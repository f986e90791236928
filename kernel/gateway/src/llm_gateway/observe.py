"""What the kernel counts and the line it writes for each request, off the hot path.

Label values come from closed sets: a name that a client invented is ``other``.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Iterable
from typing import IO

import msgspec
from llm_gateway_api import Histogram, Metrics, Redact, Value
from msgspec import structs

from llm_gateway.redacting import Redaction
from llm_gateway.whole import WholeLines

TOKEN_RATES = (1.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
OVERHEAD = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 1.0)
MAX_BUFFERED_LINES = 100_000
MAX_INNOCENT = 10_000
# What of a line a caller may have invented; ids and times stay what they are.
INVENTED = ("model", "error", "fallback")


class Tokens(msgspec.Struct):
    input: int
    output: int


class Line(msgspec.Struct, omit_defaults=True):
    """One request in the log; the names are part of the product's contract."""

    timestamp: str
    level: str
    target: str
    message: str
    request_id: str
    provider: str | None
    model: str | None
    latency_ms: float
    tokens: Tokens
    status: int
    tenant: str | None = None
    key_id: str | None = None
    cache: str | None = None
    attempts: int = 0
    cost_usd: str | None = None
    ttft_ms: float | None = None
    trace_id: str | None = None
    error: str | None = None
    fallback: str | None = None
    hedge: str | None = None
    continued: int = 0


class Counts:
    """Children of the request metrics, taken once for each combination of closed labels."""

    def __init__(self, metrics: Metrics) -> None:
        by = ("provider", "model")
        self._ended: dict[tuple[int, str, str], Value] = {}
        self._used: dict[tuple[str, str], tuple[Value, Value]] = {}
        self._attempted: dict[str, tuple[Value, Histogram]] = {}
        self._requests = metrics.counter(
            "gateway_requests_total", "requests by outcome", ("status", *by)
        )
        self.duration = metrics.histogram(
            "gateway_request_duration_seconds", "from arrival to the last byte"
        ).histogram()
        self._tokens = metrics.counter("gateway_request_tokens_total", "tokens", ("direction", *by))
        self._provider_requests = metrics.counter(
            "gateway_provider_requests_total", "attempts", ("provider",)
        )
        self._provider_errors = metrics.counter(
            "gateway_provider_errors_total", "failed attempts by class", ("provider", "class")
        )
        self._latency = metrics.histogram(
            "gateway_provider_latency_seconds", "duration of an attempt", ("provider",)
        )
        self._first = metrics.histogram(
            "gateway_time_to_first_token_seconds", "to the first content of a stream", ("provider",)
        )
        self._rate = metrics.histogram(
            "gateway_tokens_per_second", "output rate of a stream", ("provider",), TOKEN_RATES
        )
        self.overhead = metrics.histogram(
            "gateway_overhead_seconds", "the gateway's own share", (), OVERHEAD
        ).histogram()
        self.in_flight = metrics.gauge("gateway_requests_in_flight", "requests under way").value()
        self.streams = metrics.gauge("gateway_streams_open", "streamed answers under way").value()
        self._retries = metrics.counter(
            "gateway_retry_attempts_total", "further attempts at one deployment", ("provider",)
        )
        self._estimated = metrics.counter(
            "gateway_usage_estimated_total",
            "answers whose vendor did not count, or that ended before it did",
            ("provider",),
        )
        self.fallbacks = metrics.counter(
            "gateway_fallbacks_total", "requests that another target answered"
        ).value()
        self._cost = metrics.counter("gateway_cost_usd_total", "what answers cost, in USD", by)
        self._of_caches(metrics)
        self._of_this(metrics)

    def _of_caches(self, metrics: Metrics) -> None:
        self.cache_errors = metrics.counter(
            "gateway_cache_errors_total", "cache calls that raised", ("cache",)
        )
        self.cache_hits = metrics.counter(
            "gateway_cache_hits_total", "answers that a cache gave"
        ).value()
        self.cache_misses = metrics.counter(
            "gateway_cache_misses_total", "requests that no cache could answer"
        ).value()
        self.coalesced = metrics.counter(
            "gateway_cache_coalesced_total", "hits that waited for an identical request"
        ).value()

    def _of_this(self, metrics: Metrics) -> None:
        """How the gateway itself does."""
        self.observer_errors = metrics.counter(
            "gateway_observer_errors_total", "observers that raised"
        ).value()
        self.tracing_errors = metrics.counter(
            "gateway_tracing_errors_total", "spans that could not be recorded"
        ).value()
        self.ledger_failures = metrics.counter(
            "gateway_ledger_failures_total", "records that the ledger did not take"
        ).value()
        self.dropped_lines = metrics.counter(
            "gateway_log_lines_dropped_total", "log lines that could not be written"
        ).value()
        self.workers = metrics.gauge(
            "gateway_workers", "worker processes that take connections"
        ).value()
        self.worker_restarts = metrics.counter(
            "gateway_worker_restarts_total", "workers started in the place of one that ended"
        ).value()
        self._set_aside = metrics.gauge(
            "gateway_plugin_set_aside", "1 for a plugin that broke", ("plugin", "phase"), "max"
        )

    def plugins_set_aside(self, broken: Iterable[tuple[str, str]]) -> None:
        """`broken` are the plugins that are out of service now, with the phase."""
        for child in self._set_aside.children.values():
            child.value = 0.0  # type: ignore[union-attr]  # a gauge's children are values
        for name, phase in broken:
            self._set_aside.value(name, phase).value = 1.0

    def requests(self, status: int, provider: str, model: str) -> Value:
        found = self._ended.get((status, provider, model))
        if found is None:
            found = self._requests.value(str(status), provider, model)
            self._ended[status, provider, model] = found
        return found

    def tokens(self, provider: str, model: str) -> tuple[Value, Value]:
        """Of the input and of the output."""
        found = self._used.get((provider, model))
        if found is None:
            read = self._tokens.value("input", provider, model)
            found = read, self._tokens.value("output", provider, model)
            self._used[provider, model] = found
        return found

    def cost(self, provider: str, model: str) -> Value:
        return self._cost.value(provider, model)

    def attempted(self, provider: str, seconds: float) -> None:
        """An attempt ended after `seconds`."""
        found = self._attempted.get(provider)
        if found is None:
            number = self._provider_requests.value(provider)
            found = number, self._latency.histogram(provider)
            self._attempted[provider] = found
        found[0].value += 1
        found[1].observe(seconds)

    def estimated(self, provider: str) -> Value:
        return self._estimated.value(provider)

    def retries(self, provider: str) -> Value:
        return self._retries.value(provider)

    def errors(self, provider: str, failure: str) -> Value:
        return self._provider_errors.value(provider, failure)

    def first(self, provider: str) -> Histogram:
        return self._first.histogram(provider)

    def rate(self, provider: str) -> Histogram:
        return self._rate.histogram(provider)


class AccessLog:
    """Leaves lines to a thread, several at a time, which encodes and writes them; what
    `redaction` hides is hidden there. What finds `most` lines waiting is lost and counted."""

    def __init__(
        self,
        stream: IO[bytes] | WholeLines,
        dropped: Value,
        redaction: Redaction | None = None,
        flush_seconds: float = 0.2,
        most: int = MAX_BUFFERED_LINES,
    ) -> None:
        self._redaction = redaction or Redaction()
        self._lines: list[Line] = []
        self._innocent: set[str] = set()
        self._known: Redact | None = None
        self._dropped = dropped
        self._flush_seconds = flush_seconds
        self._most = most
        self._added = self._done = 0  # each is counted by one thread alone
        self._scheduled = False
        self._at = 0
        self._second = self._stamp = ""
        self._blocks: queue.SimpleQueue[list[Line] | None] = queue.SimpleQueue()
        self._stream = stream
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def stamp(self) -> str:
        """Now as ISO 8601 with milliseconds; formatted once for all that share one."""
        now = int(time.time() * 1000)
        if now != self._at:
            seconds, rest = divmod(now, 1000)
            if seconds != self._at // 1000:
                self._second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            self._at, self._stamp = now, f"{self._second}.{rest:03d}Z"
        return self._stamp

    def add(self, line: Line) -> None:
        if self._added - self._done >= self._most:
            self._dropped.inc()
            return
        self._added += 1
        self._lines.append(line)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(self._flush_seconds, self.flush)

    def flush(self) -> None:
        self._scheduled = False
        if self._lines:
            self._blocks.put(self._lines)
            self._lines = []

    def close(self) -> None:
        self.flush()
        self._blocks.put(None)
        self._thread.join(timeout=5)

    def _write(self) -> None:
        encode = msgspec.json.Encoder().encode_lines
        while (lines := self._blocks.get()) is not None:
            number = len(lines)
            try:
                hide = self._redaction.hide
                if hide is not None and self._guilty(lines, hide):
                    lines = [_redacted(line, hide) for line in lines]
                self._stream.write(encode(lines))
                self._stream.flush()
            except Exception:  # a line that cannot be redacted is not written either
                self._dropped.inc(number)
            self._done += number

    def _guilty(self, lines: Iterable[Line], hide: Redact) -> bool:
        """Whether anything that callers invented for `lines` has to be hidden. What need
        not is remembered: models' names and reasons come again with every line."""
        if self._known is not hide or len(self._innocent) > MAX_INNOCENT:
            self._known, self._innocent = hide, set()
        for value in {value for each in lines for value in (each.model, each.error, each.fallback)}:
            if value is not None and value not in self._innocent:
                if hide(value) != value:
                    return True
                self._innocent.add(value)
        return False


def _redacted(line: Line, hide: Redact) -> Line:
    given = {name: getattr(line, name) for name in INVENTED}
    hidden = {name: hide(value) for name, value in given.items() if value is not None}
    return structs.replace(line, **hidden)

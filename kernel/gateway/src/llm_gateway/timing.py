"""``Server-Timing`` for a request that asks for it: what took how long until its answer began."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Self

from llm_gateway_api import Outcome, Target, UpstreamRequest

from llm_gateway.tracing import Trace

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

ASKED = "x-gateway-timing"


@dataclass(slots=True)
class Span:
    name: str
    began: float
    ended: float | None = None


class TimedTrace(Trace):
    """Around a request's trace, or alone: notes when its attempts begin and end."""

    __slots__ = ("_arrived", "_inner", "_mine", "_spans")

    def __init__(self, inner: Trace | None, arrived: float) -> None:
        self.trace_id = inner.trace_id if inner is not None else None
        self._inner = inner
        self._arrived = arrived
        self._spans: list[Span] = []
        self._mine: Span | None = None

    def __copy__(self) -> Self:
        """For an attempt beside another; the header tells of both."""
        made = type(self)(copy(self._inner), self._arrived)
        made._spans = self._spans
        return made

    def attempt(self, target: Target, number: int) -> None:
        self._mine = Span(target.provider, monotonic())
        self._spans.append(self._mine)
        if self._inner is not None:
            self._inner.attempt(target, number)

    def carried(self, sent: UpstreamRequest) -> UpstreamRequest:
        return sent if self._inner is None else self._inner.carried(sent)

    def attempted(self, outcome: Outcome) -> None:
        if self._mine is not None:
            self._mine.ended = monotonic()
        if self._inner is not None:
            self._inner.attempted(outcome)

    def finish(self, call: "Call", status: int) -> None:
        if self._inner is not None:
            self._inner.finish(call, status)

    def header(self) -> str:
        """Milliseconds: ``total``, the ``gateway``'s and the providers' share of it, and each
        attempt; attempts beside each other are no longer than the time that passed."""
        now = monotonic()
        total, waited, until = now - self._arrived, 0.0, 0.0
        parts = []
        for number, each in enumerate(self._spans, 1):
            ended = each.ended if each.ended is not None else now
            waited += max(0.0, ended - max(each.began, until))
            until = max(until, ended)
            parts.append(f'attempt{number};dur={_ms(ended - each.began)};desc="{_safe(each.name)}"')
        head = {"total": total, "gateway": max(0.0, total - waited), "provider": waited}
        return ", ".join([*(f"{name};dur={_ms(value)}" for name, value in head.items()), *parts])


def timed(call: "Call") -> Callable[[], str]:
    """From now on `call` is timed; what is called gives the header's value."""
    trace = TimedTrace(call.trace, call.arrival.arrived)
    call.trace = trace
    return trace.header


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def _safe(name: str) -> str:
    return "".join(
        each if each.isascii() and (each.isalnum() or each in "-_.") else "_" for each in name
    )

"""The translate lane: a provider's events become the client's bytes, one machine for all.

The finish-reason rules are here and in no mapper: calls seen means ``tool_calls``, each
choice finishes once.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from llm_gateway_api import (
    Decoder,
    Event,
    EventFilter,
    Finished,
    GatewayError,
    ReasoningDelta,
    Renderer,
    ToolCallDelta,
    UpstreamTruncatedError,
    Usage,
    UsageReport,
    is_content,
)

from llm_gateway.states import signed

_JUDGED = frozenset({ToolCallDelta, UsageReport, ReasoningDelta, Finished})


class Seam(Protocol):
    """What joins the events of one attempt to those of the one before it. `before` is what the
    answer used until then, `own` what the vendor said of its part."""

    mark: bytes
    before: Usage
    own: Usage | None

    def guessed(self, whole: Usage) -> Usage:
        """The usage of the answer, `whole` being a guess at all of it."""

    def joined(self, events: Sequence[Event]) -> Sequence[Event]: ...


class TranslateLane:
    """Decoder, event filters, renderer; meets the contract `Lane`.

    `events` are those before the filters: what a cache keeps is filtered for each caller.
    `maker` is the deployment that answers, whose name its opaque state gets; `guess` says what
    an answer used whose vendor says nothing of it.
    """

    _seam: Seam | None = None

    def __init__(
        self,
        decoder: Decoder | None,
        renderer: Renderer,
        watchers: Sequence[EventFilter] = (),
        maker: str | None = None,
        guess: Callable[[Sequence[Event]], Usage] | None = None,
    ) -> None:
        self._decoder = decoder
        self._renderer = renderer
        self._watchers = watchers
        self._maker = maker
        self._guess = guess
        self._called: set[int] = set()
        self._finished: set[int] = set()
        self.committed = False
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.events: list[Event] = []

    def go_on(self, decoder: Decoder, seam: Seam) -> None:
        """Another attempt goes on with the answer: the client's side stays as it is."""
        self._decoder, self._seam = decoder, seam
        self.committed, self.usage = False, seam.before

    def feed(self, data: bytes) -> bytes:
        assert self._decoder is not None
        try:
            events = self._decoder.feed(data)
        except GatewayError:
            raise
        except Exception as error:
            raise UpstreamTruncatedError("the answer could not be understood") from error
        return self.render(events)

    def finish(self) -> bytes:
        if self._decoder is not None:
            try:
                rest = self.render(self._decoder.finish())
            except GatewayError:
                raise
            except Exception as error:
                raise UpstreamTruncatedError("the answer could not be understood") from error
        else:
            rest = b""
        for watcher in self._watchers:
            rest += self._renderer.render(watcher.finish())
        if self.finish_reason is None:
            raise UpstreamTruncatedError("the answer ended before its end")
        told = self.usage if self._seam is None else self._seam.own
        if told is None and self._guess is not None:
            self.usage = self._guess(self.events)
            if self._seam is not None:
                self.usage = self._seam.guessed(self.usage)
            report = UsageReport(self.usage)
            self.events.append(report)
            rest += self._renderer.render((report,))
        return rest + self._renderer.finish()

    def render(self, events: Sequence[Event]) -> bytes:
        """The client's bytes of `events`, which may be none yet."""
        if self._seam is not None:
            events = self._seam.joined(events)
        if not events:
            return b""
        if not self.committed:
            self.committed = any(map(is_content, events))
        passed: list[Event] = []
        for event in events:
            if type(event) in _JUDGED:
                judged = self._judged(event)
                if judged is None:
                    continue
                event = judged
            passed.append(event)
        self.events += passed
        for watcher in self._watchers:
            passed = watcher.feed(passed)
        out = self._renderer.render(passed) if passed else b""
        return out if self._seam is None else self._marked(out, self._seam)

    def _marked(self, out: bytes, seam: Seam) -> bytes:
        """`out` behind the mark of its seam, if it is the first behind that."""
        if out and seam.mark:
            out, seam.mark = seam.mark + out, b""
        return out

    def _judged(self, event: Event) -> Event | None:
        """`event` as it is passed on; None for a second end of a choice."""
        if type(event) is ToolCallDelta:
            self._called.add(event.index)
            return event
        if type(event) is UsageReport:
            self.usage = event.usage
            return event
        if type(event) is ReasoningDelta:
            if event.state and self._maker is not None:
                return signed(event, self._maker)
            return event
        if type(event) is not Finished:
            return event
        if event.index in self._finished:
            return None
        self._finished.add(event.index)
        if event.reason == "stop" and event.index in self._called:
            event = Finished("tool_calls", event.index, event.raw)
        self.finish_reason = event.reason
        return event

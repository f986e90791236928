"""A streamed answer on its way from the provider's socket to the client's."""

from time import monotonic
from typing import TYPE_CHECKING

from llm_gateway_api import FailureClass, Lane, Target, Usage

from llm_gateway import counting
from llm_gateway.transport import Exchange

if TYPE_CHECKING:
    from llm_gateway.attempt import Attempts, Bound
    from llm_gateway.pipeline import Call

MAX_HELD_BYTES = 256 * 1024
SAMPLE_BYTES = 4096
STREAM_TYPE = "text/event-stream; charset=utf-8"


class Streaming:
    """One stream from the provider's socket to the client's, without a task switch per read.

    Of bytes that pass unread the first with content are kept: what share of them is an answer
    tells how long the whole is, should its vendor not.
    """

    def __init__(
        self,
        attempts: "Attempts",
        call: "Call",
        target: Target,
        bound: "Bound",
        connection: Exchange,
        lane: Lane,
    ) -> None:
        self._attempts = attempts
        self._call = call
        self._target = target
        self._gap = bound.chunk_gap_seconds
        self._connection = connection
        self._lane = lane
        call.streaming = self
        self._held: list[bytes] = []
        self._size = 0
        self._passed = 0
        self._before = 0  # of that, what came before the first content
        self._sample: list[bytes] = []
        self.told: Usage | None = None  # of usage, with the first content
        self._time = monotonic

    async def run(self) -> None:
        call = self._call
        unread = not hasattr(self._lane, "events")
        try:
            await self._connection.pump(self._first if unread else self._sink)
            rest = self._lane.finish()
        finally:
            call.client.on_resume = None
        if not call.client.committed:
            self._commit()
        client = call.client
        call.events = getattr(self._lane, "events", ())
        usage = self._lane.usage
        output = 0.0 if usage is not None else self.output()
        self._attempts.used(call, self._target, usage, output)
        self._attempts.accounting.end(call)
        client.write(rest)
        client.end()

    def output(self) -> float:
        """Tokens of what passed so far, about."""
        if not self._call.client.committed:
            return 0.0
        sample = b"".join(self._sample)
        return counting.passed(self._passed - self._before, sample, self._lane)

    def _first(self, data: bytes) -> None:
        """What comes until there is content."""
        self._sink(data)
        if self._call.client.committed:
            self._before = self._passed - len(data)
            self._sample.append(data[:SAMPLE_BYTES])
            enough = len(data) >= SAMPLE_BYTES
            self._connection.pass_to(self._sink if enough else self._second)

    def _second(self, data: bytes) -> None:
        """What comes until there is a sample."""
        self._sink(data)
        self._sample.append(data[:SAMPLE_BYTES])
        if self._passed - self._before >= SAMPLE_BYTES:
            self._connection.pass_to(self._sink)

    def _sink(self, data: bytes) -> None:
        out = self._lane.feed(data)
        self._passed += len(data)
        client = self._call.client
        if client.committed:
            if out:
                client.write(out)
        else:
            self._held.append(out)
            self._size += len(out)
            if self._lane.committed or self._size > MAX_HELD_BYTES:
                self._commit()
                client = self._call.client  # one of two attempts is given it by its first content
            else:
                return
        connection = self._connection
        if client.paused:
            connection.hold()
            connection.deadline = self._call.deadline
            client.on_resume = self._resume
        elif out:
            connection.deadline = min(self._call.deadline, self._time() + self._gap)

    def _commit(self) -> None:
        self.told = self._lane.usage
        self._attempts.commit(self._call, self._target)
        self._connection.overdue = FailureClass.BROKEN_AFTER_COMMIT
        self._call.client.start(self._call.headers, STREAM_TYPE, b"".join(self._held))
        self._held.clear()

    def _resume(self) -> None:
        self._connection.deadline = min(self._call.deadline, self._time() + self._gap)
        self._connection.unhold()

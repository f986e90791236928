"""What one turn of the event loop writes, written at its end and in one go.

Between the steps of a request a write is dear: the kernel's code and the gateway's push each
other out of the caches, and a peer on the same machine, which has just fallen asleep, is woken by
each write anew. In a row, a write costs about half of that.
"""

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("llm_gateway.outbox")
# Of one transport: more is written at once, so that who takes it slowly is known before there is
# more still.
MOST_BYTES = 65_536


class Outbox:
    """Collects the writes of a turn. Those of one transport keep their order, and go out as one
    piece. The clients' one meets `Turn`."""

    __slots__ = ("_before", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[asyncio.WriteTransport, bytes] = {}
        self._before: list[Callable[[], None]] = []

    def put(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Write `data` once this turn of the loop is over, unless `transport` closes before."""
        waiting = self._waiting
        if not waiting and not self._before:
            asyncio.get_running_loop().call_soon(self.flush)
        if transport in waiting:
            data = waiting[transport] + data
        waiting[transport] = data
        if len(data) > MOST_BYTES:
            self.flush()

    def before_answers(self, work: Callable[[], None]) -> None:
        if not self._waiting and not self._before:
            asyncio.get_running_loop().call_soon(self.flush)
        self._before.append(work)

    def flush(self) -> None:
        """Write now: somebody else is about to write to a transport, or to close it."""
        before, self._before = self._before, []
        for work in before:
            try:
                work()
            except Exception:
                log.exception("turn.failed")
        waiting, self._waiting = self._waiting, {}
        for transport, data in waiting.items():
            if not transport.is_closing():
                transport.write(data)

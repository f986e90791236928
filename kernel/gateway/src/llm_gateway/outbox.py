"""What one turn of the event loop writes, written at its end and in one go.

Between the steps of a request a write is dear: the kernel's code and the gateway's push each
other out of the caches, and a peer on the same machine, which has just fallen asleep, is woken by
each write anew. In a row, a write costs about half of that.
"""

import asyncio


class Outbox:
    """Collects the writes of a turn. Each transport gets its own in their order, as one piece."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[asyncio.WriteTransport, list[bytes]] = {}

    def put(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Write `data` once this turn of the loop is over, unless `transport` closes before."""
        waiting = self._waiting
        if not waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        if (pieces := waiting.get(transport)) is None:
            waiting[transport] = [data]
        else:
            pieces.append(data)

    def flush(self) -> None:
        """Write now: somebody else is about to write to a transport, or to close it."""
        waiting, self._waiting = self._waiting, {}
        for transport, pieces in waiting.items():
            if not transport.is_closing():
                transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

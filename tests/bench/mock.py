"""A provider that answers at once: a whole of 1.5 KB, or a stream of 50 events in one go.

Asked for the model ``gpt-gap-MS``, it waits that many milliseconds before each event.
"""

import asyncio
import re
import sys
from itertools import chain

import uvloop
from answers import ANSWERS, Answer

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
GAP = re.compile(rb'"model":"gpt-gap-(\d+)"')


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Mock(asyncio.Protocol):
    """Reads whole requests by content-length and answers each."""

    def __init__(self) -> None:
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, start = self._buffer[:end], end + 4
            length = LENGTH.search(head)
            stop = start + int(length[1]) if length else start
            if len(self._buffer) < stop:
                return
            body, self._buffer = self._buffer[start:stop], self._buffer[stop:]
            self._answer(ANSWERS[head.split(b" ", 2)[1].decode()], body)

    def _answer(self, answer: Answer, body: bytes) -> None:
        if not answer.streams and b'"stream":true' not in body:
            self._transport.write(HEAD % len(answer.whole) + answer.whole)
            return
        usage = (answer.usage_event,) if b'"include_usage":true' in body else ()
        events = [each for each in chain(answer.events, usage, (answer.last,)) if each]
        gap, head = GAP.search(body), STREAM_HEAD % answer.kind
        if gap is None:
            pieces = [framed(each) for each in events]
            self._transport.write(head + b"".join(pieces) + b"0\r\n\r\n")
            return
        task = asyncio.get_running_loop().create_task(
            self._slowly(head, events, int(gap[1]) / 1000)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _slowly(self, head: bytes, events: list[bytes], gap: float) -> None:
        self._transport.write(head)
        for event in events:
            await asyncio.sleep(gap)
            self._transport.write(framed(event))
        self._transport.write(b"0\r\n\r\n")


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

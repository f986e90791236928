"""A provider that answers at once: a chat answer of 1.5 KB, or a stream of 50 events.

``x-delay-ms`` waits before the answer, ``x-gap-ms`` between events.
"""

import asyncio
import json
import sys

import uvloop

USAGE = {"prompt_tokens": 300, "completion_tokens": 50, "total_tokens": 350}


def chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    frame = {
        "id": "chatcmpl-bench0000000000000000",
        "object": "chat.completion.chunk",
        "created": 1795000000,
        "model": "gpt-bench",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": [choice],
    }
    return b"data: " + json.dumps(frame, separators=(",", ":")).encode() + b"\n\n"


ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench0000000000000000",
        "object": "chat.completion",
        "created": 1795000000,
        "model": "gpt-bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 230, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    },
    separators=(",", ":"),
).encode()
EVENTS = [
    chunk({"role": "assistant", "content": "", "refusal": None}),
    *(chunk({"content": f" word{i}"}) for i in range(48)),
    chunk({}, "stop"),
]
USAGE_EVENT = b'data: {"id":"chatcmpl-bench0000000000000000","object":"chat.completion.chunk",' + (
    b'"created":1795000000,"model":"gpt-bench","choices":[],"usage":'
    + json.dumps(USAGE, separators=(",", ":")).encode()
    + b"}\n\n"
)
DONE = b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
    ANSWER
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Mock(asyncio.Protocol):
    """Reads whole requests by content-length and answers each."""

    def __init__(self, gap: float) -> None:
        self._buffer = b""
        self._gap = gap

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length: ")
            length = int(head[at + 16 : at + 24].split(b"\r\n")[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            if b'"stream":true' not in body:
                self._transport.write(HEAD + ANSWER)  # type: ignore[attr-defined]
            else:
                usage = b'"include_usage":true' in body
                asyncio.get_running_loop().create_task(self._stream(usage))

    async def _stream(self, usage: bool) -> None:
        self._transport.write(STREAM_HEAD)  # type: ignore[attr-defined]
        for event in [*EVENTS, *([USAGE_EVENT] if usage else []), DONE]:
            if self._gap:
                await asyncio.sleep(self._gap)
            self._transport.write(framed(event))  # type: ignore[attr-defined]
        self._transport.write(b"0\r\n\r\n")  # type: ignore[attr-defined]


async def main(port: int, gap: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Mock(gap), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))

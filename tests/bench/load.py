"""The load: closed loop (a number of requests, a number of clients) or open loop (a rate).

Prints one JSON object with the counts and the latencies in milliseconds.
"""

import asyncio
import json
import sys
import time

import uvloop

PROMPT = "word " * 250


def request(stream: bool) -> bytes:
    body = json.dumps(
        {
            "model": "gpt-bench",
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": PROMPT},
            ],
            **({"stream": True} if stream else {"temperature": 0.5}),
        },
        separators=(",", ":"),
    ).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"authorization: Bearer bench-key-0123456789abcdef\r\ncontent-type: application/json\r\n"
        b"user-agent: bench\r\naccept: */*\r\ncontent-length: %d\r\n\r\n" % len(body)
    ) + body


class Client(asyncio.Protocol):
    """One connection; `ask` resolves with (first byte, last byte, gaps, ok)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._done: asyncio.Future[tuple[float, float, bool]] | None = None

    def ask(self, data: bytes) -> "asyncio.Future[tuple[float, float, bool]]":
        self._first = 0.0
        self._seen = bytearray()
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(data)  # type: ignore[attr-defined]
        return self._done

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self._first:
            self._first = now
        self._seen += data
        seen = self._seen
        end = seen.find(b"\r\n\r\n")
        if end < 0 or self._done is None or self._done.done():
            return
        head = seen[:end].lower()
        ok = head.startswith(b"http/1.1 200")
        at = head.find(b"content-length: ")
        if at >= 0:
            length = int(head[at + 16 : at + 26].split(b"\r\n")[0])
            if len(seen) >= end + 4 + length:
                self._done.set_result((self._first, now, ok))
        elif seen.endswith(b"0\r\n\r\n"):
            self._done.set_result((self._first, now, ok and b"[DONE]" in seen[-40:]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result((0.0, time.perf_counter(), False))


async def connect(port: int) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


async def closed(port: int, clients: int, total: int, stream: bool) -> list[tuple[float, ...]]:
    data = request(stream)
    left = total
    rows: list[tuple[float, ...]] = []

    async def one() -> None:
        nonlocal left
        client = await connect(port)
        while left > 0:
            left -= 1
            start = time.perf_counter()
            first, last, ok = await client.ask(data)
            rows.append((first - start, last - start, float(ok)))

    await asyncio.gather(*(one() for _ in range(clients)))
    return rows


async def opened(port: int, rate: float, seconds: float, stream: bool) -> list[tuple[float, ...]]:
    """Requests start on the clock, whatever the answers do."""
    data = request(stream)
    idle: list[Client] = []
    rows: list[tuple[float, ...]] = []
    tasks = []
    origin = time.perf_counter()

    async def one(due: float) -> None:
        client = idle.pop() if idle else await connect(port)
        first, last, ok = await client.ask(data)
        rows.append((first - due, last - due, float(ok)))
        idle.append(client)

    for number in range(int(rate * seconds)):
        due = origin + number / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.ensure_future(one(due)))
    await asyncio.gather(*tasks)
    return rows


def main() -> None:
    mode, port, first, second, stream = sys.argv[1:6]
    started = time.perf_counter()
    if mode == "closed":
        rows = uvloop.run(closed(int(port), int(first), int(second), stream == "stream"))
    else:
        rows = uvloop.run(opened(int(port), float(first), float(second), stream == "stream"))
    seconds = time.perf_counter() - started
    firsts = sorted(row[0] * 1000 for row in rows)
    lasts = sorted(row[1] * 1000 for row in rows)

    def at(values: list[float], share: float) -> float:
        return round(values[min(len(values) - 1, int(len(values) * share))], 3)

    print(
        json.dumps(
            {
                "requests": len(rows),
                "failed": sum(1 for row in rows if not row[2]),
                "seconds": round(seconds, 3),
                "per_second": round(len(rows) / seconds, 1),
                "first_p50": at(firsts, 0.5),
                "first_p99": at(firsts, 0.99),
                "p50": at(lasts, 0.5),
                "p95": at(lasts, 0.95),
                "p99": at(lasts, 0.99),
            }
        )
    )


if __name__ == "__main__":
    main()

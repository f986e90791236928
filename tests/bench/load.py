"""The load: one JSON job a line on standard input; its result goes to the file the job names.

With `unlike`, each body has another number where `NUMBER` stands in it; with `signed` (a secret
and its id) each request has a signature of its own. Otherwise a job repeats its bytes.

A closed loop (`total` requests by `clients` connections, each asking when it was answered)
or an open one (`rate` a second for `seconds`, whatever the answers do). Times are in
milliseconds since the request was due: `first` content, `last` byte; `gaps` lie between reads
after the first content.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from llm_gateway_sdk import RequestSigning

LENGTH = b"content-length: "
CONTENT = b"word"  # what the mock's answers are made of
NUMBER = b"#0000000000"


class Client(asyncio.Protocol):
    """One connection; `ask` resolves with (first byte, last byte, whether all was well)."""

    def __init__(self, gaps: list[float]) -> None:
        self._gaps = gaps
        self._done: asyncio.Future[tuple[float, float, bool]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def ask(self, data: bytes) -> "asyncio.Future[tuple[float, float, bool]]":
        self._first = self._previous = 0.0
        self._seen = bytearray()
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self._done

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._seen += data
        if self._first:
            self._gaps.append((now - self._previous) * 1000)
        elif CONTENT in self._seen:
            self._first = now
        self._previous = now
        seen = self._seen
        end = seen.find(b"\r\n\r\n")
        if end < 0 or self._done is None or self._done.done():
            return
        ok = seen.startswith(b"HTTP/1.1 200")
        if seen.endswith(b"0\r\n\r\n"):
            self._done.set_result((self._first, now, ok and b"error" not in seen[-300:]))
            return
        head = seen[:end].lower()
        at = head.find(LENGTH)
        if at >= 0 and len(seen) >= end + 4 + int(head[at + len(LENGTH) :].split(b"\r\n")[0]):
            self._done.set_result((self._first, now, ok))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result((self._first, time.perf_counter(), False))


class Run:
    """One job: the requests it sends and what became of them."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._bodies = [request(job, body) for body in job["bodies"]]
        self._unlike = job.get("unlike", False)
        self._signing = RequestSigning(*job["signed"]) if "signed" in job else None
        self._number = time.monotonic_ns() // 1000 % 10**10
        self._sent = 0
        self._idle: list[Client] = []
        self._clients: list[Client] = []
        self.rows: list[tuple[float, float, bool]] = []
        self.gaps: list[float] = []

    async def ask(self, due: float) -> None:
        client = self._idle.pop() if self._idle else await self._connect()
        data = self._fresh(self._bodies[self._sent % len(self._bodies)])
        self._sent += 1
        first, last, ok = await client.ask(data)
        self.rows.append(((first - due) * 1000, (last - due) * 1000, ok))
        if not client.transport.is_closing():
            self._idle.append(client)

    def _fresh(self, data: bytes) -> bytes:
        if self._unlike:
            self._number += 1
            data = data.replace(NUMBER, b"#%010d" % self._number)
        if self._signing is None:
            return data
        head, _, body = data.partition(b"\r\n\r\n")
        made = self._signing.signature("POST", self._job["path"], "", body)
        return b"%b\r\nx-signature: %b\r\n\r\n%b" % (head, made.encode(), body)

    async def closed(self) -> None:
        left = self._job["total"]

        async def one() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await self.ask(time.perf_counter())

        await asyncio.gather(*(one() for _ in range(self._job["clients"])))

    async def opened(self) -> None:
        rate = self._job["rate"]
        origin = time.perf_counter()
        tasks = []
        for number in range(int(rate * self._job["seconds"])):
            due = origin + number / rate
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.ensure_future(self.ask(due)))
        await asyncio.gather(*tasks)

    async def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        async with asyncio.timeout(60):
            await (self.opened() if "rate" in self._job else self.closed())
        seconds = time.perf_counter() - started
        for client in self._clients:
            client.transport.close()
        return {
            "seconds": seconds,
            "failed": sum(1 for row in self.rows if not row[2]),
            "first": [round(row[0], 4) for row in self.rows],
            "last": [round(row[1], 4) for row in self.rows],
            "gaps": [round(gap, 4) for gap in self.gaps],
        }

    async def _connect(self) -> Client:
        loop, port = asyncio.get_running_loop(), self._job["port"]
        _, client = await loop.create_connection(lambda: Client(self.gaps), "127.0.0.1", port)
        self._clients.append(client)
        return client


def request(job: dict[str, Any], body: object) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {job['path']} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {job['key']}\r\n"
        "content-type: application/json\r\nuser-agent: bench\r\naccept: */*\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        Path(job["result"]).write_text(json.dumps(uvloop.run(Run(job).run())))
        print(flush=True)


if __name__ == "__main__":
    main()

"""State of one host: a mapped table for numbers, datagrams for news."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from llm_gateway_api import DONE, Denial, Done, Grant, Take

from llm_gateway_state_host.cells import Listener, settle, take_all
from llm_gateway_state_host.process import News, claimed, used_of
from llm_gateway_state_host.table import Table

log = logging.getLogger("llm_gateway_state_host")
BURY_SECONDS = 2.0
NEWS_BYTES = 60_000


class HostState:
    """Meets `StateBackend` among the processes that share `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._table: Table
        self._news = News()
        self._socket: socket.socket
        self._place = -1

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._table = Table(self._folder)
        loop = asyncio.get_running_loop()
        self._place = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        self._socket = _listening(self._mailbox(self._table.worker))
        loop.add_reader(self._socket, self._received)
        burying = loop.create_task(self._bury(), name="state of dead workers")
        try:
            yield
        finally:
            burying.cancel()
            await asyncio.wait({burying})
            loop.remove_reader(self._socket)
            self._socket.close()
            self._mailbox(self._table.worker).unlink(missing_ok=True)
            os.close(self._place)
            self._table.close()

    async def healthy(self) -> bool:
        return True

    async def take(self, takes: Sequence[Take], *, force: bool = False) -> Grant | Denial:
        now = time.monotonic()
        table = self._table
        table.lock()
        try:
            cells = table.lend([each.key for each in takes], now)
            answer = take_all(cells, takes, now, force)
            if type(answer) is Grant:
                table.write(cells)
        finally:
            table.unlock()
        return answer

    def settle(self, grant: Grant, amounts: Sequence[int]) -> Done:
        """What was used as it was taken is not looked at."""
        now = time.monotonic()
        ends: Any = grant.token
        changed: list[tuple[Take, int, float]] = []
        for take, amount, end in zip(grant.takes, amounts, ends):  # noqa: B905 (quick)
            if more := amount - take.amount:
                changed.append((take, more, end))
        if not changed:
            return DONE
        table = self._table
        table.lock()
        try:
            cells = table.lend([take.key for take, _, _ in changed], now)
            for cell, (take, more, end) in zip(cells, changed):  # noqa: B905 (quick)
                settle(cell, take, more, end, now)
            table.write(cells)
        finally:
            table.unlock()
        return DONE

    async def used(self, keys: Sequence[str]) -> Sequence[int]:
        now = time.monotonic()
        with self._table.locked():
            return [used_of(cell, now) for cell in self._table.lend(keys, now)]

    async def claim(self, key: str, seconds: float) -> bool:
        now = time.monotonic()
        with self._table.locked():
            cells = self._table.lend([f"claim {key}"], now)
            first = claimed(cells[0], now, seconds)
            self._table.write(cells)
        return first

    def publish(self, topic: str, message: bytes) -> None:
        """To every worker's mailbox; one that is full or gone misses it."""
        data = topic.encode() + b"\0" + message
        if len(data) > NEWS_BYTES:
            log.error("news.too_long topic=%s bytes=%d", topic, len(message))
            return
        self._news.tell(topic, message)
        own = f"news-{self._table.worker}"
        for name in os.listdir(self._folder):
            if name == own or not name.startswith("news-"):
                continue
            try:
                self._socket.sendto(data, f"/proc/self/fd/{self._place}/{name}")
            except (BlockingIOError, ConnectionError, FileNotFoundError):
                continue

    def listen(self, topic: str, told: Listener) -> None:
        self._news.listen(topic, told)

    def _received(self) -> None:
        try:
            data = self._socket.recv(NEWS_BYTES)
        except BlockingIOError:
            return
        topic, _, message = data.partition(b"\0")
        self._news.deliver(topic.decode(errors="replace"), message)

    async def _bury(self) -> None:
        while True:
            await asyncio.sleep(BURY_SECONDS)
            self._table.bury()

    def _mailbox(self, worker: int) -> Path:
        """By way of the open folder: the address of a socket must be short."""
        return Path(f"/proc/self/fd/{self._place}/news-{worker}")


def _listening(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind(str(path))
    return made

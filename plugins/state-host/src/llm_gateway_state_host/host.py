"""State of one host: a mapped table for numbers, datagrams for news."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias, cast

from llm_gateway_api import DONE, Denial, Done, Grant, Take, Turn

from llm_gateway_state_host.cells import Listener, settle, take_all
from llm_gateway_state_host.process import News, claimed, used_of
from llm_gateway_state_host.table import Table, TableFullError

log = logging.getLogger("llm_gateway_state_host")
BURY_SECONDS = 2.0
NEWS_BYTES = 60_000
# What was taken, how much more was used, and when the window ends that it was taken from.
Change: TypeAlias = tuple[Take, int, float]


class HostState:
    """Meets `StateBackend` among the processes that share `folder`. Without a `turn` everything is
    settled at once."""

    def __init__(self, folder: Path, turn: Turn | None = None) -> None:
        self._folder = folder
        self._turn = turn
        self._changes: dict[str, list[Change]] = {}  # put off, by key
        self._due = False  # whether the turn's end makes them
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
            self._catch_up()
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
        table, keys = self._table, [each.key for each in takes]
        table.lock()
        try:
            answer = take_all(cells := table.lend(keys, now), takes, now, force)
            if type(answer) is Denial and self._changes:  # it may be there once they are made
                self._settle(now)
                answer = take_all(cells := table.lend(keys, now), takes, now, force)
            if type(answer) is Grant:
                table.write(cells)
        finally:
            table.unlock()
        return answer

    def settle(self, grant: Grant, amounts: Sequence[int]) -> Done:
        """At the end of the turn, for all requests that end in it: they share one lock, and the
        cells of a caller are read and written once. A take that finds too little does it first."""
        changes, ends = self._changes, cast(Sequence[float], grant.token)
        for take, amount, end in zip(grant.takes, amounts, ends):  # noqa: B905 (quick)
            if more := amount - take.amount:  # what was used as it was taken is not looked at
                changes.setdefault(take.key, []).append((take, more, end))
        if self._turn is None:
            self._catch_up()
        elif changes and not self._due:
            self._due = True
            self._turn.before_answers(self._catch_up)
        return DONE

    def _catch_up(self) -> None:
        self._due = False
        if self._changes:
            with self._table.locked():
                self._settle(time.monotonic())

    def _settle(self, now: float) -> None:
        """What was put off. Under the lock."""
        changes, self._changes = self._changes, {}
        try:
            self._change(changes, now)
        except TableFullError as error:  # of a key that had lost its place, being like a new one
            log.warning("state.full error=%s", error)
            for key, made in changes.items():
                with contextlib.suppress(TableFullError):
                    self._change({key: made}, now)

    def _change(self, changes: Mapping[str, Sequence[Change]], now: float) -> None:
        cells = self._table.lend(changes, now)
        for cell, made in zip(cells, changes.values()):  # noqa: B905 (quick)
            for take, more, end in made:
                settle(cell, take, more, end, now)
        self._table.write(cells)

    async def used(self, keys: Sequence[str]) -> Sequence[int]:
        now = time.monotonic()
        self._catch_up()
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

"""One worker as its supervisor sees it: the process, its channel, its last numbers."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from llm_gateway.channel import Channel, ChannelError
from llm_gateway.merging import Taken

READY_SECONDS = 60.0
Answer = Callable[["Member", str, Any], Awaitable[Any]]


@contextlib.contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """A process started in here is not interrupted before it has said that it ignores this.

    Several may be in here at once; each has its process before the first leaves.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


class NotReadyError(Exception):
    """A worker did not come to serve; `code` is its exit code where it has ended."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Member:
    """Worker number `slot`. `last` are its metrics when they were last seen."""

    def __init__(self, slot: int, answer: Answer, replaced: int) -> None:
        self.slot = slot
        self.last: list[Taken] = []
        self.failures = 0
        self.started = False
        self._answer = answer
        self.replaced = replaced
        self._ready = asyncio.Event()
        self._born = time.monotonic()
        self._channel = Channel(self._asked)
        self._hello: Mapping[str, Any] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._talk: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def start(self, hello: Mapping[str, Any], sockets: Sequence[socket.socket]) -> None:
        """Begin the process; `hello` is the answer to its first question."""
        self._hello = {**hello, "slot": self.slot, "replaced": self.replaced}
        ours, theirs = socket.socketpair()
        with theirs, _blocked(signal.SIGINT):
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "llm_gateway.worker", str(theirs.fileno())),
                pass_fds=[theirs.fileno(), *(each.fileno() for each in sockets)],
                stdin=asyncio.subprocess.DEVNULL,
            )
        self._talk = asyncio.get_running_loop().create_task(
            self._channel.run(ours), name=f"worker {self.slot}"
        )

    async def ready(self, seconds: float) -> None:
        """Wait until it could serve; raises `NotReadyError`."""
        ready = asyncio.ensure_future(self._ready.wait())
        ended = asyncio.ensure_future(self.ended())
        try:
            await asyncio.wait((ready, ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if self._ready.is_set():
            self.started = True
            return
        code = self._process.returncode if self._process is not None else None
        if code is None:
            self.kill()
            raise NotReadyError(f"worker {self.slot} was not ready after {seconds:g} s")
        raise NotReadyError(f"worker {self.slot} ended with {code} at its start", code)

    async def ask(self, do: str, value: Any = None, seconds: float = 5.0) -> Any:
        """Raises `ChannelError`."""
        return await self._channel.ask(do, value, seconds)

    async def answers(self, seconds: float) -> bool:
        """Whether its event loop gives a sign within `seconds`."""
        try:
            await self.ask("pulse", None, seconds)
        except ChannelError:
            return False
        return True

    @property
    def talks(self) -> bool:
        """Whether it could answer: one that ends closes its channel first."""
        return self._channel.open

    async def ended(self) -> int:
        """Its exit code, once it has ended and all it said was heard; negative: a signal."""
        assert self._process is not None and self._talk is not None
        code = await self._process.wait()
        await asyncio.wait({self._talk})
        return code

    def age(self) -> float:
        return time.monotonic() - self._born

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def dump(self) -> None:
        """Let it write the stacks of its threads, even while its event loop stands still."""
        self._signal(signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _asked(self, do: str, value: Any) -> Any:
        if do == "hello":
            return self._hello
        if do == "ready":
            self._ready.set()
            return None
        return await self._answer(self, do, value)

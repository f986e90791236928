"""A way to a server that a test may make slow, as a bad network does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class Way:
    """Stands before a server. `url` is the server's by this way; each answer takes `delay`
    seconds longer, from now on. Between `cut` and `mend` nothing comes through, in silence."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._parts = parts
        self._server = (parts.hostname, parts.port)
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.delay = 0.0
        self._through = asyncio.Event()
        self._through.set()

    def cut(self) -> None:
        """As a network that loses everything: connections stay, and nobody hears of it."""
        self._through.clear()

    def mend(self) -> None:
        """What was lost is sent again, as TCP does."""
        self._through.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Way"]:
        listener = await asyncio.start_server(self._client, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        user, at, _ = self._parts.netloc.rpartition("@")
        self.url = urlunsplit(self._parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))
        try:
            yield self
        finally:
            listener.close()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, forth = await asyncio.open_connection(*self._server)
        except OSError:
            writer.close()
            return
        for pumping in (self._pump(reader, forth, slow=False), self._pump(back, writer, slow=True)):
            task = asyncio.ensure_future(pumping)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, slow: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                if slow and self.delay:
                    await asyncio.sleep(self.delay)
                await self._through.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

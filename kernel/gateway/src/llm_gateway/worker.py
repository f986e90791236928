"""A worker under a supervisor: ``python -m llm_gateway.worker FD``, started by `team.py`.

It is the same process as a gateway of its own, except that it takes connections, reloads and
drains when the supervisor says so, and drains by itself once the supervisor is gone.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_gateway_api import Family, GatewayError, Metrics

from llm_gateway.app import BAD_CONFIGURATION, Worker, data_dir, event_loop
from llm_gateway.channel import Channel, ChannelError
from llm_gateway.merging import decoded, families, taken
from llm_gateway.sockets import Sockets
from llm_gateway.watching import HeldFile
from llm_gateway.whole import WholeLines, locks, logged_to

log = logging.getLogger("llm_gateway.worker")
READY_SECONDS = 5.0


class Link:
    """The worker's end of the channel: what the supervisor may ask, and what is asked of it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._channel = Channel(self._asked)
        self._worker: Worker | None = None
        self.host: Mapping[str, str] = {}  # how the workers are, by number

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        talking = loop.create_task(self._channel.run(self._end), name="supervisor")
        await self._channel.opened.wait()
        hello: Any = await self._channel.ask("hello")
        directory = data_dir(os.environ)
        out, err = locks(directory)
        logged_to(WholeLines(sys.stderr.buffer, err))
        path = Path(hello["path"]) if hello["path"] else None
        known: dict[int, socket.socket] = {}
        sockets = Sockets(
            [_taken_over(group, known) for group in hello["main"]],
            _taken_over(hello["metrics"], known),
        )
        worker = Worker(path, hello["overrides"])
        worker.workers, worker.slot, worker.sockets = hello["workers"], hello["slot"], sockets
        worker.replaced, worker.link = hello["replaced"], self
        if path is not None and hello["text"] is not None:
            worker.first = HeldFile(path)
            worker.first.held = hello["text"]
        worker.lines = WholeLines(sys.stdout.buffer, out)
        self._worker = worker
        talking.add_done_callback(self._orphaned)
        try:
            return await worker.main()
        finally:
            talking.remove_done_callback(self._orphaned)

    def _orphaned(self, _: object) -> None:
        """The supervisor is gone: nobody else would end this process."""
        if self._worker is None or not self._worker.serving:
            os._exit(1)
        self._worker.stop()

    async def ready(self) -> None:
        """Tell that this worker could serve; raises `ChannelError`."""
        await self._channel.ask("ready")

    async def leave(self) -> None:
        """Ask to be drained; the sockets change hands first."""
        try:
            await self._channel.ask("leave", None, READY_SECONDS)
        except ChannelError:
            if self._worker is not None:
                self._worker.stop()

    async def farewell(self, metrics: Metrics) -> None:
        """Leave the final counts, which the sums keep."""
        try:
            await self._channel.ask("farewell", await taken(metrics))
        except ChannelError as error:
            log.warning("worker.farewell_failed %s", error)

    async def everywhere(self) -> Sequence[Family]:
        """The metrics of all workers."""
        try:
            return families(decoded(await self._channel.ask("metrics")))
        except ChannelError as error:
            raise GatewayError(
                f"The metrics of the other workers are missing: {error}.", status=503
            ) from error

    async def _asked(self, do: str, value: Any) -> Any:
        if do == "pulse":
            return None  # that this ran is the answer
        worker = self._worker
        if worker is None:
            raise ChannelError("the worker starts")
        if do == "serve":
            self.host = value["host"]
            await worker.serve(value["slots"])
        elif do == "drain":
            await worker.serve(())  # once this is answered, new connections are others' alone
            worker.stop(value["seconds"], patient=value["seconds"] is None)
        elif do == "prepare":
            try:
                await worker.prepare()
            except BAD_CONFIGURATION as error:
                worker.refused(str(error))
                raise ChannelError(str(error)) from error
        elif do == "commit":
            worker.commit()
        elif do == "discard":
            await worker.discard(value)
        elif do == "metrics":
            return await taken(worker.metrics)
        else:
            raise ChannelError(f"the worker knows no {do!r}")
        return None


def _taken_over(numbers: Sequence[int], known: dict[int, socket.socket]) -> list[socket.socket]:
    for number in numbers:
        if number not in known:
            known[number] = socket.socket(fileno=number)
            known[number].setblocking(False)
            os.set_inheritable(number, False)
    return [known[number] for number in numbers]


def main() -> int:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # they are the supervisor's
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the supervisor held it back
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # it asks where a hung worker stands
    end = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(end.fileno(), False)
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        return runner.run(Link(end).run())


if __name__ == "__main__":
    raise SystemExit(main())

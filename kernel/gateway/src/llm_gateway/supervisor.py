"""Several workers on shared listening sockets: started, replaced, reloaded, upgraded, drained.

The supervisor loads no plugin and serves nothing. Each worker is an interpreter of its own
(`worker.py`), so an upgrade runs what is installed by then.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from llm_gateway.channel import ChannelError
from llm_gateway.merging import Taken, decoded, lasting, merged
from llm_gateway.sections import Server
from llm_gateway.sockets import Sockets
from llm_gateway.team import READY_SECONDS, Member, NotReadyError
from llm_gateway.watching import changes

log = logging.getLogger("llm_gateway.supervisor")
REFUSED = 78
PREPARE_SECONDS = 60.0
SCRAPE_SECONDS = 2.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # between two crashes of the same worker
STEADY_SECONDS = 60.0  # after so long a crash is a new story
LEAVE_SECONDS = 0.2  # in which this process hears a signal that all have got
PULSE_SECONDS = 5.0  # between two questions whether a worker's event loop turns
LAST_CALL_SECONDS = 5.0  # for one more answer: the machine, or this process, may have slept
DUMP_SECONDS = 0.5  # in which a worker that hangs writes where
STOP_SECONDS = 30.0  # beyond the drain: services close and ship what they have


class Supervisor:
    """`start` is what each worker needs to know: the file's path and the flags."""

    def __init__(
        self, start: Mapping[str, Any], server: Server, sockets: Sockets, workers: int
    ) -> None:
        self._start = start
        self._server = server
        self._sockets = sockets
        self._slots: list[Member | None] = [None] * workers
        self._members: set[Member] = set()
        self._departed: list[Taken] = []
        self._good: str | None = None  # the configuration that is in force
        self._changing = asyncio.Lock()  # one reload, upgrade or start at a time
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def main(self) -> int:
        """Serve until a signal; the exit code: 78 where the first worker refuses to start.

        A signal during the start is no refusal: what has started drains, and the code is 0.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload()))
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._spawn(self._upgrade()))
        try:
            async with self._changing:
                self._good = self._text()
                await self._up([0])  # alone: what is made once is made by it
                await self._up(range(1, len(self._slots)))
        except NotReadyError as error:
            if not await self._told_to_stop():
                log.error("start.refused %s", error)
                await self._end(0.0)
                return error.code if error.code is not None and error.code > 0 else 1
        else:
            log.info("gateway.started workers=%d", len(self._slots))
            self._spawn(self._watch_file())
            await self._stop.wait()
        log.info("gateway.draining workers=%d", len(self._members))
        await self._end(self._server.drain_seconds)
        log.info("gateway.stopped")
        return 0

    async def _told_to_stop(self) -> bool:
        """A signal to all processes may end a worker before this one has heard of it."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), LEAVE_SECONDS)
        return self._stop.is_set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- workers -----------------------------------------------------------------------

    async def _up(self, slots: Any) -> None:
        """New workers of these slots, serving; raises `NotReadyError`."""
        for member in await self._ready(slots):
            self._slots[member.slot] = member
        await self._assign()

    async def _ready(self, slots: Any, replaced: int = 0) -> list[Member]:
        """Workers that have started and wait to serve: all of them, or none."""
        members = [Member(slot, self._answer, replaced) for slot in slots]
        stopping = asyncio.create_task(self._stop.wait())
        tasks = [asyncio.create_task(self._begin(each)) for each in members]
        starting = asyncio.gather(*tasks)
        try:
            await asyncio.wait((stopping, starting), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                raise NotReadyError("the gateway stops", 0)
            await starting
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(starting, *tasks, return_exceptions=True)  # no process comes later
            for each in members:
                each.kill()
            raise
        finally:
            stopping.cancel()
        return members

    async def _begin(self, member: Member) -> None:
        hello = {
            **self._start,
            "workers": len(self._slots),
            "text": self._good if member.replaced else None,
            "main": [[each.fileno() for each in group] for group in self._sockets.main],
            "metrics": [each.fileno() for each in self._sockets.metrics],
        }
        await member.start(hello, self._sockets.all())
        self._members.add(member)
        self._spawn(self._attend(member))
        await member.ready(READY_SECONDS)
        if self._server.worker_silence_seconds:
            self._spawn(self._listen(member, self._server.worker_silence_seconds))

    async def _listen(self, member: Member, seconds: float) -> None:
        """Kill `member` once its event loop gave no sign for `seconds`; `_attend` sees it end."""
        last = min(LAST_CALL_SECONDS, seconds / 2)
        sign = True
        while sign:
            await asyncio.sleep(min(PULSE_SECONDS, seconds))
            sign = await member.answers(seconds - last) or await member.answers(last)
        if not member.talks:
            return
        log.error(
            "worker.hung worker=%d pid=%d: its event loop gave no sign for %g s; it is killed. "
            "Where it stood:",
            *(member.slot, member.pid, seconds),
        )
        member.dump()
        await asyncio.sleep(DUMP_SECONDS)
        member.kill()

    async def _attend(self, member: Member) -> None:
        """When `member` has ended, keep its counts; replace it if it should be serving."""
        code = await member.ended()
        self._members.discard(member)
        self._departed = merged((self._departed, lasting(member.last)))
        if self._slots[member.slot] is not member or self._stop.is_set():
            return
        log.error("worker.ended worker=%d pid=%d code=%d", member.slot, member.pid, code)
        await self._replace(member)

    async def _replace(self, member: Member) -> None:
        """Others take its connections at once; a new one starts, ever later if it keeps ending."""
        slot = member.slot
        self._slots[slot] = None
        await self._assign()
        failures = 0 if member.age() >= STEADY_SECONDS else member.failures + 1
        while self._slots[slot] is None and not self._stop.is_set():
            if failures > 1:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 2))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), pause)
            async with self._changing:
                if self._slots[slot] is not None or self._stop.is_set():
                    return  # an upgrade has brought one
                try:
                    (new,) = await self._ready([slot], replaced=1)
                except NotReadyError as error:
                    failures += 1
                    log.error("worker.not_ready worker=%d %s", slot, error)
                    continue
                new.failures = failures
                self._slots[slot] = new
                await self._assign()
                log.info("worker.replaced worker=%d pid=%d", slot, new.pid)

    async def _assign(self) -> None:
        """Each takes from its own sockets; those of a missing worker go to the next one."""
        serving = [each for each in self._slots if each is not None]
        shares: dict[Member, list[int]] = {each: [] for each in serving}
        for slot in range(len(self._slots) if serving else 0):
            shares[self._slots[slot] or serving[slot % len(serving)]].append(slot)
        state = {str(slot): "ready" if each else "down" for slot, each in enumerate(self._slots)}
        asked = [each.ask("serve", {"slots": own, "host": state}) for each, own in shares.items()]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, Exception):
                log.warning("worker.silent %s", answer)

    async def _retire(self, member: Member, seconds: float | None) -> None:
        """Let it finish what it has begun; None: for as long as a request may take."""
        try:
            await member.ask("drain", {"seconds": seconds})
        except ChannelError:
            member.terminate()

    async def _end(self, seconds: float) -> None:
        self._stop.set()
        self._slots = [None] * len(self._slots)
        for each in tuple(self._members):
            await self._retire(each, seconds)
        ending = [asyncio.ensure_future(each.ended()) for each in self._members]
        if ending:
            _, late = await asyncio.wait(ending, timeout=seconds + STOP_SECONDS)
            if late:
                log.error("worker.killed %d did not end", len(late))
        for each in tuple(self._members):
            each.kill()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- reload and upgrade ------------------------------------------------------------

    async def _reload(self) -> None:
        """Every worker prepares the new configuration; only if all have, all take it."""
        async with self._changing:
            text = self._text()
            serving = [each for each in self._slots if each is not None]
            answers = await _each(serving, lambda each: each.ask("prepare", None, PREPARE_SECONDS))
            refused = {each.slot: a for each, a in answers.items() if isinstance(a, ChannelError)}
            decision = "discard" if refused else "commit"
            told = await _each(
                [each for each in serving if each.slot not in refused],
                lambda each: each.ask(decision, _reason(refused)),
            )
            for each, answer in told.items():
                if isinstance(answer, ChannelError):
                    log.error("reload.failed worker=%d %s", each.slot, answer)
                    each.terminate()  # its replacement begins with the configuration as it is
            if refused:
                log.error("reload.refused: the last good configuration stays\n%s", _reason(refused))
            else:
                self._good = text
                log.info("reload.done workers=%d", len(serving))

    async def _upgrade(self) -> None:
        """New workers with what is installed now; the old ones drain once all are ready."""
        async with self._changing:
            log.info("upgrade.begun")
            text = self._text()
            try:
                members = await self._ready(range(len(self._slots)))
            except NotReadyError as error:
                log.error("upgrade.refused: the old workers stay: %s", error)
                return
            self._good = text
            old = [each for each in self._slots if each is not None]
            self._slots = list(members)
            await self._assign()
            for each in old:
                await self._retire(each, None)
            log.info("upgrade.done workers=%d", len(members))

    def _text(self) -> str | None:
        """The file as it is; a worker that replaces a crashed one reads what the others run."""
        try:
            return Path(self._start["path"]).read_text("utf-8") if self._start["path"] else None
        except (OSError, UnicodeDecodeError):
            return None

    async def _watch_file(self) -> None:
        """Reload when the configuration's file was replaced or written."""
        path = self._start["path"]
        async for _ in changes(*([Path(path)] if path else [])):
            await self._reload()

    # --- what workers ask --------------------------------------------------------------

    async def _answer(self, member: Member, do: str, value: Any) -> Any:
        if do == "metrics":
            return await self._metrics()
        if do == "farewell":
            member.last = decoded(value)
            return None
        if do == "leave":
            self._spawn(self._leave(member))
            return None
        raise ChannelError(f"the supervisor knows no {do!r}")

    async def _metrics(self) -> list[Taken]:
        """Of all workers that live, and the counts of those that have ended."""
        living = [each for each in self._members if each.started]
        answers = await _each(living, lambda each: each.ask("metrics", None, SCRAPE_SECONDS))
        for each, answer in answers.items():
            if not isinstance(answer, ChannelError):
                each.last = decoded(answer)
        return merged([self._departed, *(each.last for each in living)])

    async def _leave(self, member: Member) -> None:
        """Somebody sent it SIGTERM: a new one takes its place while it drains.

        Not so when everything stops: systemd tells all processes of a service at once.
        """
        await asyncio.sleep(LEAVE_SECONDS)
        if self._stop.is_set():
            return
        if self._slots[member.slot] is member:
            self._spawn(self._replace(member))
        await self._retire(member, None)


async def _each(
    members: list[Member], ask: Callable[[Member], Awaitable[Any]]
) -> dict[Member, Any]:
    """What each answers, or its `ChannelError`."""

    async def asked(member: Member) -> Any:
        try:
            return await ask(member)
        except ChannelError as error:
            return error

    return dict(zip(members, await asyncio.gather(*map(asked, members)), strict=True))


def _reason(refused: Mapping[int, ChannelError]) -> str:
    reasons: dict[str, list[str]] = {}
    for slot, error in refused.items():
        reasons.setdefault(str(error), []).append(str(slot))
    return "\n".join(f"worker {', '.join(slots)}: {text}" for text, slots in reasons.items())


def run(
    path: Path | None,
    overrides: Mapping[str, object],
    workers: int,
    directory: Path,
) -> int:
    """Start `workers` processes and look after them until a signal."""
    from llm_gateway.layers import SettingsError
    from llm_gateway.settings import server_section
    from llm_gateway.sockets import opened
    from llm_gateway.whole import WholeLines, locks, logged_to

    logged_to(WholeLines(sys.stderr.buffer, locks(directory)[1]))
    try:
        server = server_section(path, os.environ, overrides)
        sockets = opened(server.host, server.port, server.metrics_port, workers, os.environ)
    except (SettingsError, OSError) as error:
        print(f"The start is refused.\n{error}", file=sys.stderr)
        return REFUSED
    start = {"path": str(path) if path else None, "overrides": dict(overrides)}

    async def serve() -> int:
        return await Supervisor(start, server, sockets, workers).main()

    return asyncio.run(serve())

"""One worker from start to end: load, bind, open, serve, reload, drain."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from llm_gateway_api import AuditEvent, ConfigurationError, Family, Metrics, PluginError

from llm_gateway import auditing, health, reporting, secretsources, tls
from llm_gateway.binding import Generation, Kernel, new_kernel
from llm_gateway.connection import HttpServer
from llm_gateway.dependencies import Dependencies
from llm_gateway.generations import opened
from llm_gateway.hosting import Hosting
from llm_gateway.inside import Present
from llm_gateway.layers import SettingsError
from llm_gateway.masking import scrubbed
from llm_gateway.memory import no_core_files, settle_memory
from llm_gateway.observe import AccessLog
from llm_gateway.plugins import Plugins, discover
from llm_gateway.redacting import Redaction
from llm_gateway.sections import Server
from llm_gateway.selection import selected
from llm_gateway.server import Gateway
from llm_gateway.settings import Settings
from llm_gateway.sockets import Listening, Sockets
from llm_gateway.sockets import opened as open_sockets
from llm_gateway.watching import changes
from llm_gateway.whole import WholeLines, counted_in, logged_to

log = logging.getLogger("llm_gateway.app")
REFUSED = 78
RELOAD_SECONDS = 60.0
PATIENCE_SECONDS = 5.0  # beyond the longest request
QUIET_CHECK_SECONDS = 0.1
BAD_CONFIGURATION = (SettingsError, ConfigurationError, PluginError)


def data_dir(environ: Mapping[str, str]) -> Path:
    """The only place the gateway writes."""
    given = environ.get("LLM_GATEWAY_DATA_DIR")
    return Path(given) if given else Path.home() / ".local/state/llm-gateway"


def run(path: Path | None, overrides: Mapping[str, object], workers: int = 1) -> int:
    """Serve until a signal; the exit code: 0 after a drain, 78 where the start is refused."""
    no_core_files()
    directory = data_dir(os.environ)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        why = f"{error.strerror}; name another with LLM_GATEWAY_DATA_DIR"
        print(f"The data directory {directory} cannot be made: {why}", file=sys.stderr)
        return REFUSED
    if workers > 1:
        from llm_gateway import supervisor

        return supervisor.run(path, overrides, workers, directory)
    logged_to(WholeLines(sys.stderr.buffer))
    worker = Worker(path, overrides)
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        return runner.run(worker.main())


def event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """The quickest that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class Link(Protocol):
    """A supervisor, where there is one. `host` says how each worker is, by number."""

    host: Mapping[str, str]

    async def ready(self) -> None: ...
    async def leave(self) -> None: ...
    async def farewell(self, metrics: Metrics) -> None: ...
    async def everywhere(self) -> Sequence[Family]: ...


class Worker:
    """Holds the sockets and the current generation of one process.

    Under a supervisor it is number `slot` of `workers`, takes over `sockets` and has a `link`.
    """

    workers, slot, replaced = 1, 0, 0  # replaced is 1 in the place of one that crashed
    link: Link | None = None
    sockets: Sockets | None = None
    first: Path | None = None  # read in place of the file at the start
    lines: WholeLines | None = None

    def __init__(self, path: Path | None, overrides: Mapping[str, object]) -> None:
        self._path = path
        self._redaction = Redaction()
        self._overrides = overrides
        self._plugins = Plugins()
        self._kernel: Kernel
        self._gateway: Gateway
        self._reloads = 0
        self._last_error = ""
        self._hosting: Hosting
        self._live: list[Generation] = []
        self._prepared: tuple[Generation, Plugins] | None = None
        self._reloading: asyncio.Lock
        self._stop = asyncio.Event()
        self._stop_by: float | None = None
        self._main: Listening

    async def main(self) -> int:
        present = Present(lambda: self._gateway.generation, lambda: self._plugins)
        kernel = new_kernel(data_dir(os.environ), self._health, present)
        self._kernel = replace(kernel, workers=self.workers)
        self._kernel.counts.worker_restarts.inc(self.replaced)
        self._hosting = Hosting()
        self._dependencies = Dependencies(lambda: self._live[-1].maker.offers)
        self._reloading = asyncio.Lock()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._close_services)
            try:
                generation, self._plugins = await self._next()
                self._live.append(self._redaction.followed(generation))
                self._report(generation)
                return await self._serve(stack, generation.settings, generation)
            except (*BAD_CONFIGURATION, OSError) as error:
                secrets = self._live[-1].settings.secrets if self._live else ()
                print(f"The start is refused.\n{scrubbed(str(error), secrets)}", file=sys.stderr)
                for each in self._plugins.set_aside_ones:
                    print(f"set aside: {reporting.told(each)}", file=sys.stderr)
                return REFUSED

    async def _next(self) -> tuple[Generation, Plugins]:
        """The configuration as it is now, bound and open; changes nothing unless it is good."""
        path = self._path if self._live or self.first is None else self.first
        plugins = discover(selected(path, os.environ))
        if not self._live:
            self._plugins = plugins  # a refused start tells what is broken
        settings = await secretsources.read(path, plugins, self._overrides, self._kernel.data_dir)
        before = self._live[-1] if self._live else None
        number = before.number + 1 if before else 1
        generation = await opened(settings, plugins, self._kernel, number, self._hosting, before)
        own = health.endpoints(self._health, self._ready, self._dependencies)
        return replace(generation, endpoints=(*own, *generation.endpoints)), plugins

    def _report(self, generation: Generation) -> None:
        logging.getLogger().setLevel(generation.settings.telemetry.logging.level.upper())
        self._count_set_aside()
        if self.slot == 0:  # the first worker tells for all
            reporting.started(generation, self._plugins)

    async def _serve(
        self, stack: contextlib.AsyncExitStack, settings: Settings, generation: Generation
    ) -> int:
        loop = asyncio.get_running_loop()
        lines = self.lines or WholeLines(sys.stdout.buffer)
        counted_in(dropped := self._kernel.counts.dropped_lines)
        stack.callback((access_log := AccessLog(lines, dropped, self._redaction)).close)
        self._gateway = Gateway(self._kernel, generation, access_log)
        server, outbox = settings.server, self._kernel.outbox
        http = HttpServer(
            self._gateway.handle,
            server.max_body_bytes,
            -(-server.max_connections // self.workers),
            self._added,
            self._gateway.handle_crowded,
            outbox,
            access_log=None,
            keepalive_timeout=server.keep_alive_seconds,
            max_field_size=server.max_header_bytes,
            max_headers=server.max_headers,
            max_line_size=server.max_url_bytes,
        )
        handle = self._gateway.handle_metrics
        page = HttpServer(handle, 65536, 100, self._added, outbox=outbox, access_log=None)
        context = tls.context(server.tls)
        self._main = Listening(http, context, server.proxy_protocol_from)
        self._page = Listening(page)
        self._has_page = any(spec.listener == "metrics" for spec, _ in generation.endpoints)
        watchers = [
            loop.create_task(tls.follow(context, server.tls), name="watch certificate"),
            loop.create_task(self._dependencies.watch(), name="watch dependencies"),
        ]
        settle_memory()
        if self.link is not None:
            self._kernel.metrics.elsewhere = self.link.everywhere
            loop.add_signal_handler(signal.SIGTERM, self._leave, self.link)
            await self.link.ready()
        else:
            await self._alone(server)
            watchers.append(loop.create_task(self._watch_file(), name="watch configuration"))
            log.info("gateway.started http://%s:%s", server.host, server.port)
        await self._stop.wait()
        for each in watchers:
            each.cancel()
        await self._drain(http, page)
        if self.link is not None:
            await self.link.farewell(self._kernel.metrics)
        return 0

    def _added(self) -> Mapping[str, str]:
        return self._gateway.generation.pipeline.screens.outgoing.added

    async def _alone(self, server: Server) -> None:
        """The sockets and signals of a gateway without a supervisor."""
        self.sockets = open_sockets(server.host, server.port, server.metrics_port, 1, os.environ)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        loop.add_signal_handler(
            signal.SIGUSR2, log.error, "upgrade.refused: it needs --workers 2 or more"
        )
        await self.serve([0])

    async def serve(self, slots: Sequence[int]) -> None:
        """Take connections from the sockets of these workers and from no others."""
        assert self.sockets is not None
        await self._main.take(self.sockets.share(slots))
        await self._page.take(self.sockets.metrics if slots and self._has_page else ())
        self._kernel.counts.workers.value = 1.0 if slots else 0.0

    def _leave(self, link: Link) -> None:
        self._kernel.scope.spawn(link.leave(), "leave", seconds=RELOAD_SECONDS)

    def stop(self, seconds: float | None = None, *, patient: bool = False) -> None:
        """Drain and end; once more: within `seconds` from now.

        `seconds` are for what is under way: ``server.drain_seconds`` if None, or if `patient`
        as long as a request may take.
        """
        settings = self._gateway.generation.settings
        timeout = settings.resilience.timeout
        if patient:
            seconds = max(timeout.request_seconds, timeout.streaming_seconds) + PATIENCE_SECONDS
        elif seconds is None:
            seconds = settings.server.drain_seconds
        self._stop_by = asyncio.get_running_loop().time() + seconds
        self._stop.set()

    async def _drain(self, *servers: HttpServer) -> None:
        """Stop accepting, let what runs finish, give the rest an error frame."""
        gateway = self._gateway
        gateway.draining = True
        log.info("gateway.draining requests=%d", len(gateway.in_flight))
        await self.serve(())
        assert self.sockets is not None
        self.sockets.close()
        while (left := self._left()) > 0:  # it may have become shorter
            if await gateway.ended(None, min(1.0, left)) and servers[0].quiet():
                break
            await asyncio.sleep(QUIET_CHECK_SECONDS)
        for task, _ in tuple(gateway.in_flight.values()):
            task.cancel()
        await gateway.ended(None, 5.0)
        await self._kernel.scope.drain()
        for server in servers:
            await server.shutdown(1.0)
        for each in self._live:
            each.close()
        log.info("gateway.stopped")

    def _left(self) -> float:
        assert self._stop_by is not None
        return max(0.0, self._stop_by - asyncio.get_running_loop().time())

    # --- reload ------------------------------------------------------------------------

    def reload(self) -> None:
        """Begin to reload; what comes of it says the log and ``/health?detailed=true``."""
        self._kernel.scope.spawn(self._reload(), "reload", seconds=RELOAD_SECONDS)

    async def _reload(self) -> None:
        """Build the next generation with the code of the start; a bad file changes nothing."""
        async with self._reloading:
            try:
                await self.prepare()
            except BAD_CONFIGURATION as error:
                log.error("reload.refused: the last good configuration stays\n%s", error)
                self.refused(str(error))
            else:
                self.commit()

    async def prepare(self) -> None:
        """Make the next generation ready; nothing changes yet."""
        await self.discard(None)
        self._prepared = await self._next()

    def commit(self) -> None:
        """New requests go to the generation that was prepared."""
        if self._prepared is None:
            return
        (generation, self._plugins), self._prepared = self._prepared, None
        old, self._gateway.generation = self._gateway.generation, generation
        self._live.append(self._redaction.followed(generation))
        self._reloads += 1
        self._last_error = ""
        self._count_set_aside()
        generation.maker.reloaded()
        if self.slot == 0:
            reporting.reloaded(generation, old)
        log.info("reload.done generation=%d", generation.number)
        self._tell(auditing.reload(generation.number))
        asyncio.get_running_loop().create_task(self._retire(old), name="retire generation")

    async def discard(self, reason: str | None) -> None:
        """Close what was prepared; `reason` is why, for the health report."""
        if reason is not None:
            self.refused(reason)
        if self._prepared is not None:
            (generation, _), self._prepared = self._prepared, None
            await self._close(generation)

    def refused(self, reason: str) -> None:
        self._last_error = reason
        self._tell(auditing.reload(self._reloads + 1, reason))

    def _count_set_aside(self) -> None:
        broken = self._plugins.set_aside_ones
        self._kernel.counts.plugins_set_aside((each.name, each.phase or "") for each in broken)

    def _tell(self, event: AuditEvent) -> None:
        try:
            self._gateway.generation.audit(event)
        except Exception:
            log.exception("audit.failed kind=%s", event.kind)

    async def _retire(self, old: Generation) -> None:
        """When its last request is done, close of `old` what no later generation uses."""
        await self._gateway.ended(old)
        self._live.remove(old)
        await self._close(old)
        settle_memory()

    async def _close(self, old: Generation) -> None:
        """Close of `old` what no living generation uses."""
        old.close(self._live)
        used = {id(service) for each in self._live for _, service in each.services}
        await self._hosting.close(pair for pair in old.services if id(pair[1]) not in used)

    async def _close_services(self) -> None:
        for generation in reversed(self._live):
            await self._hosting.close(generation.services)

    async def _watch_file(self) -> None:
        """Reload when the configuration's file was replaced or written."""
        async for _ in changes(*([self._path] if self._path else [])):
            self.reload()

    # --- health ------------------------------------------------------------------------

    def _health(self) -> Mapping[str, object]:
        gateway = getattr(self, "_gateway", None)
        draining = gateway is not None and gateway.draining
        return health.document(
            self.workers,
            self.slot,
            self.link.host if self.link is not None else {},
            draining=draining,
            generation=gateway.generation.number if gateway is not None else 0,
            reload_error=self._last_error,
            providers=self._provider_names(),
            monitor=gateway.generation.monitor if gateway is not None else None,
            dependencies=self._dependencies,
            services=self._hosting.states,
            plugins=self._plugins,
        )

    def _provider_names(self) -> Sequence[str]:
        gateway = getattr(self, "_gateway", None)
        if gateway is None:
            return ()
        return tuple(gateway.generation.pipeline.router.instances)

    def _ready(self) -> bool:
        """Whether this host serves: a worker that answers is enough, others may be starting."""
        failed = any(state != "open" for state in self._hosting.states.values())
        return not self._gateway.draining and not failed and bool(self._provider_names())

    @property
    def serving(self) -> bool:
        """Whether it has come so far that it can be stopped."""
        return hasattr(self, "_gateway")

    @property
    def metrics(self) -> Metrics:
        return self._kernel.metrics

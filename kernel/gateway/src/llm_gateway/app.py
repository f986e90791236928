"""One worker from start to end: load, bind, open, serve, reload, drain."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from llm_gateway_api import (
    AuditEvent,
    ConfigurationError,
    EndpointRequest,
    EndpointResponse,
    EndpointSpec,
    PluginError,
)

from llm_gateway import auditing
from llm_gateway.binding import Generation, Kernel, new_kernel
from llm_gateway.connection import HttpServer
from llm_gateway.dependencies import Dependencies
from llm_gateway.generations import opened
from llm_gateway.hosting import Hosting
from llm_gateway.layers import SettingsError
from llm_gateway.observe import AccessLog
from llm_gateway.plugins import Plugin, Plugins, discover
from llm_gateway.sections import Tls
from llm_gateway.selection import selected
from llm_gateway.server import Gateway
from llm_gateway.settings import Settings, load

log = logging.getLogger("llm_gateway.app")
REFUSED = 78
RELOAD_SECONDS = 60.0
WATCH_SECONDS = 1.0
YOUNG = 10_000  # objects between two collections: a request leaves no cycles behind
BAD_CONFIGURATION = (SettingsError, ConfigurationError, PluginError)


def data_dir(environ: Mapping[str, str]) -> Path:
    """The only place the gateway writes."""
    given = environ.get("LLM_GATEWAY_DATA_DIR")
    return Path(given) if given else Path.home() / ".local/state/llm-gateway"


def run(path: Path | None, overrides: Mapping[str, object]) -> int:
    """Serve until a signal; the exit code: 0 after a drain, 78 where the start is refused."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        import uvloop

        factory: Any = uvloop.new_event_loop
    except ImportError:
        factory = asyncio.new_event_loop
    worker = Worker(path, overrides)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(worker.main())


class Worker:
    """Holds the sockets and the current generation of one process."""

    def __init__(self, path: Path | None, overrides: Mapping[str, object]) -> None:
        self._path = path
        self._overrides = overrides
        self._plugins = Plugins()
        self._kernel: Kernel
        self._gateway: Gateway
        self._reloads = 0
        self._last_error = ""
        self._hosting: Hosting
        self._live: list[Generation] = []
        self._reloading: asyncio.Lock
        self._stop = asyncio.Event()

    async def main(self) -> int:
        directory = data_dir(os.environ)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            print(f"The data directory {directory} cannot be made: {error}", file=sys.stderr)
            return REFUSED
        self._kernel = new_kernel(directory, self._health)
        self._hosting = Hosting()
        self._dependencies = Dependencies(lambda: self._live[-1].maker.offers)
        self._reloading = asyncio.Lock()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._close_services)
            try:
                generation = await self._next()
                self._live.append(generation)
                self._report(generation)
                return await self._serve(stack, generation.settings, generation)
            except (*BAD_CONFIGURATION, OSError) as error:
                print(f"The start is refused.\n{error}", file=sys.stderr)
                for each in self._plugins.set_aside_ones:
                    print(f"set aside: {told(each)}", file=sys.stderr)
                return REFUSED

    async def _next(self) -> Generation:
        """The configuration as it is now, bound and open; changes nothing unless it is good."""
        plugins = discover(selected(self._path, os.environ))
        if not self._live:
            self._plugins = plugins  # a refused start tells what is broken
        settings = load(self._path, os.environ, plugins, self._overrides)
        before = self._live[-1] if self._live else None
        number = self._reloads + 1
        generation = await opened(settings, plugins, self._kernel, number, self._hosting, before)
        self._plugins = plugins
        self._kernel.counts.plugins_set_aside(
            (each.name, each.phase or "") for each in plugins.set_aside_ones
        )
        endpoints = (*self._endpoints(), *generation.endpoints)
        return replace(generation, endpoints=endpoints)

    def _report(self, generation: Generation) -> None:
        settings = generation.settings
        logging.getLogger().setLevel(settings.telemetry.logging.level.upper())
        for warning in settings.warnings:
            log.warning("%s", warning)
        for each in self._plugins.plugins:
            log.info("plugin    %-24s %-10s %s", each.name, each.version, each.state)
        for each in self._plugins.set_aside_ones:
            log.error("plugin.set_aside %s", told(each))
        for what, name, detail, policy in generation.armed:
            log.info("armed %-9s %-20s %s %s", what, name, detail, policy)

    async def _serve(
        self, stack: contextlib.AsyncExitStack, settings: Settings, generation: Generation
    ) -> int:
        loop = asyncio.get_running_loop()
        access_log = AccessLog(sys.stdout.buffer, self._kernel.counts.dropped_lines)
        stack.callback(access_log.close)
        self._gateway = Gateway(self._kernel, generation, access_log)
        server = settings.server
        http = HttpServer(
            self._gateway.handle,
            server.max_body_bytes,
            server.max_connections,
            self._added,
            access_log=None,
            max_field_size=server.max_header_bytes,
            max_headers=server.max_headers,
            max_line_size=server.max_url_bytes,
        )
        main = await loop.create_server(
            http, server.host, server.port, ssl=_tls(server.tls), backlog=4096, reuse_address=True
        )
        listeners = [main]
        servers = [http]
        if any(spec.listener == "metrics" for spec, _ in generation.endpoints):
            page = HttpServer(
                self._gateway.handle_metrics, 65536, 100, self._added, access_log=None
            )
            listeners.append(await loop.create_server(page, server.host, server.metrics_port))
            servers.append(page)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        watchers = (
            loop.create_task(self._watch_file(), name="watch configuration"),
            loop.create_task(self._dependencies.watch(), name="watch dependencies"),
        )
        settle_memory()
        log.info("gateway.started http://%s:%s", server.host, server.port)
        await self._stop.wait()
        for each in watchers:
            each.cancel()
        await self._drain(listeners, servers, server.drain_seconds)
        return 0

    def _added(self) -> Mapping[str, str]:
        return self._gateway.generation.pipeline.screens.outgoing.added

    async def _drain(
        self, listeners: Sequence[asyncio.Server], servers: Sequence[HttpServer], seconds: float
    ) -> None:
        """Stop accepting, let what runs finish, give the rest an error frame."""
        gateway = self._gateway
        gateway.draining = True
        log.info("gateway.draining requests=%d", len(gateway.in_flight))
        for listener in listeners:
            listener.close()
        if not await gateway.ended(None, seconds):
            for task, _ in tuple(gateway.in_flight.values()):
                task.cancel()
            await gateway.ended(None, 5.0)
        await self._kernel.scope.drain()
        for server in servers:
            await server.shutdown(1.0)
        for each in self._live:
            each.close()
        log.info("gateway.stopped")

    # --- reload ------------------------------------------------------------------------

    def reload(self) -> None:
        """Begin to reload; what comes of it says the log and ``/health?detailed=true``."""
        self._kernel.scope.spawn(self._reload(), "reload", seconds=RELOAD_SECONDS)

    async def _reload(self) -> None:
        """Build the next generation with the code of the start; a bad file changes nothing."""
        async with self._reloading:
            try:
                generation = await self._next()
            except BAD_CONFIGURATION as error:
                self._last_error = str(error)
                log.error("reload.refused: the last good configuration stays\n%s", error)
                self._tell(auditing.reload(self._reloads + 1, self._last_error))
                return
            old, self._gateway.generation = self._gateway.generation, generation
            self._live.append(generation)
            self._reloads += 1
            self._last_error = ""
            log.info("reload.done generation=%d", generation.number)
            self._tell(auditing.reload(generation.number))
        asyncio.get_running_loop().create_task(self._retire(old), name="retire generation")

    def _tell(self, event: AuditEvent) -> None:
        try:
            self._gateway.generation.audit(event)
        except Exception:
            log.exception("audit.failed kind=%s", event.kind)

    async def _retire(self, old: Generation) -> None:
        """When its last request is done, close of `old` what no later generation uses."""
        await self._gateway.ended(old)
        self._live.remove(old)
        old.close(self._live)
        used = {id(service) for each in self._live for _, service in each.services}
        await self._hosting.close(pair for pair in old.services if id(pair[1]) not in used)
        settle_memory()

    async def _close_services(self) -> None:
        for generation in reversed(self._live):
            await self._hosting.close(generation.services)

    async def _watch_file(self) -> None:
        """Reload when the file's content was replaced or written (its time or its inode)."""
        if self._path is None:
            return
        seen = _stamp(self._path)
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = _stamp(self._path)
            if now is not None and now != seen:
                seen = now
                self.reload()

    # --- health ------------------------------------------------------------------------

    def _health(self) -> Mapping[str, object]:
        gateway = getattr(self, "_gateway", None)
        draining = gateway is not None and gateway.draining
        states = self._hosting.states
        behind = self._dependencies
        failed = any(state != "open" for state in states.values())
        worse = failed or behind.down or self._plugins.set_aside_ones
        return {
            "status": "draining" if draining else "degraded" if worse else "ok",
            "generation": gateway.generation.number if gateway is not None else 0,
            "reload_error": self._last_error or None,
            "providers": {n: {"state": "ok"} for n in self._provider_names()},
            "dependencies": {name: {"state": state} for name, state in behind.states.items()},
            "services": {name: {"state": state} for name, state in states.items()},
            "plugins": {
                p.name: {
                    "state": p.state,
                    "version": p.version,
                    "phase": p.phase,
                    "reason": p.reason,
                }
                for p in self._plugins.plugins
            },
        }

    def _provider_names(self) -> Sequence[str]:
        gateway = getattr(self, "_gateway", None)
        if gateway is None:
            return ()
        return tuple(gateway.generation.pipeline.router.instances)

    def _endpoints(self) -> list[tuple[EndpointSpec, Any]]:
        async def health(request: EndpointRequest) -> EndpointResponse:
            document = dict(self._health())
            if request.query.get("detailed") != "true":
                return _json(200, {"status": document["status"]})
            if request.arrival.principal.role != "admin":
                for part in ("providers", "dependencies", "services", "plugins"):
                    rows: Any = document[part]
                    document[part] = {n: {"state": row["state"]} for n, row in rows.items()}
                document["reload_error"] = bool(document["reload_error"])
            return _json(200, document)

        async def live(request: EndpointRequest) -> EndpointResponse:
            return _json(200, {"status": "live"})

        async def ready(request: EndpointRequest) -> EndpointResponse:
            failed = any(state != "open" for state in self._hosting.states.values())
            ok = not self._gateway.draining and not failed and bool(self._provider_names())
            document: dict[str, object] = {"status": "ready" if ok else "not ready"}
            if self._dependencies.down:  # requests are served all the same
                document["down"] = self._dependencies.down
            return _json(200 if ok else 503, document)

        routes = (("/health", health), ("/health/live", live), ("/health/ready", ready))
        return [
            (EndpointSpec("GET", path, None, health, listener), handler)
            for path, handler in routes
            for listener in ("main", "metrics")
        ]


def told(plugin: Plugin) -> str:
    """One line about a plugin that was set aside."""
    return f"{plugin.name} ({plugin.distribution}) in phase {plugin.phase}: {plugin.reason}"


def settle_memory() -> None:
    """Take what lives now out of the collector's sight.

    A full collection that walks the code and the configuration stops requests for tens of
    milliseconds.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


def _tls(tls: Tls | None) -> ssl.SSLContext | None:
    """The listener's context; an unreadable file refuses the start (`OSError`)."""
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _json(status: int, document: object) -> EndpointResponse:
    return EndpointResponse(status, msgspec.json.encode(document))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size

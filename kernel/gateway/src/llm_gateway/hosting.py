"""What plugins keep open: each service in a task of its own, while a generation uses it."""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from llm_gateway_api import ConfigurationError, PluginError, Service

log = logging.getLogger("llm_gateway.hosting")
OPEN_SECONDS = 15.0


class NotOpenedError(PluginError):
    """What did not open, by the service's name."""

    def __init__(self, broken: Mapping[str, str]) -> None:
        self.broken = broken
        names = ", ".join(broken)
        super().__init__(names, "open", "; ".join(broken.values()))


class Hosting:
    """Opens services, keeps them open, closes them; `states` says how each is."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self._hosts: dict[int, _Host] = {}

    async def open(self, services: Iterable[tuple[str, Service]]) -> None:
        """Open those that are not open yet, all or none.

        Raises:
            NotOpenedError: some did not open in time; what this call opened is closed again.
            ConfigurationError: one cannot work with its settings; likewise.
        """
        opened: list[tuple[str, Service]] = []
        broken: dict[str, str] = {}
        try:
            for name, service in services:
                if id(service) in self._hosts:
                    continue
                host = _Host(name, service, self.states)
                self._hosts[id(service)] = host
                opened.append((name, service))
                try:
                    await host.open()
                except ConfigurationError:
                    raise
                except Exception as error:
                    broken[name] = f"{type(error).__name__}: {error}"
            if broken:
                raise NotOpenedError(broken)
        except BaseException:
            await self.close(opened)
            raise

    async def close(self, services: Iterable[tuple[str, Service]]) -> None:
        """Close in reverse; what is not open is passed over."""
        for _, service in reversed(tuple(services)):
            if (host := self._hosts.pop(id(service), None)) is not None:
                await host.close()


class _Host:
    """One service. What fails in there can neither cancel the gateway nor wrap the errors of
    services that were opened later."""

    def __init__(self, name: str, service: Service, states: dict[str, str]) -> None:
        self._name = name
        self._service = service
        self._states = states
        self._closing = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(
            self._live(), name=f"service {self._name}"
        )
        await asyncio.wait_for(self._opened, OPEN_SECONDS)
        self._states[self._name] = "open"

    async def close(self) -> None:
        self._closing.set()
        if self._task is None:
            return
        if self._opened.cancelled():
            self._task.cancel()
        await asyncio.wait({self._task}, timeout=OPEN_SECONDS)
        self._states.pop(self._name, None)

    async def _live(self) -> None:
        try:
            async with self._service.open():
                self._opened.set_result(None)
                await self._closing.wait()
        except Exception as error:
            self._states[self._name] = "failed"
            if self._opened.done():
                log.exception("service.failed name=%s", self._name)
            else:
                self._opened.set_exception(error)
